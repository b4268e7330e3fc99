"""Input checks shared by the pair metrics.

Conventions
-----------
Signals are floating-point arrays ``(..., samples)`` on one scale (full scale is 1.0), the reference first. Signals of
different shape are an error of the caller; nothing is trimmed or padded. A pair of one shape for which the metric is
not defined (too short, NaN) raises :class:`Unscorable`. A channel is silent when it is constant over time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike


class Unscorable(ValueError):
    """A metric is not defined for this pair or set (silent reference, too short, ...); the message is the reason."""


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


def by_channel(
    function: Callable[[np.ndarray, np.ndarray], float], reference: np.ndarray, estimate: np.ndarray
) -> np.ndarray | float:
    """Apply a function of two ``(samples,)`` channels to each channel of ``(..., samples)`` signals.

    One channel at a time, so that float64 copies stay small.
    """
    values = np.empty(reference.shape[:-1])
    for index in np.ndindex(values.shape):
        values[index] = function(reference[index], estimate[index])
    return values if values.ndim else float(values)


def is_silent(signal: np.ndarray) -> np.ndarray:
    """Whether each channel of ``(..., samples)`` is constant over time."""
    return np.asarray(signal.max(axis=-1) == signal.min(axis=-1))


def require_sound(signal: np.ndarray, name: str) -> None:
    """Raise Unscorable if channels of ``(channels, samples)`` are silent; the message names them."""
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
