"""Read any number of damaged files: python tests/benchmarks/fuzz.py [CASES] [FIRST]

Cases are those of tests/fuzz/mutants.py. They run in a child process with a limit of 2 GiB beyond what it has after its
imports; a child that dies or says nothing for 10 s is a finding, and the next child goes on behind it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fuzz")]


def child(first: int, last: int, folder: Path) -> None:
    """Say each case's number before it is tried, and what was found after."""
    import mutants

    from tests.peak_memory import peak_memory

    mutants.prepare(folder)
    os.chdir(folder)
    for kind in mutants.KINDS:  # what is loaded once must not count as a case's memory
        (folder / kind).write_bytes(mutants.good(kind))
        mutants.READERS[kind](folder / kind)
        (folder / "back.wav").unlink(missing_ok=True)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + mutants.BYTES, used + mutants.BYTES))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders comment on damage at length
    for number, kind, seed in mutants.cases(last, start=first):
        print(json.dumps({"number": number, "kind": kind, "seed": seed}), flush=True)
        if why := mutants.finding(kind, seed, folder):
            print(json.dumps({"found": why}), flush=True)
    print(json.dumps({"peak": peak_memory()}), flush=True)


def run_child(first: int, last: int, found: list[dict[str, Any]]) -> tuple[int, int]:
    """The number after the last case that was tried, and the child's peak memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--child", str(first), str(last), folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            case: dict[str, Any] = {"number": first - 1}
            peak, patience, pending = 0, 120.0, b""
            assert process.stdout is not None
            while True:
                ready = select.select([process.stdout], [], [], patience)[0]
                block = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
                if not block:
                    break
                *lines, pending = (pending + block).split(b"\n")
                for said in (json.loads(line) for line in lines if line.startswith(b"{")):  # libraries print, too
                    patience = 10.0
                    if "found" in said:
                        found.append(case | said)
                    elif "peak" in said:
                        peak = said["peak"]
                    else:
                        case = said
            if not peak:
                why = "says nothing for 10 s" if not ready else f"dies: exit status {process.wait()}"
                process.kill()
                found.append(case | {"found": why})
                if "kind" not in case:
                    raise SystemExit(f"the child does not start: {why}")
            return (last if peak else case["number"] + 1), peak


def main() -> None:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    found: list[dict[str, Any]] = []
    began, at, peak = time.time(), start, 0
    while at < start + total:
        at, used = run_child(at, start + total, found)
        peak = max(peak, used)
    kinds = Counter((case["kind"], case["found"][:80]) for case in found)
    for (kind, why), count in kinds.most_common():
        seeds = [case["seed"] for case in found if (case["kind"], case["found"][:80]) == (kind, why)]
        print(f"{count:5d} {kind}: {why} (seeds {seeds[:3]})")
    print(f"{total} cases, {len(found)} findings, {time.time() - began:.0f} s, peak {peak / 2**20:.0f} MiB")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
