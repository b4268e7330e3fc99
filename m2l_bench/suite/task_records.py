"""From outcomes to results: the items and rows of tasks, of one system at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

import numpy as np

from m2l_bench import plugins
from m2l_bench.results import REFIT, Item, Records, Row, joined_notes
from m2l_bench.statistics import mean_interval
from m2l_bench.suite.data import TaskSpec
from m2l_bench.suite.jobs.probe import failed_task
from m2l_bench.suite.jobs.reconstruct import BIT_RATE
from m2l_bench.suite.jobs.reencode import COMPRESSION_RATIO
from m2l_bench.suite.plan import Plan, PlannedSystem
from m2l_bench.suite.set_jobs import probe_jobs, read_job
from m2l_bench.suite.store import Store, require
from m2l_bench.suite.suite import CEILING, SystemSpec
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.protocol import planned_hash
from m2l_bench.tasks.scoring import TASK_CARDS
from m2l_bench.tasks.track_scores import FEWEST_GROUPS

NAN = float("nan")


def task_records(
    plan: Plan, store: Store, task: TaskSpec
) -> Iterator[tuple[tuple[str, str, str, str], Callable[[], Records]]]:
    """What gives the records of a task, for each task, reader, probe and system; those of an empty reader are of latents."""
    name = task.load().name

    @lru_cache(
        maxsize=2
    )  # the records of all systems are made one after the other: the job of all of them, and one refit
    def found(reader: str, probe: str, refit: str) -> Mapping[str, Any]:
        """System's fingerprint -> its rows, items and failures."""
        job = read_job(plan, plan.readers[reader], task, probe, store, refit=plan.read[refit] if refit else None)
        systems: Mapping[str, Any] = require(store, job.id, arrays=False).value["systems"]
        return systems

    for spec in plan.suite.system_specs():
        if plan.suite.reader_specs():
            yield (name, "", "", spec.label), partial(_of_coding, plan, store, task, spec)
        for probe in plan.suite.probes:
            yield (name, "", probe, spec.label), partial(_of_latents, plan, store, task, probe, spec)
            for reader in plan.suite.reader_specs():
                for refit in (False, True)[: 1 + plan.suite.refit]:
                    named = reader.label + REFIT * refit
                    part = partial(_of_reader, plan, found, task.load(), probe, spec, reader.label, refit)
                    yield (name, named, probe, spec.label), part


def _of_latents(plan: Plan, store: Store, task_spec: TaskSpec, probe: str, spec: SystemSpec) -> Records:
    """One system's latents probed on one task."""
    task, system = task_spec.load(), plan.systems.get(spec.label)
    if system is None and plan.suite.probes_latents:
        value = failed_task(task, plan.suite.probe_seeds, plan.unusable[spec.label]).value
    elif system is not None and spec.label in plan.probed:
        job = next(job for job in probe_jobs(plan, system, task_spec, store) if job.probe == probe)
        value = require(store, job.id, arrays=False).value
    else:
        return Records()
    return _scores(_named(spec, system, task) | {"probe": plugins.label(probe)}, task, value, plan.note(spec))


def _of_reader(
    plan: Plan,
    found: Callable[[str, str, str], Mapping[str, Any]],
    task: Task,
    probe: str,
    spec: SystemSpec,
    reader: str,
    refit: bool,
) -> Records:
    """What one reader finds in one system's reconstructions, and what that is less than in the originals."""
    system = plan.systems.get(spec.label)
    if system is not None and spec.label not in plan.read:
        return Records()
    named = _named(spec, system, task) | {"reader": reader + REFIT * refit, "probe": plugins.label(probe)}
    if system is None or reader not in plan.readers:
        reason = plan.unusable.get(spec.label) or plan.missing_readers[reader]
        return _scores(named, task, failed_task(task, plan.suite.probe_seeds, reason).value, plan.note(spec))
    value = found(reader, probe, spec.label if refit else "")[system.fingerprint]
    records = _scores(named, task, value, plan.note(spec))
    if spec.label != CEILING:
        ceiling = plan.read[CEILING].fingerprint
        records.rows += list(_costs(records.rows, task, found(reader, probe, "")[ceiling]["items"], value["items"]))
    return records


