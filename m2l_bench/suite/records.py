"""From outcomes to results: the items and rows of a run, a dataset and a system at a time.

Those of tasks are built in :mod:`m2l_bench.suite.task_records`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from m2l_bench import plugins
from m2l_bench.results import LATENT_SPACE, Item, Records, Row, joined_notes
from m2l_bench.statistics import mean_interval, median_interval
from m2l_bench.suite.data import AudioItem, AudioSet
from m2l_bench.suite.jobs.reconstruct import BIT_RATE
from m2l_bench.suite.latent_records import latent_records
from m2l_bench.suite.plan import Plan, repeated
from m2l_bench.suite.repeatability import seed_changes
from m2l_bench.suite.set_jobs import common_files, distance_job, shared_windows
from m2l_bench.suite.store import Outcome, Store, require
from m2l_bench.suite.suite import CHANCE, SystemSpec
from m2l_bench.suite.task_records import task_records

NAN = float("nan")
SILENT_NOTE = "{} files have a channel that is silent in the reference and is not scored."
UNDEFINED_NOTE = "{} of {} files are left out: {}."


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
    kept = {audio_set.name: shared_windows(plan, audio_set, store) for audio_set in plan.data if plan.encoders}
    specs = plan.suite.system_specs()
    parts: list[tuple[tuple[str, ...], Callable[[], Records]]] = []
    for data in plan.data:
        parts.append(((data.name, "", "", "", CHANCE), partial(_of_chance, plan, store, data)))
        for spec in specs:
            place = (data.name, "", "", "", spec.label)
            parts.append((place, partial(_of_audio, plan, store, data, spec, kept)))
            parts.append((place, partial(_of_repeats, plan, store, repeated(data), spec)))
            place = (data.name, LATENT_SPACE, "", "", spec.label)
            parts.append((place, partial(latent_records, plan, store, data, spec, kept)))
    for task in plan.tasks:
        parts += [((task.load().name, *place), part) for place, part in task_records(plan, store, task)]
    for _, part in sorted(parts, key=lambda part: part[0]):
        if (records := part()).rows:
            yield records


def _of_audio(
    plan: Plan,
    store: Store,
    audio_set: AudioSet,
    spec: SystemSpec,
    kept: Mapping[str, dict[str, dict[str, list[AudioItem]]]],
) -> Records:
    """The metrics of one system over one set of files; `kept` are the files with windows, by set, codec and encoder."""
    system = plan.systems.get(spec.label)
    if system is not None and spec.label not in plan.codecs:
        return Records()
    builder = _Builder(plan, audio_set, spec, system.fingerprint if system else "", plan.note(spec))
    n = len(audio_set.items)
    if system is None:
        for metric in sorted(map(plugins.label, plan.suite.metrics)):
            builder.summarise(metric, _Scores.lost(n, plan.unusable[spec.label]))
        return builder.records
    columns = {plugins.label(name): _Scores.empty(n) for name in plan.pair_metrics}
    without: dict[str, dict[int, str]] = {name: {} for name in plan.encoders}
    seconds, silent = np.zeros(n), np.zeros(n, bool)
    undefined: dict[str, Counter[str]] = defaultdict(Counter)
    for number, item in enumerate(audio_set.items):
        found = require(store, plan.scorings[spec.label].job(item).id, arrays=False).value
        seconds[number], silent[number] = found["seconds"], found["silent_channels"] > 0
        for metric, reason in found["undefined"].items():
            undefined[metric][reason] += 1
        for metric, score in found["scores"].items():
            columns.setdefault(metric, _Scores.empty(n)).put(number, score)
        for name, reason in _without_windows(plan, item, found["windows"], store):
            without[name][number] = reason
    of_set = kept.get(audio_set.name, {})
    common = common_files(of_set)
    for metric in sorted({*columns, *plan.set_metrics}):
        encoder = plan.set_metrics.get(metric, "")
        if metric == BIT_RATE.name:
            builder.summarise(metric, columns[metric], seconds)
        elif metric in columns:
            n_silent = np.count_nonzero(silent & columns[metric].measured)
            notes = [SILENT_NOTE.format(n_silent)] if n_silent else []
            notes += [UNDEFINED_NOTE.format(count, n, reason) for reason, count in sorted(undefined[metric].items())]
            builder.summarise(metric, columns[metric], notes=notes, n_undefined=undefined[metric].total())
        elif encoder in plan.encoders:
            own, shared = of_set[spec.label][encoder], common[encoder]
            compared = shared if set(shared) <= set(own) else own
            jobs = (distance_job(plan, spec.label, metric, items) for items in (own, compared))
            outcome, tested = (require(store, job.id, arrays=False) for job in jobs)
            added = dict(zip(compared, tested.value.get("contributions", ()), strict=False))
            builder.pooled(metric, outcome, added, without[encoder])
        else:
            builder.summarise(metric, _Scores.lost(n, plan.missing_encoders[encoder]))
    return builder.records


def _of_chance(plan: Plan, store: Store, audio_set: AudioSet) -> Records:
    """The metrics of other tracks in the place of the reconstructions; a pair without a score is no failure of anything."""
    builder = _Builder(plan, audio_set, SystemSpec(system=CHANCE), CHANCE, "")
    columns: dict[str, _Scores] = {}
    for number, job in enumerate(plan.chance_jobs(audio_set)):
        for metric, score in require(store, job.id, arrays=False).value["scores"].items():
            if not isinstance(score, str):
                columns.setdefault(metric, _Scores.empty(len(audio_set.items))).put(number, score)
    for metric, scores in sorted(columns.items()):
        builder.summarise(metric, scores)
    rows = [replace(row, n_planned=row.n_scored, n_failed=0) for row in builder.records.rows]
    return Records(rows, builder.records.items)


def _of_repeats(plan: Plan, store: Store, few: AudioSet, spec: SystemSpec) -> Records:
    """Repeatability of one system over the few files of a set that were reconstructed with another seed too."""
    if spec.label not in plan.codecs:
        return Records()
    builder = _Builder(plan, few, spec, plan.codecs[spec.label].fingerprint, plan.note(spec))
    n = len(few.items)
    for metric, found in sorted(seed_changes(plan, store, spec.label, few).items()):
        scores = _Scores.empty(n)
        for number, score in found.items():
            scores.put(number, score)
        left_out = n - len(found)
        notes = [UNDEFINED_NOTE.format(left_out, n, "no score to compare")] if left_out else []
        builder.summarise(metric, scores, notes=notes, n_undefined=left_out, statistics=("mean",))
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

    def summarise(
        self,
        metric: str,
        scores: _Scores,
        seconds: np.ndarray | None = None,
        *,
        notes: Sequence[str] = (),
        n_undefined: int = 0,
        statistics: Sequence[str] = ("mean", "median"),
    ) -> None:
        """Rows of a pair metric: mean and median of the files' scores; the mean bit rate is all bits over all seconds.

        `n_undefined` files have nothing to measure, as the `notes` say: they are neither scored nor failed.
        """
        values = scores.values[scores.measured]
        of_sets = metric in self.plan.set_metrics  # which comes here only where nothing could be measured
        for name in ("pooled",) if of_sets else statistics:
            interval = NAN, NAN, NAN
            if len(values) and name == "median":
                interval = float(np.median(values)), *median_interval(values, seed=self.plan.suite.seed)
            elif len(values):
                weights = None if seconds is None else seconds[scores.measured]
                interval = float(np.average(values, weights=weights)), *mean_interval(values, weights=weights)
            reasons = set(scores.reasons.values()) if not len(values) else set()
            lost = f"{metric}: {reasons.pop()}" if len(reasons) == 1 else ""
            self._row(metric, name, interval, len(values), joined_notes(lost, *notes), n_undefined)
        self.records.items.append(self._items(metric, scores))

    def pooled(
        self, metric: str, outcome: Outcome, added: Mapping[AudioItem, float], without: Mapping[int, str]
    ) -> None:
        """Rows of a set metric; what each file adds to it, in the set that is compared; files without windows, and why."""
        found, n = outcome.value, len(self.audio_set.items)
        scores = _Scores.empty(n)
        for number, item in enumerate(self.audio_set.items):
            score = without.get(number) or outcome.reason or added.get(item)
            if score is not None:
                scores.put(number, score)
        value, corrected, *ends = (found.get(key, NAN) for key in ("value", "corrected", "low", "high"))
        n_scored = 0 if outcome.reason else n - len(without)
        if np.isnan(corrected):
            self._row(metric, "pooled", (value, *ends), n_scored, found["note"])
        else:  # the interval is that of the corrected value
            self._row(metric, "corrected", (corrected, *ends), n_scored, found["note"])
            self._row(metric, "pooled", (value, NAN, NAN), n_scored, found["note"])
        self.records.items.append(self._items(metric, scores))

    def _row(
        self,
        metric: str,
        statistic: str,
        interval: tuple[float, float, float],
        n_scored: int,
        note: str,
        n_undefined: int = 0,
    ) -> None:
        n_planned = len(self.audio_set.items)
        fields = self.named | {
            "metric": metric,
            "statistic": statistic,
            "card": self.plan.cards[metric].hash,
            "data_hash": self.data_hash,
            "n_planned": n_planned,
            "n_scored": n_scored,
            "n_failed": n_planned - n_scored - n_undefined,
            "note": joined_notes(self.audio_set.note, note, self.note),
        }
        self.records.rows.append(Row.of(fields, interval))

    def _items(self, metric: str, scores: _Scores) -> Iterator[Item]:
        named = self.named | {"metric": metric, "card": self.plan.cards[metric].hash}
        for number, item in enumerate(self.audio_set.items):
            reason = scores.reasons.get(number)
            if reason is not None or scores.measured[number]:
                yield Item.of(named | {"item": item.id, "group": item.id}, reason or float(scores.values[number]))
