"""Datasets that mirdata has a loader for: one table of small adaptors.

Conventions
-----------
mirdata reads the annotations and knows the MD5 of every file (its index); what follows from them (split, group, label)
is said here, and every label is validated here, for mirdata passes on what it finds. A dataset lies in
``~/mir_datasets/NAME`` unless `data_home` says otherwise; its index may lie beside the data instead of inside mirdata.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.manifests import fault_filtered
from m2l_bench.tasks.sources.source import (
    About,
    Item,
    Labels,
    default_home,
    hashed_split,
    linked_groups,
    missing,
)
from m2l_bench.tasks.tonality import parse_key


@dataclass(frozen=True, kw_only=True)
class Adaptor:
    """How a mirdata dataset becomes a source.

    Attributes
    ----------
    about : About
    place : callable
        ``(dataset, fold) -> {track id: (split, group)}``, only of the tracks that take part.
    label : callable
        ``track -> label``, tags, or None where it bears no usable label.
    """

    about: About
    place: Callable[[Any, int], dict[str, tuple[str, str]]]
    label: Callable[[Any], str | tuple[str, ...] | None]


@dataclass(frozen=True, kw_only=True)
class Mirdata:
    """A source over a mirdata dataset.

    Attributes
    ----------
    dataset : str
        mirdata's name of it; a key of :data:`ADAPTORS`.
    data_home : Path, optional
    index : Path, optional
        Another index than mirdata's, such as of a part of the dataset.
    fold : int
        Which of the dataset's own folds is tested, where it has folds.
    only : str
        Split that every track is in, where the dataset serves as one split of a task.
    what : str
        Name of the label, where the dataset has several.
    """

    dataset: str
    data_home: Path | None = None
    index: Path | None = None
    fold: int = 0
    only: str = ""
    what: str = ""

    @property
    def about(self) -> About:
        """What it is."""
        return self._adaptor.about

    def items(self) -> list[Item]:
        """Its tracks that take part."""
        loaded = self._loaded
        return [
            Item(track, self._audio(loaded.track(track).audio_path), self.only or split, group)
            for track, (split, group) in self._places.items()
        ]

    def labels(self, split: str) -> Labels:
        """The labels of one split, read track by track."""
        found = {}
        for track, (where, _) in self._places.items():
            if (self.only or where) == split:
                with _quiet():
                    label = self._adaptor.label(self._loaded.track(track))
                if label is not None:
                    found[track] = label
        return found  # type: ignore[return-value]

    def verify(self) -> None:
        """Compare every file with the MD5 that mirdata pins."""
        with _quiet():
            absent, changed = self._loaded.validate(verbose=False)
        for what, found in (("missing", absent), ("changed", changed)):
            names = sorted(name for tracks in found.values() for names in tracks.values() for name in names)
            if names:
                raise ValueError(
                    f"{self.about.name}: {len(names)} files {what} by mirdata's checksums, such as {names[0]}"
                )

    def _audio(self, path: str) -> Path:
        """mirdata joins what its index says to the dataset's folder; an index beside the data may say anything."""
        return inside(self._home, Path(path).absolute(), source=self._loaded.index_path)

    @property
    def _adaptor(self) -> Adaptor:
        return ADAPTORS[f"{self.dataset}/{self.what}" if self.what else self.dataset]

    @property
    def _home(self) -> Path:
        return default_home(self.dataset) if self.data_home is None else self.data_home

    @cached_property
    def _loaded(self) -> Any:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore", ImportWarning)  # from cloud packages that mirdata imports
            import mirdata

            dataset = mirdata.initialize(self.dataset, data_home=str(self._home))
        beside = self._home / Path(dataset.index_path).name
        if self.index is not None or beside.is_file():
            dataset.index_path = str(self.index or beside)
        if not self._home.is_dir() or not Path(dataset.index_path).is_file():
            raise missing(self.about, self._home)
        return dataset

    @cached_property
    def _places(self) -> dict[str, tuple[str, str]]:
        try:
            with _quiet():
                return self._adaptor.place(self._loaded, self.fold)
        except FileNotFoundError as error:
            raise missing(self.about, self._home) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute log lines of mirdata and the libraries below it: one a missing file; our error says it once."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _hashed(group: Callable[[Any], str], shares: dict[str, float]) -> Callable[[Any, int], dict[str, tuple[str, str]]]:
    def place(dataset: Any, _: int) -> dict[str, tuple[str, str]]:
        groups = {track: group(dataset.track(track)) for track in dataset.track_ids}
        return {track: (hashed_split(name, shares), name) for track, name in groups.items()}

    return place


def _gtzan(dataset: Any, _: int) -> dict[str, tuple[str, str]]:
    known = set(dataset.track_ids)
    return {track: (split, track) for track, split in fault_filtered().items() if track in known}


def _tinysol(dataset: Any, fold: int) -> dict[str, tuple[str, str]]:
    def split(track: str) -> str:
        own = dataset.track(track).split
        return "test" if own == fold else "valid" if own == (fold + 1) % 5 else "train"

    return {track: (split(track), track) for track in dataset.track_ids}


def _medley(dataset: Any, _: int) -> dict[str, tuple[str, str]]:
    names = {"training": "train", "train": "train", "validation": "valid", "test": "test"}
    tracks = {track: dataset.track(track) for track in dataset.track_ids}
    return {name: (names[track.subset], f"song {track.song_id}") for name, track in tracks.items()}


