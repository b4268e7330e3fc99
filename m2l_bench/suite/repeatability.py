"""How much a system's reconstructions depend on its seed, from the outcomes of :mod:`m2l_bench.suite.jobs.repeat`."""

from __future__ import annotations

from m2l_bench.cards import REPEATABILITY, SEED_CHANGE
from m2l_bench.reconstruction.pair.si_sdr import LIMIT
from m2l_bench.suite.data import AudioSet
from m2l_bench.suite.plan import Plan
from m2l_bench.suite.store import Store, require


def seed_changes(plan: Plan, store: Store, label: str, audio_set: AudioSet) -> dict[str, dict[int, float | str]]:
    """Repeatability of a codec, and the change of each pair metric with the seed.

    Parameters
    ----------
    plan : Plan
    store : Store
    label : str
        Of the system.
    audio_set : AudioSet
        Those that are repeated: see :func:`m2l_bench.suite.plan.repeated`.

    Returns
    -------
    dict
        Metric -> number of the file -> score, or the reason why there is none; empty where the seed changes nothing. Failures
        that the file's own scores have already, and metrics with nothing to measure, are left out.
    """
    found: dict[str, dict[int, float | str]] = {}
    outcomes = [require(store, job.id, arrays=False) for job in plan.repeat_jobs(label, audio_set)]
    if all(outcome.value.get("equal", True) for outcome in outcomes):
        return found
    for number, (item, outcome) in enumerate(zip(audio_set.items, outcomes, strict=True)):
        own = require(store, plan.scorings[label].job(item).id, arrays=False)
        counted = {own.reason, *own.value["scores"].values()}
        both: dict[str, list[float | str]] = outcome.value.get("scores", {})
        repeatability = outcome.value.get("repeatability", outcome.reason)
        if outcome.value.get("equal"):
            both = {name: [score, score] for name, score in own.value["scores"].items()}
            repeatability = LIMIT
        scores = {REPEATABILITY: repeatability} | {f"{SEED_CHANGE}:{name}": _change(*two) for name, two in both.items()}
        for metric, score in scores.items():
            if metric in plan.cards and not (isinstance(score, str) and score in counted):
                found.setdefault(metric, {})[number] = score
    return found


def _change(first: float | str, second: float | str) -> float | str:
    reasons = [score for score in (first, second) if isinstance(score, str)]
    return reasons[0] if reasons else abs(float(second) - float(first))
