"""From outcomes to results: the items and rows of one system's latent space over one dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from m2l_bench.cards import Card
from m2l_bench.latent import equivariance, sheet
from m2l_bench.latent.rate import BIT_RATE
from m2l_bench.results import LATENT_SPACE, Item, Records, Row, joined_notes
from m2l_bench.statistics import mean_interval
from m2l_bench.suite.data import AudioItem, AudioSet
from m2l_bench.suite.engine import Job
from m2l_bench.suite.jobs.latent_sheet import LAGS, SMOOTHNESS, SPECTRUM
from m2l_bench.suite.jobs.latents import CHANGES, NOISE, card_names
from m2l_bench.suite.latent_jobs import LatentSet
from m2l_bench.suite.plan import Plan, PlannedSystem
from m2l_bench.suite.set_jobs import distance_job
from m2l_bench.suite.store import Store, require
from m2l_bench.suite.suite import SystemSpec

NAN = float("nan")
NO_INTERVAL = (NAN, NAN)
SUFFICIENT = "sufficient_bit_rate"
BIASED = "the interval is that of the number less its bias, which is large where files are few."

Scores = Mapping[str, float | str]
"""File -> its score, or the reason why it has none."""


def step_name(step: float) -> str:
    """The split of rows of one step of the quantiser."""
    return f"step {step:g}"


def sufficient_card(metric: Card) -> Card:
    """The card of the lowest bit rate at which latents are as good as unquantised under a metric."""
    return Card(
        name=f"{SUFFICIENT}:{metric.name}",
        title=f"sufficient bit rate, {metric.title}",
        unit=BIT_RATE.unit,
        higher_is_better=False,
        formula="smallest latent bit rate of the measured steps at which, and at all finer steps, the mean (of a set metric its "
        "value, corrected if it is biased) is not beyond the worse end of the 95% interval of the unquantised system",
        rate_rule=BIT_RATE.rate_rule,
        channel_rule=BIT_RATE.channel_rule,
        constants={"metric": metric.name, "metric_card": metric.hash, "bit_rate_card": BIT_RATE.hash},
        source="m2l_bench",
    )


def latent_cards(metrics: Sequence[Card]) -> dict[str, Card]:
    """Cards of everything that is measured of latent spaces, under the given metrics."""
    directed = [sufficient_card(card) for card in metrics if card.higher_is_better is not None]
    cards = [*sheet.CARDS.values(), *equivariance.CARDS.values(), BIT_RATE, *directed]
    return {card.name: card for card in cards}


def latent_records(
    plan: Plan,
    store: Store,
    audio_set: AudioSet,
    spec: SystemSpec,
    kept: Mapping[str, dict[str, dict[str, list[AudioItem]]]],
) -> Records:
    """All numbers of one system's latent space; none of a system that could not be loaded, or has no latents.

    `kept` are the files with windows, by set, codec and encoder.
    """
    system = plan.latent.get(spec.label)
    if system is None:
        return Records()
    found, rows = LatentSet(plan, system, audio_set, store), _Rows(plan, audio_set, spec, system)
    without = {item.id: reason for item, (_, reason) in found.found.items() if reason}
    if plan.needs_sheet(system):
        _sheet(found, rows, without)
    if plan.is_changed(system):
        jobs = plan.equivariance_jobs(system, audio_set)
        rows.measured(card_names(*CHANGES), {item.id: _outcome(store, job) for item, job in jobs.items()}, {})
    if plan.is_disturbed(system):
        noisy = {item.id: _outcome(store, found.noise(item)) for item in audio_set.items if item.id not in without}
        rows.measured(card_names(NOISE), noisy, without)
    if plan.is_quantised(system):
        _rate_distortion(found, rows, without, kept.get(audio_set.name, {}).get(spec.label, {}))
    return rows.records


def latent_job_behind(row: Row, plan: Plan, store: Store, rng: np.random.Generator) -> Job | None:
    """The job that gives a row, or one of those whose files a mean is over."""
    system = plan.latent.get(row.system)
    if system is None:
        return None
    data = next(data for data in plan.data if data.name == row.dataset)
    found, item = LatentSet(plan, system, data, store), data.items[rng.integers(len(data.items))]
    if row.metric in sheet.CARDS:
        return found.sheet
    if row.metric in card_names(*CHANGES):
        return plan.equivariance_jobs(system, data)[item]
    if row.metric in card_names(NOISE):
        return found.noise(item)
    step = next((step for step in plan.steps if step_name(step) == row.split), plan.steps[0])
    if row.metric in plan.set_metrics:
        return found.distance(step, row.metric)
    return found.quantised(step).get(item)


@dataclass
class _Rows:
    """The rows and items of one system on one dataset."""

    plan: Plan
    audio_set: AudioSet
    spec: SystemSpec
    system: PlannedSystem
    records: Records = field(default_factory=Records)

    def add(
        self,
        metric: str,
        interval: tuple[float, float, float],
        n_scored: int,
        *,
        statistic: str = "mean",
        split: str = "",
        note: str = "",
        n_undefined: int = 0,
    ) -> None:
        """A row."""
        n_planned = len(self.audio_set.items)
        fields = self._fields(metric, split) | {
            "statistic": statistic,
            "data_hash": self.audio_set.hash,
            "n_planned": n_planned,
            "n_scored": n_scored,
            "n_failed": n_planned - n_scored - n_undefined,
            "note": joined_notes(self.audio_set.note, note, self.plan.note(self.spec)),
        }
        self.records.rows.append(Row.of(fields, interval))

    def mean(
        self, metric: str, scores: Scores, *, split: str = "", weights: Mapping[str, float] | None = None
    ) -> float:
        """The mean of the files' scores with its interval, as a row and returned; and their items."""
        values = {name: score for name, score in scores.items() if not isinstance(score, str)}
        interval = _mean(list(values.values()), [weights[name] for name in values] if weights else None)
        n_undefined = len(self.audio_set.items) - len(scores)
        self.add(metric, interval, len(values), split=split, n_undefined=n_undefined)
        self.items(metric, scores, split)
        return interval[0]

    def items(self, metric: str, scores: Scores, split: str = "") -> None:
        """The items behind a row."""
        fields = self._fields(metric, split)
        self.records.items.append(
            [Item.of(fields | {"item": name, "group": name}, score) for name, score in scores.items()]
        )

    def measured(
        self, names: Sequence[str], outcomes: Mapping[str, Mapping[str, Any]], without: Mapping[str, str]
    ) -> None:
        """Means of what was measured of each file by the names of cards; `without` are files that have nothing, and why."""
        for name in names:
            scores = {item: found["scores"][name] for item, found in outcomes.items() if name in found["scores"]}
            self.mean(name, {**scores, **without})

    def _fields(self, metric: str, split: str) -> dict[str, Any]:
        return {
            "system": self.spec.label,
            "fingerprint": self.system.fingerprint,
            "dataset": self.audio_set.name,
            "task": LATENT_SPACE,
            "split": split,
            "metric": metric,
            "card": self.plan.cards[metric].hash,
            "seed": self.spec.seed,
        }


