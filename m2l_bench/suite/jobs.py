"""The units of work over audio: reconstruct and score a slice of files, and compare sets heard through an embedding.

A job's identity hashes everything its outcome depends on (content of the audio, system fingerprint, cards of the metrics,
settings, and the version of this step), so a finished job is found again whoever planned it, and never run twice.
Windows that set-level metrics listen to go into the latent store, keyed by the reference's content and the system.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np

from m2l_bench import __version__
from m2l_bench import audio as audio_io
from m2l_bench.cards import Card
from m2l_bench.latents import LatentKey, LatentStore, latent_key
from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.metrics import METRICS, SetMetric, score_pair, with_encoder
from m2l_bench.results import Item, Row, data_hash, joined_notes
from m2l_bench.suite.data import AudioItem, read_ahead
from m2l_bench.suite.engine import Outcome, Workspace, failure_reason
from m2l_bench.systems import encoders
from m2l_bench.systems.apply import reconstruct
from m2l_bench.systems.base import System
from m2l_bench.systems.encoders.windows import Embedding, refusal
from m2l_bench.systems.registry import load, needs_download, system_class

# Raised whenever the same inputs would give another result, within one version of the package.
JOB_VERSION = 5
# The fingerprint under which the windows of the references themselves are kept.
REFERENCE = "0" * 16
REFERENCE_LABEL = "reference"
NAN = float("nan")

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
        """Load the system; ValueError, ImportError or OSError says in one line why it cannot be."""
        return _load_cached(self._key())

    def would_download(self) -> bool:
        """Whether it is loaded from a checkpoint on the hub."""
        return self.checkpoint is None and needs_download(self.spelling)

    def system_class(self) -> type:
        """Its class, nothing loaded; ValueError as of :meth:`load`."""
        return system_class(self.spelling)

    def _key(self) -> str:
        return json.dumps([self.spelling, self.checkpoint, self.device, self.seed, dict(self.options)])


@lru_cache(maxsize=2)  # a worker meets a few systems one after the other; large ones must not pile up
def _load_cached(key: str) -> System:
    spelling, checkpoint, device, seed, options = json.loads(key)
    return load(spelling, checkpoint, device=device, seed=seed, **options)


@lru_cache(maxsize=4)
def load_embedding(name: str) -> Embedding:
    """An embedding by name, kept for the next job of this process."""
    return encoders.load(name)


def set_metric(name: str) -> SetMetric:
    """A set metric with its embedding loaded: the card names the very weights that listen."""
    metric = METRICS[name]
    if not isinstance(metric, SetMetric):
        raise ValueError(f"{name} must be a metric of sets, got one of pairs")
    return with_encoder(metric, load_embedding(metric.embedding))


def identity(kind: str, **parts: Any) -> str:
    """SHA-256 of a job's kind, the code's version and everything else its outcome depends on."""
    text = json.dumps({"kind": kind, "version": [__version__, JOB_VERSION], **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ReconstructJob:
    """Reconstruct a slice of files with one system and score each pair.

    Attributes
    ----------
    system : SystemSpec or None
        None: the references themselves, of which only the windows are kept.
    fingerprint : str
    dataset : str
    items : tuple of AudioItem
    metrics : tuple of str
        Names of pair metrics.
    embeddings : tuple of (str, str)
        Name and fingerprint of each embedding whose windows are kept for set-level metrics.
    max_length_difference : float
        Seconds by which ready-made reconstructions may differ in length (both are then cut to the shorter); 0 refuses.
    """

    system: SystemSpec | None
    fingerprint: str
    dataset: str
    items: tuple[AudioItem, ...]
    metrics: tuple[str, ...] = ()
    embeddings: tuple[tuple[str, str], ...] = ()
    max_length_difference: float = 0.0

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.system.label if self.system else REFERENCE_LABEL

    kind: ClassVar[str] = "reconstruct"

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(
            self.kind,
            label=self.label,
            fingerprint=self.fingerprint,
            dataset=self.dataset,
            items=[(item.id, item.sha256) for item in self.items],
            cards={name: METRICS[name].card.hash for name in self.metrics} | {BIT_RATE.name: BIT_RATE.hash},
            embeddings=self.embeddings,
            max_length_difference=self.max_length_difference,
        )

    def kept(self, outcome: Outcome) -> list[LatentKey]:
        """The windows that the outcome counts."""
        heard = {windows_of(name): found for name, found in self.embeddings}
        content = {item.id: item.sha256 for item in self.items}
        counted = [record for record in outcome.items if record.metric in heard and not record.reason]
        return [windows_key(content[r.item], self.fingerprint, heard[r.metric]) for r in counted]

    def failed(self, reason: str) -> Outcome:
        """Every file under every metric, with the reason."""
        return Outcome([record for item in self.items for record in self._failed(self._blank(item), reason)])

    def run(self, workspace: Workspace) -> Outcome:
        """Score every file; a file or metric that fails gives an Item with its reason."""
        with workspace.latents if self.embeddings else nullcontext() as store:
            scored = (self._score(item, load, store) for item, load in read_ahead(self.items))
            return Outcome([record for records in scored for record in records])

    def _blank(self, item: AudioItem) -> Item:
        return Item(
            system=self.label,
            fingerprint=self.fingerprint,
            dataset=self.dataset,
            metric="",
            card="",
            seed=self.system.seed if self.system else 0,
            item=item.id,
            group=item.id,
        )

    def _score(
        self, item: AudioItem, read: Callable[[], tuple[np.ndarray, int]], store: LatentStore | None
    ) -> list[Item]:
        blank = self._blank(item)
        try:
            reference, rate = read()
            estimate, kbps = reference, None
            if self.system:
                estimate, kbps = reconstruct(
                    self.system.load(), reference, rate, item.stem, max_length_difference=self.max_length_difference
                )
            scores = score_pair(reference[:, : estimate.shape[-1]], estimate, rate, self.metrics)
            records = [_record(blank, name, METRICS[name].card.hash, score) for name, score in scores.items()]
            if kbps is not None:
                records.append(replace(blank, metric=BIT_RATE.name, card=BIT_RATE.hash, value=kbps))
            heard = [self._listen(blank, item, name, estimate, rate, store) for name, _ in self.embeddings]
        # A system may be anybody's code: whatever it raises becomes this file's reason, and the run goes on.
        except Exception as error:
            return self._failed(blank, failure_reason(error))
        return records + heard

    def _listen(
        self, blank: Item, item: AudioItem, name: str, audio: np.ndarray, rate: int, store: LatentStore | None
    ) -> Item:
        """Keep the windows of one file; the record counts them, or says why there are none."""
        embedding = load_embedding(name)
        resampled = audio_io.resample(audio, rate, embedding.sample_rate)
        reason = refusal(embedding, resampled)
        if reason or store is None:
            return _record(blank, windows_of(name), embedding.fingerprint, Unscorable(reason))
        windows = embedding.embed([resampled])[0]
        store.put(windows_key(item.sha256, self.fingerprint, embedding.fingerprint), windows.T[None])
        return _record(blank, windows_of(name), embedding.fingerprint, len(windows))

    def _failed(self, blank: Item, reason: str) -> list[Item]:
        failure = Unscorable(reason)
        cards = [(name, METRICS[name].card.hash) for name in self.metrics]
        cards += [(windows_of(name), heard) for name, heard in self.embeddings]
        return [_record(blank, name, card, failure) for name, card in cards]


@dataclass(frozen=True, kw_only=True)
class DistanceJob:
    """One set-level metric of one system over one dataset.

    Attributes
    ----------
    system : SystemSpec
    fingerprint : str
    dataset : str
    items : tuple of AudioItem
        All that were planned.
    failed_items : tuple of (str, str)
        Ids that could not be heard, and why; left out on both sides.
    metric : str
        Name of a set metric.
    embedding_fingerprint : str
    seed : int
        Of the interval.
    note : str
        The dataset's caveat.
    """

    system: SystemSpec
    fingerprint: str
    dataset: str
    items: tuple[AudioItem, ...]
    failed_items: tuple[tuple[str, str], ...]
    metric: str
    embedding_fingerprint: str
    seed: int
    note: str = ""

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.system.label

    kind: ClassVar[str] = "distance"

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(
            self.kind,
            label=self.label,
            fingerprint=self.fingerprint,
            dataset=self.dataset,
            items=[(item.id, item.sha256) for item in self.items],
            failed=self.failed_items,
            card=set_metric(self.metric).card.hash,
            embedding=self.embedding_fingerprint,
            seed=self.seed,
            note=self.note,
        )

    def kept(self, outcome: Outcome) -> list[LatentKey]:
        """Nothing beside the outcome."""
        return []

    def failed(self, reason: str) -> Outcome:
        """No number, and every file with a reason."""
        own = dict(self.failed_items)
        return self._outcome(
            {item.id: own.get(item.id, reason) for item in self.items}, note=f"{self.metric}: {reason}."
        )

    def run(self, workspace: Workspace) -> Outcome:
        """The row, and a record for each file: what it adds to the number, or why it is not in it."""
        metric = set_metric(self.metric)
        reasons = dict(self.failed_items)
        heard = [item for item in self.items if item.id not in reasons]
        store = workspace.latents
        references, estimates = (
            [store.get(windows_key(item.sha256, fingerprint, self.embedding_fingerprint))[0].T for item in heard]
            for fingerprint in (REFERENCE, self.fingerprint)
        )
        try:
            score = metric.score(references, estimates, self.seed)
        except Unscorable as error:
            reasons |= {item.id: str(error) for item in heard}
            return self._outcome(reasons, note=f"{self.metric}: {error}.")
        note = ""
        if score.health.get("rank_reference", math.inf) < score.health.get("dim", 0):
            few = f"{score.health['n']} windows in {score.health['dim']} dimensions"
            note = f"{metric.card.title}: {few}, so covariances of low rank: compare sets of this size only."
        added = dict(zip((item.id for item in heard), score.contributions, strict=bool(score.contributions)))
        return self._outcome(reasons, (score.value, score.ci_low, score.ci_high), note=note, added=added)

    def _outcome(
        self,
        reasons: Mapping[str, str],
        interval: tuple[float, float, float] = (NAN, NAN, NAN),
        *,
        note: str = "",
        added: Mapping[str, float] | None = None,
    ) -> Outcome:
        named: dict[str, Any] = {
            "system": self.label,
            "fingerprint": self.fingerprint,
            "dataset": self.dataset,
            "metric": self.metric,
            "card": set_metric(self.metric).card.hash,
            "seed": self.system.seed,
        }
        row = Row(
            **named,
            statistic="pooled",
            data_hash=data_hash((item.id, item.sha256) for item in self.items),
            value=interval[0],
            ci_low=interval[1],
            ci_high=interval[2],
            n_planned=len(self.items),
            n_scored=len(self.items) - len(reasons),
            n_failed=len(reasons),
            note=joined_notes(self.note, note),
        )
        records = [Item(**named, item=name, group=name, reason=why) for name, why in reasons.items()]
        records += [Item(**named, item=name, group=name, value=value) for name, value in (added or {}).items()]
        return Outcome(records, [row])


def windows_of(embedding: str) -> str:
    """Name of the record that counts a file's windows; it never becomes a row."""
    return f"windows:{embedding}"


def windows_key(audio_sha256: str, fingerprint: str, embedding_fingerprint: str) -> LatentKey:
    """Where the windows of one file, as one system gives it back, lie in the latent store."""
    return latent_key(audio_sha256, fingerprint, {"embedding": embedding_fingerprint})


def failures(records: Sequence[Item], name: str) -> dict[str, str]:
    """Item id -> reason, of the records of one metric that have one."""
    return {record.item: record.reason for record in records if record.metric == name and record.reason}


def _record(blank: Item, name: str, card: str, score: float | Unscorable) -> Item:
    record = replace(blank, metric=name, card=card)
    return replace(record, reason=str(score)) if isinstance(score, Unscorable) else replace(record, value=float(score))
