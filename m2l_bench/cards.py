"""Metric cards: the exact definition of a metric, and its hash.

Implementations of one card give the same digits on the same files. Every row holds the hash of its card; a table never
mixes rows whose hashes differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

# Groups of metrics that the report shows in tables of their own.
STEREO = "stereo"
REPEATABILITY = "repeatability"  # also the name of a metric
SEED_CHANGE = "seed_change"  # before the name of a metric: how much another seed changes it


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
        None where no direction is better (lag, gain, polarity): never ranked, never bold.
    formula : str
        Words and symbols.
    rate_rule, channel_rule : str
        Sample rate at which the metric is computed, and how channels become one number.
    constants : mapping
        Every constant that the number depends on (windows, hops, clamps, ...), JSON-serialisable.
    model : str
        Name and checkpoint hash of the model that the metric uses; empty without one.
    source : str
        Author, year, equation.
    version : int
        Raised when the definition changes.
    group : str
        :data:`STEREO` or :data:`REPEATABILITY` where the report shows it in a table apart; no part of the definition, nor of the
        hash.
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
    group: str = ""

    @cached_property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the card's canonical JSON."""
        text = json.dumps({key: value for key, value in asdict(self).items() if key != "group"}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
