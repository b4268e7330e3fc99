"""Reading and merging runs: what becomes one, what stands apart, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from m2l_bench.checksums import add_checksums, read_checksums
from m2l_bench.report.runs import read_runs, run_names
from m2l_bench.results import read_items, read_rows, write_run

from .synthetic import CARDS, HASH, card_hash, make_audio, make_run


def test_merging_runs(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", systems=("identity", "opus:12k"), probes=False)
    two = make_run(tmp_path / "two", systems=("identity", "pca"), probes=False)
    merged = read_runs([one, two])
    assert merged.systems == ("identity", "opus:12k", "pca")
    assert len([r for r in merged.rows if (r.system, r.metric, r.statistic) == ("identity", "si_sdr", "mean")]) == 1
    changed = dict(CARDS) | {"si_sdr": {**CARDS["si_sdr"], "formula": "another"}}
    other = make_run(tmp_path / "other", cards=changed, probes=False)
    both = f"{HASH['si_sdr']} in {one} and {card_hash(changed['si_sdr'])} in {other}"
    with pytest.raises(ValueError, match=f"si_sdr: must have one card, got {both}"):
        read_runs([one, other])
    with pytest.raises(ValueError, match=f"must have one data_hash, got {'d' * 16} in {one} and {'c' * 16} in .*data"):
        read_runs([one, make_run(tmp_path / "data", data_hash="c" * 16, probes=False)])
    with pytest.raises(ValueError, match="must hold at least one run"):
        read_runs([])


def changed_copy(run: Path, folder: Path, **fields: Any) -> Path:
    """A run with other fields in all of its rows, or in its items where they have them."""
    rows = [replace(r, **{name: f(getattr(r, name)) for name, f in fields.items()}) for r in read_rows(run)]
    items = [
        replace(i, **{name: f(getattr(i, name)) for name, f in fields.items() if hasattr(i, name)})
        for i in read_items(run)
    ]
    folder.mkdir()
    (folder / "cards.json").write_text((run / "cards.json").read_text())
    write_run(folder, rows, items, json.loads((run / "run.json").read_text()), others=[folder / "cards.json"])
    return folder


def test_one_label_for_two_systems_is_told_apart(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", systems=("pca",), probes=False)
    two = changed_copy(one, tmp_path / "two", fingerprint=lambda fingerprint: "f" * 16)
    assert read_runs([one, two]).systems == ("pca (04dda9)", "pca (ffffff)")


def test_runs_that_agree_are_one_and_others_stand_apart(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", systems=("identity", "pca"), probes=False)
    same = changed_copy(one, tmp_path / "same", value=lambda value: value * (1 + 1e-9))
    merged, alone = read_runs([one, same]), read_runs([one])
    assert (merged.rows, merged.systems, len(merged.items)) == (alone.rows, alone.systems, len(alone.items))
    assert merged.measured_in == {"identity": (one, same), "pca": (one, same)}
    another = changed_copy(one, tmp_path / "another", value=lambda value: value * 1.01)
    merged = read_runs([one, another])
    assert merged.systems == ("identity", "pca (another)", "pca (one)")  # identity is that of the first run
    found = {r.system: r.value for r in merged.rows if (r.metric, r.statistic) == ("si_sdr", "mean")}
    assert found["pca (another)"] == pytest.approx(1.01 * found["pca (one)"]) and found["identity"] == 100.0
    assert merged.measured_in["pca (another)"] == (another,)
    other_seed = changed_copy(one, tmp_path / "seed", seed=lambda seed: seed + 1)
    assert read_runs([one, other_seed]).systems == ("identity", "pca (one)", "pca (seed)")  # nothing is averaged


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = {tmp_path / name / "run": {"plan": plan} for name, plan in (("a", "1"), ("b", "2"), ("c", "2"))}
    assert list(run_names(runs).values()) == ["run 1", "run 2 2", "run 2 3"]


@pytest.mark.parametrize(
    "name", ["rows.parquet", "rows.csv", "items.parquet", "cards.json", "run.json", "audio/clip.flac"]
)
def test_a_run_that_was_changed_is_not_merged(tmp_path: Path, name: str) -> None:
    one, two = (make_run(tmp_path / folder, systems=("pca",), probes=False) for folder in ("one", "two"))
    (two / "audio").mkdir()
    (two / "audio" / "clip.flac").write_bytes(b"clip")
    add_checksums(two, ["audio"])
    assert read_runs([one, two]).systems == ("pca",)
    expected = read_checksums(two)[name]
    with (two / name).open("ab") as file:
        file.write(b" ")
    found = hashlib.sha256((two / name).read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"two/{name}: must have the SHA-256 .*, expected {expected}, got {found}$"):
        read_runs([one, two])


def test_the_files_to_hand_in_are_enough(tmp_path: Path) -> None:
    one, two = (make_run(tmp_path / folder, systems=(folder,), probes=False) for folder in ("one", "two"))
    make_audio(two, systems=("two",), n_clips=2, seconds=0.1)
    (two / "report").mkdir()
    (two / "report" / "index.md").write_text("")
    add_checksums(two, ["audio", "report"])
    before = read_runs([one, two])
    shutil.rmtree(two / "audio")
    shutil.rmtree(two / "report")
    assert read_runs([one, two]) == before and before.systems == ("one", "two")


def test_a_run_without_checksums_is_not_merged(tmp_path: Path) -> None:
    one, two = (make_run(tmp_path / folder, systems=("pca",), probes=False) for folder in ("one", "two"))
    (two / "failures.csv").unlink()
    with pytest.raises(ValueError, match=r"two/failures.csv: must have the SHA-256 .*, got no such file"):
        read_runs([one, two])
    (two / "audio").mkdir()
    (two / "audio" / "manifest.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"SHA256SUMS: must list every file that is read, got none for audio/manifest.json"
    ):
        read_runs([one, two])
    (two / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="two: must be the folder of a finished run, got one without SHA256SUMS"):
        read_runs([one, two])