def _outcome(store: Store, job: Job) -> Mapping[str, Any]:
    return require(store, job.id, arrays=False).value


def _mean(values: Sequence[float], weights: Sequence[float] | None = None) -> tuple[float, float, float]:
    if not values:
        return NAN, NAN, NAN
    array = np.array(values)
    weighted = None if weights is None else np.array(weights)
    return float(np.average(array, weights=weighted)), *mean_interval(array, weights=weighted)


def _sheet(found: LatentSet, rows: _Rows, without: Mapping[str, str]) -> None:
    """The numbers of all files, and the curves behind them."""
    outcome = require(found.store, found.sheet.id)
    numbers, intervals = outcome.value["numbers"], outcome.value["intervals"]
    for name in sheet.CARDS:
        interval = numbers.get(name, NAN), *intervals.get(name, NO_INTERVAL)
        scored = len(found.data.items) - len(without) if numbers else 0
        biased = interval[0] < interval[1] or interval[0] > interval[2]  # False where there is no interval
        note = f"{sheet.CARDS[name].title}: {BIASED}" if biased else outcome.reason
        rows.add(name, interval, scored, statistic="pooled", note=note)
        rows.items(name, without)
    if numbers:
        shares = enumerate(outcome.arrays[SPECTRUM].tolist(), 1)
        rows.items("effective_rank", {str(k): share for k, share in shares}, split="component")
        lags, steps = (outcome.arrays[name].tolist() for name in (LAGS, SMOOTHNESS))
        curve = {f"{lag:.6g} s": step for lag, step in zip(lags, steps, strict=True) if math.isfinite(step)}
        rows.items("step_100ms", curve, split="lag")


