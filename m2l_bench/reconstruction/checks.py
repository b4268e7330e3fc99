"""Input checks shared by the pair metrics.

Conventions
-----------
Signals are floating-point arrays ``(..., samples)`` on one scale (full scale is 1.0), the reference first. Signals of
different shape are an error of the caller; nothing is trimmed or padded. A pair of one shape for which the metric is
not defined (too short, NaN) raises :class:`Unscorable`.

The channels of one recording are the axis before the last. One rule holds for all pair metrics: a channel that is silent
in the reference (see :func:`silent_channels`) is not scored. Without it, dither in an empty channel would count as much
as the music in the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

SILENT_DB = 60.0  # below the loudest channel of the reference
SILENT_RATIO = 10.0 ** (-SILENT_DB / 10.0)  # the same, of energies
SILENT_RULE = (
    f"a channel that is constant in the reference, or more than {SILENT_DB:.0f} dB below its loudest (energy about the mean), "
    "is left out of both sides"
)
"""The rule in words, for the cards of pair metrics."""


class Unscorable(ValueError):
    """A metric is not defined for this pair or set (silent reference, too short, ...); the message is the reason."""


class Undefined(Unscorable):
    """There is nothing to measure, which is no failure of the system: no lag above chance, or a reference without a stereo image.

    Parameters
    ----------
    reason : str
    summary : str, optional
        What stands in the notes of a run, with the number of files that share it; the reason by default.
    """

    def __init__(self, reason: str, summary: str = "") -> None:
        super().__init__(reason)
        self.summary = summary or reason


def check_pair(reference: ArrayLike, estimate: ArrayLike, *, min_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Check a pair and return it as arrays.

    Parameters
    ----------
    reference, estimate : array_like of float, shape (..., samples)
    min_samples : int
        Smallest number of samples that the metric is defined for.

    Returns
    -------
    reference, estimate : np.ndarray
        float32 or float64, unchanged in value.

    Raises
    ------
    ValueError
        If one is not floating point, has no channel, or the shapes differ.
    Unscorable
        If one is too short, or has a NaN or infinite sample.

    Examples
    --------
    >>> import numpy as np
    >>> check_pair(np.zeros(441), np.zeros(440))
    Traceback (most recent call last):
    ValueError: estimate must have the reference's shape (441,), got (440,): nothing is trimmed
    """
    arrays = _as_floating(reference, "reference"), _as_floating(estimate, "estimate")
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(
            f"estimate must have the reference's shape {arrays[0].shape}, got {arrays[1].shape}: nothing is trimmed"
        )
    require_samples(arrays[0], min_samples)
    for name, array in zip(("reference", "estimate"), arrays, strict=True):
        if not np.isfinite(array).all():
            raise Unscorable(f"{name} has {np.count_nonzero(~np.isfinite(array))} NaN or infinite samples")
    return arrays


def check_sample_rate(sample_rate: int) -> None:
    """Raise ValueError unless the sample rate (Hz) is a positive number."""
    if not sample_rate > 0:
        raise ValueError(f"sample_rate must be positive, got {sample_rate!r} Hz")


def require_samples(signal: np.ndarray, min_samples: int) -> None:
    """Raise Unscorable if a signal ``(..., samples)`` is shorter than the metric needs."""
    if signal.shape[-1] < min_samples:
        raise Unscorable(f"needs at least {min_samples} samples, got {signal.shape[-1]}")


def silent_channels(reference: np.ndarray) -> np.ndarray:
    """Find the channels that no pair metric scores.

    Parameters
    ----------
    reference : np.ndarray of float, shape (..., samples)
        Finite. The axis before the last has the channels of one recording; a ``(samples,)`` signal is one channel.

    Returns
    -------
    np.ndarray of bool, shape (...)
        True where a channel is constant over time, or its energy (the sum of squares about its mean) is more than 60 dB
        below that of the loudest channel.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(0.1 * np.arange(4096))
    >>> silent_channels(np.stack([tone, 2e-3 * tone, 5e-4 * tone, np.ones(4096)])).tolist()
    [False, False, True, True]
    """
    energies = np.empty(reference.shape[:-1])
    for index in np.ndindex(energies.shape):
        energies[index] = energy(reference[index])
    loudest = energies.max(axis=-1, keepdims=True) if energies.ndim else energies
    return np.asarray(is_silent(reference) | (energies < SILENT_RATIO * loudest))


def energy(channel: np.ndarray) -> float:
    """Sum of squares about the mean of a channel ``(samples,)``, in float64."""
    centred = channel.astype(np.float64)
    centred -= centred.mean()
    return float(centred @ centred)


def scored_channels(reference: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop the channels that are silent in the reference from a checked pair ``(channels, samples)``.

    Raises
    ------
    Unscorable
        If all are silent.
    """
    kept = ~silent_channels(reference)
    if not kept.any():
        raise Unscorable("reference is silent")
    return (reference, estimate) if kept.all() else (reference[kept], estimate[kept])


def by_channel(
    function: Callable[[np.ndarray, np.ndarray], float], reference: np.ndarray, estimate: np.ndarray
) -> np.ndarray | float:
    """Apply a function of two ``(samples,)`` channels to each channel of ``(..., samples)`` signals.

    NaN for the channels that are silent in the reference. One channel at a time, so that float64 copies stay small.
    """
    values = np.full(reference.shape[:-1], np.nan)
    for index in map(tuple, np.argwhere(~silent_channels(reference))):
        values[index] = function(reference[index], estimate[index])
    return values if values.ndim else float(values)


def is_silent(signal: np.ndarray) -> np.ndarray:
    """Whether each channel of ``(..., samples)`` is constant over time."""
    return np.asarray(signal.max(axis=-1) == signal.min(axis=-1))


def require_sound(signal: np.ndarray, name: str) -> None:
    """Raise Unscorable if channels of ``(channels, samples)`` are constant; the message names them."""
    silent = np.flatnonzero(is_silent(signal))
    if silent.size:
        which = "" if signal.shape[0] == 1 else f" in channel {', '.join(str(i + 1) for i in silent)}"
        raise Unscorable(f"{name} is silent{which}")


def _as_floating(signal: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(signal)
    # Integer samples are on another scale (int16: 32768); every distance but SI-SDR depends on the scale.
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be float32 or float64 with full scale 1.0, got {array.dtype}")
    if array.ndim == 0 or 0 in array.shape[:-1]:
        raise ValueError(f"{name} must have shape (..., samples) and at least one channel, got {array.shape}")
    return array
