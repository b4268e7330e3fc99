"""Figures for a paper: each function draws plain data and returns a matplotlib figure.

:func:`~m2l_bench.report.style.save` writes it as PDF and PNG; :mod:`m2l_bench.report.figure_data` takes the data from a
run's results.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from m2l_bench.report import style
from m2l_bench.report.style import Interval, Looks, Point
from m2l_bench.results import REFIT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rate_quality(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    quantised: Mapping[str, tuple[Sequence[Point], Interval | None]] | None = None,
    looks: Looks | None = None,
) -> Figure:
    """Quality against bit rate or compression ratio (logarithmic), with intervals; one line for each family.

    Parameters
    ----------
    points : sequence of Point
    quantised : mapping, optional
        Autoencoder -> its points with quantised latents, which have open markers and a dashed line, and its quality
        unquantised, a dotted line over their bit rates.
    looks : mapping of str to int, optional
        See :func:`m2l_bench.report.style.looks`; here and below.
    """
    families: dict[str, list[Point]] = {point.family: [] for point in points}
    for point in sorted(points, key=lambda point: point.x.value):
        families[point.family].append(point)
    return _curves(families, x_label, y_label, line="-", quantised=quantised or {}, looks=looks)


def tradeoff(points: Sequence[Point], *, x_label: str, y_label: str, looks: Looks | None = None) -> Figure:
    """Reconstruction (x) against probing (y), with intervals; one colour and marker for each system."""
    return _curves({point.system: [point] for point in points}, x_label, y_label, line="", looks=looks)


def probe_bars(
    groups: Mapping[str, Mapping[str, Interval]], *, y_label: str, chance: str = "", looks: Looks | None = None
) -> Figure:
    """Grouped bars: one group for each task, one bar for each system; dashed across a group: the score of the system `chance`."""
    systems = list(dict.fromkeys(system for bars in groups.values() for system in bars))
    wide = len(groups) * len(systems) > 24
    width = 0.84 / max(1, len(systems))
    with style.panels(style.PAGE if wide else style.COLUMN, 2.4) as (figure, [[axes]]):
        for index, system in enumerate(systems):
            found = [(place, bars[system]) for place, bars in enumerate(groups.values()) if system in bars]
            place_of = (looks or {}).get(system, index)
            axes.bar(
                [place + (index - (len(systems) - 1) / 2) * width for place, _ in found],
                [interval.value for _, interval in found],
                width * 0.92,
                yerr=style.error_lengths([interval for _, interval in found]),
                color=style.colour(place_of),
                hatch=style.HATCHES[place_of // len(style.COLOURS) % len(style.HATCHES)],
                edgecolor="white" if place_of >= len(style.COLOURS) else "none",
                error_kw={"elinewidth": 0.7, "ecolor": "#333333"},
                label=system,
            )
        levels = [(place, bars[chance].value) for place, bars in enumerate(groups.values()) if chance in bars]
        if levels:
            places, heights = zip(*levels, strict=True)
            left, right = [place - 0.45 for place in places], [place + 0.45 for place in places]
            axes.hlines(
                heights, left, right, color="#333333", linestyle="--", linewidth=0.7, label=f"level of {chance}"
            )
        axes.set_xticks(range(len(groups)), list(groups))
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel(y_label)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        style.grid_below(axes, axis="y")
        style.legend(figure, axes)
    return figure


def coding_costs(panels: Mapping[str, Mapping[str, Mapping[str, Interval]]], systems: Mapping[str, str]) -> Figure:
    """Cost of coding: a panel for each task, a line for each system, a colour for each reader.

    Parameters
    ----------
    panels : mapping
        Title -> reader -> system -> cost.
    systems : mapping of str to str
        System -> its label, from top to bottom.
    """
    readers = list(dict.fromkeys(reader for costs in panels.values() for reader in costs))
    colours = list(dict.fromkeys(reader.removesuffix(REFIT) for reader in readers))
    places = {system: place for place, system in enumerate(systems)}
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    height = rows * (0.45 + 0.2 * len(systems)) + 0.3
    with style.panels(style.PAGE, height, rows, columns, sharey=True) as (figure, all_axes):
        for axes, (title, costs) in zip(all_axes.flat, panels.items(), strict=False):
            for index, reader in enumerate(readers):
                found = [(places[system], cost) for system, cost in costs.get(reader, {}).items()]
                colour = style.COLOURS[colours.index(reader.removesuffix(REFIT)) % len(style.COLOURS)]
                axes.errorbar(
                    [cost.value for _, cost in found],
                    [place + 0.6 * ((index + 0.5) / len(readers) - 0.5) for place, _ in found],
                    xerr=style.error_lengths([cost for _, cost in found]),
                    color=colour,
                    marker=style.MARKERS[index % len(style.MARKERS)],
                    markerfacecolor="white" if reader.endswith(REFIT) else colour,  # a refitted probe
                    markersize=3,
                    linestyle="",
                    elinewidth=0.7,
                    label=reader,
                )
            axes.axvline(0.0, color="#333333", linewidth=0.5)
            axes.set_title(style.short(title, 36), loc="left")
            axes.set_yticks(range(len(systems)), list(systems.values()))
            axes.set_ylim(len(systems) - 0.5, -0.5)
            style.grid_below(axes)
        for axes in all_axes.flat[len(panels) :]:
            axes.set_axis_off()
        for axes in all_axes[-1]:
            axes.set_xlabel("cost of coding")
        style.legend(figure, all_axes[0][0])
    return figure


def confusion(counts: np.ndarray, labels: Sequence[str], *, title: str = "") -> Figure:
    """Confusion matrix: share of each true class (row) by predicted class (column); items where they fit, a mean over seeds."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 5.2 if len(labels) <= 12 else 4.2
    with style.panels(style.COLUMN, 3.1) as (figure, [[axes]]):
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        style.square_labels(axes, labels, size)
        axes.set(xlabel="predicted", ylabel="true", title=style.short(title, 52))
        for row, column in np.argwhere((counts > 0) & (len(labels) <= 24)):  # smaller digits could not be read
            colour = "white" if shares[row, column] > 0.5 else "#222222"
            axes.text(column, row, f"{counts[row, column]:.3g}", ha="center", va="center", fontsize=size, color=colour)
        style.colour_bar(figure, image, axes, "share of the true class")
    return figure


