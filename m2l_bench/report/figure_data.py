"""Extract the plain data of each figure from a run's results.

Conventions
-----------
Values are those of the rows (mean over seeds where there are several); intervals are the rows' own. A system without
one of the numbers a figure needs is left out of that figure. Learning curves come from rows whose split names the
number of training items, such as ``test@200``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m2l_bench.report.runs import natural_key
from m2l_bench.report.style import Interval, Point
from m2l_bench.report.tables import Cell, Measurement, Table, make_table, measurement_of
from m2l_bench.results import Item, Row
from m2l_bench.tasks.tonality import KEYS

# The metric that figures show for a task: the first of these that has rows.
MAIN_METRICS = ("key_mirex", "roc_auc", "accuracy", "macro_f1", "average_precision")
_CURVE = re.compile(r"@([0-9]+)$")

Cards = Mapping[str, Mapping[str, Any]]


def family(system: str) -> str:
    """Return the part before the colon; codecs of one family at several rates share a line.

    >>> family("opus:32k")
    'opus'
    """
    return system.partition(":")[0]


def rate_points(
    rows: Sequence[Row], cards: Cards, *, dataset: str, metric: str, against: str, systems: Sequence[str]
) -> list[Point]:
    """`metric` against the mean of `against` (``"bit_rate"`` or ``"compression_ratio"``) for systems that have both."""
    x, y = (_column(rows, cards, [_of(rows, dataset, name)], systems) for name in (against, metric))
    return [Point(system, family(system), x[system], y[system]) for system in systems if system in x and system in y]


def tradeoff_points(
    rows: Sequence[Row], cards: Cards, *, reconstruction: Measurement, probing: Measurement, systems: Sequence[str]
) -> list[Point]:
    """Reconstruction (x) and probing (y) of the systems that have both."""
    x = _column(rows, cards, [reconstruction], systems)
    y = _column(rows, cards, [probing], systems)
    return [Point(system, family(system), x[system], y[system]) for system in systems if system in x and system in y]


def probe_groups(
    rows: Sequence[Row], cards: Cards, *, probe: str, systems: Sequence[str]
) -> dict[str, dict[str, Interval]]:
    """Task -> system -> main score of one probe on the test split."""
    groups = {}
    for measurement in main_measurements(rows):
        if measurement.probe == probe:
            bars = _column(rows, cards, [measurement], systems)
            title = cards[next(row.card for row in rows if measurement_of(row) == measurement)]["title"]
            groups[f"{measurement.task}\n{title}"] = bars
    return groups


def main_measurements(rows: Sequence[Row]) -> list[Measurement]:
    """The main metric of every task, probe and whole (no learning-curve) split, sorted."""
    found: dict[tuple[str, ...], list[Measurement]] = {}
    for measurement in dict.fromkeys(measurement_of(row) for row in rows if row.task):
        if not is_learning_curve(measurement):
            found.setdefault(measurement[:4], []).append(measurement)

    def place(measurement: Measurement) -> tuple[int, str]:
        known = measurement.metric in MAIN_METRICS
        return MAIN_METRICS.index(measurement.metric) if known else len(MAIN_METRICS), measurement.metric

    return sorted(min(several, key=place) for several in found.values())


def is_learning_curve(measurement: Measurement) -> bool:
    """Whether the split names a number of training items."""
    return bool(_CURVE.search(measurement.split))


def confusion_counts(
    items: Sequence[Item], *, task: str, probe: str, split: str, system: str
) -> tuple[np.ndarray, list[str]]:
    """Counts (targets in rows) and labels of a single-label probe's predictions, over all seeds.

    Each prediction counts once, whatever number of metrics it stands under. Empty where there are no predictions.
    """
    pairs = {
        (item.seed, item.item): (item.target, item.prediction)
        for item in items
        if (item.task, item.probe, item.split, item.system) == (task, probe, split, system)
        and item.target
        and item.prediction
        and ";" not in item.target + item.prediction
    }
    found = {label for pair in pairs.values() for label in pair}
    # Keys in the order of the circle of fifths, each major key before its relative minor: related keys are adjacent.
    by_fifths = [KEYS[tonic] for step in range(12) for tonic in (7 * step % 12, (7 * step + 9) % 12 + 12)]
    labels = [key for key in by_fifths if key in found] if found <= set(by_fifths) else sorted(found, key=natural_key)
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for target, prediction in pairs.values():
        counts[place[target], place[prediction]] += 1
    return counts, labels


def learning_curves(
    rows: Sequence[Row], cards: Cards, *, main: Measurement, systems: Sequence[str]
) -> dict[str, list[tuple[float, Interval]]]:
    """System -> (training items, score) from the rows of splits such as ``test@200`` beside `main`'s split."""
    curves: dict[str, list[tuple[float, Interval]]] = {}
    for measurement in sorted({measurement_of(row) for row in rows}):
        found = _CURVE.search(measurement.split)
        if found and measurement._replace(split=measurement.split[: found.start()]) == main:
            for system, interval in _column(rows, cards, [measurement], systems).items():
                curves.setdefault(system, []).append((float(found[1]), interval))
    return {system: sorted(curves[system]) for system in systems if system in curves}


def spectrogram(audio: np.ndarray, *, frames: int = 400, bins: int = 256, n_fft: int = 2048) -> np.ndarray:
    """Levels in dB of a short-time Fourier transform of all channels' mean, reduced to the pixels of a picture.

    Parameters
    ----------
    audio : np.ndarray, float32, (channels, samples)
    frames, bins : int
        Size of the picture; `bins` divides ``n_fft / 2``.
    n_fft : int
        Samples of the periodic Hann window.

    Returns
    -------
    np.ndarray of float32, shape (bins, frames)
        Lowest frequency first; 0 dB is a full-scale sine, the floor -100 dB.

    Raises
    ------
    ValueError
        If the audio is not (channels, samples) with at least one sample.
    """
    import scipy.fft

    if audio.ndim != 2 or audio.shape[-1] < 1:
        raise ValueError(f"audio must have shape (channels, samples), got {audio.shape}")
    mono = np.pad(audio.mean(axis=0, dtype=np.float32), n_fft // 2)  # (samples + n_fft,)
    starts = np.linspace(0, len(mono) - n_fft, frames).astype(int)
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    slices = np.lib.stride_tricks.sliding_window_view(mono, n_fft)[starts] * window  # (frames, n_fft)
    power = np.abs(scipy.fft.rfft(slices, axis=-1)[:, 1:]) ** 2 / (window.sum() / 2) ** 2  # (frames, n_fft / 2)
    power = power.reshape(frames, bins, -1).max(axis=-1).T  # (bins, frames)
    return np.asarray(np.maximum(10 * np.log10(np.maximum(power, 1e-10)), -100.0), dtype=np.float32)


def _of(rows: Sequence[Row], dataset: str, metric: str) -> Measurement:
    """The mean over files, or the number of the whole set where the metric has no other."""
    found = {row.statistic for row in rows if (row.dataset, row.task, row.metric) == (dataset, "", metric)}
    return Measurement(dataset, "", "", "", metric, "pooled" if "pooled" in found else "mean")


def _column(
    rows: Sequence[Row], cards: Cards, measurements: Sequence[Measurement], systems: Sequence[str]
) -> dict[str, Interval]:
    table: Table = make_table(rows, cards, measurements, systems=systems)
    cells: list[tuple[str, Cell | None]] = [(line.system, line.cells[0]) for line in table.lines]
    return {
        system: Interval(cell.value, cell.low, cell.high)
        for system, cell in cells
        if cell is not None and math.isfinite(cell.value)
    }
