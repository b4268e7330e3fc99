"""What a check found: its verdict, its figures, and what they mean.

Conventions
-----------
``pass``: as promised. ``fail``: a promise of :mod:`m2l_bench.systems.base` is broken, or a fault that spoils every number of the
system. ``note``: neither; something to know when its numbers are read. Differences of signals are in dB: the energy of the
difference relative to that of the first signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

Verdict: TypeAlias = Literal["pass", "note", "fail"]

ROUNDING = -100.0  # dB; a smaller difference is that of rounding


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes
    ----------
    name : str
    verdict : {"pass", "note", "fail"}
    figure : str
        What was measured, in words and numbers with their units; ``"-"`` where nothing was.
    meaning : str
        One sentence.
    values : mapping
        The same numbers for machines; the unit stands in the key.
    """

    name: str
    verdict: Verdict
    figure: str
    meaning: str
    values: Mapping[str, float] = field(default_factory=dict)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Level of ``b - a`` relative to `a` in dB, of two arrays of one shape; -inf where they are equal.

    Examples
    --------
    >>> round(difference(np.ones(4), np.full(4, 1.1)), 6), difference(np.ones(4), np.ones(4))
    (-20.0, -inf)
    """
    error = np.square(np.subtract(b, a, dtype=np.float64)).sum()
    if not error > 0:
        return float("nan") if np.isnan(error) else -np.inf
    energy = np.square(a, dtype=np.float64).sum()
    return float(10 * np.log10(error / energy)) if energy > 0 else np.inf


def decibels(value: float, places: int = 1) -> str:
    """A level as text: ``"-49.9 dB"``, ``"0"`` for nothing at all."""
    return "none" if value == -np.inf else f"{value:.{places}f} dB"


def level(signal: np.ndarray) -> float:
    """Root mean square in dB relative to full scale; -inf for zeros."""
    power = float(np.square(signal, dtype=np.float64).mean())
    return float(10 * np.log10(power)) if power > 0 else (-np.inf if power == 0 else float("nan"))
