"""Tables and figures of a report, as far as the rows of a run allow them.

Nothing is written to disk here: a table is data, and a figure is a function that draws it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from m2l_bench.report import figure_data
from m2l_bench.report.clips import ClipFiles
from m2l_bench.report.runs import RunData
from m2l_bench.report.significance import CONDITIONS, RANKED, Pairs, matrix, winners
from m2l_bench.report.tables import ANCHORS, Measurement, Table, bands, grouped, make_table, measurement_of, with_bold
from m2l_bench.report.tables import heading as heading_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Metrics that get figures of their own, in this order; every metric is in the tables.
FIGURE_METRICS = (
    *("si_sdr", "mel_distance", "stft_distance"),
    *("fad:musicnn", "fad:vggish", "fad:clap", "kad:musicnn", "visqol"),
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
    for dataset in _reconstruction_datasets(results):
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
    for dataset in _reconstruction_datasets(results):
        metrics = {row.metric for row in results.rows if row.dataset == dataset and not row.task}
        for metric in (name for name in FIGURE_METRICS if name in metrics):
            yield from _rate_figures(results, dataset, metric)
            yield from _matrix_figure(results, pairs, Measurement(dataset, metric=metric))
    yield from _probe_figures(results, pairs)
    yield from _spectrogram_figure(results, clips)


def slug(*parts: str) -> str:
    """Turn names into a part of a file name; several are joined by hyphens.

    >>> slug("reconstruction/wesnoth"), slug("fad:musicnn", "pairs")
    ('reconstruction-wesnoth', 'fad.musicnn-pairs')
    """
    if len(parts) > 1:
        return "-".join(slug(part) for part in parts)
    text = parts[0].replace("/", "-").replace(":", ".")
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "-" for sign in text).strip("-.")
    if plain == text and len(text) <= 80:
        return plain
    return f"{plain[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-.")


def _reconstruction_datasets(results: RunData) -> list[str]:
    return sorted({row.dataset for row in results.rows if not row.task})


def _reconstruction_tables(results: RunData, pairs: Pairs, dataset: str) -> list[Table]:
    rows = [row for row in results.rows if row.dataset == dataset and not row.task]
    # Conditions first, then the metrics as the suites list them.
    listed = [name for run in results.runs for name in run.record.get("suite", {}).get("metrics", [])]
    order = {name: index for index, name in enumerate(dict.fromkeys([*CONDITIONS, *listed]))}
    found = sorted({measurement_of(row) for row in rows}, key=lambda m: (order.get(m.metric, len(order)), m))
    name = slug(dataset)
    means = [m for m in found if m.statistic != "median"]
    tables = [_table(results, pairs, means, name, f"{dataset}: mean over files")]
    medians = [m for m in found if m.statistic == "median"]
    if medians:
        tables.append(_table(results, pairs, medians, f"{name}-median", f"{dataset}: median over files"))
    rates = {row.system: row.value for row in rows if row.metric == "bit_rate" and row.statistic == "mean"}
    groups = bands({system: rates[system] for system in results.systems if system in rates}, BIT_RATE_EDGES, "kbit/s")
    if len(groups) > 1:
        title = f"{dataset}: mean over files, by bit rate"
        by_rate = _table(results, pairs, means, f"{name}-by-bit-rate", title, list(groups.values()))
        tables.append(grouped(by_rate, groups))
    return tables


def _table(
    results: RunData,
    pairs: Pairs,
    columns: Sequence[Measurement],
    name: str,
    title: str,
    fields: Sequence[Sequence[str]] = (),
) -> Table:
    """Make a table; bold marks the best of each of `fields` (bands of bit rates), or of all systems."""
    ranked = [column for column in columns if column.statistic in RANKED]
    caption = ["In brackets: 95% bootstrap interval over tracks"]
    if any(column.probe for column in columns):
        caption[0] += "; after ±: standard deviation over seeds, where they differ"
    if ranked:
        band = " of its band of bit rates" if fields else ""
        anchors = "" if all(column.task for column in columns) else f"; {', '.join(ANCHORS)} is not ranked"
        caption.append(
            f"Bold: significantly better than every other system{band} "
            f"(p < 0.05, sign-flip test over tracks, Holm-corrected over this table{anchors})"
        )
    caption += _different_files(results, pairs, ranked)
    table = make_table(
        results.rows,
        results.cards,
        columns,
        systems=results.systems,
        name=name,
        title=title,
        caption=[f"{sentence}." for sentence in caption],
    )
    return with_bold(table, winners(table, pairs, fields or [results.systems]))


def _different_files(results: RunData, pairs: Pairs, columns: Sequence[Measurement]) -> list[str]:
    """Name the metrics whose systems were scored on different items, and the number of items that tests rest on."""
    found = {}
    for column in columns:
        common = pairs.uncommon(column, results.systems)
        if common:
            label = _label(results, column.metric, column.task, arrow=False)
            found[label] = " to ".join(map(str, dict.fromkeys(common)))
    if not found:
        return []
    named = ", ".join(f"{label}: {count}" for label, count in found.items())
    return [
        f"Not all systems were scored on the same items; two systems are compared on those that both have ({named})"
    ]


def _rate_figures(results: RunData, dataset: str, metric: str) -> Iterator[FigureSpec]:
    from m2l_bench.report.figures import rate_quality

    y = figure_data.whole(results, dataset, metric)
    for against in CONDITIONS:
        points = figure_data.points(results, figure_data.whole(results, dataset, against), y)
        if len(points) > 1:
            x_label, y_label = _label(results, against, arrow=False), _label(results, metric)
            yield FigureSpec(
                slug(dataset, metric, f"against-{against.replace('_', '-')}"),
                f"{dataset}: {y_label} against {x_label}, with 95% intervals",
                partial(rate_quality, points, x_label=x_label, y_label=y_label),
            )


def _matrix_figure(results: RunData, pairs: Pairs, measurement: Measurement) -> Iterator[FigureSpec]:
    from m2l_bench.report.figures import significance

    systems = [system for system in results.systems if system in pairs.scores(measurement)]
    dataset, task, metric = measurement.dataset, measurement.task, measurement.metric
    card = next(results.cards[r.card] for r in results.rows if (r.dataset, r.task, r.metric) == (dataset, task, metric))
    if len(systems) < 3 or card["higher_is_better"] is None:
        return
    differences, p_values = matrix(pairs, measurement, systems, higher_is_better=card["higher_is_better"])
    title = f"{card['title']}, {' '.join(measurement.parts)}"
    yield FigureSpec(
        slug("/".join(measurement.parts), metric, "pairs"),
        f"{title}: every system against every other (sign-flip test over tracks, Holm-corrected, 5%)",
        partial(significance, differences, p_values, systems, title=title),
    )


def _probe_figures(results: RunData, pairs: Pairs) -> Iterator[FigureSpec]:
    from m2l_bench.report import figures

    main = figure_data.main_measurements(results.rows)
    for probe in sorted({measurement.probe for measurement in main}):
        caption = f"{probe} probe: the main score of each task with 95% intervals"
        groups = figure_data.probe_groups(results, probe)
        yield FigureSpec(f"probes-{slug(probe)}", caption, partial(figures.probe_bars, groups, y_label="score"))
    for measurement in main:
        yield from _tradeoff_figures(results, measurement)
        yield from _matrix_figure(results, pairs, measurement)
        yield from _confusion_figure(results, measurement)
        task, probe, label = measurement.task, measurement.probe, _label(results, measurement.metric, measurement.task)
        curves = figure_data.learning_curves(results, measurement)
        if curves:
            yield FigureSpec(
                slug(task, probe, "learning"),
                f"{task}, {probe} probe: {label} against training items",
                partial(figures.learning_curves, curves, y_label=label),
            )


def _tradeoff_figures(results: RunData, probing: Measurement) -> Iterator[FigureSpec]:
    from m2l_bench.report.figures import tradeoff

    found = {measurement_of(row) for row in results.rows if not row.task and row.statistic in ("mean", "pooled")}
    for reconstruction in sorted(m for m in found if m.metric in ("mel_distance", "fad:musicnn")):
        points = figure_data.points(results, reconstruction, probing)
        if len(points) > 1:
            x_label = f"{_label(results, reconstruction.metric)}, {reconstruction.dataset}"
            y_label = f"{_label(results, probing.metric, probing.task)}, {probing.task}"
            yield FigureSpec(
                slug("tradeoff", reconstruction.dataset, reconstruction.metric, probing.task, probing.probe),
                f"Reconstruction against probing ({probing.probe}): {x_label} against {y_label}",
                partial(tradeoff, points, x_label=x_label, y_label=y_label),
            )


def _confusion_figure(results: RunData, measurement: Measurement) -> Iterator[FigureSpec]:
    """Yield the confusion matrix of the system with the best main score."""
    from m2l_bench.report.figures import confusion

    scores = figure_data.intervals(results, measurement)
    if not scores:
        return
    best = max(scores, key=lambda system: scores[system].value)
    counts, labels = figure_data.confusion_counts(results.items, measurement, best)
    if len(labels) > 1:
        title = f"{measurement.task}, {measurement.probe}, {best}"
        yield FigureSpec(
            slug(measurement.task, measurement.probe, "confusion"),
            f"{title} (the best score): targets in rows, predictions in columns, all seeds together",
            partial(confusion, counts, labels, title=title),
        )


def _spectrogram_figure(results: RunData, clips: Sequence[ClipFiles]) -> Iterator[FigureSpec]:
    """Yield the spectrograms of the middle clip among those that most systems have (clips run from worst to best)."""
    most = max((len(clip.systems) for clip in clips), default=0)
    clips = [clip for clip in clips if len(clip.systems) == most]
    if not clips:
        return
    from m2l_bench import audio
    from m2l_bench.report.figures import spectrogram_grid

    clip = clips[len(clips) // 2]
    systems = [system for system in results.systems if system in clip.systems and system not in ANCHORS]
    step = max(1, -(-len(systems) // MOST_SPECTROGRAMS))

    def draw() -> Figure:
        paths = {"original": clip.reference, **{system: clip.systems[system] for system in systems[::step]}}
        grids = {name: figure_data.spectrogram(audio.load(path)[0]) for name, path in paths.items()}
        duration = clip.n_samples / clip.sample_rate
        return spectrogram_grid(grids, duration=duration, max_frequency=clip.sample_rate / 2, title=clip.id)

    yield FigureSpec("spectrograms", f"{clip.dataset}, {clip.id}: spectrograms and differences from the original", draw)


def _label(results: RunData, metric: str, task: str = "", *, arrow: bool = True) -> str:
    """Title, unit and, by default, the arrow of a metric."""
    card = next(results.cards[row.card] for row in results.rows if (row.metric, row.task) == (metric, task))
    return heading_of(card["title"], card["unit"], card["higher_is_better"] if arrow else None)
