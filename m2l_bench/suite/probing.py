"""The units of work of probing: pool a system's latents over a slice of a task's items, and probe what was pooled.

Latents are pooled as the task says and kept in the latent store, keyed by the audio's content, the system and the pooling:
tasks that share audio and pooling share them, and every probe reads them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, ClassVar

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.latents import LatentKey, latent_key
from m2l_bench.probes import load_probe
from m2l_bench.results import Item, Row
from m2l_bench.suite.data import AudioItem, read_ahead
from m2l_bench.suite.engine import Outcome, Workspace, failure_reason
from m2l_bench.suite.jobs import SystemSpec, identity
from m2l_bench.systems.apply import encode
from m2l_bench.systems.base import System
from m2l_bench.systems.registry import load
from m2l_bench.tasks import evaluate, load_task
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.outcome import Result
from m2l_bench.tasks.protocol import planned_hash
from m2l_bench.tasks.scoring import METRICS
from m2l_bench.tasks.sources.embedded import Embedded

# The record that counts an item's clips; it never becomes a row.
POOLED = "pooled"


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """How to load a task again: its name and, where it is not the default, its data's folder."""

    name: str
    data_home: str | None = None

    def load(self) -> Task:
        """Load the task; ValueError says in one line why it cannot be."""
        return _load_cached(self.name, self.data_home)

    def audio(self) -> tuple[AudioItem, ...]:
        """Every item of every split with the hash of its audio, by id; labels stay unread.

        Raises
        ------
        ValueError
            If the dataset is missing (the message says how to get it) or its splits leak.
        """
        return _audio(self.name, self.data_home)


@lru_cache(maxsize=8)
def _load_cached(name: str, data_home: str | None) -> Task:
    return load_task(name, data_home=data_home)


@lru_cache(maxsize=8)
def _audio(name: str, data_home: str | None) -> tuple[AudioItem, ...]:
    from m2l_bench.suite.data import content_hash

    task = _load_cached(name, data_home)
    if isinstance(task.source, Embedded):
        task.source.verify()  # a moment's work; of a large dataset it is the user's to ask for
    items = task.items()
    return tuple(AudioItem(item.id, str(item.path), content_hash(item.path)) for item in items)


