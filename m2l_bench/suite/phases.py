"""The phases of a run: the jobs of each rest on the outcomes of those before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from m2l_bench.suite.engine import Job
from m2l_bench.suite.latent_jobs import disturbed_jobs, fitted_jobs
from m2l_bench.suite.plan import Plan
from m2l_bench.suite.set_jobs import set_jobs
from m2l_bench.suite.store import Store

LATER: tuple[Callable[[Plan, Store], Iterator[Job]], ...] = (fitted_jobs, disturbed_jobs, set_jobs)
"""After the jobs over files: what is fitted on the latents of all files; latents of each file disturbed so; whole sets."""


def later_jobs(plan: Plan, store: Store) -> list[Job]:
    """The jobs of a finished run after the first phase."""
    return [job for jobs in LATER for job in jobs(plan, store)]
