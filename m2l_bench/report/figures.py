"""Figures for a paper: each function draws plain data and returns a matplotlib figure; :func:`save` writes PDF and PNG.

Conventions
-----------
Widths are those of a paper's column (3.35 in) or text (6.9 in); letters are 7 points at that size. Colours are Okabe and
Ito's, which colour-blind readers tell apart, and never the only sign: markers, hatches and direct labels say the same.
The same data give the same bytes (no dates in the files), whatever the user's matplotlib settings are.

References
----------
M. Okabe, K. Ito, "Color Universal Design", 2008.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from m2l_bench.audio import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLUMN = 3.35
PAGE = 6.9
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx")
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "hatch.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "text.usetex": False,
    "text.parse_math": False,  # a system's name may hold a dollar sign
    "axes.unicode_minus": True,
}


class Interval(NamedTuple):
    """A value and the ends of its interval (NaN where there is none)."""

    value: float
    low: float
    high: float


class Point(NamedTuple):
    """One system in a plane; systems of one family are joined by a line."""

    system: str
    family: str
    x: Interval
    y: Interval


def save(figure: Figure, stem: Path) -> None:
    """Write ``STEM.pdf`` (vectors) and ``STEM.png`` (300 dots an inch), without dates."""
    with _style():
        for suffix, metadata in (
            (".pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
            (".png", {"Software": None}),
        ):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix[1:], dpi=300, metadata=metadata)
            write_atomic(stem.with_name(stem.name + suffix), buffer.getvalue())


def rate_quality(points: Sequence[Point], *, x_label: str, y_label: str) -> Figure:
    """Quality against bit rate or compression ratio (logarithmic), with intervals; one line a family.

    Parameters
    ----------
    points : sequence of Point
    x_label, y_label : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    with _axes(COLUMN, 2.5) as (figure, axes):
        axes.set_xscale("log")
        for index, family in enumerate(dict.fromkeys(point.family for point in points)):
            several = sorted((point for point in points if point.family == family), key=lambda point: point.x.value)
            _error_bars(axes, several, index, label=family, line="-")
        _plain_log_ticks(axes.xaxis, [point.x.value for point in points])
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.grid(True, which="major", linewidth=0.3, color="#CCCCCC")
        axes.set_axisbelow(True)
        _legend(figure, axes)
    return figure


def tradeoff(points: Sequence[Point], *, x_label: str, y_label: str) -> Figure:
    """Reconstruction (x) against probing (y), every system named at its point."""
    with _axes(COLUMN, 2.7) as (figure, axes):
        for index, point in enumerate(points):
            _error_bars(axes, [point], index, label=point.system, line="")
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.margins(0.18)
        axes.grid(True, linewidth=0.3, color="#CCCCCC")
        axes.set_axisbelow(True)
        _name_points(figure, axes, [(point.system, point.x.value, point.y.value) for point in points])
    return figure


