"""The figures that others published: complete, numeric, under the names of this package's metrics and tasks."""

from __future__ import annotations

import math
from pathlib import Path

from m2l_bench.report.runs import read_published

FOLDER = Path(__file__).parents[2] / "results" / "published"
METRICS = {"si_sdr", "visqol", "fad:clap", "fad:vggish", "accuracy", "roc_auc", "average_precision"}


def test_figures_are_complete_and_numeric() -> None:
    figures = read_published(FOLDER)
    assert {figure.metric for figure in figures} == METRICS
    assert all(math.isfinite(float(figure.value)) for figure in figures)
    keys = [(f.source, f.system, f.dataset, f.metric) for f in figures]
    assert len(set(keys)) == len(keys)


def test_every_system_of_the_comparison_has_its_figures() -> None:
    systems = {figure.system for figure in read_published(FOLDER)}
    wanted = {"Musika", "LatMusic", "Moûsai v2", "Moûsai v3", "Music2Latent", "Stable Audio VAE", "DAC 8 kbps"}
    assert wanted <= systems
