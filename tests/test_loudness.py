"""Loudness and true peak against the public figures of ITU-R BS.1770 and EBU Tech 3341."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m2l_bench.loudness import _k_weighting, loudness, true_peak


def test_loudness_of_the_standard() -> None:
    time = np.arange(5 * 48000) / 48000
    sine = np.sin(2 * np.pi * 997 * time)[None]
    assert loudness(sine, 48000) == pytest.approx(-3.01, abs=0.01)
    assert loudness(np.repeat(sine, 2, axis=0), 48000) == pytest.approx(0.0, abs=0.01)
    assert loudness(0.1 * sine, 48000) == pytest.approx(-23.01, abs=0.01)
    # Silence between the notes is gated away; low tones weigh less.
    gated = np.concatenate([sine, np.zeros_like(sine)], axis=1)
    assert loudness(gated, 48000) == pytest.approx(-3.01, abs=0.15)
    assert loudness(np.sin(2 * np.pi * 30 * time)[None], 48000) < -10
    assert loudness(np.zeros((1, 100)), 48000) == -math.inf
    assert loudness(sine[:, :100], 48000) > -60  # shorter than a block
    with pytest.raises(ValueError, match="must have shape"):
        loudness(np.zeros(100), 48000)


def test_loudness_filter_is_the_standards_table_at_48_khz() -> None:
    head = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585]
    cut = [1, -2, 1, 1, -1.99004745483398, 0.99007225036621]
    assert np.abs(_k_weighting(48000) - np.array([head, cut])).max() < 1e-8


def sines(*parts: tuple[float, float]) -> np.ndarray:
    """A stereo tone of 1 kHz at 48 kHz, seconds and peak level in dB below full scale of each part."""
    level = np.concatenate([np.full(round(seconds * 48000), 10 ** (decibels / 20)) for seconds, decibels in parts])
    return np.tile(level * np.sin(2 * np.pi * 1000 * np.arange(len(level)) / 48000), (2, 1))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [  # EBU Tech 3341, table 1, cases 1 to 5
        ([(20, -23)], -23.0),
        ([(20, -33)], -33.0),
        ([(10, -36), (60, -23), (10, -36)], -23.0),
        ([(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)], -23.0),
        ([(20, -26), (20.1, -20), (20, -26)], -23.0),
    ],
)
def test_loudness_of_the_ebus_signals(parts: list[tuple[float, float]], expected: float) -> None:
    assert loudness(sines(*parts), 48000) == pytest.approx(expected, abs=0.1)


def slow_loudness(audio: np.ndarray) -> float:
    """At 48 kHz: the standard's table and its block sums, sample by sample."""
    power = np.zeros(audio.shape[1])
    for channel in audio:
        for b, a in [
            ((1.53512485958697, -2.69169618940638, 1.19839281085285), (-1.69065929318241, 0.73248077421585)),
            ((1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621)),
        ]:
            x1 = x2 = y1 = y2 = 0.0
            filtered = []
            for x in channel:
                y = b[0] * x + b[1] * x1 + b[2] * x2 - a[0] * y1 - a[1] * y2
                x1, x2, y1, y2 = x, x1, y, y1
                filtered.append(y)
            channel = filtered
        power += np.square(channel)
    blocks = [float(np.mean(power[k : k + 19200])) for k in range(0, len(power) - 19200 + 1, 4800)]
    blocks = [z for z in blocks if -0.691 + 10 * math.log10(z) > -70]
    gate = -0.691 + 10 * math.log10(sum(blocks) / len(blocks)) - 10
    blocks = [z for z in blocks if -0.691 + 10 * math.log10(z) > gate]
    return -0.691 + 10 * math.log10(sum(blocks) / len(blocks))


def test_loudness_is_the_standards_sample_by_sample() -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, 72000)) * np.repeat([0.1, 0.01, 0.3], 24000)
    assert loudness(audio, 48000) == pytest.approx(slow_loudness(audio), abs=1e-6)


@pytest.mark.parametrize("rate", [22050, 44100, 96000])
def test_loudness_hardly_depends_on_the_rate(rate: int) -> None:
    tone = 0.1 * np.sin(2 * np.pi * 997 * np.arange(3 * rate) / rate)[None]
    assert loudness(tone, rate) == pytest.approx(-23.01, abs=0.05)


@pytest.mark.parametrize(
    ("divisor", "phase", "amplitude", "expected"),
    [  # EBU Tech 3341, table 1, cases 15 to 19 (tolerance +0.2, -0.4): tones whose samples miss their peak
        (4, 0.0, 0.5, -6.0),
        (4, 45.0, 0.5, -6.0),
        (6, 60.0, 0.5, -6.0),
        (8, 67.5, 0.5, -6.0),
        (4, 45.0, 1.41, 3.0),
    ],
)
def test_true_peak_of_the_ebus_signals(divisor: int, phase: float, amplitude: float, expected: float) -> None:
    # Soft ends: a hard start is itself a peak between samples.
    n = np.arange(48000)
    fade = np.minimum(1.0, np.minimum(n, n[::-1]) / 4800)
    tone = amplitude * fade * np.sin(2 * np.pi * n / divisor + np.radians(phase))
    assert true_peak(tone[None]) == pytest.approx(expected, abs=0.03)
    assert true_peak(tone[None]) == pytest.approx(20 * math.log10(amplitude), abs=0.001)


def test_true_peak_is_that_of_the_interpolated_signal() -> None:
    """A slow twin: sums of sinc functions at quarters of a sample, for a signal that is band-limited to 0.4 of its rate."""
    rng = np.random.default_rng(0)
    n = np.arange(400)
    window = np.hanning(400)
    signal = (
        sum(rng.uniform() * np.sin(2 * np.pi * f * n + rng.uniform(0, 7)) for f in rng.uniform(0.01, 0.35, 8)) * window
    )
    peak = max(abs(sum(signal * np.sinc(position - n))) for position in np.arange(0, 400, 0.25))
    assert true_peak(signal[None]) == pytest.approx(20 * math.log10(peak), abs=1e-3)
    assert peak > np.abs(signal).max() * 1.001


def test_true_peak_is_that_of_the_loudest_channel_in_any_number_of_chunks() -> None:
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((2, 600_000))
    noise[1, 300_000] = 2.0
    assert true_peak(noise) == true_peak(noise[1:]) == pytest.approx(20 * math.log10(2.0), abs=0.5)
    assert true_peak(noise[1:, 299_000:301_000]) == pytest.approx(true_peak(noise), abs=1e-6)
    assert true_peak(0.5 * noise) == pytest.approx(true_peak(noise) - 6.0206, abs=1e-4)
    assert true_peak(np.zeros((2, 100))) == -math.inf
    with pytest.raises(ValueError, match="audio must have shape"):
        true_peak(np.zeros(100))
