"""Figures over time: spectrograms, a track with what is annotated and estimated in it, chords.

As in :mod:`m2l_bench.report.figures`, each function draws plain data and returns a matplotlib figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from m2l_bench.report import style
from m2l_bench.report.figure_data import frequency_ticks
from m2l_bench.report.style import Looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from m2l_bench.tasks.annotation import Annotation


def spectrogram_grid(
    spectrograms: Mapping[str, np.ndarray], *, duration: float, max_frequency: float, title: str = ""
) -> Figure:
    """The original and every system, each with its difference from the original.

    Parameters
    ----------
    spectrograms : mapping of str to np.ndarray, shape (bins, frames)
        Levels in dB of :func:`~m2l_bench.report.figure_data.spectrogram`, up to `max_frequency` (Hz); the first is the
        original.
    duration : float
        Seconds.
    """
    n = len(spectrograms)
    with style.panels(style.COLUMN, 1.1 + 0.6 * n, n, 2, sharex=True, sharey=True) as (figure, all_axes):
        original = next(iter(spectrograms.values()))
        top = float(original.max())
        options = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "rasterized": True}
        options["extent"] = (0.0, duration, 0.0, 1.0)
        images = {}
        for (left, right), (name, levels) in zip(all_axes, spectrograms.items(), strict=True):
            images["level (dB)"] = left.imshow(levels, cmap="magma", vmin=top - 80, vmax=top, **options)
            left.set_title(style.short(name, 30), loc="left", pad=2, fontsize=6.5)
            left.set_yticks(*frequency_ticks(max_frequency))
            if levels is original:
                right.set_axis_off()
            else:
                shown = right.imshow(levels - original, cmap="RdBu_r", vmin=-30, vmax=30, **options)
                images["difference (dB)"] = shown
        for (label, image), column in zip(images.items(), all_axes.T, strict=False):
            style.colour_bar(figure, image, list(column), label, location="bottom")
        for axes in all_axes[-1]:
            axes.set_xlabel("time (s)")
        if title:
            figure.suptitle(style.short(title, 60), fontsize=7)
        figure.supylabel("frequency (kHz)", fontsize=7)
    return figure


def timeline(
    kind: str,
    lines: Mapping[str, Annotation],
    levels: np.ndarray | None,
    *,
    duration: float,
    max_frequency: float,
    title: str,
    looks: Looks | None = None,
) -> Figure:
    """A track: its spectrogram, what is annotated in it, and what systems estimate.

    Parameters
    ----------
    kind : str
        Of the task in time.
    lines : mapping of str to Annotation
        The annotation first.
    levels : np.ndarray, shape (bins, frames), optional
        Spectrogram in dB, as of :func:`~m2l_bench.report.figure_data.spectrogram`, up to `max_frequency` (Hz).
    duration : float
        Seconds.
    """
    tall = kind in ("notes", "melody")
    heights = [1.6] * (levels is not None) + [1.2 if tall else 0.5] * len(lines)
    with style.panels(style.PAGE, 0.8 + 0.62 * sum(heights), len(heights), 1, sharex=True, heights=heights) as (
        figure,
        all_axes,
    ):
        rows = list(all_axes[:, 0])
        if levels is not None:
            axes = rows.pop(0)
            options = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "rasterized": True}
            top = float(levels.max())
            axes.imshow(levels, cmap="Greys", vmin=top - 80, vmax=top, extent=(0.0, duration, 0.0, 1.0), **options)
            axes.set_ylabel("kHz")
            axes.set_yticks(*frequency_ticks(max_frequency))
        pitches = [pitch for found in lines.values() for pitch in _pitches(kind, found)] if tall else []
        for index, (axes, (name, found)) in enumerate(zip(rows, lines.items(), strict=True)):
            colour = "#000000" if index == 0 else style.colour((looks or {}).get(name, index - 1))
            _draw_line(axes, kind, found, colour)
            axes.set_xlim(-0.005 * duration, duration)  # an event at 0 is seen beside the axis
            axes.set_ylim(*((min(pitches) - 2, max(pitches) + 2) if pitches else (0, 1)))
            if tall:
                axes.set_ylabel("MIDI")
            else:
                axes.set_yticks([])
            axes.set_title(style.short(name, 40), loc="left", pad=2, fontsize=6.5)
        all_axes[-1, 0].set_xlabel("time (s)")
        figure.suptitle(style.short(title, 90), fontsize=7)
    return figure


def _pitches(kind: str, found: Annotation) -> np.ndarray:
    """MIDI pitches, fractions for a melody, of what sounds."""
    values = np.asarray(found.values, float)
    return values if kind == "notes" else 69 + 12 * np.log2(values[values > 0] / 440)


def _draw_line(axes: Axes, kind: str, found: Annotation, colour: str) -> None:
    if kind in ("beats", "onsets"):
        axes.vlines(found.starts, 0, 1, color=colour, linewidth=0.9)
    elif kind == "chords":
        for start, end, label in zip(found.starts, found.ends, found.values, strict=True):
            axes.axvline(start, color=colour, linewidth=0.6)
            text = str(label).replace(":maj", "").replace(":min", "m")
            axes.text((start + end) / 2, 0.5, text, ha="center", va="center", fontsize=6, color=colour, clip_on=True)
    elif kind == "notes":
        axes.hlines(_pitches(kind, found), found.starts, found.ends, color=colour, linewidth=1.6)
    else:
        axes.plot(found.starts[found.values > 0], _pitches(kind, found), ".", color=colour, markersize=1.5)


def chord_confusion(shares: np.ndarray, *, title: str) -> Figure:
    """What is estimated in the time of annotated major and minor chords; see :func:`figure_data.chord_confusion`."""
    with style.panels(style.PAGE, 1.5) as (figure, [[axes]]):
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_yticks([0, 1], ["major", "minor"])
        axes.set_xticks(range(25), [*map(str, range(12)), *map(str, range(12)), "none"])
        axes.axvline(11.5, color="#222222", linewidth=0.6)
        axes.axvline(23.5, color="#222222", linewidth=0.6)
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                colour = "white" if share > 0.5 else "#222222"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=5.2, color=colour)
        axes.set(
            xlabel="estimated: major (left) and minor (right), semitones from the annotated root up", ylabel="annotated"
        )
        axes.set_title(style.short(title, 90), fontsize=7)
        style.colour_bar(figure, image, axes, "share of the time")
    return figure
