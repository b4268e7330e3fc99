"""A few damaged files for every reader; tests/benchmarks/fuzz.py tries any number."""

from __future__ import annotations

from pathlib import Path

import mutants
import pytest


@pytest.mark.parametrize("kind", mutants.KINDS)
def test_the_good_file_is_read(kind: str, tmp_path: Path) -> None:
    mutants.prepare(tmp_path)
    (tmp_path / kind).write_bytes(mutants.good(kind))
    mutants.READERS[kind](tmp_path / kind)


@pytest.mark.parametrize("kind", mutants.KINDS)
def test_damaged_files_are_read_or_refused_by_name(kind: str, tmp_path: Path) -> None:
    mutants.prepare(tmp_path)
    found = {
        seed: why for seed in range(3 if kind == "musika.h5" else 15) if (why := mutants.finding(kind, seed, tmp_path))
    }
    assert not found


# Found by tests/benchmarks/fuzz.py, and fixed.
FOUND = [
    ("musika.h5", 649),  # an endless loop in HDF5's library
    ("labels.csv", 108),  # a file name too long for the system
    ("latents.safetensors", 160),  # finite latents whose power is not
    ("model.safetensors", 215),  # the checkpoint is named by its stem
]


@pytest.mark.parametrize(("kind", "seed"), FOUND)
def test_earlier_findings_stay_fixed(kind: str, seed: int, tmp_path: Path) -> None:
    mutants.prepare(tmp_path)
    assert mutants.finding(kind, seed, tmp_path) is None
