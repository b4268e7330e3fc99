"""Tables and figures of a report, as far as the rows of a run allow them.

Nothing is written to disk here: a table is data, and a figure is a function that draws it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from m2l_bench import audio
from m2l_bench.cards import REPEATABILITY, SEED_CHANGE, STEREO
from m2l_bench.report import figure_data, figures, time_figures
from m2l_bench.report.clips import ClipFiles
from m2l_bench.report.figure_spec import FigureSpec, slug
from m2l_bench.report.latent import latent_figures, latent_tables, rate_distortion
from m2l_bench.report.runs import ANCHORS, CHANCE, Measurement, RunData
from m2l_bench.report.seeds import within_a_seed
from m2l_bench.report.significance import CONDITIONS, RANKED, Pairs, is_ranked, matrix, significant_costs, winners
from m2l_bench.report.style import looks
from m2l_bench.report.tables import Table, bands, grouped, heading, make_table
from m2l_bench.tasks import load_task
from m2l_bench.tasks.annotation import Annotation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Metrics that get figures of their own, in this order, and what users bring after them; every metric is in the tables.
FIGURE_METRICS = (
    *("si_sdr", "mel_distance", "stft_distance"),
    *("fad:musicnn", "fad:vggish", "fad:clap", "kad:musicnn", "visqol"),
)
BIT_RATE = {"title": "bit rate", "unit": "kbit/s", "higher_is_better": False}  # where no system has a bit stream
BIT_RATE_EDGES = (16.0, 32.0, 64.0, 128.0)  # kbit/s
MOST_SPECTROGRAMS = 6
MOST_TIMELINES = 3


def all_tables(results: RunData, pairs: Pairs) -> list[Table]:
    """Make every table of a run: reconstruction by dataset, probes by task, and the main score of each task."""
    tables: list[Table] = []
    for dataset in _reconstruction_datasets(results):
        tables += _reconstruction_tables(results, pairs, dataset)
    main = figure_data.main_measurements(results)
    if len({measurement.task for measurement in main}) > 1:
        for probe in sorted({measurement.probe for measurement in main}):
            columns = [measurement for measurement in main if measurement.probe == probe]
            title = f"Probes: the main score of each task, {probe} probe"
            tables.append(_table(results, pairs, columns, f"probes-{slug(probe)}", title))
    of_latents = [m for m in results.measured if m.probe and not m.reader and not figure_data.is_learning_curve(m)]
    for task in sorted({measurement.task for measurement in of_latents}):
        columns = [m for m in of_latents if m.task == task]
        tables.append(_table(results, pairs, columns, f"probes-{slug(task)}", f"Probes: {task}"))
    return [*tables, *_reader_tables(results, pairs), *latent_tables(results)]


def all_figures(results: RunData, pairs: Pairs, clips: Sequence[ClipFiles]) -> Iterator[FigureSpec]:
    """Yield every figure that the rows, items and clips allow."""
    brought = {
        "sources",
        "encoder",
    }  # constants of the cards of users' metrics, and of distances through other encoders
    own = {m.metric: None for m, card in results.measured.items() if brought & set(card.get("constants", {}))}
    for dataset in _reconstruction_datasets(results):
        for measurement in (figure_data.whole(results, dataset, metric) for metric in (*FIGURE_METRICS, *own)):
            if measurement in results.measured:
                yield from _rate_figures(results, measurement)
                yield from _matrix_figure(results, pairs, measurement)
    yield from _probe_figures(results, pairs)
    yield from _reader_figures(results)
    yield from latent_figures(results, _looks(results))
    yield from _spectrogram_figure(results, clips)


def _reconstruction_datasets(results: RunData) -> list[str]:
    return sorted({measurement.dataset for measurement in results.measured if not measurement.task})


def _reconstruction_tables(results: RunData, pairs: Pairs, dataset: str) -> list[Table]:
    # Conditions first, then the metrics as the suites list them.
    listed = [name for run in results.runs.values() for name in run.get("suite", {}).get("metrics", [])]
    order = {name: index for index, name in enumerate(dict.fromkeys([*CONDITIONS, REPEATABILITY, *listed]))}
    measured = [measurement for measurement in results.measured if measurement[:2] == (dataset, "")]
    found = sorted(measured, key=lambda m: order.get(m.metric.removeprefix(f"{SEED_CHANGE}:"), len(order)))
    parts: dict[tuple[str, bool], list[Measurement]] = defaultdict(list)  # by the card's group, medians apart
    for m in found:
        parts[results.measured[m].get("group", ""), m.statistic == "median"].append(m)
    name = slug(dataset)
    titles = {
        ("", False): (name, "mean over files"),
        (STEREO, False): (f"{name}-stereo", "stereo and phase, mean over files"),
        ("", True): (f"{name}-median", "median over files"),
        (STEREO, True): (f"{name}-stereo-median", "stereo and phase, median over files"),
        (REPEATABILITY, False): (f"{name}-repeatability", "decoding with another seed"),
    }
    tables = [
        _table(results, pairs, parts[part], file, f"{dataset}: {title}")
        for part, (file, title) in titles.items()
        if part in parts
    ]
    rates = figure_data.intervals(results, Measurement(dataset, metric="bit_rate", statistic="mean"))
    groups = bands({system: rate.value for system, rate in rates.items()}, BIT_RATE_EDGES, "kbit/s")
    if len(groups) > 1:
        title = f"{dataset}: mean over files, by bit rate"
        tables.append(_table(results, pairs, parts["", False], f"{name}-by-bit-rate", title, groups))
    return tables


def _reader_tables(results: RunData, pairs: Pairs) -> Iterator[Table]:
    """Yield what the coding costs each reader in all tasks, then its scores and costs in each task."""
    main = {reader: figure_data.main_measurements(results, reader) for reader in figure_data.readers(results)}
    for reader, measurements in main.items():
        for probe in sorted({m.probe for m in measurements}):
            costs = [figure_data.cost_of(m) for m in measurements if m.probe == probe]
            if len(costs) > 1:
                title = f"Cost of coding for the reader {reader}, {probe} probe, in the main score of each task"
                titles = {m: f"{m.task} {results.measured[m]['title']}" for m in costs}
                yield _reader_table(results, pairs, titles, f"cost-{slug(reader, probe)}", title)
    scores = [m for measurements in main.values() for m in measurements]
    for task in sorted({m.task for m in scores}):
        here = [m for m in scores if m.task == task]
        titles = {
            m: results.measured[m]["title"] for m in results.measured if m.task == task and m.metric in CONDITIONS
        }
        for m in here:
            named = m.reader if len({other.probe for other in here}) == 1 else f"{m.reader}, {m.probe}"
            titles |= {m: named, figure_data.cost_of(m): f"cost for {named}"}
        title = f"What readers find in reconstructions: {task}, {results.measured[here[0]]['title']}"
        yield _reader_table(results, pairs, titles, f"readers-{slug(task)}", title)


def _reader_table(results: RunData, pairs: Pairs, titles: Mapping[Measurement, str], name: str, title: str) -> Table:
    """Make a table of readers, of columns with their titles; bold marks costs that are more than nothing."""
    table = make_table(results.rows, results.cards, list(titles), systems=results.systems)
    columns = tuple(replace(column, title=titles[column.measurement]) for column in table.columns)
    caption = (
        "Probes are fitted on what the reader finds in the originals (refit: in the reconstructions) of training items.",
        "Cost of coding: mean paired difference to the originals (identity), positive where something is lost.",
        "In brackets: 95% interval over tracks; after ±: standard deviation over seeds, where they differ.",
        "Bold: significant cost (p < 0.05, paired test over tracks, Holm-corrected over this table).",
    )
    return replace(
        table, columns=columns, name=name, title=title, caption=caption, best=significant_costs(table, pairs)
    )


def _table(
    results: RunData,
    pairs: Pairs,
    columns: Sequence[Measurement],
    name: str,
    title: str,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Make a table; bold marks the best of each of `groups` (band of bit rates -> systems), or of all systems."""
    ranked = [m for m in columns if m.statistic in RANKED and is_ranked(m, results.measured[m])]
    caption = ["In brackets: 95% interval over tracks"]
    if any(column.probe for column in columns):
        caption[0] += "; after ±: standard deviation over seeds, where they differ"
    if ranked:
        band = " of its band of bit rates" if groups else ""
        anchors = "" if all(column.task for column in columns) else f"; {' and '.join(ANCHORS)} are not ranked"
        caption.append(
            f"Bold: significantly better than every other system{band} "
            f"(p < 0.05, paired test over tracks, Holm-corrected over this table{anchors})"
        )
    if any(results.measured[column].get("group") == REPEATABILITY for column in columns):
        caption.append("A few files, reconstructed with the seed of each system and with the next; nothing is ranked")
    caption += within_a_seed(results, ranked, groups)
    caption += _different_files(results, pairs, ranked)
    table = grouped(make_table(results.rows, results.cards, columns, systems=results.systems), groups or {})
    sentences = tuple(f"{sentence}." for sentence in caption)
    return replace(table, name=name, title=title, caption=sentences, best=winners(table, pairs))


