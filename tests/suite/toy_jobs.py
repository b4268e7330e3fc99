"""Jobs of a few milliseconds that do to their process what the test asks for."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m2l_bench.suite.engine import Workspace, failure_reason, run_jobs
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store


@dataclass(frozen=True)
class ToyJob:
    """Scores one file with its number; `deed` happens before, as often as `times` allows (counted in a file)."""

    number: int
    deed: str = ""
    times: int = 1000
    seconds: float = 0.0

    kind = "toy"
    label = "toys"
    item = None
    batch = 1

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.number}".encode()).hexdigest()

    def failed(self, reason: str) -> Outcome:
        return Outcome(reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        folder = store.folder.parent
        folder.mkdir(parents=True, exist_ok=True)
        tries = folder / f"tries-{self.number}"
        with tries.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(tries.read_text().split()) <= self.times:
            self._do()
        time.sleep(self.seconds)
        return Outcome({"value": self.value()})

    def value(self) -> float:
        return float(self.number)

    def _do(self) -> None:
        if self.deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.deed == "hang":
            time.sleep(600)
        elif self.deed == "eat":
            held = np.ones(1 << 27)  # 1 GiB
            time.sleep(60)
            held.sum()
        elif self.deed == "raise":
            raise KeyError("no such thing")
        elif self.deed == "full":
            try:
                raise OSError(errno.ENOSPC, "No space left on device", "somewhere")
            except Exception as error:
                failure_reason(error)


@dataclass(frozen=True)
class BatchedJob(ToyJob):
    """Four of these go to a worker at once."""

    batch = 4


@dataclass(frozen=True)
class ThreadsJob(ToyJob):
    """Scores with the most threads that any library of the process would use."""

    def value(self) -> float:
        import threadpoolctl
        import torch

        limits = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        return float(max([torch.get_num_threads(), *limits]))


@dataclass(frozen=True)
class GpuJob(ToyJob):
    """Scores with the number of the GPU that its process sees."""

    def value(self) -> float:
        return float(os.environ["CUDA_VISIBLE_DEVICES"])


def values_of(jobs: list[ToyJob], folder: Path, engine, **how) -> list[float | str]:
    """Run the jobs; the value of each, or its reason."""
    workspace = Workspace(folder)
    run_jobs(jobs, workspace, engine, **how)
    found = [workspace.store.get(job.id) for job in jobs]
    return [outcome.reason or outcome.value["value"] for outcome in found if outcome]
