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
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from m2l_bench.report.runs import Measurement, RunData, measurement_of, natural_key
from m2l_bench.report.style import Interval, Point
from m2l_bench.report.tables import make_table
from m2l_bench.results import Item
from m2l_bench.tasks.annotation import CHORDS, Annotation, chord_column
from m2l_bench.tasks.tonality import KEYS
from m2l_bench.tasks.track_scores import TIME_KINDS, aligned_chords

# The metric that figures show for a task: the first of these that has rows.
MAIN_METRICS = (
    *("key_mirex", "roc_auc", "tempo_accuracy1", "accuracy", "macro_f1", "average_precision"),
    *(metrics[0] for metrics in TIME_KINDS.values()),
)
_CURVE = re.compile(r"@([0-9]+)$")


def intervals(results: RunData, measurement: Measurement) -> dict[str, Interval]:
    """System -> value with its interval."""
    table = make_table(results.rows, results.cards, [measurement], systems=results.systems)
    cells = table.cells.dropna(subset="value").set_index("system")[["value", "ci_low", "ci_high"]]
    return {str(system): Interval(*numbers) for system, *numbers in cells.itertuples()}


def points(results: RunData, x: Measurement, y: Measurement) -> list[Point]:
    """Make a point of every system that has both numbers; its family is its name up to the colon."""
    of_x, of_y = intervals(results, x), intervals(results, y)
    return [Point(system, system.partition(":")[0], of_x[system], of_y[system]) for system in of_x if system in of_y]


def whole(results: RunData, dataset: str, metric: str) -> Measurement:
    """Return the number of the whole set, less its bias if it has one, or the mean over files where there is no other."""
    found = (Measurement(dataset, metric=metric, statistic=name) for name in ("corrected", "pooled", "mean"))
    return next((m for m in found if m in results.measured), Measurement(dataset, metric=metric, statistic="mean"))


def probe_groups(results: RunData, probe: str) -> dict[str, dict[str, Interval]]:
    """Task -> system -> main score of one probe on the test split."""
    main = [measurement for measurement in main_measurements(results) if measurement.probe == probe]
    return {f"{m.task}\n{results.measured[m]['title']}": intervals(results, m) for m in main}


def main_measurements(results: RunData, reader: str = "") -> list[Measurement]:
    """The main metric of every task, probe and whole (no learning-curve) split of `reader` (none: of latents), sorted."""
    order = {metric: index for index, metric in enumerate(MAIN_METRICS)}
    scores = (m for m in results.measured if m.probe and m.reader == reader and m.statistic != "cost")
    found = groupby((m for m in scores if not is_learning_curve(m)), key=lambda m: m[:4])
    return [min(several, key=lambda m: (order.get(m.metric, len(order)), m.metric)) for _, several in found]


def readers(results: RunData) -> list[str]:
    """Names of the readers of reconstructions, in natural order."""
    return sorted({measurement.reader for measurement in results.measured} - {""}, key=natural_key)


def cost_of(measurement: Measurement) -> Measurement:
    """The cost of coding that belongs to a reader's score."""
    return measurement._replace(statistic="cost")


def coding_costs(results: RunData, probe: str) -> dict[str, dict[str, dict[str, Interval]]]:
    """Task with its main metric -> reader -> system -> cost of coding."""
    found: dict[str, dict[str, dict[str, Interval]]] = {}
    for reader in readers(results):
        for m in main_measurements(results, reader):
            if m.probe == probe and (costs := intervals(results, cost_of(m))):
                found.setdefault(f"{m.task}: {results.measured[m]['title']}", {})[reader] = costs
    return found


def by_compression(results: RunData, systems: Iterable[str]) -> dict[str, str]:
    """System -> its name with its compression ratios, from the mildest to the strongest; first those without one.

    Ratios differ between the tasks' data, whose sample rates differ.
    """
    ratios: dict[str, list[float]] = {system: [] for system in systems}
    for measurement in results.measured:
        if measurement.metric == "compression_ratio":
            for system, interval in intervals(results, measurement).items():
                if system in ratios:
                    ratios[system].append(interval.value)
    named = {}
    for system, found in sorted(ratios.items(), key=lambda entry: float(np.mean(entry[1] or 0.0))):
        ends = dict.fromkeys(f"{ratio:.3g}" for ratio in (min(found), max(found))) if found else {}
        named[system] = f"{system}, {' to '.join(ends)}x" if ends else system
    return named


def is_learning_curve(measurement: Measurement) -> bool:
    """Whether the split names a number of training items."""
    return bool(_CURVE.search(measurement.split))


