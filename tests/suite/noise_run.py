"""A small run over noise, with scores of files and a distance of sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from m2l_bench.suite.run import RunResult, run_suite
from m2l_bench.suite.suite import make_suite

ENCODER = Path(__file__).parents[1] / "examples" / "my_encoder.py"


def make_noise(folder: Path) -> Path:
    """Write as many files as a distance of sets needs."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name in "abcdefghij":
        soundfile.write(folder / f"{name}.wav", 0.1 * rng.standard_normal(8000), 16000)
    return folder


def run_noise(music: Path, out: Path, mirror: str | None = None, **more) -> tuple[RunResult, list[float | None]]:
    """Run it; the result, and the seconds of each job (None where it was found finished)."""
    seconds: list[float | None] = []
    suite = make_suite(
        {
            "systems": ["identity", "lowpass-3.5k"],
            "audio": [str(music)],
            "metrics": ["si_sdr", f"fad:{ENCODER}:BandEnergies"],
            "tasks": [],
        }
    )
    return run_suite(suite, out=out, mirror=mirror, on_finished=lambda job, s: seconds.append(s), **more), seconds
