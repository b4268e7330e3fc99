"""The curves of one or several trainings, from the CSV files that ``m2l-bench train`` writes.

Conventions
-----------
``log.csv`` and ``validation.csv`` have a column ``step`` and one column a quantity; ``NAME@X`` is quantity NAME at a
noise level X and shares its panel. A ``loss`` in both is two quantities. Several trainings share the panels, a line each.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

Curve = tuple[list[float], list[float]]

# Of log.csv the loss alone; of validation.csv all there is.
TITLES = {
    "loss": "held-out loss",
    "distance": "held-out distance",
    "si_sdr": "SI-SDR (dB)",
    "mel_distance": "Mel distance",
    "fad:musicnn": "FAD-musicnn",
}


def draw_training(folders: Sequence[Path]) -> Path:
    """Write ``training-curves.pdf`` and ``.png`` into the first folder.

    Parameters
    ----------
    folders : sequence of path-like
        Folders of trainings.

    Returns
    -------
    Path
        Of the PNG.

    Raises
    ------
    ValueError
        If a folder holds no readable ``log.csv``.
    """
    from m2l_bench.report.figures import training_curves
    from m2l_bench.report.style import save

    figure = training_curves(training_data(folders))
    stem = Path(folders[0]) / "training-curves"
    save(figure, stem)
    return stem.with_suffix(".png")


def training_data(folders: Sequence[Path]) -> dict[str, dict[str, Curve]]:
    """Panel -> line -> (steps, values); values that are not finite are left out."""
    panels: dict[str, dict[str, Curve]] = {}
    for folder in map(Path, folders):
        run = folder.resolve().name if len(folders) > 1 else ""
        log, validation = _columns(folder / "log.csv"), folder / "validation.csv"
        found = {"training loss": log["loss"]} | (_columns(validation) if validation.is_file() else {})
        for name, (steps, values) in found.items():
            quantity, _, level = name.partition("@")
            line = " ".join(part for part in (run, level and f"sigma {level}") if part)
            finite = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
            if finite:
                panel = panels.setdefault(TITLES.get(quantity, quantity.replace("_", " ")), {})
                panel[line] = ([step for step, _ in finite], [value for _, value in finite])
    return panels


def _columns(path: Path) -> dict[str, Curve]:
    """Name -> (steps, values) of every column but the step."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        steps = [float(row["step"]) for row in rows]
        names = [name for name in rows[0] if name != "step"]
        return {name: (steps, [float(row[name]) for row in rows]) for name in names}
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: must be a training's CSV with a column step and rows of numbers ({error})"
        ) from error
