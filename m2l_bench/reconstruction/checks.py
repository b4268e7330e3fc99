"""The border: what a reference and an estimate must be before they are compared.

Conventions
-----------
Signals are floating-point arrays ``(..., samples)`` on one scale (full scale is 1.0), the reference first. A difference
in shape is an error of the caller and never trimmed or padded away; a pair that is alike in shape but that no number
can be given to (too short, NaN) is :class:`~m2l_bench.cards.Unscorable`. A channel is silent when it
does not change over time: a constant offset carries no sound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from m2l_bench.cards import Unscorable


def check_pair(reference: ArrayLike, estimate: ArrayLike, *, min_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return both signals as arrays, or say what is wrong with them.

    Parameters
    ----------
    reference, estimate : array_like of float, shape (..., samples)
    min_samples : int
        Fewest samples that the caller's definition can be computed on.

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
    if arrays[0].shape[-1] < min_samples:
        raise Unscorable(f"needs at least {min_samples} samples, got {arrays[0].shape[-1]}")
    for name, array in zip(("reference", "estimate"), arrays, strict=True):
        if not np.isfinite(array).all():
            raise Unscorable(f"{name} has {np.count_nonzero(~np.isfinite(array))} NaN or infinite samples")
    return arrays


def check_sample_rate(sample_rate: int) -> None:
    """Raise ValueError unless the sample rate (Hz) is a positive number."""
    if not sample_rate > 0:
        raise ValueError(f"sample_rate must be positive, got {sample_rate!r} Hz")


def is_silent(signal: np.ndarray) -> np.ndarray:
    """Whether each channel of ``(..., samples)`` is constant over time."""
    return np.asarray(signal.max(axis=-1) == signal.min(axis=-1))


def require_sound(signal: np.ndarray, name: str) -> None:
    """Raise Unscorable naming the channels of ``(channels, samples)`` that are silent."""
    silent = np.flatnonzero(is_silent(signal))
    if silent.size:
        which = "" if signal.shape[0] == 1 else f" in channel {', '.join(str(i + 1) for i in silent)}"
        raise Unscorable(f"{name} is silent{which}")


def _as_floating(signal: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(signal)
    # Integer samples are on another scale (int16: 32768), which every distance but SI-SDR would take at face value.
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be float32 or float64 with full scale 1.0, got {array.dtype}")
    if array.ndim == 0 or 0 in array.shape[:-1]:
        raise ValueError(f"{name} must have shape (..., samples) and at least one channel, got {array.shape}")
    return array