def learning_curves(
    curves: Mapping[str, Sequence[tuple[float, Interval]]], *, y_label: str, looks: Looks | None = None
) -> Figure:
    """Score against the number of training items (logarithmic), one line for each system, intervals as bars."""
    lines = {
        system: [Point(system, system, Interval(n, math.nan, math.nan), score) for n, score in sorted(curve)]
        for system, curve in curves.items()
    }
    return _curves(lines, "training items", y_label, line="-", looks=looks)


def _curves(
    lines: Mapping[str, Sequence[Point]],
    x_label: str,
    y_label: str,
    *,
    line: str,
    quantised: Mapping[str, tuple[Sequence[Point], Interval | None]] | None = None,
    looks: Looks | None = None,
) -> Figure:
    """Points with intervals; those of one name share colour and marker, and a line over a logarithmic axis if it has a style."""
    with style.panels(style.PAGE if quantised else style.COLUMN, 3.2 if quantised else 2.5) as (figure, [[axes]]):
        for index, (name, points) in enumerate(lines.items()):
            _draw_points(axes, (looks or {}).get(name, index), name, points, linestyle=line)
        for index, (name, (points, whole)) in enumerate((quantised or {}).items(), len(lines)):
            exact = [
                point._replace(x=Interval(point.x.value, math.nan, math.nan)) for point in points
            ]  # bars would cover all
            how = {"linestyle": "--", "markerfacecolor": "white", "linewidth": 0.7, "markersize": 3.2}
            colour = _draw_points(axes, (looks or {}).get(name, index), name, exact, **how)
            if whole is not None:
                rates = [point.x.value for point in points]
                axes.hlines(whole.value, min(rates), max(rates), color=colour, linestyle=":", linewidth=0.8)
        if line:
            axes.set_xscale("log")
            style.plain_log_ticks(axes.xaxis)
        drawn = [point for points in lines.values() for point in points]
        drawn += [point for points, _ in (quantised or {}).values() for point in points]
        if quantised and _is_wide([point.y.value for point in drawn]):
            axes.set_yscale("log")
            style.plain_log_ticks(axes.yaxis)
        if not line and _is_wide([point.x.value for point in drawn]):
            axes.set_xscale("log")
            style.plain_log_ticks(axes.xaxis)
        axes.set(xlabel=x_label, ylabel=y_label)
        style.grid_below(axes)
        style.legend(figure, axes)
    return figure


