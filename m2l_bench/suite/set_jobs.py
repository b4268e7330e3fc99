"""The jobs over whole sets, which rest on what the jobs over files found: distances, probes of latents, readers.

A pure function of the plan and the stored outcomes, as the plan is of the suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from m2l_bench.reconstruction.sets.distribution import MINIMUM_FILES
from m2l_bench.suite.data import AudioItem, AudioSet, TaskSpec
from m2l_bench.suite.jobs.distance import DistanceJob
from m2l_bench.suite.jobs.encode import POOLED
from m2l_bench.suite.jobs.probe import ProbeJob
from m2l_bench.suite.jobs.read import Found, ReadJob
from m2l_bench.suite.jobs.reconstruct import Scoring
from m2l_bench.suite.jobs.reencode import array_name
from m2l_bench.suite.latent_jobs import distance_jobs
from m2l_bench.suite.plan import TRAINING, Plan, PlannedSystem, distinct
from m2l_bench.suite.store import Store, require


def set_jobs(plan: Plan, store: Store) -> Iterator[DistanceJob | ProbeJob | ReadJob]:
    """The jobs over whole sets: each set metric, and each probe, over the files that there are results of."""
    for audio_set in plan.data if plan.encoders else ():
        kept = shared_windows(plan, audio_set, store)
        common = common_files(kept)
        for label, of_encoders in kept.items():
            for metric, encoder in plan.set_metrics.items():
                if encoder in of_encoders:
                    yield distance_job(plan, label, metric, of_encoders[encoder])
                    if set(common[encoder]) < set(of_encoders[encoder]):
                        yield distance_job(plan, label, metric, common[encoder])
    yield from distance_jobs(plan, store)
    for system in distinct(plan.probed.values()):
        for spec in plan.tasks:
            yield from probe_jobs(plan, system, spec, store)
    for reader in distinct(plan.readers.values()):
        for spec in plan.tasks:
            for probe in plan.suite.probes:
                yield read_job(plan, reader, spec, probe, store)
                for system in distinct(plan.read.values()) if plan.suite.refit else ():
                    yield read_job(plan, reader, spec, probe, store, refit=system)


def distance_job(plan: Plan, label: str, metric: str, items: Sequence[AudioItem]) -> DistanceJob:
    """One set metric of one system over the files that have windows on both sides."""
    return DistanceJob(
        label=label,
        metric=plan.spellings[metric],
        card=plan.cards[metric].hash,
        encoder=plan.encoders[plan.set_metrics[metric]],
        references=tuple(plan.references.job(item).id for item in items),
        estimates=tuple(plan.scorings[label].job(item).id for item in items),
        seed=plan.suite.seed,
    )


def probe_jobs(plan: Plan, system: PlannedSystem, spec: TaskSpec, store: Store) -> list[ProbeJob]:
    """Each probe of one system on one task."""
    found: list[tuple[str, str]] = []
    missing: list[tuple[str, str]] = []
    for job in plan.encode_jobs(system, spec):
        reason = require(store, job.id, arrays=False).reason
        (missing if reason else found).append((job.item.id, reason or job.id))
    return [
        ProbeJob(
            label=system.spec.label,
            task=spec,
            latents=tuple(found),
            missing=tuple(missing),
            probe=probe,
            seeds=plan.suite.probe_seeds,
            train_items=plan.suite.train_items,
        )
        for probe in plan.suite.probes
    ]


def read_job(
    plan: Plan, reader: PlannedSystem, spec: TaskSpec, probe: str, store: Store, *, refit: PlannedSystem | None = None
) -> ReadJob:
    """A probe on one reader's features of a task: of the originals, tested on all systems; or, `refit`, of one system."""
    array = array_name(reader.fingerprint, spec.load().pooled_as)

    def found(system: PlannedSystem | None, splits: Sequence[str]) -> Found:
        kept, missing = [], []
        for item in spec.audio(*splits):
            if system is None:
                key = plan.encode_job(reader, spec, item).id
                reason = require(store, key, arrays=False).reason
            else:
                key = plan.reencode_job(system, item).id
                outcome = require(store, key, arrays=False)
                facts = outcome.value["encoded"].get(array, outcome.reason)
                reason = facts if isinstance(facts, str) else ""
            if reason:
                missing.append((item.id, reason))
            else:
                kept.append((item.id, key))
        name = system.fingerprint if system else ""
        return Found(system=name, kept=tuple(kept), missing=tuple(missing), array=array if system else POOLED)

    tested = distinct(plan.read.values()) if refit is None else [refit]
    return ReadJob(
        label=reader.spec.label,
        task=spec,
        training=found(refit, TRAINING),
        tests=tuple(found(system, ("test",)) for system in tested),
        probe=probe,
        seeds=plan.suite.probe_seeds,
    )


def shared_windows(plan: Plan, audio_set: AudioSet, store: Store) -> dict[str, dict[str, list[AudioItem]]]:
    """Codec -> encoder -> the files of which both the reference and the reconstruction have windows."""

    def heard(scoring: Scoring, item: AudioItem) -> set[str]:
        windows = require(store, scoring.job(item).id, arrays=False).value["windows"]
        return {fingerprint for fingerprint, found in windows.items() if not isinstance(found, str)}

    references = {item: heard(plan.references, item) for item in audio_set.items}
    kept = {}
    for label, scoring in plan.scorings.items():
        both = {item: references[item] & heard(scoring, item) for item in audio_set.items}
        kept[label] = {
            name: [item for item, found in both.items() if fingerprint in found]
            for name, fingerprint in plan.encoders.items()
        }
    return kept


def common_files(kept: Mapping[str, Mapping[str, list[AudioItem]]]) -> dict[str, list[AudioItem]]:
    """Encoder -> the files that every codec has, of those with enough files for a distance: what paired tests rest on."""
    common: dict[str, list[AudioItem]] = {}
    for of_encoders in kept.values():
        for name, items in of_encoders.items():
            before = common.setdefault(name, items)
            if len(before) < MINIMUM_FILES:
                common[name] = items
            elif len(items) >= MINIMUM_FILES:
                there = set(items)
                common[name] = [item for item in before if item in there]
    return common
