"""What a run ran on: it stands in the run's ``run.json``, and nowhere in its rows."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from m2l_bench.results import VERSION


def provenance() -> dict[str, Any]:
    """What a run ran on: versions, git state, processor, platform."""
    names = (
        "numpy",
        "scipy",
        "soundfile",
        "soxr",
        "torch",
        "scikit-learn",
        "librosa",
        "pyarrow",
        "transformers",
        "diffusers",
    )
    return {
        "m2l_bench": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in names},
        "git": _git_state(),
        "command": sys.argv,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _git_state() -> dict[str, Any] | None:
    """Commit and whether files differ from it, where the package runs from a checkout."""
    folder = Path(__file__).parent
    try:
        commit, status = (
            subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
            ).stdout
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "changed_files": len(status.splitlines())}