def _is_wide(values: Sequence[float]) -> bool:
    """Whether one poor system would hide on a linear axis what lies between the others."""
    return min(values, default=0.0) > 0 and max(values) > 4 * min(values)


def _draw_points(axes: Axes, place: int, name: str, points: Sequence[Point], **how: Any) -> str:
    """Points with intervals, in the colour and with the marker of a place in the legend; returns the colour."""
    colour = style.colour(place)
    axes.errorbar(
        [point.x.value for point in points],
        [point.y.value for point in points],
        xerr=style.error_lengths([point.x for point in points]),
        yerr=style.error_lengths([point.y for point in points]),
        color=colour,
        marker=style.marker(place),
        elinewidth=0.7,
        capsize=1.5,
        capthick=0.7,
        label=name,
        **how,
    )
    return colour


def latent_sheet(
    spectrum: Sequence[float],
    smoothness: Sequence[tuple[float, float]],
    gain: Sequence[tuple[float, Interval]],
    noise: Mapping[str, Sequence[tuple[float, Interval]]],
    *,
    title: str,
) -> Figure:
    """The latent space of one system in four panels; those without data stay empty.

    Parameters
    ----------
    spectrum : sequence of float
        Share of each principal component in the variance, falling.
    smoothness : sequence of (float, float)
        Lag in seconds, and step between frames, of which 1 less is the autocorrelation.
    gain : sequence of (float, Interval)
        Gain in dB, and SI-SDR in dB of what is decoded to the audio turned up or down after decoding.
    noise : mapping of str to sequence of (float, Interval)
        Reference -> level of the noise in dB, and mel distance.
    """
    with style.panels(style.PAGE, 1.9, 1, 4) as (figure, all_axes):
        spectrum_axes, lag_axes, gain_axes, noise_axes = all_axes[0]
        spectrum_axes.plot(range(1, len(spectrum) + 1), np.cumsum(spectrum), color=style.COLOURS[0])
        spectrum_axes.set(xlabel="principal components", ylabel="share of the variance", ylim=(0, 1.03))
        lag_axes.plot([lag for lag, _ in smoothness], [1 - step for _, step in smoothness], color=style.COLOURS[0])
        lag_axes.axhline(0.0, color="#333333", linewidth=0.5)
        lag_axes.set(
            xlabel="lag (s)", ylabel="autocorrelation", ylim=(min(-0.1, *(0.9 - s for _, s in smoothness)), 1.03)
        )
        _draw_levels(gain_axes, 0, "", gain)
        gain_axes.set(xlabel="gain (dB)", ylabel="gain SI-SDR (dB)")
        for index, (name, values) in enumerate(noise.items()):
            _draw_levels(noise_axes, index, name, values)
        noise_axes.set(xlabel="noise in latents (dB)", ylabel="mel distance")
        if noise:
            noise_axes.legend(fontsize=5.5, frameon=True, framealpha=0.8, edgecolor="none")
        for axes in all_axes[0]:
            style.grid_below(axes)
        figure.suptitle(style.short(title, 90), fontsize=7)
    return figure


def _draw_levels(axes: Axes, index: int, name: str, values: Sequence[tuple[float, Interval]]) -> None:
    points = [Point(name, name, Interval(level, math.nan, math.nan), found) for level, found in values]
    _draw_points(axes, index, name, points, linestyle="-", markersize=3)


