"""Spellings, options, a user's own file, and the one clear error for each mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import m2l_bench
from m2l_bench.systems.registry import caveat, load

HALVES = """
import numpy as np

class Halves:
    name, sample_rate, fingerprint = "halves", None, "0123456789abcdef"

    def __init__(self, *, gain: float = 0.5, seed: int = 0) -> None:
        self.gain, self.seed = gain, seed

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        return self.gain * audio
"""


def test_public_name_loads() -> None:
    assert m2l_bench.load("opus:32k").name == "opus:32k"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        m2l_bench.nothing  # noqa: B018


def test_bare_name_means_the_default_variant() -> None:
    assert load("mp3").name == "mp3:128k"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("opuss", {}, "unknown system 'opuss'; did you mean opus"),
        ("codec-of-mine", {}, "unknown system 'codec-of-mine'; known are identity, .*opus"),
        ("opus:9999k", {}, "opus variant must be a bit rate from 12k to 512k, got '9999k'"),
        ("mp3:100k", {}, "mp3 variant must be one of .*128k.*got '100k'"),
        ("vorbis:best", {}, "vorbis variant must be q0 to q10, got 'best'"),
        ("identity:loud", {}, "identity has the variants none, got 'loud'"),
        ("identity", {"bitrate": 3}, "identity: takes the options seed, got bitrate"),
        ("opus:32k", {"variant": "64k"}, "the variant already sets variant"),
        ("nowhere.py:Model", {}, r"nowhere\.py: must be a Python file"),
    ],
)
def test_mistakes_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name, **options)


def test_checkpoint_of_a_system_without_one_is_refused() -> None:
    with pytest.raises(ValueError, match="identity: takes the options seed, got checkpoint"):
        load("identity", checkpoint="x.safetensors")


def test_a_users_own_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HALVES)
    system = load(f"{tmp_path}/mine.py:Halves", gain=0.25)
    assert np.array_equal(system.reconstruct(np.ones((1, 3), np.float32)), np.full((1, 3), 0.25, np.float32))
    with pytest.raises(ValueError, match=r"mine\.py: must define Other, got Halves"):
        load(f"{tmp_path}/mine.py:Other")


def test_a_users_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import there_is_no_such_module")
    with pytest.raises(ValueError, match=r"broken\.py: importing it raised ModuleNotFoundError: .*there_is_no_such"):
        load(f"{tmp_path}/broken.py:Model")


def test_latents_and_features_of_one_network_have_names_of_their_own() -> None:
    latents, features = load("random-init:small"), load("random-init-features:small")
    assert (latents.name, features.name) == ("random-init:small", "random-init-features:small")
    assert (latents.latent_dim, features.latent_dim) == (64, 1024)
    assert latents.fingerprint != features.fingerprint


def test_features_follow_the_checkpoint_that_is_named(tmp_path: Path) -> None:
    from m2l_bench.music2latent.checkpoint import save_checkpoint
    from m2l_bench.music2latent.config import Config
    from m2l_bench.music2latent.network import Music2LatentNetwork

    config = Config(width=16, multipliers=(1,) * 5, heads=2, blocks=(1,) * 5, encoder_blocks=(1,) * 5, latent_dim=8)
    save_checkpoint(tmp_path / "tiny.safetensors", Music2LatentNetwork(config).state_dict(), config)
    latents = load(f"music2latent:{tmp_path}/tiny.safetensors")
    features = load(f"music2latent-features:{tmp_path}/tiny.safetensors")
    assert (latents.name, features.name) == ("music2latent:tiny", "music2latent-features:tiny")
    given = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 30000)).astype(np.float32)
    assert latents.encode(given).shape[-2] == 8
    assert features.encode(given).shape[-2] == features.latent_dim == config.features_dim


@pytest.mark.parametrize(
    ("name", "kind", "weights"),
    [
        ("same-l", "SAME was trained with pitch", ""),
        ("diffusers:someone/same", "diffusers, where the class is AutoencoderSAME", ""),
        ("x-codec:1k", "its probes are partly HuBERT's", ""),
        ("mimi", "trained on speech", ""),
        ("music2latent:small", "", "trained for 226 minutes"),
        ("dac-style", "", "million parameters and was trained for"),
        ("ear-vae2", "", "the public weights were retrained"),
        ("identity", "", ""),
        ("halves.py:Halves", "", ""),
    ],
)
def test_a_users_checkpoint_keeps_the_caveat_of_its_kind(name: str, kind: str, weights: str) -> None:
    with_ours, with_theirs = caveat(name), caveat(name, has_checkpoint=True)
    assert kind in with_theirs and bool(kind) == bool(with_theirs)
    assert weights in with_ours and bool(weights) == (with_ours != with_theirs)
