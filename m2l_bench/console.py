"""Terminal output: progress, results of a run, and lists of systems, tasks, probes, metrics and audio sets."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from m2l_bench.files.untrusted import printable

if TYPE_CHECKING:
    from m2l_bench.conformity.check import Checked
    from m2l_bench.suite.forecast import Forecast
    from m2l_bench.suite.plan import Plan
    from m2l_bench.suite.run import RunResult
    from m2l_bench.suite.status import Status
    from m2l_bench.suite.verify import Verification

WIDTH = 120
MOST_LINES = 20  # of failures on the terminal

Listing = tuple[list[dict[str, str]], list[tuple[str, str, list[str]]]]
"""A list as dictionaries, and as blocks: names, description, facts."""


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[tuple[Callable[[Plan], None], Callable[[], None]]]:
    """Show a progress bar on stderr; yields a function that takes a run's plan, and one that advances the bar by one."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    times = (TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, *times, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(label, total=total)

        def on_plan(plan: Plan) -> None:
            for name, reason in [
                *plan.unusable.items(),
                *plan.missing_encoders.items(),
                *plan.missing_readers.items(),
                *plan.missing.items(),
            ]:
                line = printable(f"{name}: left out, {reason}")
                bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            for audio_set in plan.data:
                if audio_set.skipped:
                    names = first_few([f"{name} ({reason})" for name, reason in audio_set.skipped.items()])
                    line = printable(f"{audio_set.name}: {len(audio_set.skipped)} paths skipped: {names}")
                    bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            bar.update(shown, total=plan.counts().total(), description="jobs")

        yield on_plan, lambda: bar.advance(shown)


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
    times = {key: _duration(found.seconds[key]) if key in found.seconds else "unknown" for key in found.planned}
    print_table(
        [
            {"system": system, "kind": kind, "jobs": str(jobs), "time": times[kind, system]}
            for (kind, system), jobs in found.planned.items()
        ]
    )
    print(f"\njobs: {sum(found.planned.values()):,}")
    for who, what, state in found.downloads:
        print(f"{'download' if state == 'needed' else state}: {who}: {what}")
    if not found.downloads:
        print("downloads: none")
    for label, reason in found.unusable.items():
        print(f"left out: {label}: {reason}")
    if found.seconds:
        unknown = sum(jobs for key, jobs in found.planned.items() if key not in found.seconds)
        known = _duration(sum(found.seconds.values()) / workers)
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


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def print_result(result: RunResult) -> None:
    """Print a run's tables, its failures on stderr, and where its files are."""
    from m2l_bench.cards import STEREO
    from m2l_bench.plugins import label
    from m2l_bench.reconstruction.metrics import HEADLINE_METRICS
    from m2l_bench.report.latent import latent_columns
    from m2l_bench.report.page import PAGE
    from m2l_bench.report.render import terminal_table
    from m2l_bench.results import LATENT_SPACE
    from m2l_bench.suite.suite import CHANCE, EMBEDDED_METRICS, are_default

    cards = {card.hash: asdict(card) for card in result.cards.values()}
    systems = [*(spec.label for spec in result.plan.suite.systems), CHANCE]
    tasks = {task.name: task for task in (spec.load() for spec in result.plan.tasks)}
    named = result.plan.suite.metrics
    asked = [label(name) for name in named if name not in EMBEDDED_METRICS]
    stereo = [] if are_default(named) else [name for name in map(label, named) if result.cards[name].group == STEREO]
    headline = [name for name in dict.fromkeys(("bit_rate", *HEADLINE_METRICS, *asked)) if name in result.cards]
    for dataset in sorted({row.dataset for row in result.rows}, key=lambda name: (name in tasks, name)):
        rows = [row for row in result.rows if row.dataset == dataset and row.task != LATENT_SPACE]
        mean = "mean over files [95% interval]"
        tables = {mean: headline or list(named), f"stereo and phase, {mean}": stereo}
        if dataset in tasks:
            tables = {"mean over seeds [95% interval over test items]": list(tasks[dataset].metrics)}
        measured = {row.metric for row in rows}
        shown = {title: metrics for title, metrics in tables.items() if not measured.isdisjoint(metrics)}
        for title, metrics in (shown or tables).items():
            print(f"\n{printable(dataset)}: {title}\n")
            print(terminal_table(rows, cards, metrics, systems=systems, width=WIDTH))
        latent = [row for row in result.rows if row.dataset == dataset and row.task == LATENT_SPACE and not row.split]
        if latent:
            print(f"\n{printable(dataset)}: latent space [95% interval over files]\n")
            print(terminal_table(latent, cards, latent_columns(latent), systems=systems, width=WIDTH))
    reasons = by_reason(sorted({(item.item, item.reason) for item in result.items if item.reason}))
    for line in reasons[:MOST_LINES]:
        print(printable(f"failed: {line}"), file=sys.stderr)
    if len(reasons) > MOST_LINES:
        print(f"... and {len(reasons) - MOST_LINES} more in {result.folder / 'failures.csv'}", file=sys.stderr)
    print(f"Report (tables, figures, files, listening page): {result.folder / PAGE}")
    state = "" if result.fresh else " (already finished, nothing was computed)"
    print(f"All rows, items and provenance: {result.folder}{state}")


def print_json(result: RunResult) -> None:
    """Print a run's rows as JSON; NaN becomes null."""
    rows = [{k: None if v != v else v for k, v in asdict(row).items()} for row in result.rows]
    content = {"folder": str(result.folder), "fresh": result.fresh, "failed": result.n_failed, "rows": rows}
    print(json.dumps(content, indent=2))