def dots(panels: Mapping[str, Mapping[str, Interval]], *, looks: Looks | None = None) -> Figure:
    """Numbers of systems side by side: a panel for each number with its own axis, a line for each system, with intervals.

    What is infinite (a half-life beyond the longest lag) lies at the right edge, with an open marker.
    """
    systems = list(dict.fromkeys(system for values in panels.values() for system in values))
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    height = rows * (0.65 + 0.16 * len(systems)) + 0.2
    with style.panels(style.PAGE, height, rows, columns, sharey=True) as (figure, all_axes):
        for axes, (title, values) in zip(all_axes.flat, panels.items(), strict=False):
            finite = [number for found in values.values() for number in found if math.isfinite(number)]
            edge = 1.15 * max(finite, default=1.0)
            for place, system in enumerate(systems):
                if system in values:
                    found = Interval(*(edge if number == math.inf else number for number in values[system]))
                    place_of = (looks or {}).get(system, place)
                    colour = style.colour(place_of)
                    axes.errorbar(
                        [found.value],
                        [place],
                        xerr=style.error_lengths([found]),
                        color=colour,
                        marker=style.marker(place_of),
                        markerfacecolor=colour if math.isfinite(values[system].value) else "white",
                        markersize=3.5,
                        elinewidth=0.9,
                    )
            axes.set_title(textwrap.fill(style.short(title, 56), 28), loc="left", fontsize=6.5)
            axes.set_yticks(range(len(systems)), systems)
            axes.set_ylim(len(systems) - 0.5, -0.5)
            style.grid_below(axes)
        for axes in all_axes.flat[len(panels) :]:
            axes.set_axis_off()
    return figure


def significance(differences: np.ndarray, p_values: np.ndarray, systems: Sequence[str], *, title: str) -> Figure:
    """Pairwise comparison: by how much the row's system is better than the column's, and whether significantly.

    Parameters
    ----------
    differences : np.ndarray, shape (systems, systems)
        Row minus column, signed so that positive means that the row is better.
    p_values : np.ndarray, shape (systems, systems)
        Corrected for the number of comparisons; NaN where two systems could not be compared.
    """
    from matplotlib.colors import ListedColormap

    different = np.nan_to_num(p_values, nan=1.0) < 0.05
    state = np.where(different, np.sign(np.nan_to_num(differences)), 0.0)
    n = len(systems)
    size = 6.5 if n <= 10 else 5
    side = max(style.COLUMN, min(style.PAGE, 1.2 + 0.32 * n))
    with style.panels(side, side - 0.15) as (figure, [[axes]]):
        axes.imshow(state, cmap=ListedColormap(["#E69F00", "#EEEEEE", "#56B4E9"]), vmin=-1, vmax=1)
        style.square_labels(axes, [style.short(system, 30) for system in systems], size)
        axes.set_xticks(np.arange(0.5, n - 1), minor=True)
        axes.set_yticks(np.arange(0.5, n - 1), minor=True)
        axes.grid(True, which="minor", color="white", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
        for (row, column), difference in np.ndenumerate(differences):
            if row != column:
                text = "?" if np.isnan(difference) else _signed(float(difference))
                axes.text(column, row, text, ha="center", va="center", fontsize=size if n <= 16 else 3.5)
        figure.suptitle(
            f"{style.short(title, 60)}\nhow much better the row is than the column; blue and orange: significantly better, worse",
            fontsize=7,
        )
    return figure


def _signed(number: float) -> str:
    """Two digits and the sign; no exponent, no zero before the point."""
    digits = max(0, 1 - math.floor(math.log10(abs(number)))) if number else 0
    text = f"{number:+.{min(digits, 3)}f}"
    return text.replace("+0.", "+.").replace("-0.", "-.").replace("-", "\N{MINUS SIGN}")


def training_curves(quantities: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """One panel for each quantity over training steps, one line for each run; logarithmic where all values are > 0.

    `quantities` is quantity -> run -> (steps, values).
    """
    n = len(quantities)
    with style.panels(style.COLUMN, 0.5 + 1.05 * n, n, 1, sharex=True) as (figure, all_axes):
        for row, (quantity, runs) in enumerate(quantities.items()):
            axes = all_axes[row][0]
            for index, (name, (steps, values)) in enumerate(runs.items()):
                colour, marker = style.COLOURS[index % len(style.COLOURS)], style.MARKERS[index % len(style.MARKERS)]
                marker = marker if len(steps) <= 30 else ""
                axes.plot(steps, values, color=colour, marker=marker, markersize=2.6, label=name)
            if all(min(values) > 0 and max(values) > 10 * min(values) for _, values in runs.values()):
                axes.set_yscale("log")
                style.plain_log_ticks(axes.yaxis)
            axes.set_ylabel(quantity)
            style.grid_below(axes)
        figure.align_ylabels()
        all_axes[-1][0].set_xlabel("training step")
        n_runs = [len(runs) for runs in quantities.values()]
        if max(n_runs) > 1:
            style.legend(figure, all_axes[int(np.argmax(n_runs))][0])
    return figure
