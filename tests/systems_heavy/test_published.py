"""The figures that others published: complete, numeric, under the names of this package's metrics and tasks or their own."""

from __future__ import annotations

import math
from pathlib import Path

from m2l_bench.reconstruction.metrics import METRICS
from m2l_bench.report.runs import read_published
from m2l_bench.tasks.scoring import METRICS as TASK_METRICS

FOLDER = Path(__file__).parents[2] / "results" / "published"
OURS = {"si_sdr", "visqol", "fad:clap", "fad:vggish", "accuracy", "roc_auc", "average_precision"}
THEIRS = {"MR-STFT", "STFT distance", "Mel distance", "Phase coherence (CCPC)"}


def test_figures_are_complete_and_numeric() -> None:
    figures = read_published(FOLDER)
    assert {figure.metric for figure in figures} == OURS | THEIRS
    assert {*METRICS, *TASK_METRICS} >= OURS and not any(name.islower() for name in THEIRS)
    assert all(math.isfinite(float(figure.value)) for figure in figures)
    keys = [(f.source, f.system, f.dataset, f.metric) for f in figures]
    assert len(set(keys)) == len(keys)


def test_every_system_of_the_comparison_has_its_figures() -> None:
    systems = {figure.system for figure in read_published(FOLDER)}
    wanted = {"SAME-L", "SAME-S", "EAR-VAE", "EAR-VAE2", "Stable Audio Open"}
    wanted |= {"Musika", "LatMusic", "Moûsai v2", "Moûsai v3", "Music2Latent", "Stable Audio VAE", "DAC 8 kbps"}
    assert wanted <= systems


def test_one_system_is_spelled_alike_in_every_source() -> None:
    """SAME-L stands in two sources; the metric that both have differs, and each keeps its conditions."""
    found = [f for f in read_published(FOLDER) if (f.system, f.metric) == ("SAME-L", "si_sdr")]
    assert {(f.dataset, f.value) for f in found} == {("MusicCaps", "11.484"), ("Song Describer", "12.5")}
    assert all("others' pipeline" in f.conditions and "only inside this table" in f.conditions for f in found)
