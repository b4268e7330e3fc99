"""Tables and figures of latent spaces, as far as the rows and items of a run allow them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from m2l_bench.report import figure_data, figures
from m2l_bench.report.figure_spec import FigureSpec, slug
from m2l_bench.report.runs import Measurement, RunData, measurement_of
from m2l_bench.report.style import QUANTISED, Interval, Point
from m2l_bench.report.tables import Table, grouped, heading, make_table
from m2l_bench.results import LATENT_SPACE, Row

SHEET = (
    *("latent_dim", "latent_rate", "latent_mean", "latent_std", "latent_kurtosis", "dead_dimensions"),
    *("effective_rank", "components_95", "step_100ms", "half_life"),
)
# Numbers of one file that are compared in one figure, after those of the sheet.
COMPARED = (
    *("effective_rank", "step_100ms", "half_life", "gain_linearity", "gain_si_sdr:+12dB", "mixing_si_sdr_decoded"),
    *("shift_si_sdr:half-frame", "noise_mel_distance_decoded:-10dB"),
)
TERMINAL = (
    *("latent_dim", "latent_rate", "effective_rank", "step_100ms", "half_life", "gain_linearity"),
    "mixing_si_sdr_decoded",
)
_BIT_RATE, _SUFFICIENT, _STEP = "latent_bit_rate", "sufficient_bit_rate:", "step "
_INTERVAL = "In brackets: 95% interval over files."


def latent_tables(results: RunData) -> Iterator[Table]:
    """Yield the sheet, what changes of the audio and noise in the latents do, and rate and distortion, of each dataset."""
    for dataset in _datasets(results):
        several = {
            "latent": ("latent space", [name for name in SHEET if name in _metrics(results, dataset)]),
            "gain-mixing": ("latent space, gain and mixing", _starting(results, dataset, "gain_", "mixing_")),
            "shift": ("latent space, shift of the audio", _starting(results, dataset, "shift_")),
            "noise": ("latent space, noise in the latents", _starting(results, dataset, "noise_")),
            "sufficient": ("bit rate that latents need to be as good as unquantised", _sufficient(results, dataset)),
        }
        for name, (title, metrics) in several.items():
            columns = [found for metric in metrics if (found := _whole(results, dataset, metric)) is not None]
            if columns:
                table = make_table(results.rows, results.cards, columns, systems=results.systems)
                yield replace(table, name=f"{slug(dataset)}-{name}", title=f"{dataset}: {title}", caption=(_INTERVAL,))
        yield from _rate_table(results, dataset)


def latent_figures(results: RunData, looks: Mapping[str, int] | None = None) -> Iterator[FigureSpec]:
    """Yield the sheet of each system, and one comparison, of each dataset."""
    for dataset in _datasets(results):
        for system in results.systems:
            yield from _sheet_figure(results, dataset, system)
        columns = [found for metric in COMPARED if (found := _whole(results, dataset, metric)) is not None]
        values = {heading(results.measured[m]): figure_data.intervals(results, m) for m in columns}
        if len({system for found in values.values() for system in found}) > 1:
            caption = f"{dataset}: latent spaces side by side, with 95% intervals over files (open markers: infinite)"
            yield FigureSpec(slug(dataset, "latent-spaces"), caption, partial(figures.dots, values, looks=looks))


def rate_distortion(results: RunData, y: Measurement) -> dict[str, tuple[list[Point], Interval | None]]:
    """Autoencoder -> its points (latent bit rate, quality) from the finest step on, and its quality unquantised."""
    whole = figure_data.intervals(results, y)
    curves: dict[str, list[Point]] = {}
    for split in _steps(results, y.dataset):
        quality = figure_data.intervals(results, y._replace(task=LATENT_SPACE, split=split))
        rates = figure_data.intervals(results, _rate(y.dataset, split))
        for system in results.systems:
            if system in quality and system in rates:
                named = f"{system}{QUANTISED}"
                curves.setdefault(system, []).append(Point(named, named, rates[system], quality[system]))
    return {f"{system}{QUANTISED}": (points, whole.get(system)) for system, points in curves.items()}


def _datasets(results: RunData) -> list[str]:
    return sorted({m.dataset for m in results.measured if m.task == LATENT_SPACE})


def _metrics(results: RunData, dataset: str) -> list[str]:
    """Metrics of the latent space over a dataset, unquantised, in the order of the run's cards."""
    found = [m.metric for m in results.measured if (m.dataset, m.task, m.split) == (dataset, LATENT_SPACE, "")]
    return list(dict.fromkeys(found))


def _starting(results: RunData, dataset: str, *starts: str) -> list[str]:
    """Metrics that begin so: from low levels to high ones, from short times to long ones."""

    def order(name: str) -> tuple[str, float, str]:
        kind, _, level = name.partition(":")
        number = level.removesuffix("dB").removesuffix("ms")
        try:
            return kind, float(number), level
        except ValueError:  # half a frame
            return kind, math.inf, level

    return sorted((name for name in _metrics(results, dataset) if name.startswith(starts)), key=order)


def _sufficient(results: RunData, dataset: str) -> list[str]:
    listed = [name for run in results.runs.values() for name in run.get("suite", {}).get("metrics", [])]
    found = [name for name in _metrics(results, dataset) if name.startswith(_SUFFICIENT)]
    order = {f"{_SUFFICIENT}{name}": place for place, name in enumerate(listed)}
    return sorted(found, key=lambda name: order.get(name, len(order)))


