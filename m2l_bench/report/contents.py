"""The tables and figures of a report, as far as the rows of a run allow them.

Nothing is written to disk here: a table is data, and a figure is a function that draws it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from m2l_bench.report import figure_data
from m2l_bench.report.clips import ClipFiles
from m2l_bench.report.runs import RunData
from m2l_bench.report.significance import CONDITIONS, RANKED, Pairs, ScoreKey, matrix, winners
from m2l_bench.report.tables import (
    ANCHORS,
    Measurement,
    Table,
    bands,
    grouped,
    heading,
    make_table,
    measurement_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Metrics that get figures of their own, in this order; every metric is in the tables.
FIGURE_METRICS = (
    "si_sdr",
    "mel_distance",
    "stft_distance",
    "fad:musicnn",
    "fad:vggish",
    "fad:clap",
    "kad:musicnn",
    "visqol",
)
BIT_RATE_EDGES = (16.0, 32.0, 64.0, 128.0)  # kbit/s
MOST_SPECTROGRAMS = 6


@dataclass(frozen=True)
class FigureSpec:
    """A figure: file name without suffix, caption, and the function that draws it."""

    name: str
    caption: str
    draw: Callable[[], Figure]


def all_tables(results: RunData, pairs: Pairs) -> list[Table]:
    """Make every table of a run: reconstruction by dataset, probes by task, and the main score of each task."""
    tables: list[Table] = []
    for dataset in sorted({row.dataset for row in results.rows if not row.task}):
        tables += _reconstruction_tables(results, pairs, dataset)
    main = figure_data.main_measurements(results.rows)
    if len({measurement.task for measurement in main}) > 1:
        for probe in sorted({measurement.probe for measurement in main}):
            columns = [measurement for measurement in main if measurement.probe == probe]
            title = f"Probes: the main score of each task, {probe} probe"
            tables.append(_table(results, pairs, columns, f"probes-{slug(probe)}", title))
    for task in sorted({row.task for row in results.rows if row.task}):
        found = {measurement_of(row) for row in results.rows if row.task == task}
        columns = sorted(m for m in found if not figure_data.is_learning_curve(m))
        tables.append(_table(results, pairs, columns, f"probes-{slug(task)}", f"Probes: {task}"))
    return tables


def all_figures(results: RunData, pairs: Pairs, clips: Sequence[ClipFiles]) -> Iterator[FigureSpec]:
    """Yield every figure that the rows, items and clips allow."""
    for dataset in sorted({row.dataset for row in results.rows if not row.task}):
        metrics = {row.metric for row in results.rows if row.dataset == dataset and not row.task}
        for metric in (name for name in FIGURE_METRICS if name in metrics):
            yield from _rate_figures(results, dataset, metric)
            yield from _matrix_figure(results, pairs, ScoreKey(dataset, "", "", "", metric))
    yield from _probe_figures(results, pairs)
    yield from _spectrogram_figure(results, clips)


def slug(text: str) -> str:
    """Turn a name into a file name.

    >>> slug("reconstruction/wesnoth"), slug("fad:musicnn")
    ('reconstruction-wesnoth', 'fad.musicnn')
    """
    text = text.replace("/", "-").replace(":", ".")
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "-" for sign in text).strip("-.")
    if plain == text and len(text) <= 80:
        return plain
    return f"{plain[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-.")


def _reconstruction_tables(results: RunData, pairs: Pairs, dataset: str) -> list[Table]:
    rows = [row for row in results.rows if row.dataset == dataset and not row.task]
    order = _metric_order(results)
    found = sorted({measurement_of(row) for row in rows}, key=lambda m: (order.get(m.metric, len(order)), m))
    name = slug(dataset)
    whole = [m for m in found if m.statistic != "median"]
    table = _table(results, pairs, whole, name, f"{dataset}: mean over files")
    tables = [table]
    medians = [m for m in found if m.statistic == "median"]
    if medians:
        tables.append(_table(results, pairs, medians, f"{name}-median", f"{dataset}: median over files"))
    rates = {row.system: row.value for row in rows if row.metric == "bit_rate" and row.statistic == "mean"}
    groups, bands_ = bands(rates, BIT_RATE_EDGES, "kbit/s")
    if len(set(groups.values())) > 1:
        fields = [[system for system in results.systems if groups.get(system) == band] for band in bands_]
        title = f"{dataset}: mean over files, by bit rate"
        by_rate = _table(
            results, pairs, whole, f"{name}-by-bit-rate", title, fields=fields, field=" of its band of bit rates"
        )
        tables.append(grouped(by_rate, groups, order=bands_))
    return tables


_BOLD = "Bold: significantly better than every other"


def _table(
    results: RunData,
    pairs: Pairs,
    columns: Sequence[Measurement],
    name: str,
    title: str,
    *,
    fields: Sequence[Sequence[str]] | None = None,
    field: str = "",
) -> Table:
    """Make a table; bold marks the best of each of `fields`, which is all systems by default."""
    return make_table(
        results.rows,
        results.cards,
        columns,
        systems=results.systems,
        name=name,
        title=title,
        winners=winners(pairs, results.rows, results.cards, columns, fields or [results.systems]),
        caption=_caption(results, pairs, columns, f"{_BOLD} system{field}"),
    )


def _caption(results: RunData, pairs: Pairs, columns: Sequence[Measurement], bold: str) -> list[str]:
    sentences = ["In brackets: 95% bootstrap interval over tracks"]
    if any(column.probe for column in columns):
        sentences[0] += "; after ±: standard deviation over seeds, where they differ"
    if any(column.statistic in RANKED for column in columns):
        anchors = f" ({', '.join(ANCHORS)} is not ranked)" if not all(column.task for column in columns) else ""
        sentences.append(f"{bold}{anchors} (p < 0.05, sign-flip test over tracks, Holm-corrected over this table)")
    sentences += _different_files(results, pairs, [column for column in columns if column.statistic in RANKED])
    return [f"{sentence}." for sentence in sentences]


def _different_files(results: RunData, pairs: Pairs, columns: Sequence[Measurement]) -> list[str]:
    """Name the metrics whose systems were scored on different items, and the number of items that tests rest on."""
    found = {}
    for column in columns:
        common = pairs.uncommon(ScoreKey(*column[:5]), results.systems)
        if common:
            fewest, most = common
            count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            found[_label(results, column.metric, column.task, arrow=False)] = count
    if not found:
        return []
    named = ", ".join(f"{label}: {count}" for label, count in found.items())
    return [
        f"Not all systems were scored on the same items; two systems are compared on those that both have ({named})"
    ]


def _metric_order(results: RunData) -> dict[str, int]:
    """Conditions first, then the metrics as the suites list them."""
    listed = [name for run in results.runs for name in run.record.get("suite", {}).get("metrics", [])]
    return {name: index for index, name in enumerate(dict.fromkeys([*CONDITIONS, *listed]))}


def _rate_figures(results: RunData, dataset: str, metric: str) -> Iterator[FigureSpec]:
    from m2l_bench.report import figures

    for against in CONDITIONS:
        points = figure_data.rate_points(
            results.rows, results.cards, dataset=dataset, metric=metric, against=against, systems=results.systems
        )
        if len(points) > 1:
            x_label, y_label = _label(results, against, arrow=False), _label(results, metric)

            def draw(points: Any = points, x_label: str = x_label, y_label: str = y_label) -> Figure:
                return figures.rate_quality(points, x_label=x_label, y_label=y_label)

            name = f"{slug(dataset)}-{slug(metric)}-against-{against.replace('_', '-')}"
            yield FigureSpec(name, f"{dataset}: {y_label} against {x_label}, with 95% intervals", draw)


def _matrix_figure(results: RunData, pairs: Pairs, score_key: ScoreKey) -> Iterator[FigureSpec]:
    from m2l_bench.report import figures

    systems = [system for system in results.systems if system in pairs.scores(score_key)]
    card = next(
        results.cards[r.card]
        for r in results.rows
        if (r.dataset, r.task, r.metric) == (score_key[0], score_key[1], score_key[4])
    )
    if len(systems) < 3 or card["higher_is_better"] is None:
        return
    differences, p_values = matrix(pairs, score_key, systems, higher_is_better=card["higher_is_better"])
    where = " ".join(part for part in dict.fromkeys((score_key.dataset, score_key.task, score_key.probe)) if part)
    title = f"{card['title']}, {where}"
    name = f"{slug('/'.join(part for part in dict.fromkeys(score_key[:3]) if part))}-{slug(score_key.metric)}-pairs"
    yield FigureSpec(
        name,
        f"{title}: every system against every other (sign-flip test over tracks, Holm-corrected, 5%)",
        lambda: figures.significance(differences, p_values, systems, title=title),
    )


def _probe_figures(results: RunData, pairs: Pairs) -> Iterator[FigureSpec]:
    from m2l_bench.report import figures

    rows, cards, systems = results.rows, results.cards, results.systems
    main = figure_data.main_measurements(rows)
    for probe in sorted({measurement.probe for measurement in main}):
        groups = figure_data.probe_groups(rows, cards, probe=probe, systems=systems)
        caption = f"{probe} probe: the main score of each task with 95% intervals"
        yield FigureSpec(f"probes-{slug(probe)}", caption, lambda g=groups: figures.probe_bars(g, y_label="score"))  # type: ignore[misc]
    for measurement in main:
        yield from _tradeoff_figure(results, measurement)
        yield from _matrix_figure(results, pairs, ScoreKey(*measurement[:5]))
        yield from _confusion_figure(results, measurement)
        curves = figure_data.learning_curves(rows, cards, main=measurement, systems=systems)
        if curves:
            label = _label(results, measurement.metric, measurement.task)
            name = f"{slug(measurement.task)}-{slug(measurement.probe)}-learning"
            caption = f"{measurement.task}, {measurement.probe} probe: {label} against training items"
            yield FigureSpec(name, caption, lambda c=curves, y=label: figures.learning_curves(c, y_label=y))  # type: ignore[misc]


def _tradeoff_figure(results: RunData, probing: Measurement) -> Iterator[FigureSpec]:
    from m2l_bench.report import figures

    found = {measurement_of(row) for row in results.rows if not row.task and row.statistic in ("mean", "pooled")}
    for reconstruction in sorted(m for m in found if m.metric in ("mel_distance", "fad:musicnn")):
        points = figure_data.tradeoff_points(
            results.rows, results.cards, reconstruction=reconstruction, probing=probing, systems=results.systems
        )
        if len(points) > 1:
            x_label = f"{_label(results, reconstruction.metric)}, {reconstruction.dataset}"
            y_label = f"{_label(results, probing.metric, probing.task)}, {probing.task}"

            def draw(points: Any = points, x_label: str = x_label, y_label: str = y_label) -> Figure:
                return figures.tradeoff(points, x_label=x_label, y_label=y_label)

            parts = (reconstruction.dataset, reconstruction.metric, probing.task, probing.probe)
            name = f"tradeoff-{'-'.join(slug(part) for part in parts)}"
            yield FigureSpec(
                name, f"Reconstruction against probing ({probing.probe}): {x_label} against {y_label}", draw
            )


def _confusion_figure(results: RunData, measurement: Measurement) -> Iterator[FigureSpec]:
    """Yield the confusion matrix of the system with the best main score."""
    from m2l_bench.report import figures

    groups = figure_data.probe_groups(
        [row for row in results.rows if measurement_of(row) == measurement],
        results.cards,
        probe=measurement.probe,
        systems=results.systems,
    )
    bars = next(iter(groups.values()), {})
    if not bars:
        return
    best = max(bars, key=lambda system: bars[system].value)
    task, probe = measurement.task, measurement.probe
    counts, labels = figure_data.confusion_counts(
        results.items, task=task, probe=probe, split=measurement.split, system=best
    )
    if len(labels) > 1:
        title = f"{task}, {probe}, {best}"
        caption = f"{title} (the best score): targets in rows, predictions in columns, all seeds together"
        name = f"{slug(task)}-{slug(probe)}-confusion"
        yield FigureSpec(name, caption, lambda: figures.confusion(counts, labels, title=title))


def _spectrogram_figure(results: RunData, clips: Sequence[ClipFiles]) -> Iterator[FigureSpec]:
    """Yield the spectrograms of the middle clip among those that most systems have (clips run from worst to best)."""
    most = max((len(clip.systems) for clip in clips), default=0)
    clips = [clip for clip in clips if len(clip.systems) == most]
    if not clips:
        return
    from m2l_bench import audio
    from m2l_bench.report import figures

    clip = clips[len(clips) // 2]
    systems = [system for system in results.systems if system in clip.systems and system not in ANCHORS]
    step = max(1, -(-len(systems) // MOST_SPECTROGRAMS))

    def draw() -> Figure:
        paths = {"original": clip.reference, **{system: clip.systems[system] for system in systems[::step]}}
        grids = {name: figure_data.spectrogram(audio.load(path)[0]) for name, path in paths.items()}
        duration = clip.n_samples / clip.sample_rate
        return figures.spectrogram_grid(grids, duration=duration, max_frequency=clip.sample_rate / 2, title=clip.id)

    yield FigureSpec("spectrograms", f"{clip.dataset}, {clip.id}: spectrograms and differences from the original", draw)


def _label(results: RunData, metric: str, task: str = "", *, arrow: bool = True) -> str:
    """Title, unit and, by default, the arrow of a metric."""
    card = next(results.cards[row.card] for row in results.rows if (row.metric, row.task) == (metric, task))
    return heading(card["title"], card["unit"], card["higher_is_better"] if arrow else None)
