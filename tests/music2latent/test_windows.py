"""Windows cover a file, and joining them gives back what was cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.noise import positional_noise
from m2l_bench.music2latent.windows import join, plan


@settings(deadline=None, max_examples=200, derandomize=True)
@given(length=st.integers(1, 2000), window=st.integers(16, 300), unit=st.integers(1, 7))
def test_cut_and_joined_is_the_same(length: int, window: int, unit: int) -> None:
    windows = plan(length, window)
    whole = torch.arange(length * unit, dtype=torch.float64)
    pieces = [whole[start * unit : (start + windows.length) * unit] for start in windows.starts]
    assert windows.starts[-1] + windows.length == length
    torch.testing.assert_close(join(pieces, windows, unit), whole)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(length=st.integers(17, 2000), window=st.integers(16, 300))
def test_seams_lie_within_the_overlaps_and_apart(length: int, window: int) -> None:
    windows = plan(length, window)
    edges = [edge for seam in windows.seams for edge in seam]
    assert edges == sorted(edges)
    for (begin, end), before, after in zip(windows.seams, windows.starts, windows.starts[1:], strict=False):
        assert after <= begin < end <= before + windows.length


def test_a_seam_fades_linearly() -> None:
    windows = plan(112 + 128, 128)
    assert windows.starts == (0, 112) and windows.seams == ((118, 122),)
    joined = join([torch.zeros(128), torch.ones(128)], windows, 1)
    assert joined[117:123].tolist() == [0, 0.125, 0.375, 0.625, 0.875, 1]


def test_noise_is_normal_and_tied_to_its_place(tiny: Config) -> None:
    noise = positional_noise(tiny, seed=1, step=0, stream=1, start=0, n_latents=200)
    assert noise.shape == (2, 32, 1600)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01) and float(noise.std()) == pytest.approx(1, abs=0.01)
    later = positional_noise(tiny, seed=1, step=0, stream=1, start=150, n_latents=10)
    assert torch.equal(later, noise[..., 1200:1280])


def test_noise_differs_by_seed_step_stream_and_place(tiny: Config) -> None:
    def draw(seed: int = 0, step: int = 0, stream: int = 0, start: int = 0) -> torch.Tensor:
        return positional_noise(tiny, seed=seed, step=step, stream=stream, start=start, n_latents=8).flatten()

    draws = torch.stack([draw(), draw(seed=1), draw(step=1), draw(stream=1), draw(start=8)])
    correlation = torch.corrcoef(draws) - torch.eye(5)
    assert float(correlation.abs().max()) < 0.05
