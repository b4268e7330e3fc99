"""Tables of a run's rows: one line a system, one column a metric, value with its interval.

Pure functions of rows and cards. Rows of one column must carry one card: a table that would mix definitions is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m2l_bench.results import Row


def markdown(
    rows: Sequence[Row],
    cards: Mapping[str, Mapping[str, Any]],
    metrics: Sequence[str],
    *,
    systems: Sequence[str],
    statistic: str = "mean",
) -> str:
    """One Markdown table over one dataset.

    Parameters
    ----------
    rows : sequence of Row
        Of one dataset.
    cards : mapping of str to mapping
        Card hash -> the card's fields.
    metrics : sequence of str
        Columns, in order; those without any row are left out.
    systems : sequence of str
        Lines, in order.
    statistic : str

    Returns
    -------
    str
        Ends with the counts: planned / scored / failed files, the worst over the line's metrics.

    Raises
    ------
    ValueError
        If one column would mix cards or data.
    """
    cells: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.metric in metrics and row.statistic == statistic:
            cells[row.system, row.metric] = row
    columns = [metric for metric in metrics if any((system, metric) in cells for system in systems)]
    for metric in columns:
        _refuse_mixture(metric, [cells[system, metric] for system in systems if (system, metric) in cells])
    titles = ["system", *(_title(cards, rows, metric) for metric in columns), "planned / scored / failed"]
    lines = []
    for system in systems:
        of_system = [cells[system, metric] for metric in columns if (system, metric) in cells]
        if of_system:
            worst = max(of_system, key=lambda row: row.n_failed)
            values = [_cell(cells.get((system, metric))) for metric in columns]
            lines.append([system, *values, f"{worst.n_planned} / {worst.n_scored} / {worst.n_failed}"])
    return _render([titles, *lines])


def _refuse_mixture(metric: str, rows: Sequence[Row]) -> None:
    for name in ("card", "data_hash"):
        found = sorted({getattr(row, name) for row in rows})
        if len(found) > 1:
            raise ValueError(f"{metric}: a column must hold one {name}, got {' and '.join(found)}")


def _title(cards: Mapping[str, Mapping[str, Any]], rows: Sequence[Row], metric: str) -> str:
    card = cards[next(row.card for row in rows if row.metric == metric)]
    arrow = {True: " ↑", False: " ↓", None: ""}[card["higher_is_better"]]
    unit = f" ({card['unit']})" if card["unit"] else ""
    return f"{card['title']}{unit}{arrow}"


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    if row.n_scored == 0:
        return "failed"
    digits = 1 if max(abs(row.value), abs(row.ci_low), abs(row.ci_high)) >= 10 else 2
    return f"{row.value:.{digits}f} [{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]"


def _render(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [
        "| "
        + " | ".join(_pad(text, width, first=i == 0) for i, (text, width) in enumerate(zip(line, widths, strict=True)))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join(("-" * (width + 1) + ":") if i else "-" * (width + 2) for i, width in enumerate(widths)) + "|"
    return "\n".join([padded[0], rule, *padded[1:]]) + "\n"


def _pad(text: str, width: int, *, first: bool) -> str:
    return text.ljust(width) if first else text.rjust(width)
