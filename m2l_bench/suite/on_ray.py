"""Run jobs on a Ray cluster: the same job function and the same store as on one machine.

The audio must lie under the same path on every machine. So must the run's folder (a shared POSIX file system), unless the run
has a mirror, which workers then fetch from and copy to. They write outcomes themselves: only jobs (kilobytes) go out through
Ray, and only whether they failed comes back.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m2l_bench.suite.engine import Done, EngineError, Job, Workspace, give_up, perform
from m2l_bench.suite.local import ATTEMPTS, THREADS

CONNECT_SECONDS = 30.0


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
        Seconds that a job may take, > 0; a batch that takes longer than its jobs together may is killed and its jobs are
        tried one at a time.
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

    def run(self, batches: Iterator[list[Job]], workspace: Workspace | None) -> Generator[Done]:
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
        shared = workspace and replace(workspace, folder=workspace.folder.resolve())
        retried: deque[list[Job]] = deque()
        attempts: Counter[str] = Counter()
        running: dict[Any, tuple[list[Job], float]] = {}
        try:
            while True:
                while len(running) < width and (batch := retried.popleft() if retried else next(batches, None)):
                    running[remote.remote(batch, shared)] = batch, time.monotonic()
                if not running:
                    break
                finished, _ = ray.wait(list(running), num_returns=1, timeout=self._patience(running))
                for reference in finished:
                    batch, since = running.pop(reference)
                    answer = _answer(ray, reference)
                    if not isinstance(answer, str):
                        yield from (Done(job, *found) for job, found in zip(batch, answer, strict=True))
                        continue
                    for job in batch:  # one at a time, so that the one that kills its worker is told from the others
                        attempts[job.id or job.label] += len(batch) == 1
                        if attempts[job.id or job.label] < ATTEMPTS:
                            retried.append([job])
                        else:
                            yield give_up(job, shared, f"{answer}, {ATTEMPTS} times", time.monotonic() - since)
                for reference, (batch, since) in list(running.items()):
                    if self.timeout is not None and time.monotonic() - since > self.timeout * len(batch):
                        del running[reference]
                        ray.cancel(reference, force=True)
                        reason = f"its worker process was killed after {self.timeout:g} s, the time limit of a job"
                        if len(batch) > 1:
                            retried += [[job] for job in batch]
                        else:
                            yield give_up(batch[0], shared, reason, time.monotonic() - since)
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
            here = str(Path(__file__).resolve().parents[2])
            path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
            local = {} if self.address else {"num_cpus": self.workers, "include_dashboard": False}
            if self.address:
                _require_reachable(self.address)
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

    def _patience(self, running: Mapping[Any, tuple[list[Job], float]]) -> float | None:
        if self.timeout is None:
            return None
        next_deadline = min(since + self.timeout * len(batch) for batch, since in running.values())
        return max(0.05, next_deadline - time.monotonic())


def _require_reachable(address: str) -> None:
    """Raise EngineError where nothing listens at an address within half a minute; Ray itself tries for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):  # "auto" and other names are Ray's to resolve
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise EngineError(f"Ray at {address} cannot be reached: {error.strerror or error}") from error


Found = tuple[str, float, Mapping[str, Any]]


def _perform_there(batch: list[Job], workspace: Workspace | None) -> list[Found] | EngineError:
    """Run a batch in a worker of the cluster; a failing storage is an answer, so that it is told from a lost worker."""
    try:
        return list(perform(batch, workspace and workspace.elsewhere()))
    except EngineError as error:
        return error


def _answer(ray: Any, reference: Any) -> list[Found] | str:
    """The results of a batch, or what became of its worker."""
    try:
        answer = ray.get(reference)
    except ray.exceptions.RayError as error:
        return f"its worker process was lost ({type(error).__name__})"
    if isinstance(answer, EngineError):
        raise answer
    found: list[Found] = answer
    return found
