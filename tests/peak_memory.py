"""The peak of a process's memory, for tests and benchmarks on Linux.

``getrusage``'s ``ru_maxrss`` will not do: Linux hands it down, so that a process starts with the peak of the one that
started it, and whatever stays below that is not seen.
"""

from __future__ import annotations

from pathlib import Path


def peak_memory(pid: int | None = None) -> int:
    """Bytes of physical memory that a process, by default this one, has held at most since its program was loaded."""
    status = Path(f"/proc/{pid or 'self'}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def restart_peak() -> int:
    """Reset this process's peak to what it holds now; returns that many bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()
