"""Build a run's report: tables, figures, listening page, and the two pages that show and link them.

Conventions
-----------
``RUN/report/`` is a pure function of the run's rows, items, cards and clips: the same results give the same bytes. It is
built in a temporary folder that replaces the old report once it is complete. Time and machine stay in ``run.json``;
``index.html`` shows them, and is a function of that file too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from m2l_bench.files.disk import write_atomic
from m2l_bench.report import render
from m2l_bench.report.board import BOARD, board_page
from m2l_bench.report.clips import MANIFEST, read_manifest
from m2l_bench.report.contents import FigureSpec, all_figures, all_tables
from m2l_bench.report.file_scores import write_file_scores
from m2l_bench.report.listening import merge_clips, write_page
from m2l_bench.report.page import run_page
from m2l_bench.report.runs import CLIPS, RunData, read_published, read_runs
from m2l_bench.report.significance import Pairs
from m2l_bench.report.sources import template
from m2l_bench.report.style import save
from m2l_bench.report.tables import Table, with_published
from m2l_bench.results import PAGE, write_rows

Named = TypeVar("Named", Table, FigureSpec)


def build(
    run_folders: Sequence[Path], *, published: bool = False, out: Path | None = None, listen: bool = True
) -> Path:
    """Write the report of one run, or of several as if they were one.

    Parameters
    ----------
    run_folders : sequence of path-like
        Folders of finished runs; clips to listen to are taken from ``RUN/audio`` where there are any.
    published : bool
        Set published figures (``results/published/*.csv``) below the tables, apart from what was measured.
    out : path-like, optional
        Folder that gets ``report/``, ``index.md`` and ``index.html`` (of several runs also ``board.html``, their rows and
        cards): the run's own by default; of several runs a new one beside the first, named by what was merged.
    listen : bool
        Write the listening page, which is most of a report's size.

    Returns
    -------
    Path
        Of ``index.html``.

    Raises
    ------
    ValueError
        If a folder holds no readable run, or the runs cannot be merged: a file that is not that of its run's checksums, or
        one metric with two cards or on different data (folders and hashes are named).
    """
    results = read_runs(run_folders)
    figures = read_published(_published_folder()) if published else []
    folders = [folder / CLIPS for folder in results.runs]
    clips = merge_clips([read_manifest(folder) for folder in folders if (folder / MANIFEST).is_file()])
    target = Path(out) if out is not None else _target(results)
    target.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target, prefix=".report."))
    try:
        fresh.chmod(0o755)
        pairs = Pairs(results.items)
        tables = _distinct([with_published(table, figures) for table in all_tables(results, pairs)])
        for table in tables:
            _write_table(fresh / "tables", table)
        drawn = _distinct(list(all_figures(results, pairs, clips)))
        for figure in drawn:
            save(figure.draw(), fresh / "figures" / figure.name)
        if clips and listen:
            write_page(fresh / "listen", results, clips, title=f"Listen: {_name(results)}")
        own = target.resolve() in [folder.resolve() for folder in results.runs]
        n_clips, name = len(clips) if listen else 0, _name(results)
        datasets = write_file_scores(fresh / "files", results, pairs, clips, beside=target)
        pictures = fresh / "figures"
        page = run_page(results, tables, drawn, datasets, name=name, figures=pictures, n_clips=n_clips, own=own)
        board = board_page(results, pairs, name=name, n_clips=n_clips) if len(results.runs) > 1 else ""
        _replace(target / "report", fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    if not own:
        write_rows(target, results.rows)
        write_atomic(target / "cards.json", (json.dumps(results.cards, indent=2, sort_keys=True) + "\n").encode())
    write_atomic(target / "index.md", _index(results, tables, drawn, n_clips=n_clips, own=own).encode())
    write_atomic(target / PAGE, page.encode())
    if board:
        write_atomic(target / BOARD, board.encode())
    else:
        (target / BOARD).unlink(missing_ok=True)  # of other runs in the same folder
    return target / PAGE


def _distinct(named: Sequence[Named]) -> list[Named]:
    """Number the names that would otherwise give the same file name."""
    seen: dict[str, int] = {}
    result = []
    for thing in named:
        seen[thing.name] = seen.get(thing.name, 0) + 1
        result.append(thing if seen[thing.name] == 1 else replace(thing, name=f"{thing.name}-{seen[thing.name]}"))
    return result


def _write_table(folder: Path, table: Table) -> None:
    contents = {
        "md": f"# {render.markdown_text(table.title)}\n\n{render.to_markdown(table)}".encode(),
        "tex": render.to_latex(table).encode(),
        "csv": render.to_csv(table).encode(),
        "html": render.to_html(table).encode(),
        "parquet": render.to_parquet(table),
    }
    for suffix, content in contents.items():
        write_atomic(folder / f"{table.name}.{suffix}", content)


def _target(results: RunData) -> Path:
    first = next(iter(results.runs))
    if len(results.runs) == 1:
        return first
    plans = "\n".join(sorted(str(record.get("plan", folder.name)) for folder, record in results.runs.items()))
    return first.parent / f"merged-{hashlib.sha256(plans.encode()).hexdigest()[:8]}"


def _replace(old: Path, fresh: Path) -> None:
    """Put `fresh` in the place of `old`; the old one is renamed before it is removed."""
    retired = fresh.with_name(fresh.name + ".old")
    if old.exists():
        old.rename(retired)
    fresh.rename(old)
    shutil.rmtree(retired, ignore_errors=True)


def _name(results: RunData) -> str:
    names = [str(record.get("suite", {}).get("name", folder.name)) for folder, record in results.runs.items()]
    return " + ".join(dict.fromkeys(names))


def _index(results: RunData, tables: Sequence[Table], drawn: Sequence[FigureSpec], *, n_clips: int, own: bool) -> str:
    fingerprints = {row.system: row.fingerprint for row in results.rows}
    return template("index.md.j2").render(
        name=_name(results),
        tables=[(table, render.to_markdown(table)) for table in tables],
        figures=drawn,
        n_clips=n_clips,
        own=own,
        several=len(results.runs) > 1,
        systems=[(system, fingerprints[system]) for system in results.systems],
        cards=[(card, results.cards[card]) for card in dict.fromkeys(row.card for row in results.rows)],
        runs=list(results.runs.values()),
        escape=render.markdown_text,
    )


def _published_folder() -> Path:
    """Folder of published figures: in the checkout, else below the working directory."""
    checkout = Path(__file__).resolve().parents[2] / "results" / "published"
    return checkout if checkout.is_dir() else Path("results") / "published"