@dataclass(frozen=True, kw_only=True)
class EncodeJob:
    """Encode a slice of audio with one system and keep the pooled latents.

    Attributes
    ----------
    system : SystemSpec
    fingerprint : str
    items : tuple of AudioItem
    pooling : str
    clip_seconds : float or None
        As the task says; see :func:`m2l_bench.tasks.base.pool`.
    """

    system: SystemSpec
    fingerprint: str
    items: tuple[AudioItem, ...]
    pooling: str
    clip_seconds: float | None

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.system.label

    kind: ClassVar[str] = "encode"

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(
            self.kind,
            fingerprint=self.fingerprint,
            items=[(item.id, item.sha256) for item in self.items],
            pooling=self.pooling,
            clip_seconds=self.clip_seconds,
        )

    def kept(self, outcome: Outcome) -> list[LatentKey]:
        """What was pooled."""
        return [self._key(item) for item in self.items if item.id not in outcome.failures]

    def failed(self, reason: str) -> Outcome:
        """Every item, with the reason."""
        return Outcome([replace(self._blank(item), reason=reason) for item in self.items])

    def run(self, workspace: Workspace) -> Outcome:
        """A record for each item: how many clips it gave, or why none."""
        with workspace.latents as store:
            records = []
            for item, read in read_ahead(self.items):
                blank = self._blank(item)
                # Decoding or a system that may be anybody's code: what it raises becomes this item's reason.
                try:
                    pooled = store.get_or_make(self._key(item), partial(self._pool, read))
                    records.append(replace(blank, value=float(pooled.shape[-1])))
                except Exception as error:
                    records.append(replace(blank, reason=failure_reason(error)))
        return Outcome(records)

    def _blank(self, item: AudioItem) -> Item:
        return Item(system=self.label, fingerprint=self.fingerprint, dataset="", metric=POOLED, card="", item=item.id)

    def _pool(self, read: Callable[[], tuple[np.ndarray, int]]) -> np.ndarray:
        from m2l_bench.tasks.base import pool

        system = self.system.load()
        latents, latent_rate = encode(system, *read())
        return pool(latents, latent_rate, pooling=self.pooling, clip_seconds=self.clip_seconds)[None]

    def _key(self, item: AudioItem) -> LatentKey:
        return pooled_key(item, self.fingerprint, self.pooling, self.clip_seconds)


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """Probe one system's pooled latents on one task, all seeds together.

    Attributes
    ----------
    system : SystemSpec
    fingerprint : str
    task : TaskSpec
    items : tuple of AudioItem
        All of the task.
    failed_items : tuple of (str, str)
        Ids without latents, and why.
    probe : str
    seeds : tuple of int
    train_items : tuple of int
        Smaller training splits to probe too: rows of the splits ``test@N``, which make a learning curve with the whole.
    """

    system: SystemSpec
    fingerprint: str
    task: TaskSpec
    items: tuple[AudioItem, ...]
    failed_items: tuple[tuple[str, str], ...]
    probe: str
    seeds: tuple[int, ...]
    train_items: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.system.label

    kind: ClassVar[str] = "probe"

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        task = self.task.load()
        return identity(
            self.kind,
            label=self.label,
            fingerprint=self.fingerprint,
            task=[task.name, task.kind, task.labels, task.pooling, task.clip_seconds, task.caveat],
            items=[(item.id, item.sha256) for item in self.items],
            splits=[(item.id, item.split, item.group) for item in task.items()],
            failed=self.failed_items,
            cards=[METRICS[name].card.hash for name in task.metrics],
            probe=self.probe,
            settings=probe_settings(self.probe),
            seeds=self.seeds,
            **({"train_items": self.train_items} if self.train_items else {}),
        )

    def kept(self, outcome: Outcome) -> list[LatentKey]:
        """Nothing beside the outcome."""
        return []

    def run(self, workspace: Workspace) -> Outcome:
        """Rows and predictions; items without latents are counted as failed."""
        task = self.task.load()
        store = workspace.latents
        reasons = dict(self.failed_items)
        try:
            features = {
                item.id: store.get(pooled_key(item, self.fingerprint, task.pooling, task.clip_seconds))[0]
                for item in self.items
                if item.id not in reasons
            }
            probe = load_probe(self.probe)
            result = evaluate(task, features, probe, seeds=self.seeds)
            curve = {
                n: evaluate(task, features, probe, seeds=self.seeds, train_items=n)
                for n in self.train_items
                if n < result.n_train
            }
        except ValueError as error:
            return self.failed(failure_reason(error))
        named = {"system": self.label, "fingerprint": self.fingerprint}
        rows = [replace(row, probe=self.probe) for row in result.rows(**named)]
        if self.train_items:
            curve[result.n_train] = result
            rows += [
                replace(row, probe=self.probe, split=f"{row.split}@{n}")
                for n, part in curve.items()
                for row in part.rows(**named)
            ]
        records = [replace(record, probe=self.probe) for record in result.item_rows(**named)]
        lost = [(name, reasons.get(name, why)) for name, why in result.failures]
        return Outcome([*records, *self._lost(task, lost)], rows)

    def failed(self, reason: str) -> Outcome:
        """The task as a whole could not be evaluated: every test item counts as failed."""
        task = self.task.load()
        tested = [item.id for item in task.items() if item.split == "test"]
        planned = planned_hash(task, task.split_labels("test"))
        rows = [
            Row(
                system=self.label,
                fingerprint=self.fingerprint,
                dataset=task.name,
                task=task.name,
                probe=self.probe,
                split="test",
                metric=name,
                statistic="score",
                card=METRICS[name].card.hash,
                data_hash=planned,
                seed=seed,
                value=float("nan"),
                n_planned=len(tested),
                n_scored=0,
                n_failed=len(tested),
                note=f"{task.name}: {reason}",
            )
            for name in task.metrics
            for seed in self.seeds
        ]
        return Outcome(self._lost(task, [(item, reason) for item in planned]), rows)

    def _lost(self, task: Task, failures: Sequence[tuple[str, str]]) -> list[Item]:
        card = METRICS[task.main_metric].card
        return [
            Item(
                system=self.label,
                fingerprint=self.fingerprint,
                dataset=task.name,
                task=task.name,
                probe=self.probe,
                split="test",
                metric=card.name,
                card=card.hash,
                item=name,
                group=name,
                reason=reason,
            )
            for name, reason in failures
        ]


def probe(system: System | str, task: Task | str, probe: str = "linear", *, seeds: Sequence[int] = (0, 1, 2)) -> Result:
    """Probe a system's latents on a task, here and now; :func:`m2l_bench.suite.run.run_suite` keeps what it computes.

    Parameters
    ----------
    system : System or str
        An encoder or autoencoder, or its registry name.
    task : Task or str
        Such as ``"key/tunes"``.
    probe : {"linear", "mlp"}
    seeds : sequence of int

    Returns
    -------
    Result
        Scores with intervals and spread, predictions, confusion.

    Raises
    ------
    ValueError
        If a name is unknown, the dataset is missing, or an item cannot be encoded.

    Examples
    --------
    >>> probe("majority", "instrument/tonejs", seeds=[0]).mean("accuracy") < 0.2
    True
    """
    if isinstance(system, str):
        system = load(system)
    if isinstance(task, str):
        task = load_task(task)
    features = {}
    for item in task.items():
        signal, rate = audio_io.load(item.path)
        features[item.id] = task.pool(*encode(system, signal, rate))
    return evaluate(task, features, load_probe(probe), seeds=seeds)


def probe_settings(name: str) -> dict[str, Any]:
    """All that a probe of this name is made with, for identities: other settings are other results."""
    settings: dict[str, Any] = load_probe(name).get_params()
    return settings


def pooled_key(item: AudioItem, fingerprint: str, pooling: str, clip_seconds: float | None) -> LatentKey:
    """Where the pooled latents of one item lie in the latent store."""
    return latent_key(item.sha256 or "0", fingerprint, {"pooling": pooling, "clip_seconds": clip_seconds})
