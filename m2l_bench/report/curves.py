"""Curves of one or several trainings, read from the CSV files that ``m2l-bench train`` writes.

Conventions
-----------
``log.csv`` and ``validation.csv`` have a column ``step`` and one column for each quantity; ``NAME@X`` is quantity NAME at a
noise level X and shares its panel. A ``loss`` in both is two quantities. Several trainings share the panels, one line each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from m2l_bench.report.figures import training_curves
from m2l_bench.report.style import save

Curve = tuple[list[float], list[float]]

# From log.csv only the loss is drawn; from validation.csv every column.
TITLES = {
    "loss": "held-out loss",
    "distance": "held-out distance",
    "si_sdr": "SI-SDR (dB)",
    "mel_distance": "Mel distance",
    "fad:musicnn": "FAD-musicnn",
}


def draw_training(folders: Sequence[Path]) -> Path:
    """Write ``training-curves.pdf`` and ``.png`` of one or several trainings into the first folder; return the PNG's path.

    Raises
    ------
    ValueError
        If a folder holds no readable ``log.csv``.
    """
    stem = Path(folders[0]) / "training-curves"
    save(training_curves(training_data(folders)), stem)
    return stem.with_suffix(".png")


def training_data(folders: Sequence[Path]) -> dict[str, dict[str, Curve]]:
    """Panel -> line -> (steps, values); values that are not finite are left out."""
    panels: dict[str, dict[str, Curve]] = {}
    for folder in map(Path, folders):
        run = folder.resolve().name if len(folders) > 1 else ""
        columns = [_log(folder / "log.csv")["loss"].rename("training loss")]
        if (folder / "validation.csv").is_file():
            validation = _log(folder / "validation.csv")
            columns += [validation[name] for name in validation]
        for column in columns:
            quantity, _, level = str(column.name).partition("@")
            line = " ".join(part for part in (run, level and f"sigma {level}") if part)
            finite = column[np.isfinite(column)]
            if len(finite):
                panel = panels.setdefault(TITLES.get(quantity, quantity.replace("_", " ")), {})
                panel[line] = (finite.index.tolist(), finite.tolist())
    return panels


def _log(path: Path) -> pd.DataFrame:
    """Read a training's CSV: one column for each quantity, indexed by step."""
    try:
        frame = pd.read_csv(path, dtype=str).astype("float64").set_index("step")
        if frame.empty or (path.name == "log.csv" and "loss" not in frame):
            raise ValueError("it has no loss")
        return frame
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: must be a training's CSV with a column step and rows of numbers ({error})"
        ) from error