def probe_bars(groups: Mapping[str, Mapping[str, Interval]], *, y_label: str) -> Figure:
    """Grouped bars: one group a task, one bar a system."""
    systems = list(dict.fromkeys(system for bars in groups.values() for system in bars))
    wide = len(groups) * len(systems) > 24
    width = 0.84 / max(1, len(systems))
    with _axes(PAGE if wide else COLUMN, 2.4) as (figure, axes):
        for index, system in enumerate(systems):
            found = [(place, bars[system]) for place, bars in enumerate(groups.values()) if system in bars]
            axes.bar(
                [place + (index - (len(systems) - 1) / 2) * width for place, _ in found],
                [interval.value for _, interval in found],
                width * 0.92,
                yerr=_errors([interval for _, interval in found]),
                color=COLOURS[index % len(COLOURS)],
                hatch=HATCHES[index // len(COLOURS) % len(HATCHES)],
                edgecolor="white" if index >= len(COLOURS) else "none",
                error_kw={"elinewidth": 0.7, "ecolor": "#333333"},
                label=system,
            )
        axes.set_xticks(range(len(groups)), list(groups))
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel(y_label)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(True, axis="y", linewidth=0.3, color="#CCCCCC")
        axes.set_axisbelow(True)
        _legend(figure, axes)
    return figure


def confusion(counts: np.ndarray, labels: Sequence[str], *, title: str = "") -> Figure:
    """Confusion matrix: share of each true class (row) by predicted class (column); counts where they fit.

    Parameters
    ----------
    counts : np.ndarray of int, shape (classes, classes)
        Rows are targets.
    labels : sequence of str
    title : str
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 5.2 if len(labels) <= 12 else 4.2
    with _axes(COLUMN, 3.1) as (figure, axes):
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(len(labels)), labels, fontsize=size)
        axes.set(xlabel="predicted", ylabel="true", title=title)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for row, column in np.argwhere(counts > 0):
            if len(labels) <= 24:  # smaller digits could not be read
                colour = "white" if shares[row, column] > 0.5 else "#222222"
                axes.text(column, row, int(counts[row, column]), ha="center", va="center", fontsize=size, color=colour)
        _colour_bar(figure, image, axes, "share of the true class")
    return figure


def learning_curves(curves: Mapping[str, Sequence[tuple[float, Interval]]], *, y_label: str) -> Figure:
    """Score against the number of training items (logarithmic), one line a system, intervals as bars."""
    with _axes(COLUMN, 2.4) as (figure, axes):
        axes.set_xscale("log")
        for index, (system, curve) in enumerate(curves.items()):
            several = [Point(system, system, Interval(n, math.nan, math.nan), y) for n, y in sorted(curve)]
            _error_bars(axes, several, index, label=system, line="-")
        _plain_log_ticks(axes.xaxis, [n for curve in curves.values() for n, _ in curve])
        axes.set(xlabel="training items", ylabel=y_label)
        axes.grid(True, which="major", linewidth=0.3, color="#CCCCCC")
        axes.set_axisbelow(True)
        _legend(figure, axes)
    return figure


def spectrogram_grid(
    spectrograms: Mapping[str, np.ndarray], *, duration: float, max_frequency: float, title: str = ""
) -> Figure:
    """The original and every system, each with its difference from the original.

    Parameters
    ----------
    spectrograms : mapping of str to np.ndarray, shape (bins, frames)
        Levels in dB, lowest frequency first, bins evenly spaced up to `max_frequency`; the first is the original.
    duration : float
        Seconds.
    max_frequency : float
        Hz.
    title : str
    """
    with _grid(COLUMN, 0.35 + 0.72 * len(spectrograms), len(spectrograms), 2, sharex=True, sharey=True) as (
        figure,
        all_axes,
    ):
        original = next(iter(spectrograms.values()))
        top = float(original.max())
        extent = (0.0, duration, 0.0, max_frequency / 1000)
        for row, (name, levels) in enumerate(spectrograms.items()):
            left, right = all_axes[row]
            options = {
                "origin": "lower",
                "aspect": "auto",
                "extent": extent,
                "interpolation": "nearest",
                "rasterized": True,
            }
            shown = left.imshow(levels, cmap="magma", vmin=top - 80, vmax=top, **options)
            left.set_ylabel(_short(name, 18), fontsize=6.5)
            left.set_yticks([0, round(max_frequency / 2000), round(max_frequency / 1000)])
            if row == 0:
                right.set_axis_off()
                bars = [(shown, "level (dB)")]
            else:
                difference = right.imshow(levels - original, cmap="RdBu_r", vmin=-30, vmax=30, **options)
                bars.append((difference, "difference from the original (dB)"))
        for image, label in bars[:2]:
            axes = all_axes[:, 0] if label.startswith("level") else all_axes[:, 1]
            bar = figure.colorbar(image, ax=list(axes), location="bottom", aspect=30, fraction=0.12, pad=0.01)
            bar.set_label(label)
            bar.outline.set_linewidth(0.4)
        for axes in all_axes[-1]:
            axes.set_xlabel("time (s)")
        if title:
            figure.suptitle(_short(title, 60))
        all_axes[0][0].set_title("spectrogram (kHz)", loc="left")
    return figure


def significance(differences: np.ndarray, p_values: np.ndarray, systems: Sequence[str], *, title: str) -> Figure:
    """Pairwise comparison: is the row's system better (+), worse (-) or not told apart (dot) from the column's?

    Parameters
    ----------
    differences : np.ndarray, shape (systems, systems)
        Row minus column, signed so that positive means that the row is better.
    p_values : np.ndarray, shape (systems, systems)
        Corrected for the number of comparisons; NaN where two systems could not be compared.
    systems : sequence of str
    title : str
    """
    from matplotlib.colors import ListedColormap

    told_apart = np.nan_to_num(p_values, nan=1.0) < 0.05
    state = np.where(told_apart, np.sign(np.nan_to_num(differences)), 0.0)
    size = 6.5 if len(systems) <= 14 else 5
    with _axes(COLUMN, 3.2) as (figure, axes):
        axes.imshow(state, cmap=ListedColormap(["#E69F00", "#EEEEEE", "#56B4E9"]), vmin=-1, vmax=1)
        names = [_short(system, 22) for system in systems]
        axes.set_xticks(range(len(systems)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(systems)), names, fontsize=size)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xticks(np.arange(0.5, len(systems) - 1), minor=True)
        axes.set_yticks(np.arange(0.5, len(systems) - 1), minor=True)
        axes.grid(True, which="minor", color="white", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
        for row in range(len(systems)):
            for column in range(len(systems)):
                sign = " " if row == column else {1: "+", -1: "−", 0: "·"}[int(state[row, column])]
                axes.text(column, row, sign, ha="center", va="center", fontsize=size + 0.5)
        figure.suptitle(f"{title}\nrow than column: + better, − worse, · not told apart", fontsize=7)
    return figure


def training_curves(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """One panel a quantity over training steps (loss, validation scores), one line a run; logarithmic where all is > 0.

    Parameters
    ----------
    panels : mapping
        Quantity -> run -> (steps, values).
    """
    with _grid(COLUMN, 0.5 + 1.35 * len(panels), len(panels), 1, sharex=True) as (figure, all_axes):
        for row, (quantity, runs) in enumerate(panels.items()):
            axes = all_axes[row][0]
            for index, (name, (steps, values)) in enumerate(runs.items()):
                marker = MARKERS[index % len(MARKERS)] if len(steps) <= 30 else ""
                axes.plot(steps, values, color=COLOURS[index % len(COLOURS)], marker=marker, markersize=2.6, label=name)
            if all(min(values) > 0 and max(values) > 10 * min(values) for _, values in runs.values()):
                axes.set_yscale("log")
                _plain_log_ticks(axes.yaxis, [value for _, values in runs.values() for value in values])
            axes.set_ylabel(quantity)
            axes.grid(True, linewidth=0.3, color="#CCCCCC")
            axes.set_axisbelow(True)
        all_axes[-1][0].set_xlabel("training step")
        if any(len(runs) > 1 for runs in panels.values()):
            _legend(figure, all_axes[0][0])
    return figure


@contextmanager
def _style() -> Iterator[None]:
    """Our settings over matplotlib's defaults, whatever the user's are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


@contextmanager
def _grid(width: float, height: float, rows: int, columns: int, **shared: bool) -> Iterator[tuple[Figure, np.ndarray]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False, **shared)


@contextmanager
def _axes(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    with _grid(width, height, 1, 1) as (figure, axes):
        yield figure, axes[0][0]


def _errors(intervals: Sequence[Interval]) -> np.ndarray:
    """Lengths below and above each value, as matplotlib wants them; 0 where there is no interval."""
    lengths = [(interval.value - interval.low, interval.high - interval.value) for interval in intervals]
    return np.maximum(np.nan_to_num(np.array(lengths, dtype=np.float64).reshape(-1, 2).T), 0.0)


def _error_bars(axes: Axes, points: Sequence[Point], index: int, *, label: str, line: str) -> None:
    axes.errorbar(
        [point.x.value for point in points],
        [point.y.value for point in points],
        xerr=_errors([point.x for point in points]),
        yerr=_errors([point.y for point in points]),
        color=COLOURS[index % len(COLOURS)],
        marker=MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
        linestyle=line,
        elinewidth=0.7,
        capsize=1.5,
        capthick=0.7,
        label=label,
    )


def _plain_log_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Ticks at 1, 2, 5, 10, 20, ... written out: a decade rarely holds all bit rates."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = min(values), max(values)
    ticks = [step * 10.0**power for power in range(-9, 10) for step in (1, 2, 5)]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low / 1.6 <= tick <= high * 1.6]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _legend(figure: Figure, axes: Axes) -> None:
    """Above the axes, in as many columns as the names allow."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    labels = [_short(label, 30) for label in labels]
    characters = figure.get_figwidth() * 17
    columns = max(1, min(len(labels), int(characters / (max(len(label) for label in labels) + 6))))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, columnspacing=1.0, handletextpad=0.4)


def _colour_bar(figure: Figure, image: Any, axes: Axes, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label(label)
    bar.outline.set_linewidth(0.4)


def _name_points(figure: Figure, axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write each name beside its point, at the first of eight places where it covers no point and no other name."""
    figure.canvas.draw()
    taken = [axes.transData.transform((x, y)) for _, x, y in points]
    boxes: list[Any] = []
    for name, x, y in points:
        for dx, dy in ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)):
            text = axes.annotate(
                _short(name, 24),
                (x, y),
                xytext=(4 * dx, (3 if dx else 8) * dy),
                textcoords="offset points",
                ha={1: "left", -1: "right", 0: "center"}[dx],
                va={1: "bottom", -1: "top", 0: "center"}[dy],
                fontsize=6,
            )
            box = text.get_window_extent()
            free = not any(box.overlaps(other) for other in boxes) and not any(box.contains(*at) for at in taken)
            if free and axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1:
                break
            text.remove()
        else:
            text = axes.annotate(_short(name, 24), (x, y), xytext=(5, 3), textcoords="offset points", fontsize=6)
            box = text.get_window_extent()
        boxes.append(box)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
