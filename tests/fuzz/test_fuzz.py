"""A few hundred damaged files for every reader; tests/benchmarks/fuzz.py tries as many as you like."""

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


# What the driver found, and what was mended.
FOUND = [
    ("musika.h5", 649),  # HDF5's library never comes back
    ("shard.parquet", 1499),  # Arrow ends the process when a damaged footer is asked for a column
    ("labels.csv", 108),  # a file name longer than the system takes
    ("latents.safetensors", 160),  # finite latents whose power is not
    ("model.safetensors", 215),  # the checkpoint is named by its stem
]


@pytest.mark.parametrize(("kind", "seed"), FOUND)
def test_findings_stay_mended(kind: str, seed: int, tmp_path: Path) -> None:
    mutants.prepare(tmp_path)
    assert mutants.finding(kind, seed, tmp_path) is None