def _whole(results: RunData, dataset: str, metric: str) -> Measurement | None:
    found = (Measurement(dataset, LATENT_SPACE, metric=metric, statistic=name) for name in ("pooled", "mean"))
    return next((m for m in found if m in results.measured), None)


def _steps(results: RunData, dataset: str) -> list[str]:
    """Splits of the steps of the quantiser, from the finest."""
    found = {m.split for m in results.measured if (m.dataset, m.task) == (dataset, LATENT_SPACE)}
    return sorted(
        (split for split in found if split.startswith(_STEP)), key=lambda split: float(split.removeprefix(_STEP))
    )


def _rate(dataset: str, split: str) -> Measurement:
    return Measurement(dataset, LATENT_SPACE, split=split, metric=_BIT_RATE, statistic="mean")


def _rate_table(results: RunData, dataset: str) -> Iterator[Table]:
    """Yield one table of all systems that have a bit rate: codecs, and autoencoders unquantised and at each step."""
    steps = _steps(results, dataset)
    if not steps:
        return
    quantised = [m for m in results.measured if (m.dataset, m.task, m.split) == (dataset, LATENT_SPACE, steps[0])]
    metrics = list(dict.fromkeys(m.metric for m in quantised if m.metric != _BIT_RATE))
    listed = [name for run in results.runs.values() for name in run.get("suite", {}).get("metrics", [])]
    metrics.sort(key=lambda name: listed.index(name) if name in listed else len(listed))
    systems = {row.system for row in results.rows if row.dataset == dataset and row.split in steps}
    coded = {row.system for row in results.rows if row.dataset == dataset and row.metric == "bit_rate" and not row.task}
    lines: dict[str, list[str]] = {"codecs": [s for s in results.systems if s in coded - systems]}
    for system in (s for s in results.systems if s in systems):
        lines[system] = [system, *(f"{system}, {split}" for split in steps)]
    rows = [row for row in results.rows if row.dataset == dataset and row.system in coded | systems and not row.task]
    rows += [
        replace(row, system=f"{row.system}, {row.split}", task="", split="")
        for row in results.rows
        if row.dataset == dataset and row.task == LATENT_SPACE and row.split in steps
    ]
    found = {measurement_of(row) for row in rows}
    columns = [Measurement(dataset, metric=name, statistic="mean") for name in ("bit_rate", _BIT_RATE)]
    for metric in metrics:
        whole = figure_data.whole(results, dataset, metric)
        columns += [whole, whole._replace(statistic="cost")]
    columns = [column for column in columns if column in found]
    order = [line for several in lines.values() for line in several]
    table = grouped(make_table(rows, results.cards, columns, systems=order), lines)
    caption = (
        _INTERVAL,
        "Steps are in standard deviations of each dimension of the latents. Entropy models are fitted on other files.",
        "Cost: mean paired difference to unquantised, positive where something is lost.",
    )
    title = f"{dataset}: quality against bit rate, with the latents of autoencoders quantised"
    yield replace(table, name=f"{slug(dataset)}-rate-distortion", title=title, caption=caption)


def _sheet_figure(results: RunData, dataset: str, system: str) -> Iterator[FigureSpec]:
    mine = [i for i in results.items if (i.dataset, i.task, i.system) == (dataset, LATENT_SPACE, system)]
    spectrum = sorted((int(i.item), i.value) for i in mine if (i.metric, i.split) == ("effective_rank", "component"))
    lags = sorted(
        (float(i.item.removesuffix(" s")), i.value) for i in mine if (i.metric, i.split) == ("step_100ms", "lag")
    )
    gain = _levels(results, dataset, system, "gain_si_sdr:")
    titles = {"noise_mel_distance:": "to the audio", "noise_mel_distance_decoded:": "to undisturbed"}
    noise = {title: found for start, title in titles.items() if (found := _levels(results, dataset, system, start))}
    if spectrum:
        draw = partial(
            figures.latent_sheet, [share for _, share in spectrum], lags, gain, noise, title=f"{dataset}, {system}"
        )
        caption = (
            f"{dataset}, {system}: variance of the first principal components together, autocorrelation of the latents, gain of "
            "the audio, noise in the latents; 95% intervals over files"
        )
        yield FigureSpec(slug(dataset, system, "latent"), caption, draw)


def _levels(results: RunData, dataset: str, system: str, start: str) -> list[tuple[float, Interval]]:
    """Level in dB, and the number there."""
    found = []
    for metric in _starting(results, dataset, start):
        measurement = _whole(results, dataset, metric)
        values: Mapping[str, Interval] = figure_data.intervals(results, measurement) if measurement else {}
        if system in values:
            found.append((float(metric.removeprefix(start).removesuffix("dB")), values[system]))
    return found


def latent_columns(rows: Sequence[Row]) -> list[str]:
    """The few numbers of a latent space for a terminal: then the bit rates that suffice."""
    found = dict.fromkeys(row.metric for row in rows)
    return [*(name for name in TERMINAL if name in found), *(name for name in found if name.startswith(_SUFFICIENT))]
