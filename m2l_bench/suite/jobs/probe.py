"""Probe one system's pooled latents on one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from m2l_bench import audio as audio_io
from m2l_bench import plugins
from m2l_bench.probes import PROBES, load_probe
from m2l_bench.results import joined_notes
from m2l_bench.suite.data import TaskSpec
from m2l_bench.suite.jobs import identity
from m2l_bench.suite.jobs.encode import POOLED, keep
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import KeptArrays, Outcome, Store, require
from m2l_bench.systems.apply import encode, reconstruct
from m2l_bench.systems.base import System
from m2l_bench.systems.registry import load
from m2l_bench.tasks import evaluate, load_task
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.frames import Track
from m2l_bench.tasks.outcome import Evaluation, Result, TimeResult
from m2l_bench.tasks.protocol import planned_hash
from m2l_bench.tasks.scoring import TASK_CARDS
from m2l_bench.tasks.time import evaluate_in_time, for_frames


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """Probe one system's pooled latents on one task, all seeds together.

    Its outcome has ``rows``: one number each, with ``split``, ``metric``, ``seed``, ``value``, ``ci_low``, ``ci_high``, counts,
    ``note`` and ``data_hash``; ``items``: predictions and what each item adds; and ``failed``: test items without latents, with
    the reason.

    Attributes
    ----------
    label : str
        The system's name in the tables.
    task : TaskSpec
    latents : tuple of (str, str)
        Item -> identity of the job that kept its latents, of the items that have any.
    missing : tuple of (str, str)
        The other items, and why they have none.
    probe : str
    seeds : tuple of int
    train_items : tuple of int
        Smaller training splits to probe too: rows of the splits ``test@N``, which make a learning curve with the whole.
    """

    label: str
    task: TaskSpec
    latents: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, str], ...]
    probe: str
    seeds: tuple[int, ...]
    train_items: tuple[int, ...] = ()

    kind: ClassVar[str] = "probe"
    batch: ClassVar[int] = 1
    item: ClassVar[None] = None

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(
            self.kind,
            **protocol_facts(self.task.load(), self.probe),
            latents=self.latents,
            missing=self.missing,
            seeds=self.seeds,
            train_items=self.train_items,
        )

    def failed(self, reason: str) -> Outcome:
        """The task as a whole could not be evaluated: every test item counts as failed."""
        if self.missing:
            name, why = self.missing[0]
            reason = f"{reason} ({len(self.missing)} items have no latents, such as {name}: {why})"
        return failed_task(self.task.load(), self.seeds, reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Rows and predictions; items without latents are counted as failed."""
        task, probe = self.task.load(), load_probe(self.probe)
        if task.in_time:
            keys = dict(self.latents)
            in_time = evaluate_in_time(
                task, lambda item: kept_track(store, keys[item]), list(keys), probe, seeds=self.seeds
            )
            if self.train_items:
                note = joined_notes(in_time.note, "There are no learning curves of tasks in time.")
                in_time = replace(in_time, note=note)
            value, reason = records_of(in_time, dict(self.missing))
            return Outcome(value, reason=reason)
        features = KeptArrays(store, dict(self.latents), POOLED)
        result = evaluate(task, features, probe, seeds=self.seeds)
        curve = {
            n: evaluate(task, features, probe, seeds=self.seeds, train_items=n)
            for n in self.train_items
            if n < result.n_train
        }
        value, reason = records_of(result, dict(self.missing))
        if self.train_items:
            curve[result.n_train] = result
            value["rows"] += [row for n, part in curve.items() for row in _rows(part, f"test@{n}")]
        return Outcome(value, reason=reason)


def protocol_facts(task: Task, probe: str) -> dict[str, Any]:
    """All that an evaluation depends on apart from what is evaluated, for identities."""
    return {
        "task": [task.name, task.kind, task.labels, *task.pooled_as, task.caveat],
        "splits": [(item.id, item.split, item.group) for item in task.items()],
        "labels": task.labels_hash,
        "cards": [TASK_CARDS[name].hash for name in task.metrics],
        "probe": plugins.label(probe),
        "settings": probe_settings(probe, in_time=task.in_time),
    }


