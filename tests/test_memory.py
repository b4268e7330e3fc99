"""Freed memory that stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Pages faulted in by the last of six equal rounds of writing to 4 x 36 MiB and freeing them; the heap
# settles in the first. Pieces above 32 MiB always go back, unless told otherwise.
ROUNDS = """
import resource, sys, torch
from m2l_bench.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def round():
    pieces = [torch.full((9 * 2**20,), 1.0) for _ in range(4)]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    round()
before = faults()
round()
print(faults() - before)
"""


def _faults(how: str) -> int:
    result = subprocess.run([sys.executable, "-c", ROUNDS, how], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
def test_memory_is_kept_and_not_faulted_in_again() -> None:
    pages = 4 * 36 * 2**20 // 4096
    assert _faults("keep") < pages / 100 < _faults("give back")
