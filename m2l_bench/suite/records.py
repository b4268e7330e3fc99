"""From outcomes to results: the items and rows of a run, a dataset and a system at a time.

Every row and every item of a run is built here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from m2l_bench import plugins
from m2l_bench.results import Item, Row, joined_notes
from m2l_bench.statistics import bootstrap_interval, cluster_draws
from m2l_bench.suite.data import AudioItem, AudioSet, TaskSpec
from m2l_bench.suite.jobs.probe import failed_task
from m2l_bench.suite.jobs.reconstruct import BIT_RATE
from m2l_bench.suite.plan import Plan, distance_job, probe_jobs, shared_windows
from m2l_bench.suite.store import Outcome, Store, require
from m2l_bench.suite.suite import SystemSpec
from m2l_bench.systems.registry import caveat
from m2l_bench.tasks.scoring import METRICS as TASK_METRICS

NAN = float("nan")
SILENT_NOTE = "{} files have a channel that is silent in the reference and is not scored."


@dataclass
class Records:
    """Rows of one system on one dataset, and the items behind them, which are made as they are taken."""

    rows: list[Row] = field(default_factory=list)
    items: list[Iterable[Item]] = field(default_factory=list)


@dataclass
class _Scores:
    """One metric over the files of a set: numbers, and the reasons of the files that have none."""

    values: np.ndarray
    measured: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, n: int) -> _Scores:
        return cls(np.full(n, NAN), np.zeros(n, bool))

    @classmethod
    def lost(cls, n: int, reason: str) -> _Scores:
        return cls(np.full(n, NAN), np.zeros(n, bool), dict.fromkeys(range(n), reason))

    def put(self, number: int, score: float | str) -> None:
        if isinstance(score, str):
            self.reasons[number] = score
        else:
            self.values[number], self.measured[number] = score, True


def all_records(plan: Plan, store: Store) -> Iterator[Records]:
    """Everything that a finished run found, in the order of its items file, one system on one dataset at a time.

    Raises
    ------
    OSError
        If an outcome is damaged or gone.
    """
    parts: list[tuple[tuple[str, ...], Any]] = []
    for audio_set in plan.data:
        parts += [((audio_set.name, "", "", label), (audio_set, spec)) for label, spec in _specs(plan).items()]
    for task in plan.tasks:
        name = task.load().name
        for probe in plan.suite.probes:
            parts += [((name, name, probe, label), (task, probe, spec)) for label, spec in _specs(plan).items()]
    for _, part in sorted(parts, key=lambda part: part[0]):
        records = _of_audio(plan, store, *part) if isinstance(part[0], AudioSet) else _of_task(plan, store, *part)
        if records.rows:
            yield records


def _specs(plan: Plan) -> dict[str, SystemSpec]:
    return {spec.label: spec for spec in plan.suite.system_specs()}


def _note(plan: Plan, spec: SystemSpec) -> str:
    """What must stand under every number of a system."""
    return caveat(spec.system) if spec.label in plan.systems and spec.checkpoint is None else ""


def _of_audio(plan: Plan, store: Store, audio_set: AudioSet, spec: SystemSpec) -> Records:
    """The metrics of one system over one set of files."""
    system = plan.systems.get(spec.label)
    if system is not None and spec.label not in plan.codecs:
        return Records()
    builder = _Builder(plan, audio_set, spec, system.fingerprint if system else "", _note(plan, spec))
    n = len(audio_set.items)
    if system is None:
        for metric in sorted(map(plugins.label, plan.suite.metrics)):
            builder.summarise(metric, _Scores.lost(n, plan.unusable[spec.label]))
        return builder.records
    columns = {plugins.label(name): _Scores.empty(n) for name in plan.pair_metrics}
    without: dict[str, dict[int, str]] = {name: {} for name in plan.encoders}
    seconds, silent = np.zeros(n), np.zeros(n, bool)
    for number, item in enumerate(audio_set.items):
        found = require(store, plan.scorings[spec.label].job(item).id, arrays=False).value
        seconds[number], silent[number] = found["seconds"], found["silent_channels"] > 0
        for metric, score in found["scores"].items():
            columns.setdefault(metric, _Scores.empty(n)).put(number, score)
        for name, reason in _without_windows(plan, item, found["windows"], store):
            without[name][number] = reason
    shared = shared_windows(plan, spec.label, audio_set, store) if plan.encoders else {}
    for metric in sorted({*columns, *plan.set_metrics}):
        encoder = plan.set_metrics.get(metric, "")
        if metric == BIT_RATE.name:
            builder.summarise(metric, columns[metric], seconds)
        elif metric in columns:
            n_silent = np.count_nonzero(silent & columns[metric].measured)
            builder.summarise(metric, columns[metric], note=SILENT_NOTE.format(n_silent) if n_silent else "")
        elif encoder in plan.encoders:
            job = distance_job(plan, spec.label, metric, shared[encoder])
            builder.pooled(metric, require(store, job.id, arrays=False), without[encoder])
        else:
            builder.summarise(metric, _Scores.lost(n, plan.missing_encoders[encoder]))
    return builder.records


def _without_windows(
    plan: Plan, item: AudioItem, own: Mapping[str, int | str], store: Store
) -> Iterator[tuple[str, str]]:
    """Encoders for which a file or its reference has no windows, and why."""
    if plan.encoders:
        reference = require(store, plan.references.job(item).id, arrays=False).value["windows"]
        for name, fingerprint in plan.encoders.items():
            reasons = [reason for side in (own, reference) if isinstance(reason := side[fingerprint], str)]
            if reasons:
                yield name, reasons[0]


class _Builder:
    """Builds the records of one system on one set of files."""

    def __init__(self, plan: Plan, audio_set: AudioSet, spec: SystemSpec, fingerprint: str, note: str) -> None:
        self.plan, self.audio_set, self.note = plan, audio_set, note
        self.named = {"system": spec.label, "fingerprint": fingerprint, "dataset": audio_set.name, "seed": spec.seed}
        self.data_hash = audio_set.hash
        self.records = Records()

    def summarise(self, metric: str, scores: _Scores, seconds: np.ndarray | None = None, note: str = "") -> None:
        """Rows of a pair metric: mean and median of the files' scores; the mean bit rate is all bits over all seconds."""
        values = scores.values[scores.measured]
        of_sets = metric in self.plan.set_metrics  # which comes here only where nothing could be measured
        for name, statistic in (("pooled", np.mean),) if of_sets else (("mean", np.mean), ("median", np.median)):
            interval = NAN, NAN, NAN
            if len(values) and seconds is not None and name == "mean":
                interval = _rate(values, seconds[scores.measured], self.plan.suite.seed)
            elif len(values):
                bounds = bootstrap_interval(values, statistic=statistic, seed=self.plan.suite.seed)
                interval = float(statistic(values)), *bounds
            reasons = set(scores.reasons.values()) if not len(values) else set()
            lost = f"{metric}: {reasons.pop()}" if len(reasons) == 1 else ""
            self._row(metric, name, interval, len(values), joined_notes(lost, note))
        self.records.items.append(self._items(metric, scores))

    def pooled(self, metric: str, outcome: Outcome, without: Mapping[int, str]) -> None:
        """Row of a set metric, and what each file adds to it; `without` are files without windows, and why."""
        found, n = outcome.value, len(self.audio_set.items)
        added = iter(found.get("contributions", ()))
        scores = _Scores.empty(n)
        for number in range(n):
            score = without.get(number) or outcome.reason or next(added, None)
            if score is not None:
                scores.put(number, score)
        interval = found.get("value", NAN), found.get("low", NAN), found.get("high", NAN)
        self._row(metric, "pooled", interval, 0 if outcome.reason else n - len(without), found["note"])
        self.records.items.append(self._items(metric, scores))

    def _row(self, metric: str, statistic: str, interval: tuple[float, float, float], n_scored: int, note: str) -> None:
        n_planned = len(self.audio_set.items)
        fields = self.named | {
            "metric": metric,
            "statistic": statistic,
            "card": self.plan.cards[metric].hash,
            "data_hash": self.data_hash,
            "n_planned": n_planned,
            "n_scored": n_scored,
            "n_failed": n_planned - n_scored,
            "note": joined_notes(self.audio_set.note, note, self.note),
        }
        self.records.rows.append(make_row(fields, interval))

    def _items(self, metric: str, scores: _Scores) -> Iterator[Item]:
        named = self.named | {"metric": metric, "card": self.plan.cards[metric].hash}
        for number, item in enumerate(self.audio_set.items):
            reason = scores.reasons.get(number)
            if reason is not None or scores.measured[number]:
                yield _item(named | {"item": item.id, "group": item.id}, reason or float(scores.values[number]))