def _different_files(results: RunData, pairs: Pairs, columns: Sequence[Measurement]) -> list[str]:
    """Name the metrics whose systems were scored on different items, and the number of items that tests rest on."""
    common = [
        (heading(results.measured[m], arrow=False), pairs.uncommon(m, [s for s in results.systems if s != CHANCE]))
        for m in columns
    ]
    found = {label: " to ".join(map(str, dict.fromkeys(numbers))) for label, numbers in common if numbers}
    named = ", ".join(f"{label}: {numbers}" for label, numbers in found.items())
    sentence = "Not all systems were scored on the same items; two systems are compared on those that both have"
    return [f"{sentence} ({named})"] if found else []


def _rate_figures(results: RunData, y: Measurement) -> Iterator[FigureSpec]:
    for x in (figure_data.whole(results, y.dataset, condition) for condition in CONDITIONS):
        points = figure_data.points(results, x, y)
        curves = rate_distortion(results, y) if x.metric == "bit_rate" else {}
        if len(points) > 1 or curves:
            x_label, y_label = heading(results.measured.get(x, BIT_RATE), arrow=False), heading(results.measured[y])
            caption = f"{y.dataset}: {y_label} against {x_label}, with 95% intervals"
            if curves:
                caption += (
                    "; open markers: autoencoders with their latents quantised and entropy-coded (latent bit rate), from a fine "
                    "to a coarse step; dotted: unquantised"
                )
            yield FigureSpec(
                slug(y.dataset, y.metric, f"against-{x.metric.replace('_', '-')}"),
                caption,
                partial(
                    figures.rate_quality,
                    points,
                    x_label=x_label,
                    y_label=y_label,
                    quantised=curves,
                    looks=_looks(results),
                ),
            )


