"""bfloat16 on a CPU, compiled by OpenVINO: close to float32, cached, refused where it cannot be had, the same in a run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from m2l_bench import graphs
from m2l_bench.music2latent.autoencoder import Music2Latent
from m2l_bench.systems.registry import load

pytestmark = [
    pytest.mark.usefixtures("graph_cache"),
    pytest.mark.skipif(
        "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
        reason="this processor has no bfloat16 instructions",
    ),
]
RATE = 44100


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    """A second of chords in stereo."""
    times = np.arange(RATE) / RATE
    chord = [np.sin(2 * np.pi * pitch * times) * np.exp(-2 * times) for pitch in (220, 277.2, 329.6, 440, 1760)]
    return (0.1 * np.stack([sum(chord), sum(chord[1:])])).astype(np.float32)


@pytest.fixture(scope="module")
def both() -> tuple[Music2Latent, Music2Latent]:
    return load("music2latent:small", device="cpu"), load("music2latent:small", device="cpu", precision="bfloat16")


@pytest.mark.parametrize("n_samples", [1, 10_000, RATE])
def test_is_close_to_float32(both: tuple[Music2Latent, Music2Latent], music: np.ndarray, n_samples: int) -> None:
    """Measured: latents 0.4 % away, 37 dB and more between the two decodes of the same latents."""
    full, half = both
    excerpt = music[:, :n_samples] if n_samples > 1 else np.full((2, 1), 0.1, np.float32)
    latents, coarse = full.encode(excerpt), half.encode(excerpt)
    assert 1e-4 < np.linalg.norm(coarse - latents) / np.linalg.norm(latents) < 0.01
    expected, decoded = full.decode(latents, n_samples), half.decode(latents, n_samples)
    assert decoded.dtype == np.float32 and decoded.shape == expected.shape
    assert np.sum(expected**2) > 1e3 * np.sum((decoded - expected) ** 2)  # 30 dB


def test_features_and_steps(tiny_file: Path) -> None:
    """The third graph, and a sampler that asks for the decoder more than once."""
    noise = (0.2 * np.random.default_rng(0).standard_normal((1, 2000))).astype(np.float32)
    full, half = (Music2Latent(tiny_file, device="cpu", num_steps=3, precision=p) for p in ("float32", "bfloat16"))
    features = full.features(noise)
    assert np.linalg.norm(half.features(noise) - features) < 0.02 * np.linalg.norm(features)
    latents = full.encode(noise)
    error = np.linalg.norm(half.decode(latents, 2000) - full.decode(latents, 2000))
    assert error < 0.05 * np.linalg.norm(full.decode(latents, 2000))


def test_features_alone_take_the_precision(tiny_file: Path) -> None:
    noise = (0.2 * np.random.default_rng(0).standard_normal((1, 2000))).astype(np.float32)
    full, half = (
        load("music2latent-features", checkpoint=tiny_file, device="cpu", precision=p) for p in ("float32", "bfloat16")
    )
    expected = Music2Latent(tiny_file, device="cpu", precision="bfloat16").features(noise)
    np.testing.assert_array_equal(half.encode(noise), expected)
    assert full.fingerprint != half.fingerprint
    with pytest.raises(ValueError, match="precision must be one of"):
        load("music2latent-features", checkpoint=tiny_file, device="cpu", precision="int8")


def test_a_batch_is_its_windows_one_by_one(tiny_file: Path) -> None:
    noise = (0.2 * np.random.default_rng(0).standard_normal((2, 9000))).astype(np.float32)
    one, several = (
        Music2Latent(tiny_file, device="cpu", precision="bfloat16", window_seconds=2, batch_size=n) for n in (1, 3)
    )
    np.testing.assert_array_equal(one.reconstruct(noise), several.reconstruct(noise))


def test_a_graph_is_made_once(graph_cache: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.from_numpy(0.2 * np.random.default_rng(0).standard_normal((1, 1500))).float()
    first = Music2Latent(tiny_file, device="cpu", precision="bfloat16")
    latents, expected = first.encode(noise), first.reconstruct(noise)
    made: list[object] = []
    make = graphs._graph
    monkeypatch.setattr(graphs, "_graph", lambda *given: made.append(given) or make(*given))
    again = Music2Latent(tiny_file, device="cpu", precision="bfloat16").reconstruct(noise)
    assert not made and torch.equal(again, expected)
    for kept in graph_cache.glob("*.blob"):
        kept.write_bytes(kept.read_bytes()[:1000])  # damaged
    again = Music2Latent(tiny_file, device="cpu", precision="bfloat16").encode(noise)
    assert len(made) == 1 and torch.equal(again, latents)


def test_a_cache_that_cannot_be_written_does_not_stand_in_the_way(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m2l-bench").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Music2Latent(tiny_file, device="cpu", precision="bfloat16").encode(np.zeros((1, 100), np.float32)).size


def test_the_fingerprint_names_precision_and_version(
    both: tuple[Music2Latent, Music2Latent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "version", lambda package: f"another {package}")
    other = load("music2latent:small", device="cpu", precision="bfloat16")
    assert len({system.fingerprint for system in (*both, other)}) == 3


def test_a_graph_of_other_weights_precision_or_shapes_is_another_file(graph_cache: Path) -> None:
    for weights in "ab":
        for precision in ("float32", "bfloat16"):
            for name in ("double", "same"):
                for length in (3, 4):
                    compiler = graphs.Graphs(precision, {"test": weights})
                    compiler.compiled(name, lambda x: 2 * x, torch.ones(2, length))(torch.ones(2, length))
    assert len(list(graph_cache.glob("double-*.blob"))) == len(list(graph_cache.glob("same-*.blob"))) == 8


def test_without_openvino_the_error_says_what_to_install(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"pip install 'm2l-bench\[openvino\]'"):
        Music2Latent(tiny_file, device="cpu", precision="bfloat16")
    Music2Latent(tiny_file, device="cpu")  # float32 does not need it


def test_a_processor_without_bfloat16_is_refused(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: f"a processor with {name}")
    with pytest.raises(ValueError, match="precision must be float32 on a processor without bfloat16 instructions"):
        Music2Latent(tiny_file, device="cpu", precision="bfloat16")


def test_no_gradient_flows(tiny_file: Path) -> None:
    half = Music2Latent(tiny_file, device="cpu", precision="bfloat16")
    with pytest.raises(ValueError, match="precision must be float32 for a gradient to flow on a CPU"):
        half.encode(torch.zeros(1, 100, requires_grad=True))
    with torch.no_grad():
        assert half.encode(torch.zeros(1, 100, requires_grad=True)).shape == (1, 8, 2)
