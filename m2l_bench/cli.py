"""The command line: reads arguments, calls, prints. Everything heavy is imported inside the command that needs it.

Exit codes: 0 all done; 2 bad input, be it an argument or a single file that could not be scored (the rest was done).
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from m2l_bench.suite.engine import Job
    from m2l_bench.suite.run import Plan, RunResult
    from m2l_bench.suite.suite import Suite

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compare audio autoencoders and codecs.",
)

# Columns of the printed table; everything else is in the run's files.
HEADLINE = ("bit_rate", "si_sdr", "mel_distance", "stft_distance")

CPUS = os.cpu_count() or 1

Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; made anew, never overwritten.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the rows as JSON, for machines.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="A metric; repeat for several (m2l-bench list metrics).")
]


@app.command()
def run(
    suite: Annotated[Path | None, typer.Argument(help="A suite file (TOML); the embedded suite by default.")] = None,
    system: Annotated[
        list[str] | None,
        typer.Option("--system", help="A system: NAME, NAME:VARIANT, FILE.py:CLASS, or LABEL=one of these."),
    ] = None,
    metric: Metrics = None,
    audio: Annotated[
        list[str] | None, typer.Option("--audio", help="A folder of music, or the name of an embedded set.")
    ] = None,
    out: Out = None,
    workers: Workers = CPUS,
    as_json: AsJson = False,
) -> None:
    """Run systems on music and print the comparison."""
    from m2l_bench.suite.suite import make_suite, read_suite

    with bad_input():
        base = read_suite(suite) if suite else make_suite({})
        given = {"systems": system, "metrics": metric, "audio": audio}
        chosen = {key: value for key, value in given.items() if value}
        if chosen:
            name = base.name if suite else "run"
            base = make_suite(base.model_dump() | {"name": name} | chosen, source="command line")
        _run(base, out, workers, as_json)


@app.command()
def score(
    reference: Annotated[Path, typer.Argument(help="Folder of the originals.")],
    systems: Annotated[
        list[str],
        typer.Argument(metavar="NAME=DIR...", help="A folder of reconstructions for each system, same file names."),
    ],
    metric: Metrics = None,
    max_length_difference: Annotated[
        float, typer.Option(min=0.0, help="Seconds by which a pair may differ in length; both are cut to the shorter.")
    ] = 0.0,
    out: Out = None,
    workers: Workers = CPUS,
    as_json: AsJson = False,
) -> None:
    """Score reconstructions that somebody already made."""
    from m2l_bench.suite.suite import EMBEDDED_METRICS, make_suite

    with bad_input():
        entries = [_folder_entry(text) for text in systems]
        if not reference.is_dir():
            raise ValueError(f"{reference}: must be a folder of originals, got nothing of that kind there")
        content = {
            "name": "score",
            "systems": entries,
            "audio": [str(reference)],
            "metrics": metric or EMBEDDED_METRICS,
            "max_length_difference": max_length_difference,
        }
        _run(make_suite(content, source="command line"), out, workers, as_json)


@app.command(name="list")
def list_(what: Annotated[Literal["systems", "metrics", "audio"], typer.Argument()], as_json: AsJson = False) -> None:
    """List what is known by name."""
    if what == "systems":
        table = _systems_table()
    elif what == "metrics":
        table = _metrics_table()
    else:
        table = _audio_table()
    if as_json:
        print(json.dumps(table, indent=2))
    elif what == "systems":
        _print_systems(table)
    else:
        _print_table(table)


@contextmanager
def bad_input() -> Iterator[None]:
    """One line on stderr and exit code 2 for what the user can mend; everything else keeps its traceback."""
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; finished jobs are kept, the same command goes on from there", err=True)
        raise typer.Exit(130) from None


def _folder_entry(text: str) -> dict[str, Any]:
    label, sign, directory = text.partition("=")
    if not (sign and label and directory):
        raise ValueError(f"system must be NAME=DIR, got {text!r}")
    if not Path(directory).is_dir():
        raise ValueError(f"{directory}: must be a folder of reconstructions, got nothing of that kind there")
    return {"system": "folder", "label": label, "options": {"directory": str(Path(directory).resolve())}}


def _run(suite: Suite, out: Path | None, workers: int, as_json: bool) -> None:
    from m2l_bench.suite.run import run_suite

    with _progress() as (on_plan, on_finished):
        result = run_suite(suite, out=out, workers=workers, on_plan=on_plan, on_finished=on_finished)
    if as_json:
        _print_json(result)
    else:
        _print_result(result, suite)
    if result.n_failed:
        raise typer.Exit(2)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[Plan], None], Callable[[Job, float | None], None]]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("planning", total=None)

        def on_plan(plan: Plan) -> None:
            for spec, reason in plan.unusable:
                bar.console.print(f"{spec.label}: left out, {reason}", markup=False, highlight=False, soft_wrap=True)
            bar.update(task, total=len(plan.jobs), description="jobs")

        def on_finished(job: Job, seconds: float | None) -> None:
            bar.advance(task)

        yield on_plan, on_finished


def _print_result(result: RunResult, suite: Suite) -> None:
    from dataclasses import asdict

    from m2l_bench.report.tables import markdown

    cards: Mapping[str, Mapping[str, Any]] = {card.hash: asdict(card) for card in result.cards.values()}
    systems = [entry.spec().label for entry in suite.systems]
    metrics = [name for name in HEADLINE if name in result.cards] or list(suite.metrics)
    for dataset in sorted({row.dataset for row in result.rows}):
        rows = [row for row in result.rows if row.dataset == dataset]
        print(f"\n{dataset}: mean over files [95% bootstrap interval]\n")
        print(markdown(rows, cards, metrics, systems=systems))
        for note in sorted({row.note for row in rows if row.note}):
            print(note)
    reasons = sorted({(item.item, item.reason) for item in result.items if item.reason})
    for name, reason in reasons[:20]:
        print(f"failed: {name}: {reason}", file=sys.stderr)
    if len(reasons) > 20:
        print(f"... and {len(reasons) - 20} more in {result.folder / 'failures.csv'}", file=sys.stderr)
    state = "" if result.fresh else " (already finished, nothing was computed)"
    print(f"All rows, items and provenance: {result.folder}{state}")


def _print_json(result: RunResult) -> None:
    from dataclasses import asdict

    rows = [asdict(row) for row in result.rows]
    clean = [{key: None if value != value else value for key, value in row.items()} for row in rows]  # JSON has no NaN
    print(
        json.dumps(
            {"folder": str(result.folder), "fresh": result.fresh, "failed": result.n_failed, "rows": clean}, indent=2
        )
    )


def _systems_table() -> list[dict[str, str]]:
    from m2l_bench.systems.registry import SYSTEMS, known_names, needs_download

    table = []
    for name in known_names():
        entry = SYSTEMS.get(name.partition(":")[0])
        facts = (entry.audio, entry.latents, entry.parameters, entry.licence, entry.summary) if entry else ("?",) * 5
        download = "yes" if needs_download(name) else "no"
        names = ("name", "audio", "latents", "parameters (M)", "licence (code / weights)", "what")
        table.append(dict(zip(names, (name, *facts), strict=True)) | {"download": download})
    return table


def _metrics_table() -> list[dict[str, str]]:
    from m2l_bench.reconstruction.metrics import METRICS
    from m2l_bench.suite.jobs import BIT_RATE

    better = {True: "higher", False: "lower", None: "-"}
    cards = [metric.card for metric in METRICS.values()] + [BIT_RATE]
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


def _audio_table() -> list[dict[str, str]]:
    from m2l_bench import assets

    return [{"name": name, "files": str(len(assets.manifest(name)))} for name in assets.FOLDERS]


def _print_systems(table: list[dict[str, str]]) -> None:
    """A block a family: its names, what it is, its facts (too many columns for a terminal's width)."""
    for _, family in itertools.groupby(table, key=lambda line: line["what"]):
        lines = list(family)
        first = lines[0]
        parameters = first["parameters (M)"]
        facts = [first["audio"], first["latents"], "" if parameters == "-" else f"{parameters} M parameters"]
        facts += [first["licence (code / weights)"], "download" if first["download"] == "yes" else ""]
        typer.secho(" ".join(line["name"] for line in lines), bold=True)
        typer.echo(f"    {first['what']}\n    {' | '.join(fact for fact in facts if fact not in ('', '-'))}")


def _print_table(table: list[dict[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    for column in table[0]:
        shown.add_column(column, no_wrap=column == "name")
    for line in table:
        shown.add_row(*(Text(value) for value in line.values()))  # plain: ":clap:" is an emoji in markup
    Console().print(shown)


def main() -> None:
    """Entry point of ``m2l-bench``."""
    app()
