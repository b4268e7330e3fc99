"""Terminal output: results of a run, what a run would do, and lists."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from m2l_bench.files.untrusted import printable
from m2l_bench.progress import duration

if TYPE_CHECKING:
    from m2l_bench.conformity.check import Checked
    from m2l_bench.description import Description
    from m2l_bench.doctor import Examination
    from m2l_bench.suite.forecast import Forecast
    from m2l_bench.suite.plan import Plan
    from m2l_bench.suite.status import Status
    from m2l_bench.suite.verify import Verification

WIDTH = 100
DATASETS = "~/mir_datasets/"
_WHOLE: dict[str, Any] = {"break_on_hyphens": False, "break_long_words": False}  # names and paths are copied
MOST_LINES = 20  # of failures on the terminal


def left_out(plan: Plan) -> list[str]:
    """Say which systems, encoders, readers, data and files of a plan are left out, and why."""
    reasons = [plan.unusable, plan.missing_encoders, plan.missing_readers, plan.missing]
    lines = [f"{name}: left out, {reason}" for missing in reasons for name, reason in missing.items()]
    for audio_set in plan.data:
        if audio_set.skipped:
            names = first_few([f"{name} ({reason})" for name, reason in audio_set.skipped.items()])
            lines.append(f"{audio_set.name}: {len(audio_set.skipped)} paths skipped: {names}")
    return lines


def first_few(names: Sequence[str], n: int = 3) -> str:
    """Join the first names; the others are counted."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def by_reason(failed: Iterable[tuple[str, str]]) -> list[str]:
    """Group failures by reason: one line each, with the count and the first names where several share it."""
    groups: dict[str, list[str]] = {}
    for name, reason in failed:
        groups.setdefault(reason, []).append(name)
    lines = []
    for reason, names in groups.items():
        files = f"{len(names)} files ({first_few(names)})" if len(names) > 1 else names[0]
        lines.append(reason if len(names) == 1 and names[0] in reason else f"{files}: {reason}")
    return lines


def print_stopping(running: int) -> None:
    typer.echo(f"stopping: waiting for {running} running jobs; interrupt again to kill them", err=True)


def print_forecast(found: Forecast, workers: int) -> None:
    """Print the jobs, downloads and time of a run that was not started."""
    times = {key: duration(found.seconds[key]) if key in found.seconds else "unknown" for key in found.planned}
    print_table(
        [
            {"system": system, "kind": kind, "jobs": str(jobs), "time": times[kind, system]}
            for (kind, system), jobs in found.planned.items()
        ]
    )
    print(f"\njobs: {sum(found.planned.values()):,}")
    for who, what, state in found.downloads:
        print(f"{'download' if state == 'needed' else state}: {who}: {what}")
    needed = sum(state == "needed" for _, _, state in found.downloads)
    if needed:
        least, most = (gigabytes(size) for size in found.size)
        size = most if least == most else f"{least} to {most}"
        print(f"downloads: {needed}, {size}" + (f", and {found.unsized} of unknown size" if found.unsized else ""))
    elif not found.downloads:
        print("downloads: none")
    for label, reason in found.unusable.items():
        print(f"left out: {label}: {reason}")
    if found.seconds:
        unknown = sum(jobs for key, jobs in found.planned.items() if key not in found.seconds)
        known = duration(sum(found.seconds.values()) / workers)
        print(f"time: {known} with {workers} workers, plus {unknown:,} jobs of unknown length")
        print(f"measured in: {', '.join(found.basis)}")
    else:
        print("time: unknown (no finished run of these systems on this processor)")


def print_status(status: Status) -> None:
    """Print the jobs by kind and system, and the reasons of failures."""
    groups = {"planned": status.planned, "done": status.done, "failed": status.failed}
    keys = sorted(set().union(*groups.values()))
    print_table(
        [
            {"system": key[1], "kind": key[0]} | {name: str(counts[key]) for name, counts in groups.items()}
            for key in keys
        ]
    )
    print(f"\n{status.state}: " + ", ".join(f"{counts.total():,} {name}" for name, counts in groups.items()))
    for (kind, system, reason), jobs in status.reasons.most_common(MOST_LINES):
        print(f"failed: {system}, {kind}{f', {jobs} jobs' if jobs > 1 else ''}: {reason}")
    if len(status.reasons) > MOST_LINES:
        print(f"... and {len(status.reasons) - MOST_LINES} more reasons")


def print_verification(found: Verification) -> None:
    """Print the files that changed, the rows that were computed again, and the counts of both."""
    for name, what in found.files.items():
        print(f"{what}: {name}")
    for check in found.rows:
        name = " ".join(filter(None, (check.row.system, check.row.dataset, check.row.probe, check.row.metric)))
        print(f"{'agrees' if check.agrees else 'differs'}: {name}, {check.row.statistic}: {check.found}")
    if found.obstacle:
        print(f"no row was computed again: {found.obstacle}")
    print(f"files: {found.n_files - len(found.files):,} of {found.n_files:,} are unchanged since the run ended")
    print(f"rows: {sum(check.agrees for check in found.rows)} of {len(found.rows)} computed again agree")


