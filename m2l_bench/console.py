"""Terminal output: progress, tables of a run, and lists of systems, tasks, probes, metrics and audio sets."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from m2l_bench.files.untrusted import printable

if TYPE_CHECKING:
    from m2l_bench.suite.forecast import Forecast
    from m2l_bench.suite.plan import Plan
    from m2l_bench.suite.run import RunResult
    from m2l_bench.suite.status import Status
    from m2l_bench.suite.verify import Verification

# Columns of the printed table; everything else is in the run's files.
HEADLINE = ("bit_rate", "si_sdr", "mel_distance", "stft_distance", "fad:musicnn")
WIDTH = 120


@contextmanager
def progress() -> Iterator[dict[str, Callable[..., None]]]:
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
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("planning", total=None)

        def on_plan(plan: Plan) -> None:
            for name, reason in (dict(plan.unusable) | dict(plan.missing_encoders) | dict(plan.missing)).items():
                bar.console.print(
                    printable(f"{name}: left out, {reason}"), markup=False, highlight=False, soft_wrap=True
                )
            bar.update(shown, total=plan.counts().total(), description="jobs")

        def on_finished(label: str, seconds: float | None) -> None:
            bar.advance(shown)

        yield {"on_plan": on_plan, "on_finished": on_finished}


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr; yields the function that advances it by one."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(what, total=total)
        yield lambda: bar.advance(shown)


def grouped(reasons: Mapping[str, str], shown: int = 3) -> str:
    """Join names and their reasons; names after the first few are counted."""
    text = ", ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:shown])
    return text + (f" and {len(reasons) - shown} more" if len(reasons) > shown else "")


def by_reason(failed: Iterable[tuple[str, str]], shown: int = 3) -> list[str]:
    """Group failures by reason: one line each, with the count and the first names where several share it."""
    groups: dict[str, list[str]] = {}
    for name, reason in failed:
        groups.setdefault(reason, []).append(name)
    return [
        reason
        if len(names) == 1 and names[0] in reason
        else f"{len(names)} files ({', '.join(names[:shown])}{', ...' if len(names) > shown else ''}): {reason}"
        for reason, names in groups.items()
    ]


def print_stopping(running: int) -> None:
    typer.echo(f"stopping: {running} running jobs are being finished; interrupt again to kill them", err=True)


def print_forecast(found: Forecast, workers: int) -> None:
    """Print the jobs, downloads and time of a run that was not started."""
    lines = []
    for (kind, system), jobs in found.planned.items():
        seconds = found.seconds.get((kind, system))
        lines.append(
            {
                "system": system,
                "kind": kind,
                "jobs": str(jobs),
                "time": "unknown" if seconds is None else _duration(seconds),
            }
        )
    if lines:
        print_table(lines)
    print(f"\njobs: {sum(found.planned.values()):,}")
    for who, what, state in found.downloads:
        print(f"{'download' if state == 'needed' else state}: {who}: {what}")
    if not found.downloads:
        print("downloads: none")
    for label, reason in (dict(found.unusable) | dict(found.plan.missing_encoders)).items():
        print(f"left out: {label}: {reason}")
    known = sum(found.seconds.values())
    unknown = sum(jobs for key, jobs in found.planned.items() if key not in found.seconds)
    if found.seconds:
        print(f"time: {_duration(known / workers)} with {workers} workers, plus {unknown:,} jobs of unknown length")
    else:
        print("time: unknown (no finished run on this processor to learn from)")
    if found.basis:
        print(f"measured in: {', '.join(found.basis)}")


def print_status(status: Status) -> None:
    """Jobs by kind and system, and why the failed ones failed."""
    groups = {
        "planned": status.planned,
        "done": status.done,
        "failed": status.failed,
    }
    lines = [
        {"system": key[1], "kind": key[0]} | {name: str(counts[key]) for name, counts in groups.items()}
        for key in sorted(status.planned.keys() | status.done.keys() | status.failed.keys())
    ]
    print_table(lines)
    totals = ", ".join(f"{counts.total():,} {name}" for name, counts in groups.items())
    print(f"\n{status.state}: {totals}")
    for (kind, system, reason), jobs in status.reasons.most_common(20):
        print(f"failed: {system}, {kind}{f', {jobs} jobs' if jobs > 1 else ''}: {reason}")
    if len(status.reasons) > 20:
        print(f"... and {len(status.reasons) - 20} more reasons")


def print_verification(found: Verification) -> None:
    """Every file that changed and every row that came out otherwise, then what agrees."""
    for name, what in found.files.items():
        print(f"{what}: {name}")
    for check in found.rows:
        name = " ".join(filter(None, (check.row.system, check.row.dataset, check.row.probe, check.row.metric)))
        print(f"{'agrees' if check.agrees else 'differs'}: {name}, {check.row.statistic}: {check.found}")
    if found.obstacle:
        print(f"no row was computed again: {found.obstacle}")
    agreeing = sum(check.agrees for check in found.rows)
    print(f"files: {found.n_files - len(found.files):,} of {found.n_files:,} as they were when the run ended")
    print(f"rows: {agreeing} of {len(found.rows)} computed again agree")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def print_result(result: RunResult) -> None:
    from m2l_bench.report.render import terminal_table

    cards: Mapping[str, Mapping[str, Any]] = {card.hash: asdict(card) for card in result.cards.values()}
    systems = [spec.label for spec in result.plan.suite.systems]
    tasks = {spec.load().name: spec.load() for spec in result.plan.tasks}
    metrics = [name for name in HEADLINE if name in result.cards] or list(result.plan.suite.metrics)
    for dataset in sorted({row.dataset for row in result.rows}, key=lambda name: (name in tasks, name)):
        rows = [row for row in result.rows if row.dataset == dataset]
        if dataset in tasks:
            print(f"\n{dataset}: mean over seeds [95% bootstrap interval over test items]\n")
            print(terminal_table(rows, cards, tasks[dataset].metrics, systems=systems, width=WIDTH))
        else:
            print(f"\n{printable(dataset)}: mean over files [95% bootstrap interval]\n")
            print(terminal_table(rows, cards, metrics, systems=systems, width=WIDTH))
    reasons = by_reason(sorted({(item.item, item.reason) for item in result.items if item.reason}))
    for line in reasons[:20]:
        print(printable(f"failed: {line}"), file=sys.stderr)
    if len(reasons) > 20:
        print(f"... and {len(reasons) - 20} more in {result.folder / 'failures.csv'}", file=sys.stderr)
    state = "" if result.fresh else " (already finished, nothing was computed)"
    print(f"Tables, figures, listening page: {result.folder / 'index.md'}")
    print(f"All rows, items and provenance: {result.folder}{state}")


def print_json(result: RunResult) -> None:
    rows = [asdict(row) for row in result.rows]
    clean = [{key: None if value != value else value for key, value in row.items()} for row in rows]  # JSON has no NaN
    print(
        json.dumps(
            {"folder": str(result.folder), "fresh": result.fresh, "failed": result.n_failed, "rows": clean}, indent=2
        )
    )


def systems_table() -> list[dict[str, str]]:
    from m2l_bench.systems.registry import SYSTEMS, known_names, needs_download

    table = []
    for name in known_names():
        entry = SYSTEMS.get(name.partition(":")[0])
        facts = (
            (entry.audio, entry.latents, entry.bit_rate, entry.parameters, entry.licence, entry.summary)
            if entry
            else ("?",) * 6
        )
        download = "yes" if needs_download(name) else "no"
        names = (
            "name",
            "audio",
            "latents",
            "bit rate (kbit/s)",
            "parameters (M)",
            "licence (code / weights)",
            "what",
        )
        table.append(dict(zip(names, (name, *facts), strict=True)) | {"download": download})
    return table


def tasks_table() -> list[dict[str, str]]:
    from m2l_bench.tasks import load_task, task_names

    tasks = [load_task(name) for name in task_names()]
    return [
        {"name": t.name, "kind": t.kind, "metric": t.main_metric, "licence": t.about.licence, "what": t.summary}
        for t in tasks
    ]


def probes_table() -> list[dict[str, str]]:
    from m2l_bench.probes import LinearProbe, MLPProbe

    described = {"linear": LinearProbe, "mlp": MLPProbe}
    return [{"name": name, "what": str(cls.__doc__).partition("\n")[0]} for name, cls in described.items()]


def metrics_table() -> list[dict[str, str]]:
    from m2l_bench.reconstruction.metrics import METRICS
    from m2l_bench.suite.jobs.reconstruct import BIT_RATE
    from m2l_bench.tasks.scoring import METRICS as TASK_METRICS

    better = {True: "higher", False: "lower", None: "-"}
    cards = [metric.card for metric in METRICS.values()] + [BIT_RATE]
    cards += [metric.card for metric in TASK_METRICS.values()]
    return [
        {
            "name": card.name,
            "unit": card.unit,
            "better": better[card.higher_is_better],
            "card": card.hash,
            "source": card.source,
        }
        for card in cards
    ]


def audio_table() -> list[dict[str, str]]:
    from m2l_bench import assets

    return [{"name": name, "files": str(len(assets.manifest(name)))} for name in assets.FOLDERS]


def print_systems(table: list[dict[str, str]]) -> None:
    """A block a family: its names, what it is, its facts (too many columns for a terminal's width)."""
    for _, family in itertools.groupby(table, key=lambda line: line["what"]):
        lines = list(family)
        first = lines[0]
        parameters = first["parameters (M)"]
        facts = [first["audio"], first["latents"], "" if parameters == "-" else f"{parameters} M parameters"]
        rate = first["bit rate (kbit/s)"]
        facts.append({"-": "-", "measured": "bit rate measured"}.get(rate, f"{rate} kbit/s"))
        fetched = [line["name"] for line in lines if line["download"] == "yes"]
        download = "download" if len(fetched) == len(lines) else f"download: {' '.join(fetched)}" if fetched else ""
        needed = first["download"] if first["download"] not in ("yes", "no") else ""
        facts += [first["licence (code / weights)"], download, needed]
        typer.secho(" ".join(line["name"] for line in lines), bold=True)
        typer.echo(f"    {first['what']}\n    {' | '.join(fact for fact in facts if fact not in ('', '-'))}")


def print_table(table: list[dict[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    for column in table[0]:
        shown.add_column(column, no_wrap=column == "name")
    for line in table:
        shown.add_row(*(Text(value) for value in line.values()))  # plain: ":clap:" is an emoji in markup
    Console().print(shown)
