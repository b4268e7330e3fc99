"""Spectra of signals in blocks of frames, for the metrics that rest on an STFT.

Conventions
-----------
The STFT is that of ``torch.stft`` and librosa with ``center=True``: the signal is reflected by n_fft / 2 at both ends,
frame k is centred on sample ``k * hop``, there are ``1 + samples // hop`` frames, the window is a periodic Hann, and
nothing is normalised. Spectra are computed in blocks of frames, so that memory does not grow with the length of the
signals and a block fits the processor's cache. They are float64: in float32, rounding adds a noise floor below the
partials of a tone, which the logarithm amplifies (the distance of two pure tones is then wrong by 5%).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.fft

_BLOCK = 1 << 16  # samples per signal and block; 0.5 MB of float64


def power_spectra(
    reference: np.ndarray, estimate: np.ndarray, *, n_fft: int, hop_length: int, window_length: int | None = None
) -> Iterator[list[np.ndarray]]:
    """Power spectra of two channels, a block of frames at a time.

    Parameters
    ----------
    reference, estimate : np.ndarray, shape (samples,)
        At least ``n_fft // 2 + 1`` samples.
    n_fft, hop_length : int
        Samples.
    window_length : int, optional
        Samples, at most n_fft (the default); a shorter window is centred in the frame.

    Yields
    ------
    list of two np.ndarray of float64, shape (frames, n_fft // 2 + 1)
        ``|X|^2`` of the reference and of the estimate; the number of frames differs between blocks. Equal signals
        give bit-identical spectra.
    """
    pair = reference, estimate
    for block in spectra(pair, n_fft=n_fft, hop_length=hop_length, window_length=window_length):
        yield [_squared_modulus(spectrum) for spectrum in block]


def spectra(
    signals: Sequence[np.ndarray], *, n_fft: int, hop_length: int, window_length: int | None = None
) -> Iterator[list[np.ndarray]]:
    """Complex spectra of channels of one length, a block of frames at a time.

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
    list of np.ndarray of complex128, shape (frames, n_fft // 2 + 1)
        One for each signal. Phases count from the window's first sample, the same for all signals.
    """
    width = window_length or n_fft
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(width) / width)  # periodic Hann
    inset = (n_fft - width) // 2
    padded = [np.pad(signal, n_fft // 2, mode="reflect") for signal in signals]
    n_frames = 1 + signals[0].shape[-1] // hop_length
    rows = min(max(_BLOCK // n_fft, 1), n_frames)
    # Only samples under the window matter; moving them to the start of the frame changes phases only. The rest is 0.
    samples = np.zeros((len(padded), (rows - 1) * hop_length + width))
    windows = np.lib.stride_tricks.sliding_window_view(samples, width, axis=-1)[:, ::hop_length]
    frames = np.zeros((len(padded), rows, n_fft))
    for start in range(0, n_frames, rows):
        n = min(rows, n_frames - start)
        first, last = start * hop_length + inset, (start + n - 1) * hop_length + inset + width
        for block, signal in zip(samples, padded, strict=True):
            block[: last - first] = signal[first:last]
        np.multiply(windows[:, :n], window, out=frames[:, :n, :width])
        yield [scipy.fft.rfft(frame[:n]) for frame in frames]


def _squared_modulus(spectrum: np.ndarray) -> np.ndarray:
    parts = spectrum.view(spectrum.real.dtype)  # ..., re, im, re, im
    np.square(parts, out=parts)
    return parts[..., ::2] + parts[..., 1::2]
