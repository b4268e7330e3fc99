"""Pass one file through one system and score the pair; keep the windows that set metrics compare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

import numpy as np

from m2l_bench import audio, plugins
from m2l_bench.cards import Card
from m2l_bench.reconstruction.checks import Undefined, Unscorable, silent_channels
from m2l_bench.reconstruction.metrics import get_metric, score_pair
from m2l_bench.reconstruction.pair_metrics import Scores
from m2l_bench.reconstruction.sets.vectors import load_encoder, vectors
from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.jobs import identity
from m2l_bench.suite.steps import Finish, Read
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.suite.suite import CHANCE, SystemSpec
from m2l_bench.systems.apply import reconstruct, reconstruct_batch
from m2l_bench.systems.base import BitstreamCodec

REFERENCE = "reference"

BIT_RATE = Card(
    name="bit_rate",
    title="bit rate",
    unit="kbit/s",
    higher_is_better=False,
    formula="8 * encoded bytes / duration / 1000, all channels together, container included; mean of a set: all bits over "
    "all seconds",
    rate_rule="of the file as given",
    channel_rule="all channels together",
    source="measured from the encoded bytes",
    version=2,
)


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is done to every file of a system.

    Attributes
    ----------
    spec : SystemSpec or None
        None: the references themselves, of which only the vectors are kept; or other references in their places.
    fingerprint : str
        Empty for the references.
    metrics : tuple of str
        Names of pair metrics.
    encoders : tuple of (str, str)
        Spelling and fingerprint of each encoder whose vectors are kept for set metrics.
    max_length_difference : float
        Seconds by which ready-made reconstructions may differ in length (both are then cut to the shorter); 0 refuses.
    device : str, optional
        Of the encoders.
    """

    spec: SystemSpec | None
    fingerprint: str
    metrics: tuple[str, ...] = ()
    encoders: tuple[tuple[str, str], ...] = ()
    max_length_difference: float = 0.0
    device: str | None = None

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything but the file."""
        return identity(
            "reconstruct",
            fingerprint=self.fingerprint,
            cards={card.name: card.hash for card in (*(get_metric(name).card for name in self.metrics), BIT_RATE)},
            encoders=[fingerprint for _, fingerprint in self.encoders],
            max_length_difference=self.max_length_difference,
            form=2,  # of the outcome: raised when it changes
        )

    def job(self, item: AudioItem, other: AudioItem | None = None) -> ReconstructJob:
        """The job of one file; `other` is a file that is scored in the place of its reconstruction."""
        return ReconstructJob(scoring=self, item=item, other=other)

    def score(self, reference: np.ndarray, estimate: np.ndarray, rate: int, measured: Mapping[str, float]) -> Outcome:
        """The outcome of a pair (see :class:`ReconstructJob`), with what else was measured of it, such as its bit rate."""
        scored = reference[:, : estimate.shape[-1]]
        found = score_pair(scored, estimate, rate, self.metrics)
        scores, undefined = by_label(found)
        scores |= measured
        arrays: dict[str, np.ndarray] = {}
        windows: dict[str, int | str] = {}
        for name, fingerprint in self.encoders:
            try:
                arrays[fingerprint] = vectors(load_encoder(name, self.device), estimate, rate).T
                windows[fingerprint] = arrays[fingerprint].shape[1]
            except Unscorable as reason:
                windows[fingerprint] = str(reason)
        reasons: Iterator[str] = (v for v in (*scores.values(), *windows.values()) if isinstance(v, str))
        value = {
            "scores": scores,
            "windows": windows,
            "undefined": undefined,
            "seconds": reference.shape[-1] / rate,
            "silent_channels": int(np.count_nonzero(silent_channels(scored))),
        }
        return Outcome(value, arrays, next(reasons, ""))

    def failed(self, reason: str) -> Outcome:
        """The outcome of a file that has no estimate: every metric, with the reason."""
        scores = {plugins.label(name): reason for name in self.metrics}
        windows = {fingerprint: reason for _, fingerprint in self.encoders}
        return Outcome(
            {"scores": scores, "undefined": {}, "windows": windows, "seconds": 0.0, "silent_channels": 0}, reason=reason
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructJob:
    """Reconstruct one file with one system and score the pair.

    Its outcome has ``scores``: metric -> number, or the reason why there is none; ``undefined``: metrics that have nothing to
    measure here -> why, in the words of a note; ``windows``: fingerprint of an encoder -> how many vectors, or the reason;
    ``seconds``, the duration; and ``silent_channels``, how many channels are silent in the reference and not scored. Its arrays
    are the vectors, ``(dim, vectors)`` float32 by fingerprint.
    """

    scoring: Scoring
    item: AudioItem
    other: AudioItem | None = None

    kind: ClassVar[str] = "reconstruct"
    batch: ClassVar[int] = 4

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        if self.scoring.spec:
            return self.scoring.spec.label
        return CHANCE if self.other else REFERENCE

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        other = f"\t{self.other.sha256}" if self.other else ""
        return hashlib.sha256(f"{self.scoring.id}\t{self.item.sha256}\t{self.item.stem}{other}".encode()).hexdigest()

    def failed(self, reason: str) -> Outcome:
        """Every metric, with the reason."""
        return self.scoring.failed(reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Score the file; a metric that is not defined for it gets the reason."""
        assert read is not None
        return self.start(*read())()

    @property
    def takes_batches(self) -> bool:
        """Whether the system reconstructs several files at once; a bit stream is of one file."""
        system = self.scoring.spec and self.scoring.spec.load()
        return hasattr(system, "reconstruct_batch") and not isinstance(system, BitstreamCodec)

    def start(self, signal: np.ndarray, rate: int) -> Finish:
        """Reconstruct the file."""
        scoring, item = self.scoring, self.item
        estimate, kbps = signal, None
        if scoring.spec:
            system, allowed = scoring.spec.load(), scoring.max_length_difference
            estimate, kbps = reconstruct(system, signal, rate, item.stem, max_length_difference=allowed)
        elif self.other:
            estimate = _like(*self.other.load(), signal, rate)
        return partial(scoring.score, signal, estimate, rate, {} if kbps is None else {BIT_RATE.name: kbps})

    def start_batch(self, jobs: Sequence[ReconstructJob], signals: Sequence[np.ndarray], rate: int) -> list[Finish]:
        """Reconstruct several files at once."""
        assert self.scoring.spec is not None
        estimates = reconstruct_batch(self.scoring.spec.load(), signals, rate, [job.item.stem for job in jobs])
        return [
            partial(job.scoring.score, signal, estimate, rate, {})
            for job, signal, estimate in zip(jobs, signals, estimates, strict=True)
        ]


def _like(other: np.ndarray, other_rate: int, reference: np.ndarray, rate: int) -> np.ndarray:
    """Another file with the rate, channels and length of the reference: repeated or cut, in mono where the channels differ."""
    other = audio.resample(other, other_rate, rate)
    channels, n_samples = reference.shape
    if len(other) != channels:
        other = np.repeat(other.mean(axis=0, keepdims=True), channels, axis=0)
    return np.tile(other, -(-n_samples // other.shape[1]))[:, :n_samples]


def by_label(found: Scores) -> tuple[dict[str, float | str], dict[str, str]]:
    """The scores of a pair as an outcome holds them: name in tables -> number or reason; and those undefined -> why."""
    labelled = {plugins.label(name): score for name, score in found.items()}
    undefined = {label: score.summary for label, score in labelled.items() if isinstance(score, Undefined)}
    scores = {label: _plain(score) for label, score in labelled.items() if label not in undefined}
    return scores, undefined


def _plain(score: float | Unscorable) -> float | str:
    return str(score) if isinstance(score, Unscorable) else float(score)
