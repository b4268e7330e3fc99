"""Clips: which are chosen, how they are written and checked, and how loud they are played."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m2l_bench.report.clips import Clip, choose_clips, read_manifest, write_clips
from m2l_bench.report.listening import matched_gains, merge_clips
from m2l_bench.results import Item

from .synthetic import DATASET, HOSTILE, make_audio


def item(name: str, system: str, value: float) -> Item:
    return Item(system=system, fingerprint="f", dataset=DATASET, metric="si_sdr", card="c", item=name, value=value)


def clip(name: str = "a.wav", scale: float = 0.5, **estimates: float) -> Clip:
    tone = np.sin(np.arange(800) / 3)[None].astype(np.float32)
    return Clip(
        id=name,
        dataset=DATASET,
        sample_rate=8000,
        reference=scale * tone,
        estimates={system: gain * tone for system, gain in estimates.items()},
    )


def test_chosen_clips_run_from_worst_to_best() -> None:
    # The second system's numbers are a thousand times larger and must not decide alone.
    items = [item(f"{i:02d}", "a", i) for i in range(21)] + [item(f"{i:02d}", "b", 1000.0 * i) for i in range(21)]
    chosen = choose_clips(items, dataset=DATASET, metric="si_sdr", higher_is_better=True, n=5)
    assert chosen == ["00", "05", "10", "15", "20"]
    assert choose_clips(items, dataset=DATASET, metric="si_sdr", higher_is_better=False, n=3) == ["20", "10", "00"]
    assert len(choose_clips(items, dataset=DATASET, metric="si_sdr", higher_is_better=True, n=99)) == 21
    assert choose_clips([item("x", "a", math.nan)], dataset=DATASET, metric="si_sdr", higher_is_better=True) == []
    with pytest.raises(ValueError, match="odd and at least 3, got 4"):
        choose_clips(items, dataset=DATASET, metric="si_sdr", higher_is_better=True, n=4)


def test_written_clips_come_back(tmp_path: Path) -> None:
    write_clips(tmp_path, [clip("../../etc/passwd", a=0.25), clip(HOSTILE, a=0.5, b=2.0)], systems=["a", "b"])
    clips = read_manifest(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["systems"] == ["a", "b"]
    assert [c.id for c in clips] == ["../../etc/passwd", HOSTILE]
    assert all(Path(path).is_relative_to(tmp_path) for c in clips for path in [c.reference, *c.systems.values()])
    samples, rate = soundfile.read(clips[0].systems["a"], always_2d=True)
    assert rate == 8000
    assert np.abs(samples.T - 0.25 * np.sin(np.arange(800) / 3)).max() < 2**-15
    loud, _ = soundfile.read(clips[1].systems["b"])  # beyond full scale: scaled, not clipped
    assert np.corrcoef(loud, np.sin(np.arange(800) / 3))[0, 1] > 0.999999


def test_writing_is_reproducible(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_audio(tmp_path / name, n_clips=2, seconds=0.2)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) > 10
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


def test_refused_clips(tmp_path: Path) -> None:
    wrong = Clip(id="a", dataset="d", sample_rate=8000, reference=np.zeros((1, 9)), estimates={"s": np.zeros((1, 8))})
    with pytest.raises(ValueError, match=r"s must have the reference's shape \(1, 9\), got \(1, 8\)"):
        write_clips(tmp_path, [wrong], systems=["s"])
    with pytest.raises(ValueError, match="system must be one of x, got 'a'"):
        write_clips(tmp_path, [clip(a=1.0)], systems=["x"])
    with pytest.raises(ValueError, match=r"got 'a\.wav' twice"):
        write_clips(tmp_path, [clip(), clip()], systems=[])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "../outside.flac"}, "inside the folder, got '../outside.flac'"),
        ({"reference": "/etc/passwd.flac"}, "inside the folder, got '/etc/passwd.flac'"),
        ({"reference": "a.html"}, "clip files must be"),
        ({"sample_rate": 44100}, "must have 44100 Hz as its manifest says, got 8000"),
        ({"n_samples": 5}, "must hold 5 samples, got 800"),
        ({"systems": {"unknown": "x.flac"}}, "systems must be among"),
        ({"extra": 1}, "must be a manifest of clips"),
    ],
)
def test_refused_manifests(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_clips(tmp_path, [clip(a=0.5)], systems=["a"])
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    content["clips"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(message)):
        read_manifest(tmp_path)


def test_clips_of_two_runs_merge(tmp_path: Path) -> None:
    write_clips(tmp_path / "1", [clip(a=0.5)], systems=["a"])
    write_clips(tmp_path / "2", [clip(b=0.5), clip("other.wav", b=0.1)], systems=["b"])
    merged = merge_clips([read_manifest(tmp_path / n) for n in ("1", "2")])
    assert [(c.id, sorted(c.systems)) for c in merged] == [("a.wav", ["a", "b"]), ("other.wav", ["b"])]


def test_gains_match_the_original_and_never_clip() -> None:
    assert matched_gains([-20.0, -26.0, -14.0], [0.1, 0.1, 0.1]) == [1.0, 1.995262, 0.501187]
    gains = matched_gains([-20.0, -26.0], [0.9, 0.9])
    assert gains[1] * 0.9 <= 1.000001
    assert gains[1] / gains[0] == pytest.approx(10 ** (6 / 20), rel=1e-5)
    assert matched_gains([-20.0, -math.inf, -90.0], [0.1, 0.0, 1e-6]) == [1.0, 1.0, 10.0]
    assert matched_gains([-math.inf, -20.0], [0.0, 0.1]) == [1.0, 1.0]
