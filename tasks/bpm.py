"""Tempi: the classes that probes predict, and Accuracy1 and Accuracy2.

Conventions
-----------
Tempi are in beats per minute (bpm). The classes are a logarithmic grid of 18 steps an octave, from 30 to 302 bpm: no tempo is
more than 2 % from the centre of its class, half the tolerance of the scores, so that the right class is always a hit. A
prediction is the centre of the most probable class. The reference is never rounded to a class where it is scored. It comes
first.

References
----------
Gouyon, Klapuri, Dixon, Alonso, Tzanetakis, Uhle, Cano, "An experimental comparison of audio tempo induction algorithms", 2006.
Schreiber, Müller, "A single-step approach to musical tempo estimation using a convolutional neural network", 2018 (classes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SLOWEST, FASTEST = 30.0, 300.0
TOLERANCE = 0.04  # of the reference, or of its multiple
SAME = (1.0,)
"""Factor of Accuracy1."""
OCTAVES = (1.0, 2.0, 3.0, 1 / 2, 1 / 3)
"""Factors of Accuracy2: tempi that listeners tap to as well."""
_STEPS = 18  # an octave, of 3.9 % each
CENTRES = SLOWEST * 2 ** (np.arange(61) / _STEPS)
CENTRES.setflags(write=False)
CLASSES = tuple(f"{centre:.1f}" for centre in CENTRES)
"""Names of the classes: their centres in bpm."""


def parse_tempo(text: str) -> float:
    """Read a tempo.

    Parameters
    ----------
    text : str
        A number of bpm.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is not a number from 30 to 300.

    Examples
    --------
    >>> parse_tempo("137.6")
    137.6
    """
    try:
        tempo = float(text)
    except ValueError:
        tempo = math.nan
    if not SLOWEST <= tempo <= FASTEST:
        raise ValueError(f"tempo must be a number of bpm from {SLOWEST:g} to {FASTEST:g}, got {text!r}")
    return tempo


def nearest_class(tempi: np.ndarray) -> np.ndarray:
    """Positions in :data:`CLASSES` of the classes of tempi, by ratio, of any shape.

    Examples
    --------
    >>> CLASSES[nearest_class(np.array(137.6))]
    '140.0'
    """
    return np.rint(_STEPS * np.log2(np.asarray(tempi) / SLOWEST)).astype(np.int64)


def tempo_hits(reference: np.ndarray, estimate: np.ndarray, *, factors: Sequence[float] = SAME) -> np.ndarray:
    """Whether estimated tempi are within 4 % of the reference times one of the factors.

    Parameters
    ----------
    reference, estimate : np.ndarray, (...)
        In bpm.
    factors : sequence of float
        :data:`SAME` for Accuracy1, :data:`OCTAVES` for Accuracy2.

    Returns
    -------
    np.ndarray, float64, (...)
        1 or 0.

    Examples
    --------
    >>> tempo_hits(np.array([140.0, 140.0]), np.array([137.0, 70.0]))
    array([1., 0.])
    >>> tempo_hits(np.array([140.0, 140.0]), np.array([137.0, 70.0]), factors=OCTAVES)
    array([1., 1.])
    """
    allowed = np.asarray(reference)[..., None] * np.asarray(factors)
    near = np.abs(np.asarray(estimate)[..., None] - allowed) <= TOLERANCE * allowed
    return near.any(axis=-1).astype(np.float64)