def records_of(result: Result | TimeResult, missing: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """What an outcome says of a result: rows, items and failed test items; and why the first of these failed, or empty.

    `missing` are items that have nothing to be evaluated, and why.
    """
    lost = [[name, missing.get(name, why)] for name, why in result.failures]
    items = _items_in_time(result) if isinstance(result, TimeResult) else _items(result)
    return {"rows": _rows(result, "test"), "items": items, "failed": lost}, lost[0][1] if lost else ""


def kept_track(store: Store, key: str, array: str = POOLED) -> Track:
    """A track's latents as a job kept them, by default an :class:`m2l_bench.suite.jobs.encode.EncodeJob`."""
    found = require(store, key)
    facts = found.value if array == POOLED else found.value["encoded"][array]
    return Track(latents=found.arrays[array], **facts)


def failed_task(task: Task, seeds: Sequence[int], reason: str) -> Outcome:
    """The outcome of a task that could not be evaluated at all: no numbers, every test item failed."""
    names = [item.id for item in task.items() if item.split == "test"]
    counts = {"n_planned": len(names), "n_scored": 0, "n_failed": len(names)}
    row = {
        "split": "test",
        "value": float("nan"),
        "ci_low": float("nan"),
        "ci_high": float("nan"),
        "note": f"{task.name}: {reason}",
        "data_hash": planned_hash(task, task.split_annotations("test") if task.in_time else task.split_labels("test")),
        **counts,
    }
    rows = [row | {"metric": metric, "seed": seed} for metric in task.metrics for seed in seeds]
    return Outcome({"rows": rows, "items": [], "failed": [[name, reason] for name in names]}, reason=reason)


def _rows(result: Evaluation, split: str) -> list[dict[str, Any]]:
    counts = {
        "n_planned": len(result.items) + len(result.failures),
        "n_scored": len(result.items),
        "n_failed": len(result.failures),
    }
    return [
        {
            "split": split,
            "metric": metric,
            "seed": seed.seed,
            "value": seed.scores[metric],
            "ci_low": seed.intervals[metric][0],
            "ci_high": seed.intervals[metric][1],
            "note": result.note,
            "data_hash": result.data_hash,
            **counts,
        }
        for metric in result.task.metrics
        for seed in result.seeds
    ]


def _items(result: Result) -> list[list[Any]]:
    """Metric, seed, item, group, value, target and prediction; the last two in the records of the main metric alone."""
    main = result.task.main_metric
    return [
        [metric, seed.seed, item.id, item.group, float(value)]
        + ([result.names(target), result.names(result.decide(logits))] if metric == main else ["", ""])
        for seed in result.seeds
        for metric in result.task.metrics
        for item, value, target, logits in zip(
            result.items, result.item_values(metric, seed), result.targets, seed.logits, strict=True
        )
    ]


def _items_in_time(result: TimeResult) -> list[list[Any]]:
    """As :func:`_items`; target and prediction are what is annotated and estimated, as text."""
    main = result.task.main_metric
    return [
        [metric, seed.seed, item.id, item.group, float(value)]
        + ([str(reference), str(found)] if metric == main else ["", ""])
        for seed in result.seeds
        for metric in result.task.metrics
        for item, value, reference, found in zip(
            result.items, result.item_values(metric, seed), result.references, seed.estimates, strict=True
        )
    ]


def probe(
    system: System | str,
    task: Task | str,
    probe: Any = "linear",
    *,
    seeds: Sequence[int] = (0, 1, 2),
    reader: System | str | None = None,
    refit: bool = False,
) -> Result | TimeResult:
    """Probe a system's latents on a task, in this process; :func:`m2l_bench.suite.run.run_suite` keeps its results.

    With a `reader`, its reconstructions are probed through that encoder: the probe is fitted on what the reader finds in
    original training items and tested on what it finds in reconstructed test items. The difference to the score of
    ``"identity"`` is the cost of coding.

    Parameters
    ----------
    system : System or str
        An encoder or autoencoder, or its registry name.
    task : Task or str
        Such as ``"key/tunes"``.
    probe : {"linear", "mlp"} or scikit-learn classifier
        Or ``"path/to/file.py:NAME"``, a classifier in a file.
    seeds : sequence of int
    reader : System or str, optional
        An encoder, or its registry name.
    refit : bool
        Fit the probe of a reader on reconstructed training items.

    Returns
    -------
    Result or TimeResult
        Scores with intervals and spread, predictions, confusion; of a task in time, estimates.

    Raises
    ------
    ValueError
        If a name is unknown, the dataset is missing, an item cannot be encoded, or `refit` is given without a reader.

    Examples
    --------
    >>> probe("majority", "instrument/tonejs", seeds=[0]).mean("accuracy") < 0.2
    True
    """
    if isinstance(system, str):
        system = load(system)
    if isinstance(task, str):
        task = load_task(task)
    if isinstance(reader, str):
        reader = load(reader)
    if refit and reader is None:
        raise ValueError("refit needs a reader, got none")
    features, tracks = {}, {}
    for item in task.items():
        signal, rate = audio_io.load(item.path)
        seconds = signal.shape[-1] / rate
        if reader is not None and (refit or item.split == "test"):
            signal, _ = reconstruct(system, signal, rate, audio_io.without_suffix(item.id))
        latents, latent_rate = encode(reader or system, signal, rate)
        facts, kept = keep(reader or system, latents, latent_rate, seconds, task.pooled_as)
        if task.in_time:
            tracks[item.id] = Track(latents=kept, **facts)
        else:
            features[item.id] = kept
    if task.in_time:
        return evaluate_in_time(task, tracks.__getitem__, list(tracks), load_probe(probe), seeds=seeds)
    return evaluate(task, features, load_probe(probe), seeds=seeds)


def probe_settings(name: str, *, in_time: bool = False) -> dict[str, Any]:
    """All that a probe of this name is made with, for identities: other settings are other results."""
    probe = load_probe(name)
    settings: dict[str, Any] = (for_frames(probe) if in_time else probe).get_params()
    if name in PROBES:
        return settings
    return {"parameters": repr(sorted(settings.items(), key=str)), **plugins.find("probe", name, PROBES).sources}
