"""Run jobs on a Ray cluster: the same job function and the same store as on one machine.

The audio must lie under the same path on every machine. So must the run's folder (a shared POSIX file system), unless the run
has a mirror, which workers then fetch from and copy to. They write outcomes and latents themselves: only a job (kilobytes)
goes out through Ray and only its records come back.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m2l_bench.suite.engine import Done, EngineError, Job, JobStore, Outcome, Workspace, give_up, perform
from m2l_bench.suite.local import ATTEMPTS, THREADS


@dataclass(frozen=True, kw_only=True)
class RayEngine:
    """Workers of a Ray cluster.

    Attributes
    ----------
    address : str, optional
        Of a running cluster, such as ``"auto"`` or ``"ray://head:10001"``; Ray is started on this machine by default.
    workers : int, optional
        Most jobs at once, >= 1; as many as the cluster has processors by default.
    gpus_per_job : float
        Share of a GPU that a job gets, >= 0.
    timeout : float, optional
        Seconds that a job may take from when it is handed to Ray, > 0; then it is killed and counts as failed.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_job: float = 0.0
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if not self.gpus_per_job >= 0:
            raise ValueError(f"gpus_per_job must be at least 0, got {self.gpus_per_job}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout must be positive (seconds), got {self.timeout}")

    def run(self, jobs: Sequence[Job], store: JobStore, on_started: Callable[[Job], None]) -> Generator[Done]:
        """Run every job; see :class:`m2l_bench.suite.engine.Engine`.

        Raises
        ------
        ImportError
            Without Ray: ``pip install 'm2l-bench[ray]'``.
        EngineError
            If the cluster cannot be reached, or the storage failed.
        """
        ray = self._connected()
        there = ray.cluster_resources()
        if self.gpus_per_job > there.get("GPU", 0):
            raise EngineError(f"gpus_per_job must be at most what the cluster has, {there.get('GPU', 0):g}")
        processors = max(1, int(there.get("CPU", 1)))
        width = min(self.workers or processors, processors)
        # Retries are counted here, so that a job which kills its workers is not tried for ever.
        remote = ray.remote(num_cpus=1, num_gpus=self.gpus_per_job, max_retries=0)(_perform_there)
        shared = replace(store.workspace, folder=store.workspace.folder.resolve())
        waiting, attempts = deque(jobs), dict.fromkeys((job.id for job in jobs), 0)
        running: dict[Any, tuple[Job, float]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < width:
                    job = waiting.popleft()
                    running[remote.remote(job, shared)] = job, time.monotonic()
                    on_started(job)
                finished, _ = ray.wait(list(running), num_returns=1, timeout=self._patience(running))
                for reference in finished:
                    job, since = running.pop(reference)
                    answer = _answer(ray, reference)
                    if isinstance(answer, tuple):
                        yield Done(job, *answer)
                        continue
                    attempts[job.id] += 1
                    if attempts[job.id] < ATTEMPTS:
                        waiting.appendleft(job)
                    else:
                        yield _failed(job, store, f"{answer}, {ATTEMPTS} times", since)
                for reference, (job, since) in list(running.items()):
                    if self.timeout is not None and time.monotonic() - since > self.timeout:
                        del running[reference]
                        ray.cancel(reference, force=True)
                        reason = f"its worker process was killed after {self.timeout:g} s, the time limit of a job"
                        yield _failed(job, store, reason, since)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        import ray

        ray.shutdown()

    def _connected(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run is sent to anybody
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise ImportError("the ray engine needs Ray: pip install 'm2l-bench[ray]'") from error
        if not ray.is_initialized():
            import m2l_bench

            here = str(Path(m2l_bench.__file__).resolve().parent.parent)
            path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
            local = {} if self.address else {"num_cpus": self.workers, "include_dashboard": False}
            try:
                ray.init(
                    address=self.address,
                    runtime_env={"env_vars": {**THREADS, "PYTHONPATH": path}},
                    log_to_driver=False,
                    logging_level="ERROR",
                    **local,
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise EngineError(f"Ray at {self.address or 'this machine'} cannot be reached: {error}") from error
        return ray

    def _patience(self, running: dict[Any, tuple[Job, float]]) -> float | None:
        if self.timeout is None:
            return None
        oldest = min(since for _, since in running.values())
        return max(0.05, oldest + self.timeout - time.monotonic())


def _perform_there(job: Job, workspace: Workspace) -> tuple[Outcome, float] | EngineError:
    """In a worker of the cluster; a failing storage is an answer, so that it is told from a lost worker."""
    try:
        return perform(job, JobStore(workspace.elsewhere()))
    except EngineError as error:
        return error


def _answer(ray: Any, reference: Any) -> tuple[Outcome, float] | str:
    """What a job found, or what became of its worker."""
    try:
        answer = ray.get(reference)
    except ray.exceptions.RayError as error:
        return f"its worker process was lost ({type(error).__name__})"
    if isinstance(answer, EngineError):
        raise answer
    outcome, seconds = answer
    return outcome, seconds


def _failed(job: Job, store: JobStore, reason: str, since: float) -> Done:
    return Done(job, give_up(job, store, reason), time.monotonic() - since)
