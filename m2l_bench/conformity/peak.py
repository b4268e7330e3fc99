"""The peak memory of a system: run in a process of its own, ``python -m m2l_bench.conformity.peak SECONDS ...``.

The system's specification is read from stdin as JSON. The last line of stdout is a JSON list: bytes of physical memory that the
process has held at most after each file. Linux only, and not ``ru_maxrss``: Linux hands that down to a process from the one
that started it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from m2l_bench.conformity.subject import Subject, load_spec
from m2l_bench.suite.suite import SystemSpec


def main(seconds: list[float]) -> None:
    """Print the peaks after files of so many seconds, in this order."""
    spec = SystemSpec.model_validate_json(sys.stdin.read())
    subject, peaks = Subject(load_spec(spec), spec), []
    for length in seconds:
        subject.run(subject.music(length))
        status = Path("/proc/self/status").read_text()
        peaks.append(1024 * int(status.partition("VmHWM:")[2].split()[0]))
    print(f"\n{json.dumps(peaks)}")


if __name__ == "__main__":
    main([float(text) for text in sys.argv[1:]])
