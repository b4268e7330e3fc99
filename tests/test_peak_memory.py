"""The tests' own measure of memory sees what a process takes, and not what its parent took."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from peak_memory import peak_memory, restart_peak

CHILD = "from peak_memory import peak_memory; a = bytearray(b'a') * ({} << 20); del a; print(peak_memory() >> 20)"


def _child(megabytes: int) -> int:
    command = [sys.executable, "-c", CHILD.format(megabytes)]
    return int(subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout)


def test_a_peak_is_seen_after_it_is_over_and_is_not_handed_down() -> None:
    parents = np.ones(300 << 17)  # 300 MiB, filled
    assert parents.nbytes < peak_memory() <= peak_memory(os.getpid())
    assert _child(0) < 50
    assert 250 <= _child(250) < 300


def test_a_peak_can_begin_anew() -> None:
    held = restart_peak()
    # Pages of the system's own: an array may be put into what the process already holds (as it is once a training has
    # told the C library to keep its memory).
    with mmap.mmap(-1, 200 << 20) as pages:
        for _ in range(200):
            pages.write(bytes(1 << 20))
    assert peak_memory() - held > 190 << 20
    assert restart_peak() - held < 50 << 20