def _looks(results: RunData) -> dict[str, int]:
    """Colours and markers of all figures; the anchors, which few figures show, come last."""
    return looks(sorted(results.systems, key=lambda system: system in ANCHORS))


def _matrix_figure(results: RunData, pairs: Pairs, measurement: Measurement) -> Iterator[FigureSpec]:
    systems = [system for system in results.systems if system in pairs.scores(measurement) and system != CHANCE]
    card = results.measured[measurement]
    if len(systems) < 3 or card["higher_is_better"] is None or not is_ranked(measurement, card):
        return
    differences, p_values = matrix(pairs, measurement, systems, higher_is_better=card["higher_is_better"])
    title = f"{card['title']}, {' '.join(measurement.parts)}"
    yield FigureSpec(
        slug("/".join(measurement.parts), measurement.metric, "pairs"),
        f"{title}: every system against every other (paired test over tracks, Holm-corrected, 5%)",
        partial(figures.significance, differences, p_values, systems, title=title),
    )


def _probe_figures(results: RunData, pairs: Pairs) -> Iterator[FigureSpec]:
    main = figure_data.main_measurements(results)
    for probe in sorted({measurement.probe for measurement in main}):
        caption = f"{probe} probe: the main score of each task with 95% intervals"
        groups = figure_data.probe_groups(results, probe)
        yield FigureSpec(
            f"probes-{slug(probe)}",
            caption,
            partial(figures.probe_bars, groups, y_label="score", chance="majority", looks=_looks(results)),
        )
    for measurement in main:
        yield from _tradeoff_figures(results, measurement)
        yield from _matrix_figure(results, pairs, measurement)
        if figure_data.time_kind(measurement):
            yield from _time_figures(results, measurement)
        elif measurement.metric != "roc_auc":  # of tags: an item has several
            yield from _confusion_figure(results, measurement)
        curves = figure_data.learning_curves(results, measurement)
        if curves:
            task, probe, label = measurement.task, measurement.probe, heading(results.measured[measurement])
            yield FigureSpec(
                slug(task, probe, "learning"),
                f"{task}, {probe} probe: {label} against training items",
                partial(figures.learning_curves, curves, y_label=label, looks=_looks(results)),
            )


def _reader_figures(results: RunData) -> Iterator[FigureSpec]:
    """Yield the cost of coding for all readers and tasks, for each probe."""
    for probe in sorted({measurement.probe for measurement in results.measured if measurement.reader}):
        costs = figure_data.coding_costs(results, probe)
        measured = [of_systems for of_readers in costs.values() for of_systems in of_readers.values()]
        systems = [system for system in results.systems if any(system in of_systems for of_systems in measured)]
        if systems:
            yield FigureSpec(
                slug("readers", probe),
                f"Cost of coding for each reader, {probe} probe: what it loses in the main score of each task, with 95% "
                "intervals (nothing, where it finds nothing in the originals); systems from the mildest to the strongest "
                "compression",
                partial(figures.coding_costs, costs, figure_data.by_compression(results, systems)),
            )


