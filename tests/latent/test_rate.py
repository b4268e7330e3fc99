"""Rate-distortion: an arithmetic coder's bytes, the bound of Gaussian sources, and what a decoder can do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from m2l_bench.latent.moments import moments
from m2l_bench.latent.rate import LARGEST, STEPS, LatentCoder, fit_coder

FULL, HALF, QUARTER = 1 << 40, 1 << 39, 1 << 38
LOSS = 10 * np.log10(np.pi * np.e / 6)  # dB, of a uniform scalar quantiser at high rate


class Encoder:
    """Arithmetic coder over whole numbers: an interval below 2^40 that is narrowed, and doubled when its first bit is known."""

    def __init__(self) -> None:
        self.low, self.size, self.waiting, self.bits = 0, FULL, 0, list[int]()

    def put(self, below: int, frequency: int, total: int) -> None:
        start, end = self.size * below // total, self.size * (below + frequency) // total
        self.low, self.size = self.low + start, end - start
        while self.size <= HALF and (shift := _known(self.low, self.size)) is not None:
            if shift == QUARTER:
                self.waiting += 1
            else:
                self._write(int(shift == HALF))
            self.low, self.size = 2 * (self.low - shift), 2 * self.size

    def _write(self, bit: int) -> None:
        self.bits += [bit] + [1 - bit] * self.waiting
        self.waiting = 0

    def finish(self) -> bytes:
        self.waiting += 1
        self._write(int(self.low >= QUARTER))
        return np.packbits(self.bits).tobytes()


class Decoder:
    def __init__(self, data: bytes) -> None:
        self.bits = iter(np.unpackbits(np.frombuffer(data, np.uint8)).tolist())
        self.low, self.size, self.value = 0, FULL, 0
        for _ in range(40):
            self._read()

    def _read(self) -> None:
        self.value = 2 * self.value + next(self.bits, 0)

    def get(self, edges: np.ndarray) -> int:
        """Index of the next symbol; `edges` are the frequencies summed up, from 0 to the total."""
        total, at = int(edges[-1]), self.value - self.low
        index = int(np.searchsorted(edges, ((at + 1) * total - 1) // self.size, side="right")) - 1
        start, end = self.size * int(edges[index]) // total, self.size * int(edges[index + 1]) // total
        self.low, self.size = self.low + start, end - start
        while self.size <= HALF and (shift := _known(self.low, self.size)) is not None:
            self.low, self.size, self.value = 2 * (self.low - shift), 2 * self.size, self.value - shift
            self._read()
        return index


def _known(low: int, size: int) -> int | None:
    """Where the interval lies: in the lower half, in the upper, in the middle; else None."""
    if low + size <= HALF:
        return 0
    if low >= HALF:
        return HALF
    return QUARTER if low >= QUARTER and low + size <= HALF + QUARTER else None


BIT = np.array([0, 1, 2])


def encode(coder: LatentCoder, symbols: np.ndarray) -> bytes:
    out = Encoder()
    tables = [np.append(0, np.cumsum(f)).tolist() for f in coder.frequencies]

    def raw(bit: int) -> None:
        out.put(bit, 1, 2)

    for (_, d, _), symbol in np.ndenumerate(symbols):
        edges, place = tables[d], int(symbol) - int(coder.first[d])
        escape = len(edges) - 2
        index = place if 0 <= place < escape else escape
        out.put(edges[index], edges[index + 1] - edges[index], edges[-1])
        if index == escape:
            raw(int(place < 0))
            distance = -place if place < 0 else place - escape + 1
            digits = bin(distance)[2:]
            for digit in "0" * (len(digits) - 1) + digits:
                raw(int(digit))
    return out.finish()


def decode(coder: LatentCoder, data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    source, symbols = Decoder(data), np.zeros(shape, np.int64)
    tables = [np.append(0, np.cumsum(f)) for f in coder.frequencies]
    for stream, d, frame in np.ndindex(shape):
        escape = len(tables[d]) - 2
        place = source.get(tables[d])
        if place == escape:
            below, length = source.get(BIT), 1
            while not source.get(BIT):
                length += 1
            distance = 1
            for _ in range(length - 1):
                distance = 2 * distance + source.get(BIT)
            place = -distance if below else escape + distance - 1
        symbols[stream, d, frame] = place + coder.first[d]
    return symbols


@pytest.mark.parametrize("step", [0.25, 1.0, 3.0])
def test_an_arithmetic_coder_needs_the_counted_bits_and_decodes(step: float) -> None:
    rng = np.random.default_rng(0)
    scales = np.array([1.0, 0.01, 30.0, 5.0])[:, None]
    coder = fit_coder([scales * rng.standard_normal((1, 4, 3000)) + 7 for _ in range(2)], step)
    symbols = coder.quantise(scales * rng.laplace(size=(2, 4, 2500)) + 7)  # heavier tails than what was fitted
    outside = (symbols < coder.first[:, None]) | (
        symbols >= coder.first[:, None] + np.array([len(f) - 1 for f in coder.frequencies])[:, None]
    )
    assert outside.any(), "the escape must be tried"
    data, bits = encode(coder, symbols), coder.bits(symbols)
    assert bits - 1 <= 8 * len(data) <= 1.01 * bits
    np.testing.assert_array_equal(decode(coder, data, symbols.shape), symbols)


def test_far_escapes_decode_and_are_counted_exactly() -> None:
    coder = LatentCoder(np.zeros(1), np.ones(1), np.array([-1]), (np.array([4, 8, 3, 1]),))
    symbols = np.array([[[0, 2, -2, 3, -5, 40, 1_000_000, -LARGEST, -1, 1]]])
    # Distances from the range -1...1: 1, 1, 2, 4, 39, 999999, 2^30 - 1.
    lengths = [2 * int(np.floor(np.log2(x))) + 1 + 1 for x in (1, 1, 2, 4, 39, 999_999, 2**30 - 1)]
    expected = -np.log2(8 / 16) - np.log2(4 / 16) - np.log2(3 / 16) + 7 * 4 + sum(lengths)
    assert coder.bits(symbols) == pytest.approx(expected, abs=1e-9)
    data = encode(coder, symbols)
    assert expected <= 8 * len(data) <= expected + 10
    np.testing.assert_array_equal(decode(coder, data, symbols.shape), symbols)


def _through(system: Any, sources: list[np.ndarray], step: float) -> tuple[float, float]:
    """Bits a sample, and signal-to-noise ratio in dB, of the last source; the coder is fitted on the others."""
    *others, signal = sources
    coder = fit_coder([system.encode(other) for other in others], step)
    seconds = signal.shape[-1] / system.sample_rate
    latents, kbps = coder.code(system.encode(signal), seconds)
    error = system.decode(latents, signal.shape[-1]) - signal
    return 1000 * kbps * seconds / signal.size, float(10 * np.log10(np.mean(signal**2) / np.mean(error**2)))


def _white(n: int = 3, samples: int = 160_000) -> list[np.ndarray]:
    return [0.2 * np.random.default_rng(seed).standard_normal((1, samples)) for seed in range(n)]


@pytest.mark.parametrize("step", [0.125, 0.25, 0.5, 0.75])
def test_white_gaussian_noise_follows_its_bound_less_the_loss_of_scalars(step: float, orthonormal: Any) -> None:
    rate, quality = _through(orthonormal, _white(), step)
    assert quality == pytest.approx(20 * np.log10(2) * rate - LOSS, abs=0.3)
    # A bin's probability is that of the density smoothed by the bin, whose entropy is higher by step^2 / 24 nats.
    assert quality == pytest.approx(20 * np.log10(2) * rate - LOSS - 20 / np.log(10) * step**2 / 24, abs=0.03)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_the_entropy_and_error_of_a_quantised_gaussian(step: float, orthonormal: Any) -> None:
    from scipy.integrate import quad
    from scipy.stats import norm

    bins = np.arange(-int(9 / step) - 1, int(9 / step) + 2)
    p = np.diff(norm.cdf((np.append(bins, bins[-1] + 1) - 0.5) * step))
    entropy = -np.sum(p[p > 0] * np.log2(p[p > 0]))
    error = sum(
        quad(lambda x, k=k: (x - k * step) ** 2 * norm.pdf(x), (k - 0.5) * step, (k + 0.5) * step)[0] for k in bins
    )
    rate, quality = _through(orthonormal, _white(), step)
    assert rate == pytest.approx(entropy, rel=0.01)
    assert quality == pytest.approx(-10 * np.log10(error), abs=0.1)
    assert quality < 20 * np.log10(2) * rate, "no coder is better than the bound"


def test_relative_steps_cost_the_ratio_of_means_where_variances_differ(orthonormal: Any) -> None:
    stds = 0.3 ** np.arange(8.0)
    latents = [stds[:, None] * np.random.default_rng(seed).standard_normal((1, 8, 20_000)) for seed in range(3)]
    sources = [orthonormal.decode(z, 160_000) for z in latents]
    rate, quality = _through(orthonormal, sources, 0.25)
    gain = 10 * np.log10(np.mean(stds**2) / np.exp(np.mean(np.log(stds**2))))
    bound = 20 * np.log10(2) * rate + gain  # D(R) with all variances above the distortion
    assert quality == pytest.approx(bound - LOSS - gain, abs=0.2)


def test_errors_are_at_most_half_a_bin_and_symbols_are_scale_free() -> None:
    rng = np.random.default_rng(0)
    files, scales = [rng.standard_normal((1, 3, 500)) for _ in range(3)], np.array([1.0, 1e-3, 1e3])[:, None]
    coder, scaled = fit_coder(files[:2], 0.5), fit_coder([4 + scales * file for file in files[:2]], 0.5)
    symbols = coder.quantise(files[2])
    errors = np.abs(coder.dequantise(symbols) - files[2])
    assert (errors <= 0.5 * coder.width[:, None] * (1 + 1e-6)).all()
    np.testing.assert_array_equal(scaled.quantise(4 + scales * files[2]), symbols)
    assert scaled.bits(symbols) == coder.bits(symbols)


def test_a_constant_costs_next_to_nothing_and_decodes_to_itself(constant: Any) -> None:
    latents = constant.encode(np.zeros((1, 8000)))
    coder = fit_coder([latents, latents], 0.5)
    decoded, kbps = coder.code(latents, 1.0)
    np.testing.assert_array_equal(decoded, latents)
    assert kbps < 0.01
    np.testing.assert_array_equal(coder.code(latents + 1, 1.0)[0], latents)  # without variance there is but one symbol


def test_streams_share_the_bits_of_the_file() -> None:
    rng = np.random.default_rng(0)
    coder = fit_coder([rng.standard_normal((2, 3, 500))], 0.5)
    latents = rng.standard_normal((2, 3, 400))
    apart = sum(coder.code(latents[k : k + 1], 2.0)[1] for k in range(2))
    assert coder.code(latents, 2.0)[1] == pytest.approx(apart)
    assert coder.code(latents, 4.0)[1] == pytest.approx(apart / 2)


def test_the_model_is_that_of_the_fitted_files_alone() -> None:
    rng = np.random.default_rng(0)
    files = [rng.standard_normal((1, 2, 300)) * scale for scale in (1.0, 3.0)]
    coder = fit_coder(files, 0.5)
    total = moments(files[0], 1.0) + moments(files[1], 1.0)
    np.testing.assert_allclose(coder.width, 0.5 * np.sqrt(total.variance))
    for d, frequencies in enumerate(coder.frequencies):
        symbols = np.concatenate([coder.quantise(file)[0, d] for file in files])
        values, counts = np.unique(symbols, return_counts=True)
        assert coder.first[d] == values[0] and len(frequencies) == values[-1] - values[0] + 2
        assert frequencies[values - values[0]].tolist() == (2 * counts + 1).tolist()
        assert frequencies[-1] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_coder([], 0.5), "files must be at least 1, got none"),
        (lambda: fit_coder([np.ones((1, 2, 3))], 0.0), "step must be positive, got 0.0"),
        (lambda: fit_coder([np.ones((1, 2, 3)), np.ones((1, 3, 3))], 1.0), "moments must be of one latent space"),
        (lambda: fit_coder([np.ones((1, 2, 3))], 1.0).quantise(np.ones((1, 3, 3))), r"shape \(streams, 2, frames\)"),
        (
            lambda: fit_coder([np.ones((1, 2, 3))], 1.0).code(np.ones((1, 2, 3)), 0.0),
            "seconds must be positive, got 0.0",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
