"""Tables as text: Markdown, LaTeX, HTML, CSV and Parquet of one :class:`~m2l_bench.report.tables.Table`.

Conventions
-----------
All cells of a column have the same number of decimals: the last digit is at most half of the narrower intervals'
half-width (their first quartile). Text from outside the package (labels, notes, published figures) is escaped in every
format. The same table gives the same bytes.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from m2l_bench.files.untrusted import printable
from m2l_bench.report.runs import Published
from m2l_bench.report.tables import Cell, Line, Table, make_table, measurement_of
from m2l_bench.report.templates import environment
from m2l_bench.results import Row

# A LaTeX column is as wide as a page allows with about this many characters at \footnotesize.
LATEX_WIDTH = 104
_PUBLISHED = ("system", "dataset", "metric", "value", "source", "conditions")
PUBLISHED_HEADING = "Published figures, not measured here: other data, other conditions"


def to_markdown(table: Table, *, width: int = 80) -> str:
    """Write GitHub-flavoured Markdown that reads well as plain text.

    Parameters
    ----------
    table : Table
    width : int
        Characters; columns that do not fit follow in further tables with the same lines.

    Returns
    -------
    str
        The tables, then the caption, counts and notes.
    """
    blocks = [_grid(part) for part in _parts(table, width)]
    blocks += ["\n".join(f"- {sentence}" for sentence in sentences(table, markdown=True))]
    if table.published:
        blocks += [
            f"**{PUBLISHED_HEADING}**",
            markdown_grid(
                [_PUBLISHED, *([markdown_text(t) for t in _published_cells(p)] for p in table.published)], numeric=False
            ),
        ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def terminal_table(
    rows: Sequence[Row],
    cards: Mapping[str, Mapping[str, Any]],
    metrics: Sequence[str],
    *,
    systems: Sequence[str],
    statistic: str = "mean",
    width: int = 80,
) -> str:
    """Format the rows of one dataset as a Markdown table for a terminal.

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
        Rows of whole sets (``"pooled"``) are shown as well.
    width : int
        Characters; a table that is wider is cut into several with the same lines.

    Returns
    -------
    str
        The table, then planned / scored / failed files (by metric where they differ) and notes.

    Raises
    ------
    ValueError
        If one column would mix cards or data.
    """
    place = {metric: index for index, metric in enumerate(metrics)}
    found = dict.fromkeys(
        measurement_of(row) for row in rows if row.metric in place and row.statistic in (statistic, "pooled")
    )
    columns = sorted(found, key=lambda m: (place[m.metric], m))
    return to_markdown(make_table(rows, cards, columns, systems=systems), width=width)


def to_latex(table: Table) -> str:
    r"""Write a ``table*`` with booktabs rules; every number is a ``\num``, which siunitx formats if it is loaded.

    Needs ``\usepackage{booktabs}``; without siunitx ``\num`` sets its argument in math mode.
    """
    tabulars = ("\n".join(_tabular(part)) for part in _parts(table, LATEX_WIDTH))
    body = "\\providecommand{\\num}[1]{\\ensuremath{#1}}\n" + "\n\\par\\medskip\n".join(tabulars)
    notes = " ".join(_tex_sentence(sentence) for sentence in sentences(table))
    caption = f"{_tex(table.title)}. " if table.title else ""
    published = _published_table(table) if table.published else ""
    return (
        "\\begin{table*}\n\\centering\n\\caption{" + caption + notes + "}\n\\label{tab:" + _label(table.name) + "}\n"
        "\\footnotesize\n" + body + "\n\\end{table*}\n"
    ) + published


def to_html(table: Table) -> str:
    """Write a self-contained HTML page without scripts."""
    shown = [
        [_texts(cell, digits) for cell, digits in zip(line.cells, _digits(table), strict=True)] for line in table.lines
    ]
    return (
        environment()
        .get_template("table.html.j2")
        .render(table=table, cells=shown, sentences=sentences(table), published_heading=PUBLISHED_HEADING)
    )


def records(table: Table) -> list[dict[str, Any]]:
    """List one flat record for each cell, then one for each published figure (``origin`` tells them apart); full precision."""
    measured = [
        {
            "origin": "measured",
            "system": line.system,
            "group": line.group,
            **column.measurement._asdict(),
            "unit": column.unit,
            "better": {True: "higher", False: "lower", None: ""}[column.higher_is_better],
            "value": repr(cell.value),
            "ci_low": repr(cell.low),
            "ci_high": repr(cell.high),
            "seeds": cell.n_seeds,
            "seed_deviation": repr(cell.spread),
            "best": cell.best,
            "n_planned": cell.n_planned,
            "n_scored": cell.n_scored,
            "n_failed": cell.n_failed,
            "card": column.card,
            "note": "; ".join(cell.notes),
        }
        for line in table.lines
        for column, cell in zip(table.columns, line.cells, strict=True)
        if cell is not None
    ]
    blank = dict.fromkeys(measured[0] if measured else _PUBLISHED, "")
    return measured + [
        blank
        | {"origin": "published", "system": p.system, "dataset": p.dataset, "task": p.task, "metric": p.metric}
        | {"value": p.value, "note": f"{p.source}, {p.table}, {p.date}: {p.conditions}"}
        for p in table.published
    ]


def to_csv(table: Table) -> str:
    """Write :func:`records` as CSV."""
    import pandas as pd

    return str(pd.DataFrame(records(table)).to_csv(index=False, lineterminator="\n"))


def to_parquet(table: Table) -> bytes:
    """Write the measured :func:`records` as Parquet, numbers as numbers."""
    import pandas as pd

    frame = pd.DataFrame([record for record in records(table) if record["origin"] == "measured"])
    numbers = ["value", "ci_low", "ci_high", "seed_deviation"]
    return bytes(frame.astype(dict.fromkeys(numbers, "float64")).to_parquet(index=False))


def sentences(table: Table, *, markdown: bool = False) -> list[str]:
    """Sentences under a table: how to read it, counts of items, caveats."""
    text = [*table.caption, *table.counts]
    text += table.common_notes
    text += [f"{mark}: {note}" for note, mark in table.footnotes.items()]
    return [markdown_text(sentence) for sentence in text] if markdown else text


def _digits(table: Table) -> list[int]:
    """Decimals of each column."""
    columns = zip(*(line.cells for line in table.lines), strict=True)
    return [decimals([(cell.value, cell.low, cell.high) for cell in column if cell]) for column in columns]


def decimals(intervals: Sequence[tuple[float, float, float]]) -> int:
    """Number of decimals (0 to 4) for the (value, low, high) of one column."""
    # An interval far below a thousandth of its value (a constant bit rate) must not decide the decimals of the whole column.
    halves = [half for value, low, high in intervals if (half := (high - low) / 2) > abs(value) / 1000]
    if halves:
        return min(4, max(0, math.ceil(-math.log10(sorted(halves)[len(halves) // 4] / 2))))
    largest = max((abs(value) for value, _, _ in intervals if value and math.isfinite(value)), default=1.0)
    return min(4, max(0, 2 - math.floor(math.log10(largest))))


def _texts(cell: Cell | None, digits: int) -> tuple[str, str, str]:
    """Value, interval and spread over seeds as text; a minus is a hyphen."""
    if cell is None:
        return "-", "", ""
    if cell.n_scored == 0 or math.isnan(cell.value):
        return "failed", "", ""
    value, low, high = (number_text(number, digits) for number in (cell.value, cell.low, cell.high))
    interval = "" if math.isnan(cell.low) or math.isnan(cell.high) else f"[{low}, {high}]"
    # The linear probe has one solution: its seeds differ in rounding alone.
    spread = f"±{number_text(cell.spread, max(digits, 1))}" if cell.spread > 1e-9 else ""
    return value, interval, spread


def number_text(value: float, digits: int) -> str:
    """Format a number with so many decimals; never a negative zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _parts(table: Table, width: int) -> list[Table]:
    """Cut a table into tables that are at most `width` characters wide, each with all its lines."""
    cells = _columns_of_text(table)
    first = max(len(text) for text in cells[0]) + 4
    parts: list[list[int]] = [[]]
    used = first
    for index, column in enumerate(cells[1:]):
        needed = max(len(text) for text in column) + 3
        if parts[-1] and used + needed > width:
            parts.append([])
            used = first
        parts[-1].append(index)
        used += needed
    return [
        replace(
            table,
            columns=tuple(table.columns[i] for i in part),
            lines=tuple(replace(line, cells=tuple(line.cells[i] for i in part)) for line in table.lines),
        )
        for part in parts
    ]


