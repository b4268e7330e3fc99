"""Moûsai against golden values recorded from its original libraries (see record_mousai.py)."""

from __future__ import annotations

import json
from pathlib import Path

import librosa
import mousai_weights
import numpy as np
import pytest
import recipes
import torch

from m2l_bench.systems import framing
from m2l_bench.systems.base import Autoencoder
from m2l_bench.systems.mousai import system
from m2l_bench.systems.mousai.network import VERSIONS, Network, mel_bands
from m2l_bench.systems.mousai.state_dict import translate
from m2l_bench.systems.mousai.system import Mousai

GOLDEN = Path(__file__).parent / "golden"
LAYOUT = json.loads((GOLDEN / "mousai.json").read_text())
ARRAYS = np.load(GOLDEN / "mousai.npz")


def write_checkpoint(folder: Path, version: str, weights: dict[str, torch.Tensor] | None = None) -> Path:
    """A checkpoint of the small size under the published names."""
    config = mousai_weights.CONFIGS[f"small-{version}"]
    torch.save(weights or mousai_weights.published(LAYOUT[f"small-{version}"], config), folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {version: write_checkpoint(tmp_path_factory.mktemp(version), version) for version in VERSIONS}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {version: mousai_weights.CONFIGS[f"small-{version}"] for version in VERSIONS}
    monkeypatch.setattr(system, "VERSIONS", sizes)


@pytest.fixture(params=["v2", "v3"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


def test_equals_original(version: str, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    mousai = Mousai(version=version, checkpoint=checkpoints[version], num_steps=2)
    audio = recipes.music(2, 8192)
    golden = {name: ARRAYS[f"small-{version}/{name}"] for name in ("latents", "noise", "wave")}
    monkeypatch.setattr(framing, "noise_at", lambda start, length, **_: golden["noise"][:, start : start + length])
    latents = mousai.encode(audio)
    np.testing.assert_allclose(latents[0], golden["latents"], atol=1e-5)
    wave = mousai.decode(golden["latents"][None], 8192)
    assert np.abs(wave - golden["wave"]).max() < 1e-5 * np.abs(golden["wave"]).max()
    np.testing.assert_array_equal(mousai.reconstruct(audio), mousai.decode(latents, 8192))


@pytest.mark.parametrize(("version", "parameters"), [("v2", 185_107_872), ("v3", 86_270_688)])
def test_published_size_takes_every_published_weight(version: str, parameters: int) -> None:
    config = VERSIONS[version]
    with torch.device("meta"):
        network = Network(config)
    assert sum(p.numel() for p in network.parameters()) == parameters
    layout = LAYOUT[version]
    state = {
        f"model.{root}{name}": torch.empty(shape, device="meta")
        for name, shape in layout.items()
        for root in (("", "diffusion.", "sampler.") if name.startswith("net.") else ("",))
    }
    # On the meta device nothing can be compared, so only the first copy of each weight is handed over.
    once = {
        k: v
        for k, v in state.items()
        if not k.startswith(("model.diffusion", "model.sampler")) and ".1.blocks.1.0." not in k
    }
    translated = translate(once, config)
    assert {k: v.shape for k, v in translated.items()} == {k: v.shape for k, v in network.state_dict().items()}


def test_published_rates() -> None:
    rates = {version: config.sample_rate / config.samples_per_latent for version, config in VERSIONS.items()}
    assert rates == {"v2": 46.875, "v3": 93.75}
    assert {version: config.shortest for version, config in VERSIONS.items()} == {"v2": 4096, "v3": 512}


def test_latent_shapes(version: str, checkpoints: dict[str, Path]) -> None:
    latents = Mousai(version=version, checkpoint=checkpoints[version]).encode(recipes.music(2, 65536))
    assert latents.shape == (1, 4, {"v2": 64, "v3": 128}[version])


@pytest.mark.parametrize("change", ["lacks", "unknown", "two versions"])
def test_every_key_is_accounted_for(change: str, tmp_path: Path) -> None:
    config = mousai_weights.CONFIGS["small-v3"]
    weights = mousai_weights.published(LAYOUT["small-v3"], config)
    key = "net.blocks.2.blocks.2.net.block.blocks.0.block.weight"
    if change == "lacks":
        del weights["model.encoder.to_out.weight"]
    elif change == "unknown":
        weights["model.adapter.weight"] = torch.zeros(1)
    else:
        weights[f"model.sampler.{key}"] = weights[f"model.{key}"] + 1
    with pytest.raises(ValueError, match=f"checkpoint .*{change}"):
        Mousai(version="v3", checkpoint=write_checkpoint(tmp_path, "v3", weights))


def test_one_copy_of_the_unet_is_enough() -> None:
    config = mousai_weights.CONFIGS["small-v3"]
    weights = mousai_weights.state(LAYOUT["small-v3"], config)
    only_sampler = {
        f"model.{k.replace('net.', 'sampler.net.', 1) if k.startswith('net.') else k}": v for k, v in weights.items()
    }
    expected = translate(mousai_weights.published(LAYOUT["small-v3"], config), config)
    assert all(torch.equal(value, expected[name]) for name, value in translate(only_sampler, config).items())


@pytest.mark.parametrize(("n_samples", "channels"), [(1, 1), (1000, 3), (8192, 2), (8193, 1), (20001, 2)])
def test_lengths_and_channels_are_exact(n_samples: int, channels: int, checkpoints: dict[str, Path]) -> None:
    mousai = Mousai(version="v3", checkpoint=checkpoints["v3"], num_steps=1, window=8192)
    audio = recipes.music(channels, n_samples)
    latents = mousai.encode(audio)
    assert latents.shape == (-(-channels // 2), 4, -(-n_samples // 512)) and latents.dtype == np.float32
    back = mousai.reconstruct(audio)
    assert back.shape == audio.shape and back.dtype == np.float32 and np.isfinite(back).all()
    assert mousai.decode(latents, n_samples).shape == (2 * len(latents), n_samples)


def test_windows_agree_where_they_overlap(checkpoints: dict[str, Path]) -> None:
    """Audio that repeats every window step makes every window equal, so joining them must change nothing."""
    mousai = Mousai(version="v3", checkpoint=checkpoints["v3"], num_steps=1, window=8192)
    step = 8192 * 7 // 8
    audio = np.tile(recipes.music(2, step), (1, 5))[:, : step * 3 + 8192]
    latents = mousai.encode(audio)
    whole = mousai.encode(audio[:, :8192])
    np.testing.assert_allclose(latents[..., :14], whole[..., :14], atol=1e-6)
    np.testing.assert_allclose(latents[..., 16:28], latents[..., 30:42], atol=1e-6)
    assert latents.shape[-1] == audio.shape[-1] // 512


def test_seed_is_all_that_is_random(checkpoints: dict[str, Path]) -> None:
    audio = recipes.music(2, 4096)

    def run(**options: int) -> np.ndarray:
        return Mousai(version="v3", checkpoint=checkpoints["v3"], num_steps=1, **options).reconstruct(audio)

    np.testing.assert_array_equal(run(), run())
    assert np.abs(run() - run(seed=1)).max() > 1e-3


def test_stereo_pairs_are_coded_alone(checkpoints: dict[str, Path]) -> None:
    mousai = Mousai(version="v3", checkpoint=checkpoints["v3"], num_steps=1)
    audio = recipes.music(4, 2048)
    np.testing.assert_array_equal(mousai.reconstruct(audio)[2:], mousai.reconstruct(audio[2:]))
    mono = mousai.reconstruct(audio[:1])
    np.testing.assert_allclose(mono, mousai.reconstruct(audio[[0, 0]]).mean(0, keepdims=True), atol=1e-6)
    assert isinstance(mousai, Autoencoder)


def test_fingerprint_follows_the_options(checkpoints: dict[str, Path]) -> None:
    prints = {
        Mousai(version="v3", checkpoint=checkpoints["v3"], **options).fingerprint
        for options in ({}, {"num_steps": 2}, {"seed": 1}, {"window": 8192})
    }
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "v1"}, r"version must be one of \['v2', 'v3'\], got 'v1'"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"window": 10000}, "window must be a power of two >= 8192, got 10000"),
        ({"window": 4096}, "window must be a power of two >= 8192, got 4096"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=message):
        Mousai(**{"version": "v3", "checkpoint": checkpoints["v3"], **options})


def test_mel_bands_equal_librosa() -> None:
    expected = librosa.filters.mel(sr=48000, n_fft=1024, n_mels=80, htk=True, norm=None).T
    np.testing.assert_allclose(mel_bands(513, 80, 48000), expected, atol=2e-5)


def test_noise_depends_on_the_place_alone() -> None:
    whole = framing.noise_at(0, 20000, seed=3, channels=2)
    for start, length in ((0, 1), (4095, 2), (5000, 12000)):
        np.testing.assert_array_equal(
            framing.noise_at(start, length, seed=3, channels=2), whole[:, start : start + length]
        )
    assert abs(whole.std() - 1) < 0.02