def list_systems() -> Listing:
    """List the known systems; variants of one system are one block."""
    from m2l_bench.systems.registry import SYSTEMS, known_names, needs_download

    keys = ("audio", "latents", "bit rate (kbit/s)", "parameters (M)", "licence (code / weights)", "what")
    table = []
    for name in known_names():
        entry = SYSTEMS.get(name.partition(":")[0])
        facts = [entry.audio, entry.latents, entry.bit_rate, entry.parameters, entry.licence] if entry else ["?"] * 5
        known = dict(zip(keys, [*facts, entry.summary if entry else "?"], strict=True))
        table.append({"name": name} | known | {"download": entry.size if entry and needs_download(name) else "-"})
    blocks = []
    for what, lines in itertools.groupby(table, key=lambda line: line["what"]):
        variants = list(lines)
        audio, latents, rate, parameters, licence = (variants[0][key] for key in keys[:-1])
        fetched = {line["name"]: line["download"] for line in variants if line["download"] != "-"}
        download = f"download ({', '.join(dict.fromkeys(fetched.values()))})"
        facts = [
            audio,
            latents,
            "-" if parameters == "-" else f"{parameters} M parameters",
            {"-": "-", "measured": "bit rate measured"}.get(rate, f"{rate} kbit/s"),
            licence,
            "" if not fetched else download if len(fetched) == len(variants) else f"{download}: {' '.join(fetched)}",
        ]
        blocks.append((" ".join(line["name"] for line in variants), what, facts))
    return table, blocks


def list_readers() -> Listing:
    """List the encoders among the systems, in one line each."""
    table, _ = list_systems()
    found = [line for line in table if line["latents"] != "-"]
    own = {"name": "latents", "latents": "-", "what": "no reader: the latents of each system (default)"}
    return _listing([own, *({key: line[key] for key in own} for line in found)])


def list_tasks() -> Listing:
    from m2l_bench.tasks import load_task, task_names

    tasks = [load_task(name) for name in task_names()]
    return _listing(
        {"name": t.name, "kind": t.kind, "metric": t.main_metric, "licence": t.about.licence, "what": t.summary}
        for t in tasks
    )


def list_probes() -> Listing:
    from m2l_bench.plugins import names
    from m2l_bench.probes import PROBES, load_probe

    known = (*PROBES, *names("probe"))
    return _listing({"name": name, "what": str(load_probe(name).__doc__).partition("\n")[0]} for name in known)


def list_metrics() -> Listing:
    """List the metrics, each with the hash that its rows have."""
    from m2l_bench.plugins import names
    from m2l_bench.reconstruction.metrics import METRICS, card_of_rows, get_metric
    from m2l_bench.suite.jobs.reconstruct import BIT_RATE
    from m2l_bench.suite.jobs.reencode import COMPRESSION_RATIO
    from m2l_bench.suite.jobs.repeat import REPEATABILITY_CARD
    from m2l_bench.tasks.scoring import TASK_CARDS

    better = {True: "higher", False: "lower", None: "-"}
    table, blocks = [], []
    pairs = [(get_metric(name).card, card_of_rows(name)) for name in (*METRICS, *names("metric"))]
    others = (BIT_RATE, COMPRESSION_RATIO, REPEATABILITY_CARD, *TASK_CARDS.values())
    for card, final in [*pairs, *((card, card) for card in others)]:
        line = {"name": card.name, "unit": card.unit, "better": better[card.higher_is_better]}
        line |= {"card": final.hash if final else "after the download", "source": card.source}
        table.append(line)
        direction = "" if line["better"] == "-" else f"{line['better']} is better"
        blocks.append((card.name, card.title, [card.unit, direction, f"card: {line['card']}", card.source]))
    return table, blocks


def list_latents() -> Listing:
    """List the numbers of latent spaces."""
    from m2l_bench.latent import equivariance, rate, sheet

    cards = [*sheet.CARDS.values(), *equivariance.CARDS.values(), rate.BIT_RATE]
    return _listing(
        {"name": card.name, "unit": card.unit, "card": f"card: {card.hash}", "what": card.formula} for card in cards
    )


def list_audio_sets() -> Listing:
    from m2l_bench import assets
    from m2l_bench.suite.audio_sets import PUBLISHED_SETS

    lines = [
        {"name": name, "files": f"{len(assets.manifest(name))} files", "data": "embedded"} for name in assets.FOLDERS
    ]
    for name, found in PUBLISHED_SETS.items():
        about = found.about
        lines.append(
            {
                "name": name,
                "files": f"{found.expected:,} files",
                "data": f"~/mir_datasets/{about.name}: {about.size}",
                "licence": about.licence,
                "what": found.what,
            }
        )
    lines.append({"name": "PATH", "what": "any folder of audio files"})
    return _listing(lines)


LISTS: dict[str, Callable[[], Listing]] = {
    "systems": list_systems,
    "readers": list_readers,
    "tasks": list_tasks,
    "probes": list_probes,
    "metrics": list_metrics,
    "latents": list_latents,
    "audio": list_audio_sets,
}


def _listing(lines: Iterable[dict[str, str]]) -> Listing:
    table = list(lines)
    return table, [
        (line["name"], line.get("what", ""), [v for key, v in line.items() if key not in ("name", "what")])
        for line in table
    ]


def print_blocks(blocks: Iterable[tuple[str, str, list[str]]]) -> None:
    """Print names, below them the description and the facts, wrapped at the width of the terminal."""
    width = min(shutil.get_terminal_size().columns, WIDTH)
    for names, what, facts in blocks:
        typer.secho(textwrap.fill(names, width, break_on_hyphens=False), bold=True)
        for text in (what, " | ".join(fact for fact in facts if fact not in ("", "-"))):
            if text:
                typer.echo(textwrap.indent(textwrap.fill(text, width - 4, break_on_hyphens=False), "    "))


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
