"""Metric cards: what exactly a number means, and the hash that travels with it.

Two laboratories that run one card on the same files print the same digits. A card's hash is stored in every row; rows
whose hashes differ are never mixed in a table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np


class Unscorable(ValueError):
    """A pair that a metric does not define a number for (silent reference, too short, ...); the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The definition of one metric.

    Attributes
    ----------
    name : str
        Registry name, such as ``"mel_distance:dac-train"``.
    title : str
        Column heading, without unit.
    unit : str
        ``"dB"``, or empty.
    higher_is_better : bool or None
        None where the number describes and does not judge (lag, gain, polarity): never ranked, never bold.
    formula : str
        In words and signs.
    rate_rule, channel_rule : str
        At which sample rate, and how channels become one number.
    constants : mapping
        Every constant the number depends on (windows, hops, clamps, ...), JSON-serialisable.
    model : str
        Of an embedding: its name and checkpoint hash; else empty.
    source : str
        Author, year, equation.
    version : int
        Raised whenever our definition changes.
    """

    name: str
    title: str
    unit: str = ""
    higher_is_better: bool | None
    formula: str
    rate_rule: str = "the reference's sample rate; the estimate is resampled to it (soxr VHQ)"
    channel_rule: str = "each channel alone, then the mean over channels"
    constants: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    source: str
    version: int = 1

    @cached_property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the card's canonical JSON."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class PairMetric:
    """A metric of one reference and one estimate.

    Attributes
    ----------
    card : Card
    score : callable
        ``(reference, estimate, sample_rate) -> float`` for two float32 arrays (channels, samples) of one shape;
        raises :class:`Unscorable`.
    slow : bool
        Left out unless asked for by name.
    """

    card: Card
    score: Callable[[np.ndarray, np.ndarray, int], float]
    slow: bool = False


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """The value of a set-level metric, its interval over files, and the health of its statistics.

    `contributions` holds what each file adds (see :func:`m2l_bench.statistics.contributions`), NaN for a file that was
    left out; it is empty where the metric has no jackknife.
    """

    value: float
    ci_low: float
    ci_high: float
    health: Mapping[str, float] = field(default_factory=dict)
    contributions: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SetMetric:
    """A metric of a set of references and a set of estimates, heard through an embedding.

    Attributes
    ----------
    card : Card
    embedding : str
        Name in :mod:`m2l_bench.systems.encoders`; windows of each file are computed once and shared by every set metric.
    score : callable
        ``(references, estimates, seed) -> SetScore``; both are sequences with one float32 array (windows, dim) a file,
        in the same file order; raises :class:`Unscorable` (too few files or windows).
    """

    card: Card
    embedding: str
    score: Callable[[Sequence[np.ndarray], Sequence[np.ndarray], int], SetScore]
