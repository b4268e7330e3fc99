"""Sets of music by name: embedded ones, and those that papers reconstruct, from the user's folder (Song Describer, MusicCaps).

Conventions
-----------
Excerpts are the middle of a file, so that introductions and fades are left out: 10 s of it, at the file's own rate, the odd
sample at the end; a shorter file whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from m2l_bench import assets
from m2l_bench.audio import AudioError, scan_audio
from m2l_bench.files.untrusted import inside
from m2l_bench.suite.data import AudioItem, AudioSet, content_hash, from_folder
from m2l_bench.tasks.sources.source import About, Dataset, read_table

EXCERPT = 10.0  # seconds


@dataclass(frozen=True, kw_only=True)
class PublishedSet(Dataset):
    """Base class of the sets. A subclass gives ``about`` and `files`.

    Attributes
    ----------
    name : str
        As on the command line.
    what : str
        One line for the list.
    expected : int
        Files of the complete set.
    middle : float
        Seconds of each file that are used, from its middle; 0 for all of it.
    """

    name: str
    what: str
    expected: int
    middle: float = 0.0

    def files(self, skipped: dict[str, str]) -> Iterator[tuple[str, Path]]:
        """Yield id and path of each file; add to `skipped` what is not used, and why."""
        raise NotImplementedError

    def at(self, home: Path | None) -> PublishedSet:
        """The set in a folder, ``~/mir_datasets/NAME`` for None."""
        return self if home is None else replace(self, data_home=home.expanduser())

    def read(self) -> AudioSet:
        """List the files that are there; MissingDataset if there is none."""
        skipped: dict[str, str] = {}
        items = tuple(self._item(name, path) for name, path in self.files(skipped))
        if not items:
            raise self.missing()
        note = f"{self.name}: {self.what}"
        if len(items) != self.expected:
            note += f"; {len(items):,} of {self.expected:,} files"
        return AudioSet(self.name, items, f"{note}.", skipped)

    def _item(self, name: str, path: Path) -> AudioItem:
        digest = content_hash(path)
        if digest and self.middle:  # an outcome of the excerpt is none of the file
            digest = hashlib.sha256(f"{digest}\nmiddle {self.middle:g} s".encode()).hexdigest()
        return AudioItem(name, str(path.absolute()), digest, self.middle)


@dataclass(frozen=True, kw_only=True)
class SongDescriber(PublishedSet):
    """The validated tracks of the Song Describer Dataset: those with a caption that its table marks ``is_valid_subset``."""

    about = About(
        name="song-describer",
        version="1.0.0 (2023)",
        licence="each track its own Creative Commons licence, in audio_licenses.txt",
        size="3.3 GB (706 MP3 files of two minutes, 546 of them in the validated subset)",
        how="From https://zenodo.org/records/10072001 take song_describer.csv and the audio, whose folder audio must lie "
        "beside it.",
        citation="Manco et al., The Song Describer Dataset: a corpus of audio captions for music-and-language evaluation, 2023",
    )
    expected: int = 546

    def files(self, skipped: dict[str, str]) -> Iterator[tuple[str, Path]]:
        """Yield the validated tracks in the order of their paths."""
        table = self.home / "song_describer.csv"
        if not table.is_file():
            raise self.missing()
        validated = set()
        for row in read_table(table, required=("path", "is_valid_subset")):
            if row["is_valid_subset"] not in ("True", "False"):
                raise ValueError(f"{table}: is_valid_subset must be True or False, got {row['is_valid_subset']!r}")
            if row["is_valid_subset"] == "True":
                validated.add(row["path"])
        for name in sorted(validated):
            # The table has the names of MTG-Jamendo's files; the archive has two minutes of each.
            stem = str(Path(name).with_suffix(""))
            places = [inside(self.home, f"audio/{file}", source=table) for file in (f"{stem}.2min.mp3", name)]
            found = next((path for path in places if path.is_file()), None)
            if found is None:
                skipped[name] = f"in song_describer.csv, but neither {places[0].name} nor {places[1].name} is in audio/"
            else:
                yield name, found


@dataclass(frozen=True, kw_only=True)
class MusicCaps(PublishedSet):
    """Clips of MusicCaps, named by their identifiers; Google publishes these, and no audio."""

    about = About(
        name="musiccaps",
        version="2023",
        licence="table CC BY-SA 4.0; the audio is that of the videos",
        size="5,521 clips of 10 s, some no longer to be had",
        how="From https://www.kaggle.com/datasets/googleai/musiccaps take musiccaps-public.csv; put the 10 s of each clip "
        "that you have beside it, named by its ytid, such as -0Gj8-vB1q4.wav or -0Gj8-vB1q4_30_40.wav.",
        citation="Agostinelli et al., MusicLM: generating music from text, 2023",
    )
    expected: int = 5521

    def files(self, skipped: dict[str, str]) -> Iterator[tuple[str, Path]]:
        """Yield one file an identifier, in the order of their paths; of those in the table, where there is one."""
        if not self.home.is_dir():
            raise self.missing()
        table = self.home / "musiccaps-public.csv"
        known = {row["ytid"] for row in read_table(table, required=("ytid",))} if table.is_file() else None
        listing = scan_audio(self.home)
        skipped.update(listing.skipped)
        seen: dict[str, str] = {}
        for path in listing.paths:
            name = path.relative_to(self.home).as_posix()
            named = re.fullmatch(r"\[?([\w-]{11})([\]\[_. (-].*)?", path.stem)
            if named is None or (known is not None and named[1] not in known):
                skipped[name] = "not named by an identifier of MusicCaps"
            elif named[1] in seen:
                skipped[name] = f"the same clip as {seen[named[1]]}"
            else:
                seen[named[1]] = name
                yield name, path


PUBLISHED_SETS: Mapping[str, PublishedSet] = {
    found.name: found
    for found in (
        SongDescriber(
            name="song-describer", what="the middle 10 s of each validated track of Song Describer", middle=EXCERPT
        ),
        SongDescriber(name="song-describer:tracks", what="the validated tracks of Song Describer, two minutes each"),
        MusicCaps(name="musiccaps", what="clips of MusicCaps, 10 s each"),
    )
}


def find_audio(name: str) -> AudioSet:
    """The user's folder, an embedded set, or a published one as ``NAME[=FOLDER]``.

    Raises
    ------
    AudioError
        If it is none of these, or an embedded file is not the one that its manifest names.
    MissingDataset
        If a published set is not in its folder; the message says how to get it.
    """
    if Path(name).is_dir():
        return from_folder(name)
    if name in assets.FOLDERS:
        assets.verify(name)
        return from_folder(assets.folder(name), name=name)
    known, _, home = name.partition("=")
    if known in PUBLISHED_SETS:
        return PUBLISHED_SETS[known].at(Path(home) if home else None).read()
    raise AudioError(f"audio {name!r}: must be a folder or one of {', '.join((*assets.FOLDERS, *PUBLISHED_SETS))}")
