"""MagnaTagATune: 25,863 clips of 29 s with tags from a game, in the customary split of the 50 most frequent tags.

Conventions
-----------
Layout: ``annotations_final.csv`` (tab-separated: ``clip_id``, 188 tags as 0 and 1, ``mp3_path``) beside the sixteen
folders ``0`` ... ``f`` of the audio. Folders 0-b train, c validates, d-f test (Lee et al. 2017, Won et al. 2020); clips
without any of the 50 tags, and three broken ones, are left out. Whether that gave the published lists is checked by
their checksums each time; where it did not, a warning says that the scores are not those of the papers. Songs and albums
lie in one split; *artists do not*: 2,680 of the 4,332 test clips share their artist with training, so the scores flatter.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.source import About, Item, Labels, default_home, ids_checksum, missing, read_table

TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
    "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
    "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man",
    "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello",
    "no voice", "weird", "country", "female voice", "metal", "choral",
)  # fmt: skip
BROKEN = frozenset({"35644", "55753", "57881"})
# Of the published lists: how many clips, and the SHA-256 of their sorted paths without suffix, one a line.
PUBLISHED = {
    "train": (15244, "2836b7119058fd872b9a2c4cfc9bccb14c865379994ae52be55321065a9b3c61"),
    "valid": (1529, "c01a21a8054ac2d52c35931ea07a84c1d761c60528f5becf326ecf078463097c"),
    "test": (4332, "ee20b9f713fe8affdde437d6073fcb25d49a90f89a8529aa35c313b9783f0aa0"),
}
_COMPLETE = 25_863
ABOUT = About(
    name="magnatagatune",
    version="2009, split of Won et al. 2020",
    licence="CC BY-NC-SA 3.0 (as its makers' page states)",
    size="3.0 GB (25,863 half-minute MP3 files)",
    how="From https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset take annotations_final.csv and the three "
    "parts of the audio; join the parts, unzip them, and put folders 0 ... f beside the table.",
    citation="Law et al., Evaluation of algorithms using games: the case of music tagging, 2009",
)


class IncompleteSplit(UserWarning):
    """The items are not those of the published split, so that scores are not those of its papers."""


@dataclass(frozen=True, kw_only=True)
class MagnaTagATune:
    """The 50-tag split."""

    data_home: Path | None = None
    about: About = ABOUT

    def items(self) -> list[Item]:
        """Clips by their path without suffix; the group is the album."""
        return [
            Item(name, inside(self._home, f"{name}.mp3", source=self._table), _split(name), _album(name))
            for name in self._tags
        ]

    def labels(self, split: str) -> Labels:
        """Tags of each clip."""
        return {name: tags for name, tags in self._tags.items() if _split(name) == split}

    def verify(self) -> None:
        """Check that the split is the published one; the dataset has no checksums of its audio."""
        for split, found in _differing(self._tags).items():
            raise ValueError(
                f"magnatagatune: the {split} split must be the published {PUBLISHED[split][0]} clips, got {found}"
            )

    @property
    def _home(self) -> Path:
        return default_home(ABOUT.name) if self.data_home is None else self.data_home

    @property
    def _table(self) -> Path:
        return self._home / "annotations_final.csv"

    @cached_property
    def _tags(self) -> dict[str, tuple[str, ...]]:
        table = self._table
        if not table.is_file():
            raise missing(ABOUT, self._home)
        rows = read_table(table, delimiter="\t", required=("clip_id", "mp3_path", *TAGS))
        tags = {
            row["mp3_path"].removesuffix(".mp3"): tuple(tag for tag in TAGS if row[tag] == "1")
            for row in rows
            if row["clip_id"] not in BROKEN
        }
        tagged = {name: found for name, found in tags.items() if found}
        if differing := _differing(tagged):
            counts = ", ".join(f"{split} {count} of {PUBLISHED[split][0]}" for split, count in differing.items())
            message = f"{table}: not the published split ({len(rows)} of {_COMPLETE} clips; {counts})"
            warnings.warn(message, IncompleteSplit, stacklevel=4)
        return tagged


def _differing(names: Iterable[str]) -> dict[str, int]:
    """How many clips each split has that is not the published one."""
    parts: dict[str, list[str]] = {split: [] for split in PUBLISHED}
    for name in names:
        parts[_split(name)].append(name)
    return {split: len(part) for split, part in parts.items() if ids_checksum(part) != PUBLISHED[split][1]}


def _album(name: str) -> str:
    return "-".join(name.rpartition("/")[2].split("-")[:2])


def _split(name: str) -> str:
    folder = name[:1]
    return "train" if folder <= "b" else "valid" if folder == "c" else "test"