def _columns_of_text(table: Table) -> list[list[str]]:
    """Heading and cells of each column as Markdown: the systems, then the measurements."""
    columns = [["system", *(_system(table, line) for line in table.lines)]]
    for index, (column, digits) in enumerate(zip(table.columns, _digits(table), strict=True)):
        columns.append([markdown_text(column.heading), *(_md_cell(line.cells[index], digits) for line in table.lines)])
    return columns


def _grid(table: Table) -> str:
    columns = _columns_of_text(table)
    lines: list[Sequence[str]] = [[column[0] for column in columns]]
    group = ""
    for index, line in enumerate(table.lines, start=1):
        if line.group != group:
            group = line.group
            lines.append([f"*{markdown_text(group)}*" if group else "*others*", *[""] * (len(columns) - 1)])
        lines.append([column[index] for column in columns])
    return markdown_grid(lines)


def markdown_grid(lines: Sequence[Sequence[str]], *, numeric: bool = True) -> str:
    """A Markdown table of texts that are already escaped; the first line is the heading, numbers stand to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def padded(line: Sequence[str]) -> str:
        cells = (
            text.rjust(width) if numeric and i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        return "| " + " | ".join(cells) + " |"

    rule = "".join(("-" * (w + 1) + ":|") if numeric and i else "-" * (w + 2) + "|" for i, w in enumerate(widths))
    return "\n".join([padded(lines[0]), "|" + rule, *(padded(line) for line in lines[1:])])


def _system(table: Table, line: Line) -> str:
    marks = _marks(table, line)
    return markdown_text(line.system) + (f" ({marks})" if marks else "")


def _marks(table: Table, line: Line) -> str:
    return ",".join(table.footnotes[note] for note in line.notes if note in table.footnotes)


def _md_cell(cell: Cell | None, digits: int) -> str:
    value, interval, spread = _texts(cell, digits)
    if cell is not None and cell.best:
        value = f"**{value}**"
    return " ".join(part for part in (value, interval, spread) if part)


def markdown_text(text: str) -> str:
    """Escape Markdown and HTML syntax, and keep the text on one line."""
    text = " ".join(printable(text).split())
    for sign in "\\`*[]|":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _tabular(table: Table) -> list[str]:
    width = 1 + len(table.columns)
    headings = ["System", *(_tex(column.heading) for column in table.columns)]
    lines = [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", " & ".join(headings) + r" \\"]
    lines.append(r"\midrule")
    group = ""
    for line in table.lines:
        if line.group != group:
            group = line.group
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{_tex(group or 'others')}}}}} \\")
        marks = _marks(table, line)
        cells = [_tex(line.system) + (rf"\textsuperscript{{{marks}}}" if marks else "")]
        cells += [_tex_cell(cell, digits) for cell, digits in zip(line.cells, _digits(table), strict=True)]
        lines.append(" & ".join(cells) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _tex_cell(cell: Cell | None, digits: int) -> str:
    value, interval, spread = _texts(cell, digits)
    if value == "-":
        return "--"
    if value == "failed":
        return value
    text = rf"\num{{{value}}}"
    if cell is not None and cell.best:
        text = rf"\textbf{{\boldmath{text}}}"
    if interval:
        low, high = interval[1:-1].split(", ")
        text += rf" [\num{{{low}}}, \num{{{high}}}]"
    return text + (rf" $\pm$\num{{{spread[1:]}}}" if spread else "")


def _published_table(table: Table) -> str:
    """A separate float: both tables together may be taller than a page."""
    begin = ["\\begin{table*}", r"\centering", rf"\caption{{{_tex_sentence(PUBLISHED_HEADING)}}}"]
    begin += [rf"\label{{tab:{_label(table.name)}-published}}", r"\footnotesize"]
    return "\n".join([*begin, *_published_tabular(table.published), "\\end{table*}\n"])


def _published_tabular(figures: Sequence[Published]) -> list[str]:
    lines = [r"\begin{tabular}{lllrp{0.25\linewidth}p{0.25\linewidth}}"]
    lines += [r"\toprule", " & ".join(name.capitalize() for name in _PUBLISHED) + r" \\", r"\midrule"]
    lines += [" & ".join(_tex(text) for text in _published_cells(figure)) + r" \\" for figure in figures]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _published_cells(figure: Published) -> list[str]:
    source = ", ".join(part for part in (figure.source, figure.table, figure.date) if part)
    where = figure.task or figure.dataset
    return [
        markdown_text(text) for text in (figure.system, where, figure.metric, figure.value, source, figure.conditions)
    ]


_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a line a bare bracket would be its option
    '"': "''",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
    "…": r"\ldots{}",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    **dict(
        zip("ßøØæÆœŒłŁ", (rf"\{name}{{}}" for name in ("ss", "o", "O", "ae", "AE", "oe", "OE", "l", "L")), strict=True)
    ),
}
# Combining mark -> LaTeX's accent.
_ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0304\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=.\"rHvc", strict=True))


def _tex(text: str) -> str:
    """Escape for LaTeX; a letter that the default fonts lack becomes its plain form or its code point."""
    return "".join(_TEX.get(sign) or _plain(sign) for sign in " ".join(printable(text).split()))


def _tex_sentence(text: str) -> str:
    return _tex(text if text.endswith(".") else f"{text}.")


def _plain(sign: str) -> str:
    if sign.isascii():
        return sign
    letter, *marks = list(unicodedata.normalize("NFD", sign))
    if letter.isascii() and letter.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{letter}}}"
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return plain or f"{{[}}U+{ord(sign):04X}]"


def _label(name: str) -> str:
    return "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name)
