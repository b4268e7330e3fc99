"""Lengths, pairs, blocks and packed bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2l_bench.systems import bits, framing


@given(st.integers(1, 6), st.integers(1, 5))
def test_pairs_and_back(channels: int, n_samples: int) -> None:
    audio = np.random.default_rng(0).standard_normal((channels, n_samples)).astype(np.float32)
    pairs = framing.to_pairs(audio)
    assert pairs.shape == ((channels + 1) // 2, 2, n_samples)
    np.testing.assert_array_equal(framing.from_pairs(pairs, channels), audio)


@given(st.integers(-5, 8), st.integers(0, 9))
def test_slices_outside_are_zero(start: int, length: int) -> None:
    x = np.arange(1, 6)
    expected = [x[i] if 0 <= i < 5 else 0 for i in range(start, start + length)]
    np.testing.assert_array_equal(framing.slice_with_zeros(x, start, start + length), expected)


@pytest.mark.parametrize("length", [1, 7, 16, 20, 61])
@pytest.mark.parametrize("scale", [Fraction(1), Fraction(1, 4), Fraction(4)])
def test_blocks_equal_the_whole(length: int, scale: Fraction) -> None:
    torch.manual_seed(0)
    factor = int(max(scale, 1 / scale))
    if scale < 1:
        net: torch.nn.Module = torch.nn.Conv1d(1, 2, 2 * factor + 1, stride=factor, padding=factor)
    else:
        net = torch.nn.ConvTranspose1d(1, 2, 2 * factor + 1, stride=factor, padding=factor, output_padding=factor - 1)
    x = torch.randn(1, 1, length)
    with torch.no_grad():
        whole = net(x)
        pieces = framing.in_blocks(net, x, block=8, context=8, scale=scale)
    torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=0)


@given(st.integers(1, 16).flatmap(lambda b: st.tuples(st.just(b), st.lists(st.integers(0, 2**b - 1)))))
def test_packed_values_come_back(case: tuple[int, list[int]]) -> None:
    width, values = case
    data = bits.pack(np.array(values, np.int64), width)
    assert len(data) == -(-width * len(values) // 8)
    np.testing.assert_array_equal(bits.unpack(data, width, len(values)), values)