def _rate_distortion(
    found: LatentSet, rows: _Rows, without: Mapping[str, str], kept: Mapping[str, list[AudioItem]]
) -> None:
    """The scores at each step and what they are worse than unquantised; then the bit rates that suffice."""
    plan, store, label = found.plan, found.store, found.system.spec.label
    whole = {item.id: _outcome(store, plan.scorings[label].job(item)) for item in found.data.items}
    rates: dict[float, float] = {}
    reached: dict[str, dict[float, float]] = {}
    for step in plan.steps:
        split = step_name(step)
        coded = {item.id: _outcome(store, job) for item, job in found.quantised(step).items()}
        seconds = {name: outcome["seconds"] for name, outcome in coded.items()}
        bit_rates = {name: outcome["scores"][BIT_RATE.name] for name, outcome in coded.items()}
        rates[step] = rows.mean(BIT_RATE.name, {**bit_rates, **without}, split=split, weights=seconds)
        for metric in (plan.cards[name] for name in _names(plan)):
            scores = {name: o["scores"][metric.name] for name, o in coded.items() if metric.name in o["scores"]}
            value = rows.mean(metric.name, {**scores, **without}, split=split)
            if metric.higher_is_better is not None:
                reached.setdefault(metric.name, {})[step] = value
                before = {name: outcome["scores"].get(metric.name, "") for name, outcome in whole.items()}
                lost = _lost(before, scores, higher_is_better=metric.higher_is_better)
                rows.add(metric.name, _mean(lost), len(lost), statistic="cost", split=split)
        for name, encoder in plan.set_metrics.items():
            if encoder in plan.encoders:
                reached.setdefault(name, {})[step] = _distance(found, rows, name, step)
    ends = _ends(found, whole, kept)
    for name, values in reached.items():
        if name in ends:
            _sufficient(rows, plan.cards[name], rates, values, ends[name])


def _names(plan: Plan) -> list[str]:
    """The pair metrics, by their names in tables."""
    return [name for name in plan.spellings if name not in plan.set_metrics]


def _lost(before: Scores, after: Scores, *, higher_is_better: bool) -> list[float]:
    """By how much each file with both scores is worse."""
    sign = 1.0 if higher_is_better else -1.0
    pairs = ((before.get(name, ""), score) for name, score in after.items())
    return [sign * (a - b) for a, b in pairs if not isinstance(a, str) and not isinstance(b, str)]


def _distance(found: LatentSet, rows: _Rows, metric: str, step: float) -> float:
    """The rows of a set metric at one step; its value, corrected if it is biased."""
    job = found.distance(step, metric)
    outcome = require(found.store, job.id, arrays=False)
    value, corrected, *ends = (outcome.value.get(key, NAN) for key in ("value", "corrected", "low", "high"))
    n_scored = 0 if outcome.reason else len(job.estimates)
    biased = not math.isnan(corrected)
    place: dict[str, Any] = {"split": step_name(step), "note": outcome.value["note"]}
    rows.add(metric, (value, *(NO_INTERVAL if biased else ends)), n_scored, statistic="pooled", **place)
    if biased:
        rows.add(metric, (corrected, *ends), n_scored, statistic="corrected", **place)
    return corrected if biased else value


def _ends(
    found: LatentSet, whole: Mapping[str, Mapping[str, Any]], kept: Mapping[str, list[AudioItem]]
) -> dict[str, tuple[float, float]]:
    """The interval of each metric of the unquantised system."""
    plan, store, label = found.plan, found.store, found.system.spec.label
    ends: dict[str, tuple[float, float]] = {}
    for name in _names(plan):
        scores = (outcome["scores"].get(name, "") for outcome in whole.values())
        if values := [score for score in scores if not isinstance(score, str)]:
            ends[name] = _mean(values)[1:]
    for name, encoder in plan.set_metrics.items():
        if encoder in plan.encoders:
            job = distance_job(plan, label, name, kept[encoder])
            value = require(store, job.id, arrays=False).value
            ends[name] = value.get("low", NAN), value.get("high", NAN)
    return ends


def _sufficient(
    rows: _Rows, metric: Card, rates: Mapping[float, float], values: Mapping[float, float], ends: tuple[float, float]
) -> None:
    """The row of the bit rate that suffices under one metric; NaN where there is no interval, or no step suffices."""
    worst = ends[0] if metric.higher_is_better else ends[1]
    reached = NAN
    for step in sorted(values):
        good = values[step] >= worst if metric.higher_is_better else values[step] <= worst
        if not good:
            break
        reached = rates[step]
    title = f"{metric.title}: "
    note = ""
    if math.isnan(worst):
        note = f"{title}the unquantised system has no interval."
    elif math.isnan(reached):
        note = f"{title}the finest step is worse than unquantised."
    elif reached == rates[max(rates)]:
        note = f"{title}even the coarsest step is as good as unquantised."
    n_scored = 0 if math.isnan(reached) else len(rows.audio_set.items)
    n_undefined = len(rows.audio_set.items) - n_scored
    rows.add(f"{SUFFICIENT}:{metric.name}", (reached, NAN, NAN), n_scored, note=note, n_undefined=n_undefined)