def _costs(rows: Sequence[Row], task: Task, originals: Sequence[Any], items: Sequence[Any]) -> Iterator[Row]:
    """A row for each score: its mean paired difference to that of the originals, positive where something was lost."""
    before, after = _by_item(originals), _by_item(items)
    for row in rows:
        key = row.metric, row.seed
        sign = 1.0 if TASK_CARDS[row.metric].higher_is_better else -1.0
        common = [name for name in before.get(key, {}) if name in after.get(key, {})]
        lost = np.array([sign * (before[key][name][0] - after[key][name][0]) for name in common])
        groups = [before[key][name][1] for name in common]
        interval = NAN, NAN, NAN
        if common:
            enough = not task.in_time or len(set(groups)) >= FEWEST_GROUPS
            interval = float(lost.mean()), *(mean_interval(lost, groups=groups) if enough else (NAN, NAN))
        counts = {"n_scored": len(common), "n_failed": row.n_planned - len(common)}
        yield Row.of(asdict(row) | {"statistic": "cost"} | counts, interval)


def _by_item(items: Sequence[Any]) -> dict[tuple[str, int], dict[str, tuple[float, str]]]:
    """(metric, seed) -> item -> its value, where it has one, and its group."""
    found: dict[tuple[str, int], dict[str, tuple[float, str]]] = {}
    for metric, seed, item, group, value, *_ in items:
        if math.isfinite(value):
            found.setdefault((metric, seed), {})[item] = value, group
    return found


def _of_coding(plan: Plan, store: Store, task_spec: TaskSpec, spec: SystemSpec) -> Records:
    """Bit rate and compression ratio of one system over the test items that readers read."""
    system = plan.read.get(spec.label)
    if system is None or not plan.readers:
        return Records()
    task = task_spec.load()
    jobs = [plan.reencode_job(system, item) for item in task_spec.audio("test")]
    found = [require(store, job.id, arrays=False).value for job in jobs]
    rates = [(f["kbps"], f["seconds"]) for f in found if f.get("kbps") is not None]
    ratios = [(f["original_kbps"] / f["kept_kbps"], f["kept_kbps"] * f["seconds"]) for f in found if f.get("kept_kbps")]
    labels = task.split_annotations("test") if task.in_time else task.split_labels("test")
    rows = []
    for card, several in ((BIT_RATE, rates), (COMPRESSION_RATIO, ratios)):
        if several:
            values, weights = np.array(several).T
            fields = _named(spec, system, task) | {
                "split": "test",
                "metric": card.name,
                "statistic": "mean",
                "card": card.hash,
                "data_hash": planned_hash(task, labels),
                "n_planned": len(found),
                "n_scored": len(several),
                "n_failed": len(found) - len(several),
                "note": plan.note(spec),
            }
            mean = float(np.average(values, weights=weights))
            rows.append(Row.of(fields, (mean, *mean_interval(values, weights=weights))))
    return Records(rows)


def _named(spec: SystemSpec, system: PlannedSystem | None, task: Task) -> dict[str, Any]:
    return {
        "system": spec.label,
        "fingerprint": system.fingerprint if system else "",
        "dataset": task.name,
        "task": task.name,
    }


def _scores(named: Mapping[str, Any], task: Task, value: Mapping[str, Any], note: str) -> Records:
    """The records of a task's outcome."""
    cards = {name: TASK_CARDS[name].hash for name in task.metrics}
    rows = []
    for row in value["rows"]:
        fields = {
            **named,
            **row,
            "statistic": "score",
            "card": cards[row["metric"]],
            "note": joined_notes(row["note"], note),
        }
        rows.append(Row.of(fields, (row["value"], row["ci_low"], row["ci_high"])))
    items = []
    for metric, seed, item, group, score, target, prediction in value["items"]:
        place = {"split": "test", "metric": metric, "card": cards[metric], "seed": seed, "item": item, "group": group}
        items.append(Item.of({**named, **place, "target": target, "prediction": prediction}, score))
    lost = {**named, "split": "test", "metric": task.main_metric, "card": cards[task.main_metric]}
    items += [Item.of({**lost, "item": name, "group": name}, reason) for name, reason in value["failed"]]
    return Records(rows, [sorted(items, key=lambda item: (item.metric, item.card, item.seed, item.item))])
