"""The jobs over the latents of a dataset: what is fitted on all files, and what then disturbs each.

A pure function of the plan and the stored outcomes. The jobs that encode the files are among the plan's first ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from m2l_bench.suite.data import AudioItem, AudioSet
from m2l_bench.suite.jobs import identity
from m2l_bench.suite.jobs.distance import DistanceJob
from m2l_bench.suite.jobs.latent_sheet import SheetJob
from m2l_bench.suite.jobs.latents import NoiseJob
from m2l_bench.suite.jobs.quantise import CoderJob, QuantiseJob
from m2l_bench.suite.jobs.reconstruct import ReconstructJob
from m2l_bench.suite.plan import FOLDS, Plan, PlannedSystem, distinct
from m2l_bench.suite.store import Store, require


@dataclass(frozen=True)
class LatentSet:
    """The latents of one system over the files of one dataset.

    Attributes
    ----------
    plan : Plan
    system : PlannedSystem
    data : AudioSet
    store : Store
    """

    plan: Plan
    system: PlannedSystem
    data: AudioSet
    store: Store

    @cached_property
    def found(self) -> dict[AudioItem, tuple[str, str]]:
        """Each file: the identity of the job that kept its latents, and why there are none, or empty."""
        keys = {item: self.plan.latents_job(self.system, item).id for item in self.data.items}
        return {item: (key, require(self.store, key, arrays=False).reason) for item, key in keys.items()}

    @cached_property
    def sheet(self) -> SheetJob:
        """The numbers of all files."""
        return SheetJob(
            label=self.system.spec.label, latents=tuple(k for k, reason in self.found.values() if not reason)
        )

    def noise(self, item: AudioItem) -> NoiseJob:
        """Noise in the latents of one file."""
        return NoiseJob(
            spec=self.system.spec,
            fingerprint=self.system.fingerprint,
            item=item,
            sheet=self.sheet.id,
            latents=self._hash,
        )

    @cached_property
    def _hash(self) -> str:
        return identity("latents of a set", latents=self.sheet.latents)

    @cached_property
    def coders(self) -> dict[tuple[int, float], CoderJob]:
        """By fold and step, the coder of the files of that fold, fitted on those of the others."""
        kept = list(self.found.values())
        found = {}
        for fold in range(min(FOLDS, len(kept))):
            others = tuple(key for place, (key, reason) in enumerate(kept) if place % FOLDS != fold and not reason)
            for step in self.plan.steps:
                found[fold, step] = CoderJob(label=self.system.spec.label, latents=others, step=step)
        return found

    def quantised(self, step: float) -> dict[AudioItem, QuantiseJob]:
        """One job for each file that has latents."""
        scoring = replace(self.plan.scoring_of(self.system), max_length_difference=0.0)
        return {
            item: QuantiseJob(
                spec=self.system.spec,
                fingerprint=self.system.fingerprint,
                item=item,
                scoring=scoring,
                latents=key,
                coder=self.coders[place % FOLDS, step].id,
            )
            for place, (item, (key, reason)) in enumerate(self.found.items())
            if not reason
        }

    def distance(self, step: float, metric: str) -> DistanceJob:
        """One set metric at one step, over the files that have windows on both sides."""
        fingerprint = self.plan.encoders[self.plan.set_metrics[metric]]

        def heard(job: ReconstructJob | QuantiseJob) -> bool:
            windows = require(self.store, job.id, arrays=False).value["windows"]
            return not isinstance(windows[fingerprint], str)

        sides = [(self.plan.references.job(item), job) for item, job in self.quantised(step).items()]
        pairs = [(reference.id, job.id) for reference, job in sides if heard(reference) and heard(job)]
        return DistanceJob(
            label=self.system.spec.label,
            metric=self.plan.spellings[metric],
            card=self.plan.cards[metric].hash,
            encoder=fingerprint,
            references=tuple(reference for reference, _ in pairs),
            estimates=tuple(estimate for _, estimate in pairs),
            seed=self.plan.suite.seed,
        )


def latent_sets(plan: Plan, store: Store) -> Iterator[LatentSet]:
    """Each system and dataset whose latents are measured; two labels of one system once."""
    for system in distinct(plan.latent.values()):
        yield from (LatentSet(plan, system, data, store) for data in plan.data)


def fitted_jobs(plan: Plan, store: Store) -> Iterator[SheetJob | CoderJob]:
    """What is fitted on the latents of all files."""
    for found in latent_sets(plan, store):
        if plan.needs_sheet(found.system):
            yield found.sheet
        if plan.is_quantised(found.system):
            yield from found.coders.values()


def disturbed_jobs(plan: Plan, store: Store) -> Iterator[NoiseJob | QuantiseJob]:
    """What decodes the latents of each file, with noise and quantised."""
    for found in latent_sets(plan, store):
        if plan.is_disturbed(found.system):
            yield from (found.noise(item) for item, (_, reason) in found.found.items() if not reason)
        if plan.is_quantised(found.system):
            for step in plan.steps:
                yield from found.quantised(step).values()


def distance_jobs(plan: Plan, store: Store) -> Iterator[DistanceJob]:
    """Each set metric at each step."""
    for found in latent_sets(plan, store):
        if plan.is_quantised(found.system):
            for metric, encoder in plan.set_metrics.items():
                if encoder in plan.encoders:
                    yield from (found.distance(step, metric) for step in plan.steps)
