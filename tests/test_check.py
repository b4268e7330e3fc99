"""``m2l-bench check``: what is sound passes, and each fault is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import m2l_bench
from m2l_bench.cli import app
from m2l_bench.conformity.finding import difference, level

BROKEN = """
import numpy as np


class Late:
    def reconstruct(self, audio):
        return np.concatenate([np.zeros_like(audio[:, :1]), audio[:, :-1]], axis=1)


class Longer:
    def reconstruct(self, audio):
        return np.pad(audio, [(0, 0), (0, 1)])


class Unseeded:
    def reconstruct(self, audio):
        return (audio + 0.01 * np.random.default_rng().standard_normal(audio.shape)).astype(np.float32)


class SaysUnseeded:
    is_seeded = False

    def __init__(self, *, seed=0):
        self.seed = seed

    def reconstruct(self, audio):
        noise = np.random.default_rng(self.seed).standard_normal(audio.shape)
        return (audio + 0.01 * noise).astype(np.float32)


class Stateful:
    def __init__(self):
        self.calls = 0

    def reconstruct(self, audio):
        self.calls += 1
        return (audio * (0.5 + 0.1 * self.calls)).astype(np.float32)


class InPlace:
    def reconstruct(self, audio):
        audio *= 0.5
        return audio


class Coarse:
    def reconstruct(self, audio):
        noise = audio.std() * np.random.default_rng(0).standard_normal(audio.shape)
        return (np.roll(audio, -2, axis=1) + noise).astype(np.float32)


class Rate:
    sample_rate, latent_dim, latent_rate = 22050, 2, 10.0

    def encode(self, audio):
        return np.zeros((1, 2, 1 + audio.shape[-1] // 1024), np.float32)
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("systems") / "broken.py"
    path.write_text(BROKEN)
    return path


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter music; the peak memory, which needs a process of its own, is left to one test."""
    from m2l_bench.conformity import check, subject

    monkeypatch.setattr(subject, "SHORT", 1.5)
    monkeypatch.setattr(subject, "LONG", 6.0)
    monkeypatch.setattr(check, "CHECKS", {k: v for k, v in check.CHECKS.items() if k != "peak memory"})


@pytest.mark.parametrize("name", ["identity", "pca", "opus:32k", "mfcc-chroma"])
def test_what_is_sound_has_no_fault(name: str) -> None:
    checked = m2l_bench.check(name)
    assert checked.failed == () and f"Checked({name}: " in repr(checked)
    frame = checked.to_frame()
    assert {"same seed twice", "order of files", "shape, mono and stereo"} <= set(frame.name[frame.verdict == "pass"])
    assert set(frame.verdict) <= {"pass", "note"} and frame.meaning.str.len().min() > 10


@pytest.mark.parametrize(
    ("name", "fault", "meaning"),
    [
        ("Late", "lag", "late"),
        ("Longer", "shape, mono and stereo", "must have its input's shape (1, 1), got (1, 2)"),
        ("Unseeded", "same seed twice", "drawn without the seed"),
        ("SaysUnseeded", "another seed", "but is_seeded is False"),
        ("Stateful", "order of files", "depends on the file before"),
        ("InPlace", "shape, mono and stereo", "changed in place"),
        ("Rate", "latents", "latent_rate promises 20 frames for 2 s more of audio, got"),
    ],
)
def test_each_fault_is_named(broken: Path, name: str, fault: str, meaning: str) -> None:
    found = {finding.name: finding.meaning for finding in m2l_bench.check(f"{broken}:{name}").failed}
    assert meaning in found[fault]


def test_a_wrong_shape_is_one_fault(broken: Path) -> None:
    """What cannot compare such an output to its input is not a fault of its own."""
    checked = m2l_bench.check(f"{broken}:Longer")
    assert {finding.name for finding in checked.failed} == {"shape, mono and stereo", "shape, 6 channels"}
    found = {finding.name: finding.meaning for finding in checked.results if finding.verdict == "note"}
    assert all(found[name].startswith("Not checked, for the shape is wrong") for name in ("alignment", "seams"))


def test_a_lag_that_costs_next_to_nothing_is_no_fault(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other errors hide it, as those of Opus at 12 kbit/s, 2 samples early."""
    from m2l_bench.conformity import check

    monkeypatch.setattr(check, "CHECKS", {"alignment": check.CHECKS["alignment"]})
    for name in (f"{broken}:Coarse", "opus:12k"):
        found = {finding.name: finding for finding in m2l_bench.check(name).results}
        assert found["lag"].verdict == "note" and found["lag"].values["lag (samples)"] == pytest.approx(-2, abs=0.3)
        assert 0 < found["lag"].values["cost (dB)"] < 1 and "The output is early; in time" in found["lag"].meaning


def test_the_command_prints_a_table_and_fails_on_a_fault(broken: Path) -> None:
    sound = CliRunner().invoke(app, ["check", "identity", "--json"])
    assert sound.exit_code == 0
    assert {line["verdict"] for line in json.loads(sound.stdout)} == {"pass", "note"}
    late = CliRunner().invoke(app, ["check", f"{broken}:Late"])
    assert late.exit_code == 2 and "1 fail" in late.stdout
    unknown = CliRunner().invoke(app, ["check", "identiti"])
    assert unknown.exit_code == 2 and "did you mean identity?" in unknown.output


def test_peak_memory_is_that_of_a_process_of_its_own() -> None:
    from m2l_bench.conformity.behaviour import memory
    from m2l_bench.conformity.check import _loaded

    (finding,) = memory(_loaded("identity", None, 0, None))
    assert finding.verdict == "note" and " MB for " in finding.figure


def test_differences_are_levels_of_what_is_left() -> None:
    assert difference(np.ones(8), np.full(8, 1.1)) == pytest.approx(-20)
    assert difference(np.ones(8), np.ones(8)) == -np.inf
    assert level(np.full(8, 0.1)) == pytest.approx(-20) and level(np.zeros(8)) == -np.inf
