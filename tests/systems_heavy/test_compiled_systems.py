"""Published systems in bfloat16, and musicnn, compiled by OpenVINO: close to PyTorch, of any length, refused elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import library_models
import mousai_weights
import numpy as np
import openvino
import pytest
import recipes
import torch

from m2l_bench import graphs
from m2l_bench.systems import pretrained
from m2l_bench.systems.base import Autoencoder
from m2l_bench.systems.mousai import system as mousai
from m2l_bench.systems.registry import load

GOLDEN = Path(__file__).parent / "golden"
LAYOUT = json.loads((GOLDEN / "mousai.json").read_text())
CAPABLE = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
pytestmark = pytest.mark.usefixtures("graph_cache")
needs_bfloat16 = pytest.mark.skipif(not CAPABLE, reason="this processor has no bfloat16 instructions")
NAMES = ("dac", "stable-audio", "kvae-audio", "musika", "mousai-v3")
# Of few layers: what a graph takes to be made grows with their number.
MODELS: dict[str, Callable[[Path], object]] = {
    "dac": partial(library_models.dac, downsampling_ratios=(16, 32), upsampling_ratios=(32, 16)),
    "stable-audio": partial(library_models.oobleck, downsampling_ratios=[32, 64], channel_multiples=[1, 2]),
    "kvae-audio": partial(library_models.kvae_audio, encoder_rates=[24, 40], decoder_rates=[40, 24]),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of a small size for each system."""
    made = {"musika": GOLDEN / "musika_small"}
    for name, write in MODELS.items():
        made[name] = tmp_path_factory.mktemp(name)
        write(made[name])
    made["mousai-v3"] = tmp_path_factory.mktemp("mousai")
    weights = mousai_weights.published(LAYOUT["small-v3"], mousai_weights.CONFIGS["small-v3"])
    torch.save(weights, made["mousai-v3"] / "pytorch_model.bin")
    return made


@pytest.fixture
def load_small(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Autoencoder]:
    monkeypatch.setattr(mousai, "VERSIONS", {"v3": mousai_weights.CONFIGS["small-v3"]})

    def make(name: str, **options: object) -> Autoencoder:
        steps = {"num_steps": 2} if name.startswith("mousai") else {}
        return load(name, checkpoint=folders[name.partition(":")[0]], device="cpu", **steps, **options)

    return make


def distance(estimate: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(estimate - expected) / np.linalg.norm(expected))


@needs_bfloat16
@pytest.mark.parametrize("name", NAMES)
def test_is_close_to_float32(name: str, load_small: Callable[..., Autoencoder]) -> None:
    full, half = load_small(name), load_small(name, precision="bfloat16")
    assert half.name == full.name and half.fingerprint != full.fingerprint
    for channels, n_samples in ((1, 1), (3, 20_000), (2, 33_333)):
        audio = recipes.music(channels, n_samples) + np.float32(0.01)
        latents, coarse = full.encode(audio), half.encode(audio)
        assert coarse.dtype == np.float32 and coarse.shape == latents.shape and np.isfinite(coarse).all()
        if name != "dac":  # where one code differs, so do all after it
            assert distance(coarse, latents) < 0.05
        expected, decoded = full.decode(latents, n_samples), half.decode(latents, n_samples)
        assert decoded.dtype == np.float32 and decoded.shape == expected.shape
        assert 1e-4 < distance(decoded, expected) < 0.1
        assert half.reconstruct(audio).shape == audio.shape
        np.testing.assert_array_equal(half.encode(audio), coarse)


@needs_bfloat16
@pytest.mark.parametrize("name", ["dac:44khz-continuous", "stable-audio"])
def test_blocks_are_as_the_whole(
    name: str, load_small: Callable[..., Autoencoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, audio = load_small(name, precision="bfloat16"), recipes.music(2, 120_000)
    whole = system.reconstruct(audio)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 2**13)
    assert distance(system.reconstruct(audio), whole) < 0.05


@needs_bfloat16
def test_the_bit_stream_is_the_reconstruction(load_small: Callable[..., Autoencoder]) -> None:
    system, audio = load_small("dac", precision="bfloat16"), recipes.music(2, 10_000)
    np.testing.assert_array_equal(system.decompress(system.compress(audio), 2, 10_000), system.reconstruct(audio))


@needs_bfloat16
def test_graphs_are_found_again(
    graph_cache: Path, load_small: Callable[..., Autoencoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = recipes.music(1, 5000)
    expected = load_small("musika", precision="bfloat16").reconstruct(audio)
    monkeypatch.setattr(graphs, "_graph", lambda *given: pytest.fail("made again"))
    np.testing.assert_array_equal(load_small("musika", precision="bfloat16").reconstruct(audio), expected)


def test_bfloat16_is_refused_where_it_cannot_be_had(
    load_small: Callable[..., Autoencoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, got 'float16'"):
        load_small("dac", precision="float16")
    with pytest.raises(ValueError, match="precision must be float32 on cuda, got 'bfloat16'"):
        graphs.options("bfloat16", torch.device("cuda"))
    with pytest.raises(ValueError, match="backend must be one of pytorch, openvino, got 'onnx'"):
        load("musicnn", device="cpu", backend="onnx")
    with pytest.raises(ValueError, match="takes the options checkpoint, device, seed, source, got precision"):
        load("diffusers:./anywhere", precision="bfloat16")
    with monkeypatch.context() as patch:
        patch.setattr(openvino.Core, "get_property", lambda self, device, name: f"a processor with {name}")
        with pytest.raises(ValueError, match="precision must be float32 on a processor without bfloat16 instructions"):
            load_small("musika", precision="bfloat16")
    monkeypatch.setitem(sys.modules, "openvino", None)
    for name, option in (("musika", {"precision": "bfloat16"}), ("musicnn", {"backend": "openvino"})):
        with pytest.raises(ImportError, match=r"pip install 'm2l-bench\[openvino\]'"):
            load_small(name, **option) if name == "musika" else load(name, device="cpu", **option)
    assert load_small("musika").reconstruct(recipes.music(1, 100)).shape == (1, 100)  # float32 does not need it


def test_musicnn_has_the_same_vectors() -> None:
    plain, fast = load("musicnn", device="cpu"), load("musicnn", device="cpu", backend="openvino")
    assert fast.fingerprint != plain.fingerprint
    audio = np.concatenate([recipes.music(2, 100_000), np.zeros((2, 60_000), np.float32)], 1)
    expected, found = plain.encode(audio), fast.encode(audio)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    np.testing.assert_array_equal(fast.whole_windows(audio), found[..., : plain.whole_windows(audio).shape[-1]])