def print_checked(checked: Checked) -> None:
    """Print what each check of a system found, and the counts."""
    rows = [
        {"check": f.name, "verdict": f.verdict, "measured": f.figure, "meaning": f.meaning} for f in checked.results
    ]
    print_table([{key: printable(text) for key, text in row.items()} for row in rows])
    print(f"\n{printable(checked.system)}: {checked.summary()}")


def print_checked_json(checked: Checked) -> None:
    """Print the findings as a JSON list; values that are not finite become null."""
    table = [asdict(finding) for finding in checked.results]
    for line in table:
        line["values"] = {key: value if math.isfinite(value) else None for key, value in line["values"].items()}
    print(json.dumps(table, indent=2))


def gigabytes(size: float) -> str:
    """Bytes as text: megabytes, from a thousand on gigabytes.

    Examples
    --------
    >>> gigabytes(2.3e8), gigabytes(1.34e9)
    ('230 MB', '1.3 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 999.5e6 else f"{size / 1e6:.0f} MB"


def print_result(folder: Path, *, fresh: bool) -> int:
    """Print the tables of a finished run, its failures on stderr, and where its files are; return the number of failures."""
    from m2l_bench.cards import STEREO
    from m2l_bench.plugins import label
    from m2l_bench.reconstruction.metrics import HEADLINE_METRICS, SPARE_METRICS
    from m2l_bench.report.latent import latent_columns
    from m2l_bench.report.render import terminal_table
    from m2l_bench.results import LATENT_SPACE, PAGE, group_by_kind, read_items, read_json, read_rows
    from m2l_bench.suite.suite import CHANCE, EMBEDDED_METRICS, are_default

    record, rows, cards = read_json(folder / "run.json"), read_rows(folder), read_json(folder / "cards.json")
    measured = {row.metric: cards[row.card] for row in rows}
    known = {card["name"] for card in cards.values()} | measured.keys()
    systems = [*(spec["label"] for spec in record["suite"]["systems"]), CHANCE]
    kinds = {name: facts["kind"] for name, facts in record.get("systems", {}).items() if "kind" in facts}
    groups = group_by_kind(kinds | {CHANCE: "references"})
    # Records of earlier versions name no metrics.
    main = {
        task.get("label", name): task.get("metrics") or list(dict.fromkeys(r.metric for r in rows if r.task == name))
        for name, task in record["tasks"].items()
    }
    named = record["suite"]["metrics"]
    asked = [label(name) for name in named if name not in EMBEDDED_METRICS]
    stereo = (
        []
        if are_default(named)
        else [name for name in map(label, named) if measured.get(name, {}).get("group") == STEREO]
    )
    headline = [name for name in dict.fromkeys((*HEADLINE_METRICS, *asked)) if name in known]
    mean = "mean over files [95% interval]"
    look: dict[str, Any] = {"systems": systems, "width": WIDTH}
    for dataset in sorted({row.dataset for row in rows} - set(main)):
        of_files = [row for row in rows if row.dataset == dataset and row.task != LATENT_SPACE]
        tables = {mean: headline or list(named), f"stereo and phase, {mean}": stereo}
        found = {row.metric for row in of_files}
        shown = {title: metrics for title, metrics in tables.items() if not found.isdisjoint(metrics)}
        for title, metrics in (shown or tables).items():
            print(f"{printable(dataset)}: {title}\n")
            spare = () if asked else SPARE_METRICS
            _print_wrapped(terminal_table(of_files, cards, metrics, groups=groups, spare=spare, **look))
        latent = [row for row in rows if row.dataset == dataset and row.task == LATENT_SPACE and not row.split]
        if latent:
            print(f"{printable(dataset)}: latent space [95% interval over files]\n")
            _print_wrapped(terminal_table(latent, cards, latent_columns(latent), **look))
    probed = [row for row in rows if row.dataset in main]
    if len(main) > 1:  # of each task what it is judged by; of one task all
        probed = [row for row in probed if row.metric == main[row.dataset][0]]
    probed = [row for row in probed if not row.reader or row.metric == main[row.dataset][0]]
    if probed:
        metrics = list(dict.fromkeys(metric for of_task in main.values() for metric in of_task))
        print(f"{printable(', '.join(main))}: mean over seeds [95% interval over test items]\n")
        _print_wrapped(terminal_table(probed, cards, metrics, groups=groups, **look))
    failed = {(item.item, item.reason) for item in read_items(folder) if item.reason} if record["failed"] else set()
    reasons = by_reason(sorted(failed))
    for line in reasons[:MOST_LINES]:
        print(printable(f"failed: {line}"), file=sys.stderr)
    if len(reasons) > MOST_LINES:
        print(f"... and {len(reasons) - MOST_LINES} more in {folder / 'failures.csv'}", file=sys.stderr)
    print(f"Report (tables, figures, files, listening page): {folder / PAGE}")
    print(f"All rows, items and provenance: {folder}{'' if fresh else ' (already finished, nothing was computed)'}")
    return int(record["failed"]) + len(record["missing_data"])


def _print_wrapped(table: str) -> None:
    """Print a table; the sentences below it are wrapped."""
    for line in table.splitlines():
        whole = not line.startswith("- ") or len(line) <= WIDTH
        print(line if whole else textwrap.fill(line, WIDTH, subsequent_indent="  ", **_WHOLE))
    print()


def print_json(folder: Path, *, fresh: bool) -> int:
    """Print a run's rows as JSON, NaN as null; return the number of failures."""
    from m2l_bench.results import read_json, read_rows

    record = read_json(folder / "run.json")
    failed = int(record["failed"]) + len(record["missing_data"])
    rows = [{k: None if v != v else v for k, v in asdict(row).items()} for row in read_rows(folder)]
    print(json.dumps({"folder": str(folder), "fresh": fresh, "failed": failed, "rows": rows}, indent=2))
    return failed


