"""Datasets that mirdata has a loader for, one small class each.

Conventions
-----------
mirdata reads the annotations; its ``validate()`` checks the MD5 of every file. Split, group and label are defined here,
and labels are validated here, since mirdata does not validate them. An index beside the data is used instead of mirdata's.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.source import (
    About,
    IncompleteSplit,
    KnownTags,
    Label,
    Labels,
    Source,
    TaskItem,
    hashed_split,
)
from m2l_bench.tasks.tonality import parse_key

HOW = "Run python -c \"import mirdata; mirdata.initialize('{0}').download()\" (add data_home=... for another folder)."
OPENMIC_PUBLISHED = {"train": 14_915, "test": 5_085}
"""Clips of the two parts of OpenMIC-2018's split 01."""
NO_TEMPO = ("beatport 1327052", "beatport 3041381", "beatport 3041383")
"""Tracks of GiantSteps tempo that have no tempo, as the second annotation's authors state."""
_TEMPO_COMMIT = "0b7d47ba8cae59d3535a02e3db69e2cf6d0af5bb"  # of the annotations that mirdata downloads
_SPLITS = {"training": "train", "train": "train", "validation": "valid", "test": "test"}


def mirdata_about(dataset: str, version: str, licence: str, size: str, citation: str, how: str = HOW) -> About:
    """Describe a dataset by mirdata's name for it."""
    return About(name=dataset, version=version, licence=licence, size=size, how=how.format(dataset), citation=citation)