def _of_task(plan: Plan, store: Store, task_spec: TaskSpec, probe: str, spec: SystemSpec) -> Records:
    """One system probed on one task."""
    task, system = task_spec.load(), plan.systems.get(spec.label)
    if system is None:
        outcome = failed_task(task, plan.suite.probe_seeds, plan.unusable[spec.label])
    elif spec.label in plan.probed:
        job = next(job for job in probe_jobs(plan, system, task_spec, store) if job.probe == probe)
        outcome = require(store, job.id, arrays=False)
    else:
        return Records()
    named: dict[str, Any] = {
        "system": spec.label,
        "fingerprint": system.fingerprint if system else "",
        "dataset": task.name,
        "task": task.name,
        "probe": plugins.label(probe),
    }
    cards = {name: TASK_METRICS[name].card.hash for name in task.metrics}
    rows = []
    for row in outcome.value["rows"]:
        note = joined_notes(row["note"], _note(plan, spec))
        fields = named | row | {"statistic": "score", "card": cards[row["metric"]], "note": note}
        rows.append(make_row(fields, (row["value"], row["ci_low"], row["ci_high"])))
    items = [
        _item(
            named
            | {"split": "test", "metric": metric, "card": cards[metric], "seed": seed, "item": item, "group": group}
            | {"target": target, "prediction": prediction},
            value,
        )
        for metric, seed, item, group, value, target, prediction in outcome.value["items"]
    ]
    lost = named | {"split": "test", "metric": task.main_metric, "card": cards[task.main_metric]}
    items += [_item(lost | {"item": name, "group": name}, reason) for name, reason in outcome.value["failed"]]
    return Records(rows, [sorted(items, key=lambda item: (item.metric, item.card, item.seed, item.item))])


def make_row(fields: Mapping[str, Any], interval: tuple[float, float, float]) -> Row:
    """A row from its fields and its value with its interval."""
    value, low, high = interval
    return Row(**{**fields, "value": value, "ci_low": low, "ci_high": high})


def _item(fields: Mapping[str, Any], score: float | str) -> Item:
    """An item from its fields and its score, or the reason why it has none."""
    return Item(**fields, reason=score) if isinstance(score, str) else Item(**fields, value=score)


def _rate(kbps: np.ndarray, seconds: np.ndarray, seed: int) -> tuple[float, float, float]:
    """All bits over all seconds, with its bootstrap interval over files."""
    bits = kbps * seconds
    value = float(bits.sum() / seconds.sum())
    if len(kbps) == 1:
        return value, NAN, NAN
    drawn = [bits[picks].sum(axis=1) / seconds[picks].sum(axis=1) for picks in cluster_draws(len(kbps), seed=seed)]
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return value, float(low), float(high)
