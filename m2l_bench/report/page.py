"""Report page of a run: one static file that opens from the disk, without network and without a server.

Conventions
-----------
``index.html`` lies beside ``report/`` and links to it: every table is whole, every metric of its columns is defined on the same
page. It is a function of the run's files alone, ``run.json`` included: the same files give the same bytes.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from m2l_bench.files.disk import sha256
from m2l_bench.files.untrusted import printable
from m2l_bench.report import figure_data
from m2l_bench.report.figure_spec import FigureSpec
from m2l_bench.report.render import PUBLISHED_HEADING, published_frame, sentences, to_html_frame, to_words
from m2l_bench.report.runs import ANCHORS, CEILING, CHANCE, RunData
from m2l_bench.report.sources import page_sources, script_json, template
from m2l_bench.report.tables import Column, Table
from m2l_bench.results import LATENT_SPACE, RESULTS

_ANCHORS = {CEILING: "the originals themselves", CHANCE: "another track in the place of each reconstruction"}
_DOTS = 150  # CSS pixels that an inch of a figure takes, of its 300 dots
_WINDOWS = re.compile(r"([0-9,]+ windows in [0-9,]+ dimensions)")


def run_page(
    results: RunData,
    tables: Sequence[Table],
    drawn: Sequence[FigureSpec],
    datasets: Sequence[Mapping[str, Any]],
    *,
    name: str,
    figures: Path,
    n_clips: int,
    own: bool,
) -> str:
    """Write the page.

    Parameters
    ----------
    results : RunData
    tables, drawn : sequence of Table, FigureSpec
        In the order of the page.
    datasets : sequence of mapping
        From :func:`m2l_bench.report.file_scores.write_file_scores`.
    name : str
        Heading of the page.
    figures : Path
        Folder of the figures; the page states their sizes, so that nothing moves while they load.
    n_clips : int
        Clips of the listening page; 0 where there is none.
    own : bool
        Whether the page lies in the folder of the run, beside its ``failures.csv`` and ``run.json``.

    Returns
    -------
    str
        HTML.
    """
    data = {"systems": list(results.systems), "datasets": list(datasets), "listen": n_clips > 0}
    return template("page.html.j2").render(
        name=name,
        text=printable,
        about=_summary(results),
        tables=[table_view(table) for table in tables],
        figures=[(figure, *_size(figures / f"{figure.name}.png")) for figure in drawn],
        definitions=_definitions(results, tables),
        runs=[_provenance(folder, record) for folder, record in results.runs.items()],
        fingerprints={row.system: row.fingerprint for row in results.rows},
        systems=results.systems,
        datasets=datasets,
        n_clips=n_clips,
        own=own,
        published_heading=PUBLISHED_HEADING,
        data=script_json(data),
        several=len(results.runs) > 1,
        **page_sources("page", "report"),
    )


def _summary(results: RunData) -> dict[str, Any]:
    """What was compared on what, and what failed."""
    datasets: dict[str, int] = defaultdict(int)
    tasks: dict[str, int] = defaultdict(int)
    for row in results.rows:
        of_task = bool(row.task) and row.task != LATENT_SPACE
        counted, name = (tasks, row.task) if of_task else (datasets, row.dataset)
        counted[name] = max(counted[name], row.n_planned)
    failed: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for item in results.items:
        if item.reason:
            failed[item.system][item.dataset, item.item] = None
    records = results.runs.values()
    missing = ("unusable_systems", "unusable_encoders", "unusable_readers", "missing_data")
    return {
        "systems": [system for system in results.systems if system not in ANCHORS],
        "anchors": {anchor: what for anchor, what in _ANCHORS.items() if anchor in results.systems},
        "datasets": dict(sorted(datasets.items())),
        "tasks": dict(sorted(tasks.items())),
        "probes": sorted({row.probe for row in results.rows} - {""}),
        "readers": figure_data.readers(results),
        "metrics": len({row.metric for row in results.rows}),
        "failed": {system: len(failed[system]) for system in results.systems if system in failed},
        "left_out": {name: str(why) for record in records for key in missing for name, why in _of(record, key).items()},
    }


def table_view(table: Table) -> dict[str, Any]:
    """What a template needs of a table."""
    texts, words = to_html_frame(table), to_words(table)
    cells = {(cell.system, cell.column): cell for cell in table.cells.itertuples()}

    def shown(at: int, system: str, place: int) -> tuple[str, str, float | None]:
        """HTML, words, and the number to sort by (None without one)."""
        cell = cells.get((system, place))
        counts = f"; {cell.n_scored} of {cell.n_planned} items scored" if cell else ""
        text = f"{system}, {table.columns[place].heading}: {words.iat[at, place]}{counts}"
        return texts.iat[at, place], text, cell.value if cell and math.isfinite(cell.value) else None

    lines = [
        (system, marked, [shown(at, system, place) for place in range(len(table.columns))])
        for at, (system, marked) in enumerate(zip(table.groups, texts.index, strict=True))
    ]
    grouped = any(table.groups.values())
    found = groupby(zip(table.groups.values(), lines, strict=True), key=lambda pair: pair[0])
    return {
        "table": table,
        "groups": [(name or ("others" if grouped else ""), [line for _, line in pairs]) for name, pairs in found],
        "holds": _holds(table),
        "sentences": sentences(table),
        "published": published_frame(table) if table.published else None,
    }


def _holds(table: Table) -> list[tuple[Column, str]]:
    """The metrics of a table, each once, with its registry name, definition and numbers of items and windows."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, column in enumerate(table.columns):
        places[column.hash].append(place)
    found = []
    for several in places.values():
        column = table.columns[several[0]]
        cells = table.cells[table.cells.column.isin(several)]
        numbers = sorted(set(cells.n_scored) - {0})
        n = " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1]))) if numbers else ""
        title = column.card["title"]
        notes = dict.fromkeys(note for notes in cells.notes for note in notes if f"{title}: " in note)
        windows = dict.fromkeys(match[1] for note in notes if (match := _WINDOWS.search(note)))
        definition = _of(column.card, "constants").get("definition", "")
        found.append(
            (
                column,
                ", ".join(
                    filter(
                        None,
                        (
                            str(column.card["name"]),
                            f"definition {definition}" if definition else "",
                            f"n = {n}" if n else "",
                            *windows,
                        ),
                    )
                ),
            )
        )
    return found


