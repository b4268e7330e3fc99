"""Write the golden tables anew: ``python -m tests.report.make_golden`` from the checkout's root; read the diff."""

from __future__ import annotations

from m2l_bench.report import render
from m2l_bench.report.tables import with_published
from tests.report.test_tables import FIGURE, GOLDEN, small_table

if __name__ == "__main__":
    table = with_published(small_table(), [FIGURE])
    for suffix, text in (
        ("md", render.to_markdown(table)),
        ("tex", render.to_latex(table)),
        ("csv", render.to_csv(table)),
        ("html", render.to_html(table)),
    ):
        (GOLDEN / f"small.{suffix}").write_text(text, encoding="utf-8")
