"""Jobs of a few milliseconds that do to their process what the test asks for."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from m2l_bench.latents import LatentKey
from m2l_bench.results import Item
from m2l_bench.suite.engine import Outcome, Workspace, failure_reason


@dataclass(frozen=True)
class ToyJob:
    """Scores one file with its number; `deed` happens before, as often as `times` allows (counted in a file)."""

    number: int
    deed: str = ""
    times: int = 1000
    seconds: float = 0.0

    kind = "toy"
    label = "toys"

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.number}".encode()).hexdigest()

    def kept(self, outcome: Outcome) -> list[LatentKey]:
        return []

    def failed(self, reason: str) -> Outcome:
        return Outcome([self._item(float("nan"), reason)])

    def run(self, workspace: Workspace) -> Outcome:
        tries = workspace.folder / f"tries-{self.number}"
        workspace.folder.mkdir(parents=True, exist_ok=True)
        with tries.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(tries.read_text().split()) <= self.times:
            self._do()
        time.sleep(self.seconds)
        return Outcome([self._item(float(self.number))])

    def _do(self) -> None:
        if self.deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.deed == "hang":
            time.sleep(600)
        elif self.deed == "eat":
            held = np.ones(3 << 27)  # 3 GiB
            time.sleep(60)
            held.sum()
        elif self.deed == "raise":
            raise KeyError("no such thing")
        elif self.deed == "full":
            try:
                raise OSError(errno.ENOSPC, "No space left on device", "somewhere")
            except Exception as error:
                failure_reason(error)

    def _item(self, value: float, reason: str = "") -> Item:
        return Item(
            system="toys",
            fingerprint="f",
            dataset="d",
            metric="m",
            card="c",
            item=f"{self.number:03d}",
            value=value,
            reason=reason,
        )


@dataclass(frozen=True)
class ThreadsJob(ToyJob):
    """Scores with the most threads that any library of the process would use."""

    def run(self, workspace: Workspace) -> Outcome:
        import threadpoolctl
        import torch

        limits = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        return Outcome([self._item(float(max([torch.get_num_threads(), *limits])))])