def confusion_counts(items: Sequence[Item], measurement: Measurement, system: str) -> tuple[np.ndarray, list[str]]:
    """Items (targets in rows) and labels of a single-label probe's predictions: a mean over seeds.

    Each prediction counts once, whatever number of metrics it stands under. Empty where there are no predictions.
    """
    pairs = {
        (item.seed, item.item): (item.target, item.prediction)
        for item in items
        if item.system == system
        and (item.task, item.probe, item.split, item.reader) == (*measurement[1:4], measurement.reader)
        and item.target
        and item.prediction
        and ";" not in item.target + item.prediction
    }
    found = {label for pair in pairs.values() for label in pair}
    # Keys in the order of the circle of fifths, each major key before its relative minor: related keys are adjacent.
    by_fifths = [KEYS[tonic] for step in range(12) for tonic in (7 * step % 12, (7 * step + 9) % 12 + 12)]
    labels = [key for key in by_fifths if key in found] if found <= set(by_fifths) else sorted(found, key=natural_key)
    counts = Counter(pairs.values())
    n_seeds = max(1, len({seed for seed, _ in pairs}))
    return np.array([[counts[target, guess] / n_seeds for guess in labels] for target in labels]), labels


def time_kind(measurement: Measurement) -> str:
    """Kind of the annotations in time that a metric scores; empty for other metrics."""
    return next((kind for kind, metrics in TIME_KINDS.items() if measurement.metric in metrics), "")


def estimates(items: Sequence[Item], measurement: Measurement) -> dict[str, dict[str, Item]]:
    """System -> test track -> its record with target and estimate, of the first seed."""
    found: dict[str, dict[str, Item]] = {}
    wanted = measurement._replace(statistic="")
    mine = (i for i in items if measurement_of(i) == wanted and not i.reason)
    for item in sorted(mine, key=lambda i: (i.system, i.item, i.seed)):
        found.setdefault(item.system, {}).setdefault(item.item, item)
    return found


def chord_confusion(items: Iterable[Item]) -> np.ndarray:
    """Share of the time of major and of minor chords by what was estimated in it.

    Returns
    -------
    np.ndarray, shape (2, 25)
        Rows: annotated major, minor. Columns: estimated major by the interval (semitones up) from the annotated root to the
        estimated one, minor likewise, none.
    """
    seconds = np.zeros((2, len(CHORDS)))
    for item in items:
        given, found = (Annotation.parse("chords", text) for text in (item.target, item.prediction))
        durations, expected, estimated = aligned_chords(given, found)
        for length, target, guess in zip(durations, expected, estimated, strict=True):
            true, said = chord_column(target), chord_column(guess)
            if true < 24:
                column = 24 if said == 24 else said // 12 * 12 + (said - true) % 12
                seconds[true // 12, column] += length
    return seconds / np.maximum(seconds.sum(axis=1, keepdims=True), 1e-9)


def learning_curves(results: RunData, main: Measurement) -> dict[str, list[tuple[float, Interval]]]:
    """System -> (training items, score) from the rows of splits such as ``test@200`` beside `main`'s split."""
    curves: dict[str, list[tuple[float, Interval]]] = {system: [] for system in results.systems}
    for measurement in results.measured:
        found = _CURVE.search(measurement.split)
        if found and measurement._replace(split=measurement.split[: found.start()]) == main:
            for system, interval in intervals(results, measurement).items():
                curves[system].append((float(found[1]), interval))
    return {system: sorted(curve) for system, curve in curves.items() if curve}


LOWEST = 50.0  # Hz, of a spectrogram's frequency axis


def spectrogram(
    audio: np.ndarray, sample_rate: int, *, frames: int = 400, bins: int = 256, n_fft: int = 2048
) -> np.ndarray:
    """Levels in dB of a short-time Fourier transform of all channels' mean, reduced to the pixels of a picture.

    Parameters
    ----------
    audio : np.ndarray, float32, (channels, samples)
    sample_rate : int
        Hz.
    frames, bins : int
        Size of the picture. Bins are evenly spaced on a logarithmic axis from 50 Hz to half the sample rate; one that is
        narrower than a frequency of the transform has the level of that frequency.
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
    power = np.abs(scipy.fft.rfft(slices, axis=-1)) ** 2 / (window.sum() / 2) ** 2  # (frames, n_fft / 2 + 1)
    edges = np.geomspace(min(LOWEST, sample_rate / 4), sample_rate / 2, bins + 1)[:-1]
    first = np.minimum(np.rint(edges * n_fft / sample_rate), n_fft // 2).astype(int)
    power = np.maximum.reduceat(power, first, axis=-1).T  # (bins, frames); equal neighbours share their frequency
    return np.asarray(np.maximum(10 * np.log10(np.maximum(power, 1e-10)), -100.0), dtype=np.float32)


def frequency_ticks(max_frequency: float) -> tuple[list[float], list[str]]:
    """Places from 0 to 1 on the logarithmic axis of a spectrogram up to `max_frequency` (Hz), and their names in kHz.

    Examples
    --------
    >>> frequency_ticks(8000.0)[1]
    ['0.1', '1']
    """
    lowest = min(LOWEST, max_frequency / 2)
    shown = [hertz for hertz in (100, 1000, 10_000) if lowest < hertz < max_frequency]
    return [math.log(hertz / lowest) / math.log(max_frequency / lowest) for hertz in shown], [
        f"{hertz / 1000:g}" for hertz in shown
    ]