def _jamendo(dataset: Any, fold: int) -> dict[str, tuple[str, str]]:
    splits = dataset.get_track_splits(fold)
    names = {"train": "train", "validation": "valid", "test": "test"}
    known = set(dataset.track_ids)
    return {
        track: (names[split], dataset.track(track).artist_id)
        for split, tracks in splits.items()
        for track in tracks
        if track in known
    }


def _irmas(dataset: Any, _: int) -> dict[str, tuple[str, str]]:
    places = {}
    for name in dataset.track_ids:
        track = dataset.track(name)
        if track.split == "test":
            song = re.sub(r"-\d+$", "", Path(track.audio_path).stem)
            places[name] = ("test", f"test song {song}")
        else:
            song = f"training song {name.split('__')[0]}"
            places[name] = (hashed_split(song, {"train": 0.8, "valid": 0.2}), song)
    return places


def _beatport(dataset: Any, _: int) -> dict[str, tuple[str, str]]:
    groups = linked_groups({track: dataset.track(track).artists for track in dataset.track_ids})
    shares = {"train": 0.6, "valid": 0.2, "test": 0.2}
    return {track: (hashed_split(group, shares), group) for track, group in groups.items()}


def _giantsteps(dataset: Any, _: int) -> dict[str, tuple[str, str]]:
    return {track: ("test", beatport_id(dataset.track(track).audio_path)) for track in dataset.track_ids}


def beatport_id(path: str | Path) -> str:
    """The number of a Beatport track, with which its file name begins; the whole stem where it does not."""
    stem = Path(path).name.removesuffix(".mp3").removesuffix(".wav").removesuffix(".LOFI")
    match = re.match(r"\d+", stem)
    return f"beatport {match[0]}" if match else stem


def one_key(text: str) -> str | None:
    """A single key, or None: several keys, another mode, no key, or nonsense."""
    try:
        return parse_key(text)
    except ValueError:
        return None


def _single_of(keys: list[str]) -> str | None:
    return one_key(keys[0]) if len(keys) == 1 else None


def _pitch_class(track: Any) -> str:
    return re.sub(r"-?\d+$", "", track.pitch)


_CC_BY_SA = "CC BY-SA 4.0"
_HOW = "Run python -c \"import mirdata; mirdata.initialize('{0}').download()\" (add data_home=... for another folder)."


def _about(dataset: str, version: str, licence: str, size: str, citation: str, how: str = _HOW) -> About:
    return About(name=dataset, version=version, licence=licence, size=size, how=how.format(dataset), citation=citation)


_TINYSOL = _about(
    "tinysol",
    "6.0",
    "CC BY 4.0",
    "2,913 notes, WAV",
    "Cella et al., OrchideaSOL: a dataset of extended techniques, 2020",
)
ADAPTORS: dict[str, Adaptor] = {
    "giantsteps_key": Adaptor(
        about=_about(
            "giantsteps_key", "+", _CC_BY_SA, "600 two-minute MP3 files",
            "Knees et al., Two data sets for tempo estimation and key detection in electronic dance music, 2015",
        ),
        place=_giantsteps,
        label=lambda track: one_key(track.key),
    ),
    "beatport_key": Adaptor(
        about=_about(
            "beatport_key", "1.0.0", _CC_BY_SA, "1,486 two-minute MP3 files",
            "Faraldo, Tonality estimation in electronic dance music, 2018",
        ),
        place=_beatport,
        label=lambda track: _single_of(track.key),
    ),
    "gtzan_genre": Adaptor(
        about=_about(
            "gtzan_genre", "1.0", "none found", "1.3 GB (1,000 half-minute WAV files)",
            "Tzanetakis and Cook, Musical genre classification of audio signals, 2002; split: Kereliuk et al., Deep "
            "learning and music adversaries, 2015",
            _HOW + " The host of its audio is often dead: any copy of its folder genres/ will do.",
        ),
        place=_gtzan,
        label=lambda track: track.genre,
    ),
    "tinysol/instrument": Adaptor(about=_TINYSOL, place=_tinysol, label=lambda track: track.instrument_full),
    "tinysol/pitch": Adaptor(about=_TINYSOL, place=_tinysol, label=_pitch_class),
    "medley_solos_db": Adaptor(
        about=_about(
            "medley_solos_db", "1.2", "CC BY 4.0", "5.7 GB (21,571 three-second WAV files)",
            "Lostanlen and Cella, Deep convolutional networks on the pitch spiral for instrument recognition, 2016",
        ),
        place=_medley,
        label=lambda track: track.instrument,
    ),
    "mtg_jamendo_autotagging_moodtheme": Adaptor(
        about=_about(
            "mtg_jamendo_autotagging_moodtheme", "1.0",
            "audio: Creative Commons, by track; metadata CC BY-NC-SA 4.0", "18,486 full tracks, MP3",
            "Bogdanov et al., The MTG-Jamendo dataset for automatic music tagging, 2019",
            _HOW + " That gives the metadata; the audio comes with the scripts of github.com/MTG/mtg-jamendo-dataset.",
        ),
        place=_jamendo,
        label=lambda track: tuple(sorted(track.tags)),
    ),
    "irmas": Adaptor(
        about=_about(
            "irmas", "1.0", "CC BY-NC-SA 3.0", "6,705 three-second and 2,874 longer WAV files",
            "Bosch et al., A comparison of sound segregation techniques for predominant instrument recognition, 2012",
        ),
        place=_irmas,
        label=lambda track: tuple(sorted(set(track.instrument))),
    ),
}  # fmt: skip
