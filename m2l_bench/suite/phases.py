"""The phases of a run: the jobs of each rest on the outcomes of those before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from m2l_bench.suite.engine import Job
from m2l_bench.suite.latent_jobs import disturbed_jobs, fitted_jobs
from m2l_bench.suite.plan import Plan
from m2l_bench.suite.set_jobs import set_jobs
from m2l_bench.suite.store import Store


def _first_jobs(plan: Plan, store: Store) -> Iterator[Job]:
    return plan.first_jobs()


PHASES: tuple[Callable[[Plan, Store], Iterator[Job]], ...] = (_first_jobs, fitted_jobs, disturbed_jobs, set_jobs)
"""Files; what is fitted on the latents of all files; latents of each file disturbed so; whole sets."""


def all_jobs(plan: Plan, store: Store) -> Iterator[Job]:
    """The jobs of all phases of a finished run."""
    for jobs in PHASES:
        yield from jobs(plan, store)
