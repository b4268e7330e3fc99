"""Tables as files: LaTeX, HTML, CSV and Parquet by pandas' writers, and Markdown, of one :class:`~.tables.Table`.

Conventions
-----------
All cells of a column have the same number of decimals: the last digit is at most half of the narrower intervals'
half-width (their first quartile). Text from outside the package (labels, notes, published figures) is escaped in every
format. The same table gives the same bytes.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from m2l_bench.files.untrusted import printable
from m2l_bench.report.runs import CHANCE, Measurement, measurement_of
from m2l_bench.report.sources import template
from m2l_bench.report.tables import Table, grouped, make_table
from m2l_bench.results import Row

# A LaTeX column is as wide as a page allows with about this many characters at \footnotesize.
LATEX_WIDTH = 104
_NUMBERS = (
    *("origin", "system", "group", *Measurement._fields, "unit", "better", "value", "ci_low", "ci_high"),
    *("seeds", "seed_deviation", "best", "n_planned", "n_scored", "n_failed", "card", "note"),
)
PUBLISHED_HEADING = "Published figures, not measured here: other data, other conditions"


def to_markdown(table: Table, *, width: int = 80) -> str:
    """Write GitHub-flavoured Markdown that reads well as plain text: the table, then caption, counts and notes.

    Columns beyond `width` characters follow in further tables with the same lines.
    """
    texts = _texts(table, _MARKDOWN)
    blocks = [markdown_grid(_lines(texts.iloc[:, part], _groups(table, _MARKDOWN))) for part in _parts(texts, width)]
    blocks.append("\n".join(f"- {markdown_text(sentence)}" for sentence in sentences(table)))
    if table.published:
        published = published_frame(table).map(markdown_text)
        blocks += [f"**{PUBLISHED_HEADING}**", markdown_grid([list(published), *published.to_numpy()], numeric=False)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def terminal_table(
    rows: Sequence[Row],
    cards: Mapping[str, Mapping[str, Any]],
    metrics: Sequence[str],
    *,
    systems: Sequence[str],
    groups: Mapping[str, Sequence[str]] | None = None,
    width: int = 80,
    spare: Sequence[str] = (),
) -> str:
    """Format rows, medians left out, as a Markdown table for a terminal.

    The parameters are those of :func:`~m2l_bench.report.tables.make_table` and :func:`to_markdown`; `metrics` are the
    columns, in order. `groups` are those of :func:`~m2l_bench.report.tables.grouped`. Where the columns need more than one
    table, those of the metrics `spare` are left out, one metric after the other, and named below it.
    """
    place = {metric: index for index, metric in enumerate(metrics)}
    found = {measurement_of(row) for row in rows if row.metric in place and row.statistic != "median"}
    columns = sorted(found, key=lambda m: (place[m.metric], m.reader, m.statistic == "cost", m))

    def table_of(columns: Sequence[Measurement]) -> Table:
        return grouped(make_table(rows, cards, columns, systems=systems), groups or {})

    table = whole = table_of(columns)
    for metric in spare:
        if len(_parts(_texts(table, _MARKDOWN), width)) > 1:
            table = table_of([column.measurement for column in table.columns if column.measurement.metric != metric])
    text = to_markdown(table, width=width)
    left = [column.title for column in whole.columns if column not in table.columns]
    return text + f"- In the report: {', '.join(left)}.\n" * bool(left)


def to_latex(table: Table) -> str:
    r"""Write a ``table*`` with booktabs rules; every number is a ``\num``, which siunitx formats if it is loaded.

    Needs ``\usepackage{booktabs}``; without siunitx ``\num`` sets its argument in math mode.
    """
    texts, groups = _texts(table, _LATEX).rename_axis("System"), _groups(table, _LATEX)
    parts = _parts(_texts(table, _MARKDOWN), LATEX_WIDTH)
    body = "\n\\par\\medskip\n".join(_tabular(_flat(texts.iloc[:, part], groups), len(part)) for part in parts)
    notes = " ".join(_tex_sentence(sentence) for sentence in sentences(table))
    caption = f"{_tex(table.title)}. {notes}" if table.title else notes
    text = _float(caption, table.name, "\\providecommand{\\num}[1]{\\ensuremath{#1}}\n" + body)
    if table.published:  # a separate float: both tables together may be taller than a page
        published = published_frame(table).map(_tex).rename(columns=str.capitalize)
        text += _float(_tex_sentence(PUBLISHED_HEADING), f"{table.name}-published", _tabular(published, 0))
    return text


def to_frame(table: Table) -> pd.DataFrame:
    """Give a DataFrame of the texts: index system, one column for each metric."""
    return _texts(table, _PLAIN)


def to_html(table: Table) -> str:
    """Write a self-contained HTML page without scripts."""
    flat = _flat(_texts(table, _HTML), _groups(table, _HTML))
    headed = flat.set_index(list(flat.columns[: len(flat.columns) - len(table.columns)]))
    published = published_frame(table).set_index("system")
    with pd.option_context("display.max_colwidth", None):
        body, below = (
            frame.rename_axis(index=[None] * frame.index.nlevels, columns="system").to_html(
                escape=escape, border=0, justify="unset"
            )
            for frame, escape in ((headed, False), (published, True))
        )
    return template("table.html.j2").render(
        table=table,
        body=body,
        sentences=sentences(table),
        published=below if table.published else "",
        heading=PUBLISHED_HEADING,
    )


def to_html_frame(table: Table) -> pd.DataFrame:
    """Give a DataFrame of the texts as HTML: index system with its footnotes, one column for each metric."""
    return _texts(table, _HTML)


def to_words(table: Table) -> pd.DataFrame:
    """Give a DataFrame of the cells in words, such as ``"9.6 (95% interval 8.8 to 10.4)"``; index system, columns as above."""
    costs = any(measurement.statistic == "cost" for measurement, _ in table.best)
    group = " of its group" if any(table.groups.values()) else ""
    best = "significant cost" if costs else f"significantly better than every other{group}"
    return _texts(table, _WORDS._replace(bold=f"{{}}, {best}"))


def numbers(table: Table) -> pd.DataFrame:
    """Give one row for each cell, with full precision and the card."""
    better = {True: "higher", False: "lower", None: ""}
    facts = [
        {"unit": column.card["unit"], "better": better[column.card["higher_is_better"]], "card": column.hash}
        for column in table.columns
    ]
    columns = pd.DataFrame([column.measurement for column in table.columns], columns=Measurement._fields)
    cells = table.cells.join(columns.join(pd.DataFrame(facts, columns=["unit", "better", "card"])), on="column")
    best = [(table.columns[cell.column].measurement, cell.system) in table.best for cell in cells.itertuples()]
    return cells.assign(origin="measured", best=best, note=cells.notes.map("; ".join))[list(_NUMBERS)]


def to_csv(table: Table) -> str:
    """Write :func:`numbers`, then one row for each published figure (see ``origin``), as CSV."""
    published = [
        dict.fromkeys(_NUMBERS, "")
        | {"origin": "published", "system": p.system, "dataset": p.dataset, "task": p.task, "metric": p.metric}
        | {"value": p.value, "note": f"{p.source}, {p.table}, {p.date}: {p.conditions}"}
        for p in table.published
    ]
    both = pd.concat([numbers(table).astype(object), pd.DataFrame(published, columns=list(_NUMBERS))])
    return str(both.to_csv(index=False, na_rep="nan", lineterminator="\n"))


def to_parquet(table: Table) -> bytes:
    """Write :func:`numbers` as Parquet."""
    return bytes(numbers(table).to_parquet(index=False))


def sentences(table: Table) -> list[str]:
    """Sentences under a table: how to read it, counts of items, caveats."""
    notes = [f"{mark}: {note}" for note, mark in table.footnotes.items()]
    other = f"{CHANCE}: another track of the set in the place of each reconstruction; †: no better than that."
    chance = [other] if CHANCE in table.groups else []
    return [*table.caption, *chance, *table.counts, *table.common_notes, *notes]


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
    chance: str = "†"
    interval: str = "[{}, {}]"
    spread: str = "±{}"


def _texts(table: Table, form: _Format) -> pd.DataFrame:
    """Texts of all cells; the index has the systems with their footnotes, the columns the headings."""
    systems = list(table.groups)
    texts = pd.DataFrame(form.missing, index=systems, columns=range(len(table.columns)), dtype=object)
    for place, cells in table.cells.groupby("column"):
        column = table.columns[int(str(place))]
        own = cells.loc[cells.system != CHANCE, ["value", "ci_low", "ci_high"]]
        digits = decimals(list(own.itertuples(index=False, name=None)))
        for cell in cells.itertuples():
            key = (column.measurement, cell.system)
            texts.loc[cell.system, place] = _text(
                cell, digits, form, best=key in table.best, chance=key in table.at_chance
            )
    marks = {
        system: ",".join(table.footnotes[n] for n in table.notes.get(system, ()) if n in table.footnotes)
        for system in systems
    }
    texts.index = pd.Index(
        [form.escape(system) + (form.marks.format(marks[system]) if marks[system] else "") for system in systems],
        name="system",
    )
    texts.columns = pd.Index([form.escape(column.heading) for column in table.columns])
    return texts


def _text(cell: Any, digits: int, form: _Format, *, best: bool, chance: bool) -> str:
    """Value, interval and spread over seeds; a minus is a hyphen."""
    if cell.n_scored == 0 or math.isnan(cell.value):
        return "failed" if cell.n_failed else form.missing
    value, low, high = (form.number.format(number_text(x, digits)) for x in (cell.value, cell.ci_low, cell.ci_high))
    parts = [form.bold.format(value) if best else value + form.chance * chance]
    if not (math.isnan(cell.ci_low) or math.isnan(cell.ci_high)):
        parts.append(form.interval.format(low, high))
    if cell.seed_deviation > 1e-9:  # the linear probe has one solution: its seeds differ in rounding alone
        parts.append(form.spread.format(form.number.format(number_text(cell.seed_deviation, max(digits, 1)))))
    return " ".join(parts)


def _groups(table: Table, form: _Format) -> list[str]:
    """Group of each line where it begins, else empty."""
    groups = pd.Series(list(table.groups.values()), dtype=str)
    begins = groups.ne(groups.shift()) & groups.any()
    return [form.escape(group or "others") if begin else "" for group, begin in zip(groups, begins, strict=True)]


def _flat(texts: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """The systems, and before them their groups if there are any, as columns."""
    flat = texts.reset_index()
    if any(groups):
        flat.insert(0, "", groups)
    return flat


def _lines(texts: pd.DataFrame, groups: Sequence[str]) -> list[list[str]]:
    """Heading, then the texts of each line; the name of a group stands alone in its list."""
    lines = [["system", *texts.columns]]
    for group, line in zip(groups, texts.itertuples(name=None), strict=True):
        lines += [[group], list(line)] if group else [list(line)]
    return lines


def _parts(texts: pd.DataFrame, width: int) -> list[list[int]]:
    """Distribute the columns over tables that are at most `width` characters wide."""
    first, *widths = (max(map(len, column)) for column in zip(*_lines(texts, [""] * len(texts)), strict=True))
    parts: list[list[int]] = [[]]
    used = first + 4
    for place, needed in enumerate(widths):
        if parts[-1] and used + needed + 3 > width:
            parts.append([])
            used = first + 4
        parts[-1].append(place)
        used += needed + 3
    return parts


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


def _tabular(texts: pd.DataFrame, n_numbers: int) -> str:
    """A tabular whose last columns are numbers; texts without any wrap in the last two columns."""
    n_texts = texts.shape[1] - n_numbers
    spec = "l" * n_texts + "r" * n_numbers if n_numbers else r"lllrp{0.25\linewidth}p{0.25\linewidth}"
    return str(texts.to_latex(index=False, escape=False, column_format=spec)).rstrip()


def _float(caption: str, name: str, body: str) -> str:
    label = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name)
    head = [r"\begin{table*}", r"\centering", rf"\caption{{{caption}}}", rf"\label{{tab:{label}}}", r"\footnotesize"]
    return "\n".join([*head, body, r"\end{table*}", ""])


def published_frame(table: Table) -> pd.DataFrame:
    """The published figures as texts."""
    sources = [(p, ", ".join(filter(None, (p.source, p.table, p.date)))) for p in table.published]
    lines = [[p.system, p.task or p.dataset, p.metric, p.value, source, p.conditions] for p, source in sources]
    return pd.DataFrame(lines, columns=["system", "dataset", "metric", "value", "source", "conditions"])


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
    "†": r"\dag{}",
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
_WORDS = _Format(
    str,
    missing="not measured",
    marks="",
    chance=", no better than chance",
    interval="(95% interval {} to {})",
    spread="(standard deviation over seeds {})",
)
_LATEX = _Format(
    _tex,
    missing="--",
    marks=r"\textsuperscript{{{}}}",
    number=r"\num{{{}}}",
    bold=r"\textbf{{\boldmath{}}}",
    chance=r"\textsuperscript{\dag}",
    spread=r"$\pm${}",
)
_HTML = _Format(
    lambda text: html.escape(printable(text)),
    marks="<sup>{}</sup>",
    bold="<strong>{}</strong>",
    chance="<sup>†</sup>",
    interval='<span class="interval">[{}, {}]</span>',
    spread='<span class="spread">±{}</span>',
)
