"""MagnaTagATune: 25,863 clips of 29 s with tags from a game, in the usual split of the 50 most frequent tags.

Conventions
-----------
Layout: ``annotations_final.csv`` (tab-separated: ``clip_id``, 188 tags as 0 and 1, ``mp3_path``) beside the sixteen
folders ``0`` ... ``f`` of the audio. Folders 0-b are for training, c for validation, d-f for testing (Lee et al. 2017,
Won et al. 2020). Clips without any of the 50 tags, and three broken ones, are left out. The lists are compared with the
published ones by checksum; where they differ, a warning says that scores are not comparable with the papers. Songs and
albums lie in one split; *artists do not*: 2,680 of the 4,332 test clips share their artist with training clips, which
raises the scores.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.source import SPLITS, About, IncompleteSplit, Label, Source, TaskItem, read_table

TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
    "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
    "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man",
    "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello",
    "no voice", "weird", "country", "female voice", "metal", "choral",
)  # fmt: skip
BROKEN = frozenset({"35644", "55753", "57881"})
# Published lists: number of clips, and the SHA-256 of their sorted paths without suffix, one a line.
PUBLISHED = {
    "train": (15244, "2836b7119058fd872b9a2c4cfc9bccb14c865379994ae52be55321065a9b3c61"),
    "valid": (1529, "c01a21a8054ac2d52c35931ea07a84c1d761c60528f5becf326ecf078463097c"),
    "test": (4332, "ee20b9f713fe8affdde437d6073fcb25d49a90f89a8529aa35c313b9783f0aa0"),
}
_COMPLETE = 25_863


class MagnaTagATune(Source):
    """The split of 50 tags. Items are named by their path without suffix; the group is the album."""

    about = About(
        name="magnatagatune",
        version="2009, split of Won et al. 2020",
        licence="CC BY-NC-SA 3.0 (as its authors' page states)",
        size="3.0 GB (25,863 half-minute MP3 files)",
        how="From https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset take annotations_final.csv and the three "
        "parts of the audio; join the parts, unzip them, and put folders 0 ... f beside the table.",
        citation="Law et al., Evaluation of algorithms using games: the case of music tagging, 2009",
    )

    def read(self) -> Iterator[tuple[TaskItem, Label]]:
        """Yield the tagged clips; warn where they are not the published lists."""
        table = self.home / "annotations_final.csv"
        if not table.is_file():
            raise self.missing()
        rows = read_table(table, delimiter="\t", required=("clip_id", "mp3_path", *TAGS))
        tags = {
            row["mp3_path"].removesuffix(".mp3"): tuple(tag for tag in TAGS if row[tag] == "1")
            for row in rows
            if row["clip_id"] not in BROKEN
        }
        tags = {name: found for name, found in tags.items() if found}
        if differing := _differing(tags):
            counts = ", ".join(f"{split} {count} of {PUBLISHED[split][0]}" for split, count in differing.items())
            message = f"{table}: not the published split ({len(rows)} of {_COMPLETE} clips; {counts})"
            warnings.warn(message, IncompleteSplit, stacklevel=5)
        for name, found in tags.items():
            album = "-".join(name.rpartition("/")[2].split("-")[:2])
            yield TaskItem(name, inside(self.home, f"{name}.mp3", source=table), _split(name), album), found


def ids_checksum(ids: Iterable[str]) -> str:
    """SHA-256 of sorted ids, one a line."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _differing(names: Iterable[str]) -> dict[str, int]:
    """Count the clips of each split that is not the published one."""
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in names:
        parts[_split(name)].append(name)
    return {split: len(part) for split, part in parts.items() if ids_checksum(part) != PUBLISHED[split][1]}


def _split(name: str) -> str:
    folder = name[:1]
    return "train" if folder <= "b" else "valid" if folder == "c" else "test"
