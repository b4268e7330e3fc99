"""GTZAN: the 930 tracks of the fault-filtered split, through mirdata or from a plain copy of its folder ``genres``.

Conventions
-----------
The download host is often down, and copies are common: ``genres/GENRE/GENRE.NNNNN.wav`` (or ``.au``), in `data_home` or
in a folder ``gtzan_genre`` in it. A copy is used where mirdata's index is not found; it has no checksums.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path

from m2l_bench.files.disk import sha256
from m2l_bench.tasks.sources.mirdata import HOW, Mirdata, mirdata_about
from m2l_bench.tasks.sources.source import Label, Labels, MissingDataset, TaskItem, read_table

_SPLIT = Path(__file__).parents[1] / "manifests" / "gtzan_fault_filtered.csv"
_SPLIT_SHA256 = "2194bee9a0bedb7b81f836fdd3fd42f5b0460f51ac43cffa5c243488dacda910"


@cache
def fault_filtered() -> dict[str, str]:
    """Read the fault-filtered split: track id, such as ``"blues.00000"`` -> split.

    It is free of repetitions, wrong labels, distortions and artists in two splits. The ids are those of torchaudio's
    ``GTZAN(subset=...)``.

    Raises
    ------
    ValueError
        If the list differs from the shipped one.

    References
    ----------
    Kereliuk, Sturm and Larsen, "Deep learning and music adversaries", 2015.
    """
    if (found := sha256(_SPLIT)) != _SPLIT_SHA256:
        raise ValueError(f"{_SPLIT}: SHA-256 must be {_SPLIT_SHA256}, got {found}; install the package again")
    return {row["id"]: row["split"] for row in read_table(_SPLIT, required=("id", "split"))}


class Gtzan(Mirdata):
    """The fault-filtered tracks and their genres; each track is its own group."""

    about = mirdata_about(
        "gtzan_genre", "1.0", "none found", "1.3 GB (1,000 half-minute WAV files)",
        "Tzanetakis and Cook, Musical genre classification of audio signals, 2002; split: Kereliuk et al., Deep "
        "learning and music adversaries, 2015",
        HOW + " The host of its audio is often down: any copy of its folder genres/ can be used.",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        return {name: (split, name) for name, split in fault_filtered().items() if name in self._tracks}

    def read(self) -> Iterable[tuple[TaskItem, Label | None]]:
        """Yield the tracks in mirdata's index or, without an index, those of a plain copy."""
        try:
            self._places()
        except MissingDataset:
            return [(TaskItem(name, path, fault_filtered()[name], name), None) for name, path in self._copied.items()]
        return super().read()

    def labels(self, split: str) -> Labels:
        """Genres, spelled as in mirdata; the track ids begin with them."""
        genres = {item.id: item.id.split(".")[0] for item in self.items() if item.split == split}
        return {name: "hip-hop" if genre == "hiphop" else genre for name, genre in genres.items()}

    @cached_property
    def _copied(self) -> dict[str, Path]:
        for folder in (self.home / "gtzan_genre" / "genres", self.home / "genres", self.home):
            paths = [
                folder / name.split(".")[0] / f"{name}{suffix}"
                for name in fault_filtered()
                for suffix in (".wav", ".au")
            ]
            if found := {path.stem: path for path in paths if path.is_file()}:
                return found
        raise self.missing()
