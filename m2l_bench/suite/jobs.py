"""The unit of work: one system on one slice of one dataset, a pure function of its inputs.

A job's identity hashes everything its result depends on (content of the audio, system fingerprint, cards of the metrics,
settings, and the version of this step), so a finished job is found again whoever planned it, and never run twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.audio import AudioError
from m2l_bench.reconstruction.cards import Card, Unscorable
from m2l_bench.reconstruction.metrics import METRICS, score_pair
from m2l_bench.results import Item
from m2l_bench.suite.data import AudioItem
from m2l_bench.systems.base import BitstreamCodec, Codec, ReadyMade, System
from m2l_bench.systems.registry import load

# Raised whenever the same inputs would give another result.
JOB_VERSION = 1

BIT_RATE = Card(
    name="bit_rate",
    title="bit rate",
    unit="kbit/s",
    higher_is_better=False,
    formula="8 * encoded bytes / duration / 1000, all channels together, container included",
    rate_rule="of the file as given",
    channel_rule="all channels together",
    source="measured from the encoded bytes",
)


@dataclass(frozen=True, kw_only=True)
class SystemSpec:
    """How to load a system again, in another process or on another machine.

    Attributes
    ----------
    label : str
        Its name in the tables.
    spelling : str
        Registry name, ``file.py:Class``, or ``folder``.
    checkpoint, device : str or None
    seed : int
    options : mapping
        Constructor options; strings and numbers only.
    """

    label: str
    spelling: str
    checkpoint: str | None = None
    device: str | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> System:
        """Load the system; ValueError or ImportError says in one line why it cannot be."""
        return _load_cached(json.dumps([self.spelling, self.checkpoint, self.device, self.seed, dict(self.options)]))


@lru_cache(maxsize=2)  # a worker meets a few systems one after the other; large ones must not pile up
def _load_cached(key: str) -> System:
    spelling, checkpoint, device, seed, options = json.loads(key)
    return load(spelling, checkpoint, device=device, seed=seed, **options)


@dataclass(frozen=True, kw_only=True)
class ReconstructJob:
    """Reconstruct a slice of files with one system and score each pair.

    Attributes
    ----------
    system : SystemSpec
    fingerprint : str
    dataset : str
    items : tuple of AudioItem
    metrics : tuple of str
        Names of pair metrics.
    max_length_difference : float
        Seconds by which ready-made reconstructions may differ in length (both are then cut to the shorter); 0 refuses.
    """

    system: SystemSpec
    fingerprint: str
    dataset: str
    items: tuple[AudioItem, ...]
    metrics: tuple[str, ...]
    max_length_difference: float = 0.0

    @property
    def id(self) -> str:
        """SHA-256 of everything the result depends on."""
        cards = {name: METRICS[name].card.hash for name in self.metrics}
        identity = {
            "kind": "reconstruct",
            "version": JOB_VERSION,
            "label": self.system.label,
            "fingerprint": self.fingerprint,
            "dataset": self.dataset,
            "items": [(item.id, item.sha256) for item in self.items],
            "cards": cards,
            "bit_rate": BIT_RATE.hash,
            "max_length_difference": self.max_length_difference,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def run(self) -> list[Item]:
        """Score every file; a file or metric that fails gives an Item with its reason."""
        return [record for item in self.items for record in self._score(item)]

    def _score(self, item: AudioItem) -> list[Item]:
        blank = Item(
            system=self.system.label,
            fingerprint=self.fingerprint,
            dataset=self.dataset,
            metric="",
            card="",
            seed=self.system.seed,
            item=item.id,
            group=item.id,
        )
        try:
            reference, rate = audio_io.load(item.path)
            estimate, kbps = reconstruct(
                self.system.load(), reference, rate, item.stem, max_length_difference=self.max_length_difference
            )
            reference = reference[:, : estimate.shape[-1]]
        # A system may be anybody's code: whatever it raises becomes this file's reason, and the run goes on.
        except Exception as error:
            reason = str(error) if isinstance(error, AudioError) else f"{type(error).__name__}: {error}"
            return [
                replace(blank, metric=name, card=METRICS[name].card.hash, reason=" ".join(reason.split()))
                for name in self.metrics
            ]
        scores = score_pair(reference, estimate, rate, self.metrics)
        records = [_record(blank, name, score) for name, score in scores.items()]
        if kbps is not None:
            records.append(replace(blank, metric=BIT_RATE.name, card=BIT_RATE.hash, value=kbps))
        return records


def _record(blank: Item, name: str, score: float | Unscorable) -> Item:
    record = replace(blank, metric=name, card=METRICS[name].card.hash)
    return replace(record, reason=str(score)) if isinstance(score, Unscorable) else replace(record, value=score)


def reconstruct(
    system: System, reference: np.ndarray, rate: int, stem: str, *, max_length_difference: float = 0.0
) -> tuple[np.ndarray, float | None]:
    """Pass one file through a system, at the system's rate and back.

    Parameters
    ----------
    system : System
        Codec or ready-made reconstructions.
    reference : np.ndarray, float32, (channels, samples)
    rate : int
        Hz.
    stem : str
        The reference's relative path without suffix.
    max_length_difference : float
        Seconds; of ready-made reconstructions only.

    Returns
    -------
    estimate : np.ndarray, float32, (channels, samples)
        At `rate`, of the reference's shape (or cut to the shorter, where a difference is allowed).
    kbps : float or None
        Measured bit rate in kbit/s, where the system has a bit stream.

    Raises
    ------
    AudioError
        If the shapes differ or the estimate is not finite.
    TypeError
        If the system cannot reconstruct.
    """
    channels, n_samples = reference.shape
    kbps = None
    if isinstance(system, ReadyMade):
        estimate, estimate_rate = system.find(stem)
        estimate = _match_length(estimate, estimate_rate, rate, n_samples, max_length_difference, stem)
    elif isinstance(system, Codec):
        own_rate = system.sample_rate or rate
        given = audio_io.resample(reference, rate, own_rate)
        if isinstance(system, BitstreamCodec):
            data = system.compress(given)
            kbps = 8 * len(data) / (n_samples / rate) / 1000
            back = system.decompress(data, channels, given.shape[-1])
        else:
            back = system.reconstruct(given)
        if back.shape != given.shape:
            raise AudioError(f"{stem}: a reconstruction must have its input's shape {given.shape}, got {back.shape}")
        estimate = audio_io.resample(back, own_rate, rate, n_samples=n_samples)
    else:
        raise TypeError(f"{system.name} has latents but no decoder: it can be probed, not reconstruct")
    if estimate.shape[0] != channels:
        raise AudioError(
            f"{stem}: a reconstruction must have the reference's {channels} channels, got {estimate.shape[0]}"
        )
    if not np.isfinite(estimate).all():
        raise AudioError(f"{stem}: a reconstruction must be finite, got NaN or infinite samples")
    return estimate, kbps


def _match_length(
    estimate: np.ndarray, estimate_rate: int, rate: int, n_samples: int, allowed: float, stem: str
) -> np.ndarray:
    """Resample a ready-made reconstruction to the reference's rate; refuse, or cut, where the lengths differ."""
    estimate = audio_io.resample(estimate, estimate_rate, rate)
    rounding = 0 if estimate_rate == rate else -(-rate // estimate_rate)  # one sample at the other rate
    difference = abs(estimate.shape[-1] - n_samples)
    if difference <= rounding:
        return audio_io.fit_length(estimate, n_samples)
    if difference > allowed * rate:
        raise AudioError(
            f"{stem}: a reconstruction must have its reference's {n_samples} samples at {rate} Hz, "
            f"got {estimate.shape[-1]} (--max-length-difference cuts both to the shorter)"
        )
    return estimate[:, : min(n_samples, estimate.shape[-1])]