class Mirdata(Source):
    """Base class: a subclass gives ``about`` (named as in mirdata), ``_places`` and ``_label``."""

    def _places(self) -> dict[str, tuple[str, str]]:
        """Track id -> (split, group), for the tracks that are used."""
        raise NotImplementedError

    def _label(self, track: Any) -> Label | None:
        """Label or tags of mirdata's track; None without a usable label."""
        raise NotImplementedError

    def _audio(self, track: Any) -> str:
        """Path of the audio file of mirdata's track."""
        return str(track.audio_path)

    def read(self) -> Iterable[tuple[TaskItem, Label | None]]:
        """Yield the tracks that are used; their labels are read by `labels` alone."""
        try:
            with _quiet():
                places = self._places()
        except FileNotFoundError as error:
            raise self.missing() from error
        for name, (split, group) in places.items():
            audio = Path(self._audio(self._tracks[name])).absolute()  # as the index says: any path
            yield TaskItem(name, inside(self.home, audio, source=self._dataset.index_path), split, group), None

    def labels(self, split: str) -> Labels:
        """Labels of one split, read track by track."""
        with _quiet():  # tracks of their own, which are dropped with what they keep of their files
            found = {item.id: self._label(self._dataset.track(item.id)) for item in self.items() if item.split == split}
        return {name: label for name, label in found.items() if label is not None}

    @cached_property
    def _dataset(self) -> Any:
        """mirdata's dataset."""
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore", ImportWarning)  # from cloud packages that mirdata imports
            import mirdata

            dataset = mirdata.initialize(self.about.name, data_home=str(self.home))
        beside = self.home / Path(dataset.index_path).name
        if beside.is_file():
            dataset.index_path = str(beside)
        if not self.home.is_dir() or not Path(dataset.index_path).is_file():
            raise self.missing()
        return dataset

    @cached_property
    def _tracks(self) -> dict[str, Any]:
        """mirdata's tracks, by id."""
        return {name: self._dataset.track(name) for name in self._dataset.track_ids}


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute log lines of mirdata and its libraries (one per missing file); our error reports them once."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class GiantStepsKey(Mirdata):
    """Test tracks with their key; the group is the recording."""

    about = mirdata_about(
        "giantsteps_key", "+", "CC BY-SA 4.0", "600 two-minute MP3 files",
        "Knees et al., Two data sets for tempo estimation and key detection in electronic dance music, 2015",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        return {name: ("test", beatport_id(track.audio_path)) for name, track in self._tracks.items()}

    def _label(self, track: Any) -> str | None:
        return one_key(track.key)


class BeatportKey(Mirdata):
    """Tracks with a single key. Artists, with those they worked with, are assigned to splits by a hash."""

    about = mirdata_about(
        "beatport_key", "1.0.0", "CC BY-SA 4.0", "1,486 two-minute MP3 files",
        "Faraldo, Tonality estimation in electronic dance music, 2018",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        groups = linked_groups({name: track.artists for name, track in self._tracks.items()})
        shares = {"train": 0.6, "valid": 0.2, "test": 0.2}
        return {name: (hashed_split(group, shares), group) for name, group in groups.items()}

    def _label(self, track: Any) -> str | None:
        return one_key(track.key[0]) if len(track.key) == 1 else None


@dataclass(frozen=True, kw_only=True)
class TinySol(Mirdata):
    """Single notes with their instrument; each note is its own group.

    Attributes
    ----------
    fold : int
        The dataset's fold, 0 to 4, that is the test split; the next one is the validation split.
    """

    fold: int = 0
    about = mirdata_about(
        "tinysol", "6.0", "CC BY 4.0", "2,913 notes, WAV",
        "Cella et al., OrchideaSOL: a dataset of extended techniques, 2020",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        splits = {self.fold: "test", (self.fold + 1) % 5: "valid"}
        return {name: (splits.get(track.split, "train"), name) for name, track in self._tracks.items()}

    def _label(self, track: Any) -> Any:
        return track.instrument_full


class TinySolPitch(TinySol):
    """Single notes with their pitch class."""

    def _label(self, track: Any) -> str:
        return re.sub(r"-?\d+$", "", track.pitch)


class MedleySolos(Mirdata):
    """Solos with their instrument, in the dataset's own split; the group is the song."""

    about = mirdata_about(
        "medley_solos_db", "1.2", "CC BY 4.0", "5.7 GB (21,571 three-second WAV files)",
        "Lostanlen and Cella, Deep convolutional networks on the pitch spiral for instrument recognition, 2016",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        return {name: (_SPLITS[track.subset], f"song {track.song_id}") for name, track in self._tracks.items()}

    def _label(self, track: Any) -> Any:
        return track.instrument


class JamendoMoodTheme(Mirdata):
    """Whole tracks with tags of mood and theme, in the dataset's split 0; the group is the artist."""

    about = mirdata_about(
        "mtg_jamendo_autotagging_moodtheme", "1.0", "audio: Creative Commons, by track; metadata CC BY-NC-SA 4.0",
        "18,486 full tracks, MP3", "Bogdanov et al., The MTG-Jamendo dataset for automatic music tagging, 2019",
        HOW + " That gives the metadata; the audio comes with the scripts of github.com/MTG/mtg-jamendo-dataset.",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        return {
            name: (_SPLITS[split], self._tracks[name].artist_id)
            for split, names in self._dataset.get_track_splits(0).items()
            for name in names
            if name in self._tracks
        }

    def _label(self, track: Any) -> tuple[str, ...]:
        return tuple(sorted(track.tags))


class Irmas(Mirdata):
    """Clips with their predominant instruments: one in training, any number in the dataset's test split.

    The group is the song. A fifth of the training songs, chosen by a hash, is the validation split.
    """

    about = mirdata_about(
        "irmas", "1.0", "CC BY-NC-SA 3.0", "6,705 three-second and 2,874 longer WAV files",
        "Bosch et al., A comparison of sound segregation techniques for predominant instrument recognition, 2012",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        places = {}
        for name, track in self._tracks.items():
            if track.split == "test":
                places[name] = "test", "test song " + re.sub(r"-\d+$", "", Path(track.audio_path).stem)
            else:
                song = f"training song {name.split('__')[0]}"
                places[name] = hashed_split(song, {"train": 0.8, "valid": 0.2}), song
        return places

    def _label(self, track: Any) -> tuple[str, ...]:
        return tuple(sorted(set(track.instrument)))


class OpenMic(Mirdata):
    """Clips with the instruments that they were annotated for, in the dataset's own split 01; the group is the artist.

    An instrument is present where its relevance, the agreement of the annotators, is at least 0.5. A fifth of the artists of
    the training part, chosen by a hash, is the validation split.
    """

    about = mirdata_about(
        "openmic2018", "1.0", "CC BY 4.0; audio: Creative Commons, by track", "20,000 ten-second Ogg Vorbis files",
        "Humphrey, Durand and McFee, OpenMIC-2018: an open data-set for multiple instrument recognition, 2018",
    )  # fmt: skip

    @property
    def home(self) -> Path:
        """Folder of the dataset: in the one given, where the archive that mirdata downloads has its files in a folder."""
        inside_archive = super().home / "openmic-2018"
        return inside_archive if inside_archive.is_dir() else super().home

    def _places(self) -> dict[str, tuple[str, str]]:
        parts = {name: track.split for name, track in self._tracks.items()}
        counts = {part: sum(found == f"split01_{part}" for found in parts.values()) for part in OPENMIC_PUBLISHED}
        if not all(counts.values()):
            raise FileNotFoundError("partitions/split01_train.csv and split01_test.csv")
        if counts != OPENMIC_PUBLISHED:
            found = ", ".join(f"{part} {counts[part]} of {n}" for part, n in OPENMIC_PUBLISHED.items())
            warnings.warn(f"{self.home}: not the published split ({found})", IncompleteSplit, stacklevel=5)
        shares = {"train": 0.8, "valid": 0.2}
        places = {}
        for name, part in parts.items():
            artist = f"artist {self._tracks[name].artist}"
            if part == "split01_test":
                places[name] = "test", artist
            elif part == "split01_train":
                places[name] = hashed_split(artist, shares), artist
        return places

    def _label(self, track: Any) -> KnownTags | None:
        relevance = track.instruments
        present = tuple(name for name in relevance if relevance[name] >= 0.5)
        absent = tuple(name for name in relevance if relevance[name] < 0.5)
        return KnownTags(present, absent) if relevance else None


class GiantStepsTempo(Mirdata):
    """Tracks with their tempo, in the dataset's ten folds: 1 and 2 are the test split, 3 and 4 the validation split.

    The tempo is that of the second annotation (Schreiber and Müller 2018) that most listeners tapped, the slower one of two
    with equally many. mirdata gives the tempi of a track in rising order. The three tracks without a tempo in it are left out.
    The group is the recording.
    """

    about = mirdata_about(
        "giantsteps_tempo", "2.0", "CC BY-SA 4.0", "664 two-minute MP3 files, about 1 GB",
        "Knees et al., Two data sets for tempo estimation and key detection in electronic dance music, 2015; tempi: Schreiber "
        "and Müller, A crowdsourced experiment for tempo estimation of electronic dance music, 2018",
        HOW + " That gives the annotations; put the audio into its folder audio with the newest audio_dl.sh of "
        "github.com/GiantSteps/giantsteps-tempo-dataset.",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        folds = self.home / f"giantsteps-tempo-dataset-{_TEMPO_COMMIT}" / "splits"
        split_of = {
            file: "test" if fold < 3 else "valid" if fold < 5 else "train"
            for fold in range(1, 11)
            for file in (folds / f"fold{fold:02d}.txt").read_text(encoding="utf-8").split()
        }
        files = {name: Path(track.audio_path).name for name, track in self._tracks.items()}
        used = {name: file for name, file in files.items() if file in split_of and beatport_id(file) not in NO_TEMPO}
        return {name: (split_of[file], beatport_id(file)) for name, file in used.items()}

    def _label(self, track: Any) -> float:
        try:
            found = track.tempo_v2
        except FileNotFoundError as error:
            raise self.missing() from error
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(f"{track.annotation_v2_path}: must hold a tempo in JAMS ({error})") from error
        return float(found.tempos[found.confidence.argmax()])


def beatport_id(path: str | Path) -> str:
    """Number of a Beatport track, with which its file name begins; the whole stem where there is none."""
    stem = Path(path).name.removesuffix(".mp3").removesuffix(".wav").removesuffix(".LOFI")
    match = re.match(r"\d+", stem)
    return f"beatport {match[0]}" if match else stem


def one_key(text: str) -> str | None:
    """Read a single key; None for several keys, another mode, or no key."""
    try:
        return parse_key(text)
    except ValueError:
        return None


def linked_groups(members: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Name the group of each item, given its members: items that share one, directly or through others, are one group.

    The name is the group's first member in alphabetical order, or the item itself without members.

    Examples
    --------
    >>> linked_groups({"1": ["a", "b"], "2": ["b", "c"], "3": ["d"], "4": []})
    {'1': 'a', '2': 'a', '3': 'd', '4': '4'}
    """
    groups: list[set[str]] = []
    for names in map(set, members.values()):
        linked = [group for group in groups if not group.isdisjoint(names)]
        groups = [group for group in groups if group.isdisjoint(names)] + [names.union(*linked)]
    name_of = {name: min(group) for group in groups for name in group}
    return {item: name_of[next(iter(names))] if names else item for item, names in members.items()}