def _tradeoff_figures(results: RunData, probing: Measurement) -> Iterator[FigureSpec]:
    against = [m for m in results.measured if not m.task and m.metric in ("mel_distance", "fad:musicnn")]
    for reconstruction in (m for m in against if m.statistic in ("mean", "corrected")):
        points = figure_data.points(results, reconstruction, probing)
        if len(points) > 1:
            x_label = f"{heading(results.measured[reconstruction])}, {reconstruction.dataset}"
            y_label = f"{heading(results.measured[probing])}, {probing.task}"
            yield FigureSpec(
                slug("tradeoff", reconstruction.dataset, reconstruction.metric, probing.task, probing.probe),
                f"Reconstruction against probing ({probing.probe}): {x_label} against {y_label}",
                partial(figures.tradeoff, points, x_label=x_label, y_label=y_label, looks=_looks(results)),
            )


def _confusion_figure(results: RunData, measurement: Measurement) -> Iterator[FigureSpec]:
    """Yield the confusion matrix of the system with the best main score."""
    scores = figure_data.intervals(results, measurement)
    if not scores:
        return
    best = max(scores, key=lambda system: scores[system].value)
    counts, labels = figure_data.confusion_counts(results.items, measurement, best)
    if len(labels) > 1:
        title = f"{measurement.task}, {measurement.probe}, {best}"
        yield FigureSpec(
            slug(measurement.task, measurement.probe, "confusion"),
            f"{title} (the best score): targets in rows, predictions in columns, mean over seeds",
            partial(figures.confusion, counts, labels, title=title),
        )


def _time_figures(results: RunData, measurement: Measurement) -> Iterator[FigureSpec]:
    """Yield a test track with what the best systems find in it, the middle one by its score; of chords also the confusion."""
    found = figure_data.estimates(results.items, measurement)
    scores = {s: i for s, i in figure_data.intervals(results, measurement).items() if s in found}
    if not scores:
        return
    ranked = sorted(scores, key=lambda system: -scores[system].value)
    best, kind, name = ranked[0], figure_data.time_kind(measurement), " ".join(measurement[1:3])
    tracks = sorted(found[best].values(), key=lambda item: (item.value, item.item))
    track = tracks[len(tracks) // 2]
    shown = [system for system in ranked[:MOST_TIMELINES] if track.item in found[system]]
    lines = {"annotation": Annotation.parse(kind, track.target)}
    lines |= {system: Annotation.parse(kind, found[system][track.item].prediction) for system in shown}
    path = _audio_of(measurement.task, track.item)

    def draw() -> Figure:
        signal, rate = audio.load(path) if path is not None else (None, 0)
        levels = None if signal is None else figure_data.spectrogram(signal, rate)
        duration = (
            signal.shape[-1] / rate if signal is not None else max(float(a.ends.max(initial=0)) for a in lines.values())
        )
        title = f"{name}, {track.item}"
        return time_figures.timeline(
            kind, lines, levels, duration=duration, max_frequency=rate / 2, title=title, looks=_looks(results)
        )

    caption = f"{name}: a test track of middle score, {track.item}: annotation, and estimates of {', '.join(shown)}"
    yield FigureSpec(slug(measurement.task, measurement.probe, "timeline"), caption, draw)
    if kind == "chords":
        yield FigureSpec(
            slug(measurement.task, measurement.probe, "confusion"),
            f"{name}, {best} (the best score): what is estimated in the time of annotated chords",
            partial(time_figures.chord_confusion, figure_data.chord_confusion(tracks), title=f"{name}, {best}"),
        )


def _audio_of(task: str, item: str) -> Path | None:
    """A track's audio, where its dataset is on this machine."""
    try:
        return next((found.path for found in load_task(task).items() if found.id == item), None)
    except ValueError:  # the data are elsewhere, or the task was a user's
        return None


def _spectrogram_figure(results: RunData, clips: Sequence[ClipFiles]) -> Iterator[FigureSpec]:
    """Yield the spectrograms of the middle clip among those that most systems have (clips run from worst to best)."""
    most = max((len(clip.systems) for clip in clips), default=0)
    fullest = [clip for clip in clips if len(clip.systems) == most]
    if not fullest:
        return
    clip = fullest[len(fullest) // 2]
    systems = [system for system in results.systems if system in clip.systems and system not in ANCHORS]
    step = max(1, -(-len(systems) // MOST_SPECTROGRAMS))

    def draw() -> Figure:
        paths = {"original": clip.reference, **{system: clip.systems[system] for system in systems[::step]}}
        grids = {name: figure_data.spectrogram(*audio.load(path)) for name, path in paths.items()}
        duration = clip.n_samples / clip.sample_rate
        return time_figures.spectrogram_grid(
            grids, duration=duration, max_frequency=clip.sample_rate / 2, title=clip.id
        )

    yield FigureSpec("spectrograms", f"{clip.dataset}, {clip.id}: spectrograms and differences from the original", draw)
