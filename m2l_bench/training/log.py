"""Output of a running training: CSV logs, which a resumed training truncates and continues, and a progress bar."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m2l_bench.files.disk import write_atomic


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row to a CSV file; its first row makes the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)


def cut_log(path: Path, step: int) -> None:
    """Remove the rows after `step`: a resumed training writes them again."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    column = header.index("step") if "step" in header else 0
    kept = [row for row in rows if len(row) == len(header) and int(row[column]) <= step]
    text = "".join(",".join(row) + "\r\n" for row in ([header] if header else []) + kept)
    write_atomic(path, text.encode())


@contextmanager
def progress_bar(steps: int, done: int, shown: bool) -> Iterator[Callable[[int, float], None]]:
    """Show progress; yields a function of the step and its loss."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    with Progress("training", *columns, disable=not shown) as progress:
        task = progress.add_task("", total=steps, completed=done)
        yield lambda step, loss: progress.update(task, completed=step, description=f"loss {loss:.4g}")
