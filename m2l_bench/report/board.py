"""Leaderboard of several runs: a line for each system, and ranks only where differences are significant.

Conventions
-----------
``board.html`` lies beside ``index.html`` and is, like it, a function of the runs' files and the names of their folders. A rank is
a range: from 1 + the number of systems that are significantly better to n - the number of systems that are significantly worse.
The page holds who is significantly better than whom, and gives the ranks among the systems that its filters show. The tests
are corrected over all systems of a column, so that a filter never makes a difference significant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from m2l_bench.cards import REPEATABILITY
from m2l_bench.files.untrusted import printable
from m2l_bench.report import figure_data
from m2l_bench.report.contents import BIT_RATE_EDGES
from m2l_bench.report.page import table_view
from m2l_bench.report.runs import ANCHORS, Measurement, RunData, natural_key, run_names
from m2l_bench.report.significance import ALPHA, BIASED, CONDITIONS, RANKED, Pairs, is_ranked, matrix
from m2l_bench.report.sources import page_sources, script_json, template
from m2l_bench.report.tables import Column, Table, bands, grouped, make_table
from m2l_bench.results import LATENT_SPACE, REFERENCES

BOARD = "board.html"
APART = {*REFERENCES, *ANCHORS}  # what systems are compared with has no rank
RATIO_EDGES = (8.0, 32.0, 64.0)  # waveform samples for each latent value
UNKNOWN = "unknown"  # the run does not say
NOT_STATED = "not stated"
NOT_MEASURED = "not measured"
RANKED_GROUP = "Systems"  # heading of the lines that are ranked


class Choice(NamedTuple):
    """What a system is in one filter: a text, and a number that sorts the texts."""

    order: float
    text: str


def rank_ranges(better: np.ndarray) -> list[tuple[int, int]]:
    """Range of ranks of each system.

    Parameters
    ----------
    better : np.ndarray of bool, shape (systems, systems)
        Whether the system of a row is significantly better than that of a column.

    Returns
    -------
    list of (int, int)
        1 + number of systems that are better, and n - number of systems that are worse.

    Examples
    --------
    The first is better than the third; the second differs from none.

    >>> rank_ranges(np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0]], bool))
    [(1, 2), (1, 3), (2, 3)]
    """
    return [(1 + int(better[:, k].sum()), len(better) - int(better[k].sum())) for k in range(len(better))]


def board_page(results: RunData, pairs: Pairs, *, name: str, n_clips: int) -> str:
    """Write the leaderboard.

    Parameters
    ----------
    results : RunData
    pairs : Pairs
    name : str
        Heading of the page.
    n_clips : int
        Clips of the listening page; 0 where there is none.

    Returns
    -------
    str
        HTML.
    """
    names = run_names(results.runs)
    stated = {system: results.stated.get(system) for system in results.systems}
    unknown = {key: _last(UNKNOWN) for key in _choices({})}
    choices = {system: unknown if facts is None else _choices(facts) for system, facts in stated.items()}
    measured_in = {system: [names[folder] for folder in results.measured_in[system]] for system in results.systems}
    parts = _parts(results)
    rates = {part: _bit_rates(results, measurements) for part, measurements in parts.items()}
    sections = [_section(results, pairs, part, measurements) for part, measurements in parts.items()]
    ranked = [system for system in results.systems if not _is_apart(system)]  # filters leave the anchors alone
    filters = {key: _options(choices[system][key] for system in ranked) for key in unknown}
    filters["bits"] = _options(of_part[system] for of_part in rates.values() for system in ranked)
    filters["run"] = list(names.values())
    data = {
        "systems": [
            {key: [choice.text] for key, choice in choices[system].items()} | {"run": measured_in[system]}
            for system in results.systems
        ],
        "sections": [
            {
                "bits": [[of_part[system].text] for system in results.systems],
                "better": section["better"],
            }
            for section, of_part in zip(sections, rates.values(), strict=True)
        ],
    }
    return template("board.html.j2").render(
        name=name,
        text=printable,
        sections=sections,
        filters={key: options for key, options in filters.items() if len(options) > 1},
        facts={
            system: " · ".join([*([] if _is_apart(system) else _facts(facts)), *measured_in[system]])
            for system, facts in stated.items()
        },
        places={system: place for place, system in enumerate(results.systems)},
        runs=[(names[folder], record, _n_systems(results, folder)) for folder, record in results.runs.items()],
        n_systems=len(ranked),
        n_clips=n_clips,
        ranked_group=RANKED_GROUP,
        unknown=UNKNOWN,
        not_stated=NOT_STATED,
        data=script_json(data),
        **page_sources("page", "board"),
    )


def _is_apart(system: str) -> bool:
    return system.partition(" (")[0] in APART


def _n_systems(results: RunData, folder: Any) -> int:
    return sum(folder in found and not _is_apart(system) for system, found in results.measured_in.items())


def _parts(results: RunData) -> dict[str, list[Measurement]]:
    """Columns of each dataset, task, or task with a reader; latent spaces, medians and learning curves are in the report."""
    shown = [m for m in results.measured if m.statistic in (*RANKED, "corrected") and m.task != LATENT_SPACE]
    shown = [m for m in shown if not figure_data.is_learning_curve(m)]
    shown = [m for m in shown if results.measured[m].get("group") != REPEATABILITY]
    listed = [metric for run in results.runs.values() for metric in run.get("suite", {}).get("metrics", [])]
    order = {metric: place for place, metric in enumerate(dict.fromkeys([*listed, *CONDITIONS]))}
    main = {
        m: 0 for reader in ("", *figure_data.readers(results)) for m in figure_data.main_measurements(results, reader)
    }
    shown.sort(key=lambda m: (main.get(m, 1), order.get(m.metric, -1)))
    parts: dict[tuple[str, str, str], list[Measurement]] = {}
    for m in shown:
        parts.setdefault((m.dataset, m.task, m.reader), []).append(m)
    for (dataset, task, reader), several in parts.items():
        if reader:  # what the coding took is measured once for all readers
            several += [m for m in parts.get((dataset, task, ""), []) if m.metric in CONDITIONS]
    parts = {key: several for key, several in parts.items() if any(m.metric not in CONDITIONS for m in several)}
    return {
        _title(*key): several for key, several in sorted(parts.items(), key=lambda part: (bool(part[0][1]), part[0]))
    }


def _title(dataset: str, task: str, reader: str) -> str:
    what = " ".join(dict.fromkeys(name for name in (dataset, task) if name))
    return f"{what}, read by {reader}" if reader else what


def _section(results: RunData, pairs: Pairs, title: str, measurements: Sequence[Measurement]) -> dict[str, Any]:
    """The table of one part with its ranks, and who is better than whom, by column and places of the systems."""
    table = make_table(results.rows, results.cards, measurements, systems=results.systems)
    reasons = {place: _not_ranked(column, pairs) for place, column in enumerate(table.columns)}
    ranked = [place for place, reason in reasons.items() if not reason]
    table = _sorted(table, ranked[0] if ranked else 0)
    ranks: dict[int, dict[str, str]] = {}
    better: dict[int, dict[int, list[int]]] = {}
    places = {system: place for place, system in enumerate(results.systems)}
    for place in ranked:
        systems = _competitors(table, place)
        of_column = _better(table, place, pairs, systems)
        ranges = rank_ranges(of_column)
        ranks[place] = {system: rank_text(*ends) for system, ends in zip(systems, ranges, strict=True)}
        beaten = [[places[systems[k]] for k in np.flatnonzero(row)] for row in of_column]
        better[place] = {places[system]: found for system, found in zip(systems, beaten, strict=True)}
    unranked: dict[str, list[str]] = {}
    for place, reason in reasons.items():
        if reason:
            unranked.setdefault(reason, []).append(table.columns[place].title)
    return {
        "title": title,
        "shown": table_view(table),
        "sorted_by": ranked[0] if ranked else None,
        "ranks": ranks,
        "better": better,
        "unranked": [f"No rank: {', '.join(titles)} ({reason})." for reason, titles in unranked.items()],
    }


def rank_text(first: int, last: int) -> str:
    """Write a range of ranks.

    >>> rank_text(1, 1)
    '1'
    """
    return f"{first}\N{EN DASH}{last}" if first < last else f"{first}"


def _competitors(table: Table, place: int) -> list[str]:
    cells = table.cells[table.cells.column == place].dropna(subset="value")
    return [str(system) for system in cells.system if not _is_apart(str(system))]


def _sorted(table: Table, place: int) -> Table:
    """Lines sorted by one column, the best first; the anchors apart."""
    column = table.columns[place]
    cells = table.cells[table.cells.column == place].dropna(subset="value")
    sign = -1.0 if column.card["higher_is_better"] else 1.0
    values = {str(system): sign * value for system, value in zip(cells.system, cells.value, strict=True)}
    systems = sorted(table.groups, key=lambda system: values.get(system, math.inf))
    order = {system: k for k, system in enumerate(systems)}
    cells = table.cells.loc[table.cells.system.map(order).sort_values(kind="stable").index].reset_index(drop=True)
    apart = [system for system in systems if _is_apart(system)]
    groups = {RANKED_GROUP: [system for system in systems if system not in apart], "Not ranked": apart}
    caption = "In brackets: 95% interval over tracks"
    if any(column.measurement.probe for column in table.columns):
        caption += "; after ±: standard deviation over seeds, where they differ"
    return grouped(replace(table, cells=cells, caption=(f"{caption}.",)), groups)


def _better(table: Table, place: int, pairs: Pairs, systems: Sequence[str]) -> np.ndarray:
    """Whether each system is significantly better than each other; what is no better than chance is better than none."""
    column = table.columns[place]
    differences, p_values = matrix(pairs, column.measurement, systems, higher_is_better=column.card["higher_is_better"])
    passed = np.array([(column.measurement, system) not in table.at_chance for system in systems], bool)
    return (differences > 0) & (p_values < ALPHA) & passed[:, None]


def _not_ranked(column: Column, pairs: Pairs) -> str:
    """Why a column has no ranks; empty where it has."""
    measurement = column.measurement
    if measurement.metric in CONDITIONS:
        return "a condition, not a result"
    if column.card["higher_is_better"] is None:
        return "it only describes: neither direction is better"
    if measurement.metric.partition(":")[0] in BIASED:
        return "its bias differs between kinds of distortion, so that no test is valid"
    if not is_ranked(measurement, column.card) or not pairs.scores(measurement):
        return "it has no value for single items that a paired test could compare"
    return ""


def _choices(facts: Mapping[str, Any]) -> dict[str, Choice]:
    """Filter -> what a system is in it."""
    licence = facts.get("licence")
    return {
        "compression": _band(_number(facts.get("compression_ratio")), RATIO_EDGES, "x", NOT_STATED),
        "rate": _rate(facts),
        "licence": Choice(0.0, str(licence)) if licence else _last(NOT_STATED),
    }


def _rate(facts: Mapping[str, Any]) -> Choice:
    rate = _number(facts.get("sample_rate"))
    return Choice(0.0, "any rate") if math.isnan(rate) else Choice(rate, f"{rate / 1000:g} kHz")


def _bit_rates(results: RunData, measurements: Sequence[Measurement]) -> dict[str, Choice]:
    """System -> band of the bit rate that was measured beside the columns of one part."""
    found = next((m for m in measurements if m.metric == "bit_rate"), None)
    rates = figure_data.intervals(results, found) if found else {}
    return {
        system: _band(rates[system].value if system in rates else math.nan, BIT_RATE_EDGES, "kbit/s", NOT_MEASURED)
        for system in results.systems
    }


def _band(value: float, edges: Sequence[float], unit: str, otherwise: str) -> Choice:
    found = bands({"": value}, edges, unit)
    return Choice(value, next(iter(found))) if found else _last(otherwise)


def _last(text: str) -> Choice:
    return Choice(math.inf, text)


def _number(value: Any) -> float:
    """A positive number of a record, else NaN."""
    return float(value) if isinstance(value, (int, float)) and 0 < value < math.inf else math.nan


def _options(choices: Iterable[Choice]) -> list[str]:
    """The texts of a filter, each once, in order."""
    return list(dict.fromkeys(c.text for c in sorted(choices, key=lambda c: (c.order, natural_key(c.text)))))


def _facts(facts: Mapping[str, Any] | None) -> list[str]:
    """Texts below a system's name."""
    if facts is None:
        return [f"compression, rate, licence {UNKNOWN}"]
    ratio, licence = _number(facts.get("compression_ratio")), facts.get("licence")
    compression = [] if math.isnan(ratio) else [f"{ratio:.3g}x"]
    return [*compression, _rate(facts).text, str(licence) if licence else f"licence {NOT_STATED}"]
