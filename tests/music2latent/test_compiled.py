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


def test_features_and_steps(both: tuple[Music2Latent, Music2Latent], music: np.ndarray) -> None:
    """The third graph, and a sampler that asks for the decoder more than once."""
    full, half = both
    excerpt = music[:1, :5000]
    features, coarse = full.features(excerpt), half.features(excerpt)
    assert np.linalg.norm(coarse - features) < 0.02 * np.linalg.norm(features)
    alone = load("music2latent-features", device="cpu", precision="bfloat16")
    np.testing.assert_array_equal(alone.encode(excerpt), coarse)
    assert alone.fingerprint != load("music2latent-features", device="cpu").fingerprint
    with pytest.raises(ValueError, match="precision must be one of"):
        load("music2latent-features", device="cpu", precision="int8")
    latents = full.encode(excerpt)
    expected, decoded = (
        load("music2latent:small", device="cpu", num_steps=3, precision=precision).decode(latents, 5000)
        for precision in ("float32", "bfloat16")
    )
    assert np.linalg.norm(decoded - expected) < 0.05 * np.linalg.norm(expected)


def test_a_batch_is_its_windows_one_by_one(music: np.ndarray) -> None:
    one, several = (
        load("music2latent:small", device="cpu", precision="bfloat16", window_seconds=1.5, batch_size=n) for n in (1, 3)
    )
    audio = np.tile(music, 4)
    np.testing.assert_array_equal(one.reconstruct(audio), several.reconstruct(audio))


def test_a_network_finds_its_graphs_again(
    both: tuple[Music2Latent, Music2Latent], music: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = both[1].reconstruct(music)
    monkeypatch.setattr(graphs, "_graph", lambda *given: pytest.fail("made again"))
    again = load("music2latent:small", device="cpu", precision="bfloat16")
    np.testing.assert_array_equal(again.reconstruct(music), expected)


def doubled(x: torch.Tensor, made_from: str = "nothing") -> torch.Tensor:
    """Twice x, by a graph of that name."""
    return graphs.Graphs("float32", {"test": made_from}).compiled("double", lambda x: 2 * x, x)(x)


def test_a_damaged_graph_is_made_again(graph_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    make = graphs._graph
    monkeypatch.setattr(graphs, "_graph", lambda *given: made.append(given) or make(*given))
    before, x = set(graph_cache.glob("*")), torch.arange(10.0).reshape(2, 5)
    for _ in range(2):
        assert torch.equal(doubled(x, "damage"), 2 * x)
    assert len(made) == 1
    (kept,) = set(graph_cache.glob("*")) - before
    kept.write_bytes(kept.read_bytes()[:100])
    assert torch.equal(doubled(x, "damage"), 2 * x) and len(made) == 2


def test_a_cache_that_cannot_be_written_does_not_stand_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m2l-bench").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = torch.ones(2, 3)
    assert torch.equal(doubled(x), 2 * x)


def test_the_fingerprint_names_precision_and_version(
    both: tuple[Music2Latent, Music2Latent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "version", lambda package: f"another {package}")
    other = load("music2latent:small", device="cpu", precision="bfloat16")
    assert len({system.fingerprint for system in (*both, other)}) == 3


def test_a_graph_of_other_weights_precision_or_shapes_is_another_file(graph_cache: Path) -> None:
    usual = ("a", "float32", "usual", 3)
    for index, other in enumerate((None, "b", "bfloat16", "other", 4)):
        weights, precision, name, length = (*usual[: index - 1], other, *usual[index:]) if other else usual
        compiler = graphs.Graphs(precision, {"test": weights})
        compiler.compiled(name, lambda x: 2 * x, torch.ones(2, length))(torch.ones(2, length))
    assert len(list(graph_cache.glob("usual-*.blob"))) == 4 and len(list(graph_cache.glob("other-*.blob"))) == 1


def test_without_openvino_the_error_says_what_to_install(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"pip install 'm2l-bench\[openvino\]'"):
        Music2Latent(tiny_file, device="cpu", precision="bfloat16")
    Music2Latent(tiny_file, device="cpu")  # float32 does not need it


def test_a_processor_without_bfloat16_is_refused(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: f"a processor with {name}")
    with pytest.raises(ValueError, match="precision must be float32 on a processor without bfloat16 instructions"):
        Music2Latent(tiny_file, device="cpu", precision="bfloat16")


def test_no_gradient_flows(both: tuple[Music2Latent, Music2Latent]) -> None:
    half = both[1]
    with pytest.raises(ValueError, match="precision must be float32 for a gradient to flow on a CPU"):
        half.encode(torch.zeros(1, 100, requires_grad=True))
    with torch.no_grad():
        assert half.encode(torch.zeros(1, 100, requires_grad=True)).shape[:2] == (1, half.latent_dim)