def print_entries(lines: Sequence[Mapping[str, str]]) -> None:
    """Print one entry a line: name, description, and what is needed; cut where the terminal ends."""
    rows = [(line["name"], line.get("title", line["what"]), _needs(line)) for line in lines]
    column = max(len(name) for name, _, _ in rows) + 2
    natural = max(column + len(what) + 2 + len(needs) for _, what, needs in rows)
    width = min(shutil.get_terminal_size().columns, natural)
    for name, what, needs in rows:
        free = width - column
        needs = cut(needs, free * 3 // 5)
        what = cut(what, free - len(needs) - 2 * bool(needs))
        typer.echo(cut(f"{name:{column}}{what}".ljust(width - len(needs)) + needs, width).rstrip())
    places = f" Folders are in {DATASETS}." * any(line.get("data", "").startswith(DATASETS) for line in lines)
    typer.echo(
        f"{len(rows)} {'entry' if len(rows) == 1 else 'entries'}; m2l-bench show NAME says everything of one.{places}",
        err=True,
    )


def _needs(line: Mapping[str, str]) -> str:
    """Download, folder below ``~/mir_datasets`` and extra of an entry, as short as can be."""
    folder, size, extra = line.get("data", ""), line["download"], line.get("extra", "-")
    parts = []
    if folder.startswith(DATASETS):
        parts.append(folder.removeprefix(DATASETS).partition(":")[0].partition(",")[0] + "/")
        size = size if size.endswith("B") else "-"  # else it counts files
    parts += [size] * (size != "-") + [f"[{extra}]"] * (extra != "-")
    return " ".join(parts)


def cut(text: str, width: int) -> str:
    """Shorten a text to a width, with an ellipsis at its end.

    Examples
    --------
    >>> cut("Opus through libsndfile", 12), cut("Opus", 12)
    ('Opus throug…', 'Opus')
    """
    return text if len(text) <= width else text[: max(0, width - 1)].rstrip() + "…" * (width > 0)


def print_descriptions(found: Iterable[Description]) -> None:
    """Print the facts of entries."""
    for number, described in enumerate(found):
        typer.secho(("\n" if number else "") + f"{described.name} ({described.kind})", bold=True)
        print_facts(described.facts)


def print_examination(found: Examination) -> None:
    """Print what an installation has and lacks."""
    facts = [("versions", ", ".join(f"{name} {number}" for name, number in found.versions.items()))]
    facts += [("devices", device) for device in found.devices]
    for extra in found.extras:
        has = ", ".join(f"{name} {number}" for name, number in extra.installed.items())
        lacks = f"missing {', '.join(extra.missing)}; {extra.install}"
        facts.append(("extras", f"{extra.name}: {lacks if extra.missing else has}"))
    facts += [("libraries", f"{name}: {what}") for name, what in found.libraries.items()]
    facts += [("caches", f"{what}: {gigabytes(size)} in {path}") for what, (path, size) in found.caches.items()]
    facts += [("disk", f"{gigabytes(free)} free in {path}") for path, free in found.free_disk.items()]
    facts.append(("hub", found.hub or "not asked, see --online"))
    facts += [("missing", what) for what in found.missing or ["nothing that the built-in systems need"]]
    print_facts(facts)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print facts, each wrapped beside its label; a label that follows itself is printed once."""
    width = min(shutil.get_terminal_size().columns, WIDTH)
    column = 2 + max(len(label) for label, _ in facts)
    before = ""
    for label, text in facts:
        start = f"{label if label != before else '':{column}}"
        before = label
        if label in ("use", "install"):  # commands are copied: they stay on one line
            typer.echo(start + text)
        else:
            rest = " " * column
            typer.echo(textwrap.fill(printable(text), width, initial_indent=start, subsequent_indent=rest, **_WHOLE))


def print_table(table: Sequence[dict[str, Any]]) -> None:
    """Print dictionaries of equal keys as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*(table[0] if table else ()), box=None, pad_edge=False)
    for line in table:
        shown.add_row(*(Text(value) for value in line.values()))  # plain: ":clap:" is an emoji in markup
    if table:
        Console().print(shown)
