"""Spectra of signals in blocks of frames, for the metrics that rest on an STFT.

Conventions
-----------
The STFT is that of ``torch.stft`` and librosa with ``center=True``: the signal is reflected by n_fft / 2 at both ends,
frame k is centred on sample ``k * hop``, there are ``1 + samples // hop`` frames, the window is a periodic Hann, and
nothing is normalised. Spectra are computed in blocks of frames, so that memory does not grow with the length of the
signals and a block fits the processor's cache. They are float64: in float32, rounding adds a noise floor below the
partials of a tone, which the logarithm amplifies (the distance of two pure tones is then wrong by 5%).

Metrics with equal windows share them: each is a :class:`Measure`, and :func:`take` computes every STFT once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy  # its parts are loaded when they are used

_BLOCK = 1 << 16  # samples per signal and block; 0.5 MB of float64


class Spectrum:
    """STFT of a block of frames of one channel.

    Parameters
    ----------
    bins : np.ndarray of complex128, shape (frames, n_fft // 2 + 1)
        Phases count from the window's first sample, the same for all signals.

    Attributes
    ----------
    power, magnitude : np.ndarray of float64, shape (frames, n_fft // 2 + 1)
        ``|X|^2`` and ``|X|``, computed once; read-only by convention.
    """

    def __init__(self, bins: np.ndarray) -> None:
        self.bins = bins

    @cached_property
    def power(self) -> np.ndarray:
        power = self.bins.real**2
        power += self.bins.imag**2
        return power

    @cached_property
    def magnitude(self) -> np.ndarray:
        return np.abs(self.bins)


class Measure(Protocol):
    """Metrics of one pair that are sums over frames.

    Attributes
    ----------
    windows : sequence of int
        Windows of the STFTs that are needed, in samples; the hop is a quarter of each.
    """

    @property
    def windows(self) -> Sequence[int]: ...

    def add(self, window: int, reference: Sequence[Spectrum], estimate: Sequence[Spectrum]) -> None:
        """Add a block of frames of every channel."""

    def scores(self) -> dict[str, float]:
        """Scores of the frames added, by name of the metric."""


def take(measures: Sequence[Measure], reference: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Scores of a pair ``(channels, samples)`` under several measures; each window's STFT is computed once for all."""
    for window in sorted({window for measure in measures for window in measure.windows}):
        users = [measure for measure in measures if window in measure.windows]
        for block in spectra((*reference, *estimate), n_fft=window, hop_length=window // 4):
            for measure in users:
                measure.add(window, block[: len(reference)], block[len(reference) :])
    return {name: score for measure in measures for name, score in measure.scores().items()}


def spectra(
    signals: Sequence[np.ndarray], *, n_fft: int, hop_length: int, window_length: int | None = None
) -> Iterator[list[Spectrum]]:
    """Spectra of channels of one length, a block of frames at a time.

    Parameters
    ----------
    signals : sequence of np.ndarray, shape (samples,)
        At least ``n_fft // 2 + 1`` samples.
    n_fft, hop_length : int
        Samples.
    window_length : int, optional
        Samples, at most n_fft (the default); a shorter window is centred in the frame.

    Yields
    ------
    list of Spectrum
        One for each signal; the number of frames differs between blocks. Equal signals give bit-identical spectra.
    """
    width = window_length or n_fft
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(width) / width)  # periodic Hann
    before = n_fft // 2 - (n_fft - width) // 2  # samples under the first window that lie before the signal
    n_frames = 1 + signals[0].shape[-1] // hop_length
    rows = min(max(_BLOCK // n_fft, 1), n_frames)
    # Only samples under the window matter; moving them to the start of the frame changes phases only. The rest is 0.
    samples = np.zeros((rows - 1) * hop_length + width)
    windows = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop_length]
    frames = np.zeros((rows, n_fft))
    for start in range(0, n_frames, rows):
        n = min(rows, n_frames - start)
        first, length = start * hop_length - before, (n - 1) * hop_length + width
        block = []
        for signal in signals:
            samples[:length] = _reflected(signal, first, first + length)
            np.multiply(windows[:n], window, out=frames[:n, :width])
            block.append(Spectrum(scipy.fft.rfft(frames[:n])))
        yield block


def cross_sum(x: Spectrum, y: Spectrum) -> np.ndarray:
    """``sum X Y*`` over frames, (bins,)."""
    return np.asarray(np.sum(x.bins * y.bins.conj(), axis=0))


def _reflected(signal: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Samples from start to stop, those beyond the ends by reflection."""
    last = len(signal) - 1
    if start >= 0 and stop <= last + 1:
        return signal[start:stop]
    return signal[last - np.abs(last - np.abs(np.arange(start, stop)))]
