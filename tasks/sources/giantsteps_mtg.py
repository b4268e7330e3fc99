"""GiantSteps-MTG, 1,486 electronic dance tracks with keys: the customary training set of the GiantSteps key test.

Conventions
-----------
Layout, as published: ``annotations/annotations.txt`` (tab-separated columns ``ID``, ``MANUAL KEY``, ``C``),
``audio/ID.LOFI.mp3`` and ``md5/ID.LOFI.md5``. Used are the 1,159 tracks with one key and the highest confidence
(C = 2). An eighth of them, by a hash of the track, validates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.mirdata import beatport_id, one_key
from m2l_bench.tasks.sources.source import About, Item, Labels, default_home, hashed_split, missing, read_table

ABOUT = About(
    name="giantsteps-mtg-key-dataset",
    version="fd7b8c5 of 2016-10-31",
    licence="none stated in its repository; the audio are previews of Beatport",
    size="1,486 two-minute MP3 files",
    how="Clone https://github.com/GiantSteps/giantsteps-mtg-key-dataset and run its audio_dl.sh.",
    citation="Faraldo, Tonality estimation in electronic dance music, 2018",
)
_SHARES = {"train": 0.875, "valid": 0.125}


@dataclass(frozen=True, kw_only=True)
class GiantStepsMtg:
    """Training and validation items, without a test split."""

    data_home: Path | None = None
    about: About = ABOUT

    def items(self) -> list[Item]:
        """The tracks with one sure key."""
        return [
            Item(
                f"mtg {name}",
                inside(self._home, f"audio/{name}.LOFI.mp3", source=self._home),
                hashed_split(name, _SHARES),
                beatport_id(name),
            )
            for name in self._keys
        ]

    def labels(self, split: str) -> Labels:
        """Keys, as :data:`~m2l_bench.tasks.tonality.KEYS` spells them."""
        return {f"mtg {name}": key for name, key in self._keys.items() if hashed_split(name, _SHARES) == split}

    def verify(self) -> None:
        """Compare the audio with the published MD5."""
        for item in self.items():
            md5 = inside(self._home, f"md5/{item.path.stem}.md5", source=self._home)
            expected = (md5.read_text(encoding="utf-8").split() or [""])[0]
            found = hashlib.md5(item.path.read_bytes(), usedforsecurity=False).hexdigest()
            if found != expected:
                raise ValueError(f"{item.path}: MD5 must be {expected}, got {found}")

    @property
    def _home(self) -> Path:
        return default_home(ABOUT.name) if self.data_home is None else self.data_home

    @cached_property
    def _keys(self) -> dict[str, str]:
        table = self._home / "annotations" / "annotations.txt"
        if not table.is_file():
            raise missing(ABOUT, self._home)
        rows = read_table(table, delimiter="\t", required=("ID", "MANUAL KEY", "C"))
        keys = {row["ID"]: one_key(row["MANUAL KEY"]) for row in rows if row["C"] == "2"}
        return {name: key for name, key in keys.items() if key is not None}
