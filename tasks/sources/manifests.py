"""The split lists that ship with the package, each pinned by its checksum."""

from __future__ import annotations

from pathlib import Path

from m2l_bench.files.disk import sha256
from m2l_bench.tasks.sources.source import read_table

_FOLDER = Path(__file__).parents[1] / "manifests"
MANIFESTS = {
    # 930 tracks without repetitions, mislabellings, distortions or artists in two splits: Kereliuk, Sturm and Larsen,
    # "Deep learning and music adversaries", 2015. The ids are those that torchaudio's GTZAN(subset=...) uses.
    "gtzan_fault_filtered.csv": "2194bee9a0bedb7b81f836fdd3fd42f5b0460f51ac43cffa5c243488dacda910",
}


def fault_filtered() -> dict[str, str]:
    """GTZAN's fault-filtered split: track id, such as ``"blues.00000"`` -> split.

    Raises
    ------
    ValueError
        If the list is not the one that was shipped.
    """
    return _read("gtzan_fault_filtered.csv")


def _read(name: str) -> dict[str, str]:
    path, expected = _FOLDER / name, MANIFESTS[name]
    found = sha256(path)
    if found != expected:
        raise ValueError(f"{path}: SHA-256 must be {expected}, got {found}; install the package again")
    return {row["id"]: row["split"] for row in read_table(path, required=("id", "split"))}