def _definitions(results: RunData, tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Each card of the tables, in their order, in words, with the tables that hold it."""
    holders: dict[str, dict[str, Table]] = defaultdict(dict)
    for table in tables:
        for column in table.columns:
            holders[column.hash][table.name] = table
    direction = {
        True: "higher is better",
        False: "lower is better",
        None: "none is better: it describes, and is not ranked",
    }
    definitions = []
    for card_hash, holding in holders.items():
        card = results.cards[card_hash]
        constants = {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in _of(card, "constants").items()
        }
        facts = {
            "Name": card["name"],
            "Formula": card.get("formula"),
            "Unit": card["unit"] or "none",
            "Direction": direction[card["higher_is_better"]],
            "Sample rate": card.get("rate_rule"),
            "Channels": card.get("channel_rule"),
            "Model": card.get("model"),
            "Constants": "; ".join(f"{key}: {value}" for key, value in sorted(constants.items())),
            "Source": card.get("source"),
            "Version": card.get("version"),
            "Hash of the card": card_hash,
        }
        facts = {key: str(fact) for key, fact in facts.items() if fact}
        definitions.append(
            {"hash": card_hash, "title": card["title"], "facts": facts, "tables": list(holding.values())}
        )
    return definitions


def _provenance(folder: Path, record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What ``run.json`` says of a run, and the checksums of its results."""
    about, git = _of(record, "provenance"), _of(_of(record, "provenance"), "git")
    changed = git.get("changed_files")
    command = about.get("command")
    facts = {
        "Plan": record.get("plan"),
        "Started": record.get("started"),
        "Duration": f"{record['wall_seconds']} s" if "wall_seconds" in record else "",
        "Command": shlex.join(map(str, command)) if isinstance(command, list) else command,
        "m2l_bench": about.get("m2l_bench"),
        "Commit": f"{git.get('commit')}{f' with {changed} changed files' if changed else ''}" if git else "",
        "Python": about.get("python"),
        "Platform": about.get("platform"),
        "Processor": about.get("processor"),
        "Processor cores": about.get("cpus"),
        "Packages": ", ".join(f"{name} {version}" for name, version in _of(about, "packages").items()),
        "Failed items": record.get("failed"),
    }
    data = {name: _of(_of(record, "data"), name) for name in sorted(_of(record, "data"))}
    return {
        "facts": {key: str(fact) for key, fact in facts.items() if fact not in (None, "")},
        "data": {name: f"{about.get('hash')}, {about.get('files')} files" for name, about in data.items()},
        "checksums": {name: sha256(folder / name) for name in RESULTS if (folder / name).is_file()},
    }


def _of(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a record; empty where there is none, such as the git state of an installed package."""
    return record.get(key) or {}


def _size(picture: Path) -> tuple[int, int]:
    """Width and height of a figure on the page, in CSS pixels."""
    from PIL import Image

    with Image.open(picture) as image:
        return tuple(round(length / 300 * _DOTS) for length in image.size)  # type: ignore[return-value]
