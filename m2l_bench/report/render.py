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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2

from m2l_bench.files.untrusted import printable
from m2l_bench.report.runs import measurement_of
from m2l_bench.report.tables import Cell, Table, make_table
from m2l_bench.results import Row

if TYPE_CHECKING:
    import pandas as pd

# A LaTeX column is as wide as a page allows with about this many characters at \footnotesize.
LATEX_WIDTH = 104
_PUBLISHED = ("system", "dataset", "metric", "value", "source", "conditions")
PUBLISHED_HEADING = "Published figures, not measured here: other data, other conditions"


def to_markdown(table: Table, *, width: int = 80) -> str:
    """Write GitHub-flavoured Markdown that reads well as plain text: the table, then caption, counts and notes.

    Columns beyond `width` characters follow in further tables with the same lines.
    """
    rows = _rows(table, _MARKDOWN)
    blocks = [markdown_grid(_chosen(rows, part)) for part in _parts(rows, width)]
    blocks.append("\n".join(f"- {markdown_text(sentence)}" for sentence in sentences(table)))
    if table.published:
        published = [[markdown_text(text) for text in line] for line in _published(table)]
        blocks += [f"**{PUBLISHED_HEADING}**", markdown_grid([_PUBLISHED, *published], numeric=False)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def terminal_table(
    rows: Sequence[Row],
    cards: Mapping[str, Mapping[str, Any]],
    metrics: Sequence[str],
    *,
    systems: Sequence[str],
    width: int = 80,
) -> str:
    """Format the rows of one dataset, medians left out, as a Markdown table for a terminal.

    The parameters are those of :func:`~m2l_bench.report.tables.make_table` and :func:`to_markdown`; `metrics` are the
    columns, in order.
    """
    place = {metric: index for index, metric in enumerate(metrics)}
    found = {measurement_of(row) for row in rows if row.metric in place and row.statistic != "median"}
    columns = sorted(found, key=lambda m: (place[m.metric], m))
    return to_markdown(make_table(rows, cards, columns, systems=systems), width=width)


def to_latex(table: Table) -> str:
    r"""Write a ``table*`` with booktabs rules; every number is a ``\num``, which siunitx formats if it is loaded.

    Needs ``\usepackage{booktabs}``; without siunitx ``\num`` sets its argument in math mode.
    """
    rows, parts = _rows(table, _LATEX), _parts(_rows(table, _MARKDOWN), LATEX_WIDTH)
    rows[0][0] = "System"
    body = "\n\\par\\medskip\n".join(_tabular(_chosen(rows, part)) for part in parts)
    notes = " ".join(_tex_sentence(sentence) for sentence in sentences(table))
    caption = f"{_tex(table.title)}. {notes}" if table.title else notes
    text = _float(caption, table.name, "\\providecommand{\\num}[1]{\\ensuremath{#1}}\n" + body)
    if table.published:  # a separate float: both tables together may be taller than a page
        published = [[_tex(text) for text in line] for line in _published(table)]
        heading = [name.capitalize() for name in _PUBLISHED]
        body = _tabular([heading, *published], r"lllrp{0.25\linewidth}p{0.25\linewidth}")
        text += _float(_tex_sentence(PUBLISHED_HEADING), f"{table.name}-published", body)
    return text


def to_frame(table: Table) -> pd.DataFrame:
    """Give a DataFrame of the texts: index system, one column for each metric."""
    import pandas as pd

    heads, *lines = [row for row in _rows(table, _PLAIN) if len(row) > 1]
    return pd.DataFrame(lines, columns=heads).set_index("system")


def to_html(table: Table) -> str:
    """Write a self-contained HTML page without scripts."""
    cells = [row[1:] for row in _rows(table, _HTML)[1:] if len(row) > 1]
    return template("table.html.j2").render(
        table=table, cells=cells, sentences=sentences(table), published=_published(table), heading=PUBLISHED_HEADING
    )


def template(name: str) -> jinja2.Template:
    """Load a template of this package; it escapes everything and refuses unknown names."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("m2l_bench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def records(table: Table) -> list[dict[str, Any]]:
    """List one flat record for each cell, then one for each published figure (see ``origin``), with full precision."""
    measured = [
        {
            "origin": "measured",
            "system": line.system,
            "group": line.group,
            **column.measurement._asdict(),
            "unit": column.card["unit"],
            "better": {True: "higher", False: "lower", None: ""}[column.card["higher_is_better"]],
            "value": cell.value,
            "ci_low": cell.low,
            "ci_high": cell.high,
            "seeds": cell.n_seeds,
            "seed_deviation": cell.spread,
            "best": (column.measurement, line.system) in table.best,
            **dict(zip(("n_planned", "n_scored", "n_failed"), cell.counts, strict=True)),
            "card": column.hash,
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

    return str(pd.DataFrame(records(table)).to_csv(index=False, na_rep="nan", lineterminator="\n"))


def to_parquet(table: Table) -> bytes:
    """Write the measured :func:`records` as Parquet, numbers as numbers."""
    import pandas as pd

    return bytes(pd.DataFrame(records(replace(table, published=()))).to_parquet(index=False))


def sentences(table: Table) -> list[str]:
    """Sentences under a table: how to read it, counts of items, caveats."""
    notes = [f"{mark}: {note}" for note, mark in table.footnotes.items()]
    return [*table.caption, *table.counts, *table.common_notes, *notes]


def decimals(intervals: Sequence[tuple[float, float, float]]) -> int:
    """Number of decimals (0 to 4) for the (value, low, high) of one column."""
    # An interval far below a thousandth of its value (a constant bit rate) must not decide the decimals of the whole column.
    halves = [half for value, low, high in intervals if (half := (high - low) / 2) > abs(value) / 1000]
    if halves:
        return min(4, max(0, math.ceil(-math.log10(sorted(halves)[len(halves) // 4] / 2))))
    largest = max((abs(value) for value, _, _ in intervals if value and math.isfinite(value)), default=1.0)
    return min(4, max(0, 2 - math.floor(math.log10(largest))))


def number_text(value: float, digits: int) -> str:
    """Format a number with so many decimals; never a negative zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


class _Format(NamedTuple):
    """How one markup writes the parts of a table."""

    escape: Callable[[str], str]
    missing: str = "-"
    marks: str = " ({})"
    number: str = "{}"
    bold: str = "**{}**"
    interval: str = "[{}, {}]"
    spread: str = "±{}"


def _rows(table: Table, form: _Format) -> list[list[str]]:
    """Heading, then the texts of each line: the system with its footnotes, and its cells.

    The name of a group stands alone in its list.
    """
    columns = zip(*(line.cells for line in table.lines), strict=True)
    digits = [decimals([(cell.value, cell.low, cell.high) for cell in column if cell]) for column in columns]
    rows = [["system", *(form.escape(column.heading) for column in table.columns)]]
    group = ""
    for line in table.lines:
        if line.group != group:
            group = line.group
            rows.append([form.escape(group or "others")])
        marks = ",".join(table.footnotes[note] for note in line.notes if note in table.footnotes)
        best = [(column.measurement, line.system) in table.best for column in table.columns]
        cells = [_cell(*cell, form) for cell in zip(line.cells, digits, best, strict=True)]
        rows.append([form.escape(line.system) + (form.marks.format(marks) if marks else ""), *cells])
    return rows


def _cell(cell: Cell | None, digits: int, best: bool, form: _Format) -> str:
    """Value, interval and spread over seeds; a minus is a hyphen."""
    if cell is None:
        return form.missing
    if cell.counts[1] == 0 or math.isnan(cell.value):
        return "failed"
    value, low, high = (form.number.format(number_text(x, digits)) for x in (cell.value, cell.low, cell.high))
    parts = [form.bold.format(value) if best else value]
    if not (math.isnan(cell.low) or math.isnan(cell.high)):
        parts.append(form.interval.format(low, high))
    if cell.spread > 1e-9:  # the linear probe has one solution: its seeds differ in rounding alone
        parts.append(form.spread.format(form.number.format(number_text(cell.spread, max(digits, 1)))))
    return " ".join(parts)


def _parts(rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Distribute the columns over tables that are at most `width` characters wide."""
    first, *widths = (
        max(map(len, column)) for column in zip(*(row for row in rows if len(row) == len(rows[0])), strict=True)
    )
    parts: list[list[int]] = [[]]
    used = first + 4
    for index, needed in enumerate(widths, start=1):
        if parts[-1] and used + needed + 3 > width:
            parts.append([])
            used = first + 4
        parts[-1].append(index)
        used += needed + 3
    return parts


def _chosen(rows: Sequence[list[str]], columns: Sequence[int]) -> list[list[str]]:
    return [[row[0], *(row[i] for i in columns)] if len(row) == len(rows[0]) else row for row in rows]


def markdown_grid(rows: Sequence[Sequence[str]], *, numeric: bool = True) -> str:
    """Make a Markdown table of texts that are already escaped; the first row is the heading, numbers stand to the right.

    A row of one text alone is the name of a group.
    """
    full = [row if len(row) == len(rows[0]) else [f"*{row[0]}*", *[""] * (len(rows[0]) - 1)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    sides = ["<", *((">" if numeric else "<") * (len(widths) - 1))]
    head, *body = [
        "| " + " | ".join(f"{t:{s}{w}}" for t, s, w in zip(row, sides, widths, strict=True)) + " |" for row in full
    ]
    rule = "|".join("-" * (w + 1) + ("-" if side == "<" else ":") for side, w in zip(sides, widths, strict=True))
    return "\n".join([head, f"|{rule}|", *body])


def markdown_text(text: str) -> str:
    """Escape Markdown and HTML syntax, and keep the text on one line."""
    text = " ".join(printable(text).split())
    for sign in "\\`*[]|":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _tabular(rows: Sequence[Sequence[str]], spec: str = "") -> str:
    columns = len(rows[0])
    head, *body = [
        (" & ".join(row) if len(row) == columns else rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{row[0]}}}}}") + r" \\"
        for row in rows
    ]
    begin = rf"\begin{{tabular}}{{{spec or 'l' + 'r' * (columns - 1)}}}"
    return "\n".join([begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"])


def _float(caption: str, name: str, body: str) -> str:
    label = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name)
    head = [r"\begin{table*}", r"\centering", rf"\caption{{{caption}}}", rf"\label{{tab:{label}}}", r"\footnotesize"]
    return "\n".join([*head, body, r"\end{table*}", ""])


def _published(table: Table) -> list[list[str]]:
    """Cells of the published figures, under the headings of ``_PUBLISHED``."""
    sources = [(p, ", ".join(filter(None, (p.source, p.table, p.date)))) for p in table.published]
    return [[p.system, p.task or p.dataset, p.metric, p.value, source, p.conditions] for p, source in sources]


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


_MARKDOWN = _Format(markdown_text)
_PLAIN = _Format(str, marks="", bold="{}")
_LATEX = _Format(
    _tex,
    missing="--",
    marks=r"\textsuperscript{{{}}}",
    number=r"\num{{{}}}",
    bold=r"\textbf{{\boldmath{}}}",
    spread=r"$\pm${}",
)
_HTML = _Format(
    str,  # the template escapes
    bold="<strong>{}</strong>",
    interval='<span class="interval">[{}, {}]</span>',
    spread='<span class="spread">±{}</span>',
)
