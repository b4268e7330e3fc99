"""What is stated about a system: from the table, or by a user's class."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from m2l_bench import audio
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite
from m2l_bench.systems.catalogue import SYSTEMS
from m2l_bench.systems.facts import _compression, _licence, facts_of
from m2l_bench.systems.registry import _resolve, load

MINE = """
class Mine:
    name, sample_rate, licence, compression_ratio = "mine", 32000, {licence}, {ratio}

    def reconstruct(self, audio):
        return audio
"""


@pytest.mark.parametrize(
    "name", ["pca", *(f"{family}:small" for family in ("music2latent", "musika-style", "latmusic-style", "dac-style"))]
)
def test_the_ratio_is_that_of_the_table(name: str) -> None:
    printed = re.search(r", ([0-9.]+)x$", SYSTEMS[name.partition(":")[0]].latents)
    assert printed and facts_of(load(name), name).compression_ratio == pytest.approx(float(printed[1]), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "sample_rate", "latent_rate", "latent_dim", "pairs", "ratio"),
    [
        ("codicodec", 44100, 44100 / 4096, 64, None, 128),
        ("stable-audio", 44100, 44100 / 2048, 64, True, 64),
        ("encodec:24khz", 24000, 75, 128, False, 2.5),
        ("encodec:48khz", 48000, 48000 / 320, 128, True, 5),
    ],
)
def test_a_stereo_model_codes_two_channels_in_one_stream(
    name: str, sample_rate: int, latent_rate: float, latent_dim: int, pairs: bool | None, ratio: float
) -> None:
    system: Any = SimpleNamespace(sample_rate=sample_rate, latent_rate=latent_rate, latent_dim=latent_dim)
    system.reconstruct = system.encode = system.decode = lambda: None
    if pairs is not None:
        system.pairs = pairs
    assert _compression(SYSTEMS[name.partition(":")[0]], system) == pytest.approx(ratio)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_option_that_makes_a_system_faster_is_shown(name: str) -> None:
    """precision, or musicnn's backend; "=" separates it from its value."""
    options = inspect.signature(_resolve(name, has_checkpoint=True)[0]).parameters.keys() & {"precision", "backend"}
    assert options == ({SYSTEMS[name].faster.partition("=")[0]} - {""})


def test_licences() -> None:
    entry = SYSTEMS["music2latent"]
    assert _licence(entry, "music2latent", False) == "MIT / MIT"  # the small one is the default
    assert _licence(entry, "music2latent:published", False) == "MIT / CC BY-NC 4.0"
    assert _licence(entry, "music2latent", True) == "MIT / not stated"
    assert (
        _licence(SYSTEMS["dac"], "dac", False) == "MIT / MIT"
        and _licence(SYSTEMS["opus"], "opus", False) == "BSD-3-Clause"
    )
    assert facts_of(load("mfcc-chroma"), "mfcc-chroma") == (22050, "MIT", None)  # nothing decodes its features


def test_a_class_of_the_user_states_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.format(licence="'GPL-3.0'", ratio=16))
    (tmp_path / "bare.py").write_text("class Bare:\n    def reconstruct(self, audio):\n        return audio\n")
    systems = [f"{tmp_path}/mine.py:Mine", f"{tmp_path}/bare.py:Bare", "opus:32k"]
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 16000))
    audio.write(tmp_path / "music" / "noise.wav", noise.astype(np.float32), 16000)
    content = {"systems": systems, "audio": [str(tmp_path / "music")], "metrics": ["si_sdr"], "tasks": ()}
    result = run_suite(make_suite(content), out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())["systems"]
    fingerprints = {row.system: row.fingerprint for row in result.rows}
    wanted = {
        "mine.py:Mine": (32000, "GPL-3.0", 16.0),
        "bare.py:Bare": (None, "", None),
        "opus:32k": (48000, "BSD-3-Clause", None),
    }
    assert record == {
        label: dict(zip(("sample_rate", "licence", "compression_ratio"), facts, strict=True))
        | {"fingerprint": fingerprints[label], "kind": "codecs"}
        for label, facts in wanted.items()
    }


@pytest.mark.parametrize(
    ("licence", "ratio", "message"),
    [
        ("3", "None", "licence must be text, got 3"),
        ("'MIT'", "-1", "compression_ratio must be a positive number, got -1"),
        ("'MIT'", "'64x'", "compression_ratio must be a positive number, got '64x'"),
        ("'MIT'", "float('inf')", "compression_ratio must be a positive number, got inf"),
    ],
)
def test_what_a_class_states_is_checked(tmp_path: Path, licence: str, ratio: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(MINE.format(licence=licence, ratio=ratio))
    name = f"{tmp_path}/mine.py:Mine"
    with pytest.raises(ValueError, match=re.escape(f"{name}: {message}")):
        facts_of(load(name), name)
