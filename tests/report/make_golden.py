"""Write the golden tables: ``python -m tests.report.make_golden`` from the checkout's root; read the diff."""

from __future__ import annotations

from m2l_bench.report.tables import with_published
from tests.report.test_tables import FIGURE, GOLDEN, small_table, texts

if __name__ == "__main__":
    for suffix, text in texts(with_published(small_table(), [FIGURE])).items():
        (GOLDEN / f"small.{suffix}").write_text(text, encoding="utf-8")
