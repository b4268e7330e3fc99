"""The command line: read arguments, call, print. Heavy modules are imported in the command that needs them.

Exit codes: 0 success; 2 invalid input, or some files or jobs failed (the others are done); 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from m2l_bench import __version__, console
from m2l_bench.files.untrusted import printable
from m2l_bench.progress import progress

if TYPE_CHECKING:
    from m2l_bench.suite.engine import Engine
    from m2l_bench.suite.suite import Suite


class _Commands(TyperGroup):
    """Commands that report invalid input in one line on stderr, with exit code 2; other errors keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ValueError, ImportError, OSError) as error:
            unwritable = isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES)
            hint = "; choose another folder with --out" if unwritable else ""
            typer.echo(f"error: {printable(str(error))}{hint}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stopped:
            default = "interrupted; finished jobs are kept, run the same command again to resume"
            typer.echo(str(stopped) or default, err=True)
            raise typer.Exit(130) from None


def _examples(*lines: str) -> str:
    """The end of a command's help; "\\b" keeps its lines."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success; 2 invalid input, or some files or jobs failed; 130 interrupted.",
)

CPUS = os.cpu_count() or 1

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder; an unfinished run in it is resumed.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Number of worker processes (default: one a GPU or CPU core).")
]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Time limit of a job in seconds.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed jobs again.")]
Clips = Annotated[int, typer.Option("--clips", min=0, help="Clips on the listening page: an odd number from 3, or 0.")]
SystemName = Annotated[
    str,
    typer.Option("--system", help="Autoencoder: NAME, NAME:VARIANT or FILE.py:CLASS, also CLASS(keep=64)."),
]
Checkpoint = Annotated[str | None, typer.Option("--checkpoint", help="File with the system's weights.")]
Device = Annotated[str | None, typer.Option("--device", help="Device: cpu, cuda or cuda:N.")]
Seed = Annotated[int, typer.Option("--seed", help="Random seed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Open = Annotated[bool, typer.Option("--open", help="Open the report in the browser.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="Metric (m2l-bench list metrics), fad:ENCODER, fad:ENCODER@side, or FILE.py:FUNCTION; repeatable.",
    ),
]


@app.callback(invoke_without_command=True)
def common(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Compare audio autoencoders and codecs."""
    if version:
        print(f"m2l-bench {__version__}")
        raise typer.Exit


@app.command(
    epilog=_examples(
        "m2l-bench run --audio my/music --system opus:32k --system mp3:128k",
        "m2l-bench run --task key/tunes --system musicnn --probe linear",
    )
)
def run(
    suite: Annotated[
        str | None, typer.Argument(help="Suite (m2l-bench list suites), or a suite file (TOML); by default the demo.")
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="NAME, NAME:VARIANT or FILE.py:CLASS, also CLASS(keep=64); LABEL= before it names it.",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Task (m2l-bench list tasks), labels.csv, or TASK=FOLDER of its data; repeatable."
        ),
    ] = None,
    reader: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Encoder that reads the tasks from reconstructions, or latents: those of the systems (default); repeatable.",
        ),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit the probes of readers on reconstructed training audio, too.")
    ] = False,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Probe: linear, mlp (default: both), or FILE.py:NAME, a scikit-learn classifier.",
        ),
    ] = None,
    metric: Metrics = None,
    audio: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Folder of music, or embedded set; repeatable.")
    ] = None,
    out: Out = None,
    workers: Workers = None,
    timeout: Timeout = None,
    memory: Annotated[float | None, typer.Option(help="Memory limit of a worker in GiB.")] = None,
    retry_failed: RetryFailed = False,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Engine that runs the jobs.")] = "local",
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster; by default Ray is started.")] = None,
    gpus_per_job: Annotated[float, typer.Option(min=0.0, help="GPUs of a job, may be a fraction (Ray).")] = 0.0,
    mirror: Annotated[str | None, typer.Option(help="fsspec URL where machines share finished jobs.")] = None,
    device: Device = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the jobs, downloads and missing data, and stop.")
    ] = False,
    clips: Clips = 3,
    as_json: AsJson = False,
    open_report: Open = False,
) -> None:
    """Run systems on music and tasks, and write a report."""
    from m2l_bench.suite.suite import DEMO, make_suite, read_suite

    given: dict[str, Any] = {"systems": system, "metrics": metric, "audio": audio, "tasks": task}
    given |= {"readers": reader, "refit": refit, "probes": probe}
    chosen = {key: value for key, value in given.items() if value}
    base = make_suite({}) if chosen and not suite else read_suite(suite or DEMO)
    if chosen and not suite:
        chosen["name"] = "run"
        # Tasks alone, or audio alone: the other is left out.
        if (task or probe or reader) and not (audio or metric):
            chosen["audio"] = ()
        elif (audio or metric) and not (task or probe or reader):
            chosen["tasks"] = ()
        if audio and not metric:
            chosen["metrics"] = _default_metrics(audio)
    if device:
        chosen["device"] = _checked_device(device)
    if chosen:
        base = make_suite(base.model_dump() | chosen, source="command line")
    if dry_run:
        from m2l_bench.suite.forecast import forecast

        with closing(_local(workers=workers, device=device)) as here:
            found = forecast(base, out=out, engine=here)
        console.print_forecast(found, workers or CPUS)
        if found.plan.missing and not found.planned:
            raise ValueError("nothing can be run: all data are missing")
        return
    if engine == "ray" and memory is not None:
        raise ValueError("--memory needs --engine local: Ray limits the memory of its workers itself")
    if engine != "ray" and (address is not None or gpus_per_job):
        raise ValueError("--address and --gpus-per-job need --engine ray")

    def make_engine() -> Engine:
        limits: dict[str, Any] = {"workers": workers, "timeout": timeout}
        if engine == "local":
            return _local(memory=memory, device=base.device, **limits)
        from m2l_bench.suite.on_ray import RayEngine

        return RayEngine(address=address, gpus_per_job=gpus_per_job, **limits)

    _run(base, out, make_engine, clips, as_json, open_report=open_report, retry_failed=retry_failed, mirror=mirror)


@app.command(epilog=_examples("m2l-bench status results/runs/my-run"))
def status(run_folder: Run) -> None:
    """Print the planned, finished and failed jobs of a run."""
    from m2l_bench.suite.status import read_status

    found = read_status(run_folder)
    console.print_status(found)
    if found.failed:
        raise typer.Exit(2)


@app.command(epilog=_examples("m2l-bench verify results/runs/my-run --sample 10"))
def verify(
    run_folder: Run,
    sample: Annotated[int, typer.Option(min=0, help="Number of rows to compute again.")] = 5,
    seed: Annotated[int, typer.Option(help="Random seed for the choice of rows.")] = 0,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest relative difference of equal values.")] = 0.0,
) -> None:
    """Check a run's files, and compute some rows again."""
    from m2l_bench.suite.verify import verify as verify_run

    found = verify_run(run_folder, sample=sample, seed=seed, tolerance=tolerance)
    console.print_verification(found)
    if not found.sound:
        raise typer.Exit(2)


@app.command(epilog=_examples("m2l-bench score originals/ mine=out/mine/ dac=out/dac/"))
def score(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Folder of the originals.")],
    systems: Annotated[
        list[str],
        typer.Argument(metavar="NAME=DIR", help="Label and folder of reconstructions with the same file names."),
    ],
    metric: Metrics = None,
    max_length_difference: Annotated[
        float, typer.Option(min=0.0, help="Largest difference in length in seconds; the longer signal is cut.")
    ] = 0.0,
    out: Out = None,
    workers: Workers = None,
    timeout: Timeout = None,
    retry_failed: RetryFailed = False,
    clips: Clips = 9,
    as_json: AsJson = False,
) -> None:
    """Score existing reconstructions against the originals."""
    from m2l_bench.suite.suite import folder_entry, make_suite

    entries = [folder_entry(text) for text in systems]
    if not reference.is_dir():
        raise ValueError(f"{reference}: must be a folder of originals, no such folder")
    metrics = metric or _default_metrics([str(reference)])
    content = {"name": "score", "systems": entries, "audio": [str(reference)], "metrics": metrics, "tasks": ()}
    chosen = make_suite(content | {"max_length_difference": max_length_difference}, source="command line")
    _run(chosen, out, lambda: _local(workers=workers, timeout=timeout), clips, as_json, retry_failed=retry_failed)


@app.command(epilog=_examples("m2l-bench report results/runs/my-run", "m2l-bench report RUN-A RUN-B --out report"))
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run folders (several: leaderboard), or training folders.")
    ],
    published: Annotated[bool, typer.Option(help="Print published figures below the tables.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    listen: Annotated[bool, typer.Option(help="Write the listening page.")] = True,
    open_report: Open = False,
) -> None:
    """Write the report of runs, or the curves of trainings."""
    from m2l_bench.checksums import add_checksums
    from m2l_bench.report.board import BOARD
    from m2l_bench.report.build import build
    from m2l_bench.report.curves import draw_training
    from m2l_bench.results import REPORTED

    if all((run / "log.csv").is_file() for run in runs):
        typer.echo(draw_training(runs))
    else:
        page = build(runs, published=published, out=out, listen=listen)
        add_checksums(page.parent, REPORTED)
        typer.echo(page)
        board = page.with_name(BOARD)
        if board.is_file():
            typer.echo(board)
        if open_report:
            _open(page)


@app.command(epilog=_examples("m2l-bench compare results/runs/my-run opus:24k pca"))
def compare(
    run_folder: Run,
    a: Annotated[str, typer.Argument(metavar="A", help="Label of the first system.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Label of the second system.")],
) -> None:
    """Compare two systems metric by metric (paired tests)."""
    from m2l_bench.report.compare import compare as compare_systems
    from m2l_bench.report.compare import comparison_markdown
    from m2l_bench.report.runs import read_runs

    typer.echo(comparison_markdown(compare_systems(read_runs([run_folder]), a, b)))


@app.command(
    epilog=_examples(
        "m2l-bench latents music2latent:small pca", "m2l-bench latents mine.py:MyAE --audio my/music --part sheet"
    )
)
def latents(
    systems: Annotated[
        list[str], typer.Argument(metavar="SYSTEM...", help="Encoders or autoencoders, spelled as for run --system.")
    ],
    audio: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Folder of music, or embedded set (default: the excerpts); repeatable."),
    ] = None,
    metric: Metrics = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="sheet, equivariance, noise or rate_distortion (default: all four); repeatable."
        ),
    ] = None,
    step: Annotated[
        list[float] | None,
        typer.Option(help="Step of the quantiser, in standard deviations of each dimension; repeatable."),
    ] = None,
    out: Out = None,
    workers: Workers = None,
    timeout: Timeout = None,
    retry_failed: RetryFailed = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure latent spaces without labels.

    Scale, rank, gain, mixing, shift, noise, and quality against bit rate.
    """
    from m2l_bench.suite.suite import EMBEDDED_AUDIO, LATENT_METRICS, make_suite

    folders = audio or list(EMBEDDED_AUDIO)
    metrics = metric or [name for name in _default_metrics(folders) if name in LATENT_METRICS]
    latent = {key: value for key, value in {"parts": part, "steps": step}.items() if value}
    content = {
        "name": "latents",
        "systems": systems,
        "audio": folders,
        "metrics": metrics,
        "tasks": (),
        "latent": latent,
    }
    chosen = make_suite(content | {"device": _checked_device(device)}, source="command line")
    limits: dict[str, Any] = {"workers": workers, "timeout": timeout}
    _run(chosen, out, lambda: _local(device=device, **limits), 0, as_json, retry_failed=retry_failed)


@app.command(epilog=_examples("m2l-bench train recipe.toml --out training"))
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="Training recipe.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log and weights.")] = Path("training"),
    device: Device = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint.")] = False,
) -> None:
    """Train a model on folders of music."""
    from m2l_bench.reconstruction.held_out import held_out_scores
    from m2l_bench.systems.small.recipes import read_recipe
    from m2l_bench.systems.small.recipes import train as train_model

    chosen = read_recipe(recipe)
    if device:
        chosen = chosen.model_copy(update={"run": chosen.run.model_copy(update={"device": device})})
    typer.echo(train_model(chosen, out, resume=resume, score=held_out_scores))


@app.command(
    epilog=_examples("m2l-bench encode music/ latents/", "m2l-bench encode song.wav song.safetensors --system pca")
)
def encode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Audio file, or folder of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File (.safetensors), or folder.")],
    system: SystemName = "music2latent",
    checkpoint: Checkpoint = None,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Encode audio to latents (safetensors).

    Files that the same system encoded from the same audio are skipped.
    """
    from m2l_bench.systems.files import file_encoder

    _convert(source, target, (".safetensors",), file_encoder(_loaded(system, checkpoint, seed, device)))


@app.command(epilog=_examples("m2l-bench decode latents/ back/"))
def decode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File of latents (from encode), or folder of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Audio file, or folder (WAV).")],
    system: SystemName = "music2latent",
    checkpoint: Checkpoint = None,
    seed: Seed = 0,
    device: Device = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip files whose output exists; its content is not checked.")
    ] = False,
) -> None:
    """Decode latents to audio."""
    from m2l_bench.audio import AUDIO_SUFFIXES
    from m2l_bench.systems.files import file_decoder

    decoder = file_decoder(_loaded(system, checkpoint, seed, device), skip_existing=skip_existing)
    _convert(source, target, AUDIO_SUFFIXES, decoder)


@app.command(epilog=_examples("m2l-bench check opus:32k", "m2l-bench check mine.py:MyCodec"))
def check(
    system: Annotated[
        str, typer.Argument(metavar="SYSTEM", help="NAME, NAME:VARIANT or FILE.py:CLASS, also CLASS(keep=64).")
    ],
    checkpoint: Checkpoint = None,
    seed: Seed = 0,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Check a system: shapes, seeds, delay, seams, memory, speed."""
    from m2l_bench.conformity.check import CHECKS
    from m2l_bench.conformity.check import check as check_system

    with progress("checks", len(CHECKS)) as shown:
        found = check_system(system, checkpoint=checkpoint, seed=seed, device=device, on_done=shown.advance)
    (console.print_checked_json if as_json else console.print_checked)(found)
    if found.failed:
        raise typer.Exit(2)


@app.command(
    name="list", epilog=_examples("m2l-bench list systems --no-download", "m2l-bench list tasks --kind chords")
)
def list_(
    kind: Annotated[
        Literal["systems", "readers", "tasks", "probes", "metrics", "latents", "audio", "suites"],
        typer.Argument(metavar="KIND", help="What to list."),
    ],
    pattern: Annotated[str, typer.Argument(metavar="TEXT", help="Text in the name or the description.")] = "",
    no_download: Annotated[
        bool, typer.Option("--no-download", help="Only what needs neither a download nor a dataset of yours.")
    ] = False,
    task_kind: Annotated[
        str | None, typer.Option("--kind", metavar="NAME", help="Only tasks of a kind, such as chords.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List systems, tasks, metrics and others, with what they need.

    One entry a line: name, description, download or dataset, and [extra] of the package.
    """
    from m2l_bench.listing import entries

    found = entries(kind, pattern=pattern, no_download=no_download, task_kind=task_kind, hashes=as_json)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        console.print_entries(found)


@app.command(epilog=_examples("m2l-bench show mel_distance", "m2l-bench show music2latent"))
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of anything that m2l-bench list has.")],
    as_json: AsJson = False,
) -> None:
    """Show everything of one entry: facts, licence, size, use."""
    from m2l_bench.description import describe

    found = describe(name)
    if as_json:
        print(json.dumps([described._asdict() for described in found], indent=2, ensure_ascii=False))
    else:
        console.print_descriptions(found)


@app.command(epilog=_examples("m2l-bench doctor", "m2l-bench doctor --online --json"))
def doctor(
    online: Annotated[bool, typer.Option("--online", help="Ask whether the Hugging Face hub is reachable.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check this installation: versions, devices, extras, caches, disk.

    Exit code 2 if something that the built-in systems need is missing.
    """
    from m2l_bench.doctor import examine

    found = examine(online=online)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        console.print_examination(found)
    if found.missing:
        raise typer.Exit(2)


def _checked_device(device: str | None) -> str | None:
    """The device, where there is such a one: one error instead of one for each system."""
    if device:
        from m2l_bench.music2latent.device import pick_device

        pick_device(device)
    return device


def _default_metrics(folders: list[str]) -> tuple[str, ...]:
    from m2l_bench.suite.suite import default_metrics

    metrics, note = default_metrics(folders)
    typer.echo(note, err=True, nl=bool(note))
    return metrics


def _local(*, workers: int | None, device: str | None = None, **limits: Any) -> Engine:
    """Workers of this machine: by default one for each GPU where there are GPUs, else one for each processor."""
    from m2l_bench.suite.local import LocalEngine, gpus_for

    gpus = gpus_for(device)
    return LocalEngine(workers=workers or len(gpus) or CPUS, gpus=gpus, on_stopping=console.print_stopping, **limits)


def _open(page: Path) -> None:
    """Open a page in the browser; its path is already printed, so that a machine without one loses nothing."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        typer.echo("no browser could be opened", err=True)


def _run(
    suite: Suite,
    out: Path | None,
    make_engine: Callable[[], Engine],
    clips: int,
    as_json: bool,
    *,
    open_report: bool = False,
    **how: Any,
) -> None:
    """Run a suite, or find it finished, write its report, and print its result."""
    from m2l_bench.results import PAGE
    from m2l_bench.running import run_and_report

    folder, fresh = run_and_report(suite, out, make_engine, clips, **how)
    failed = (console.print_json if as_json else console.print_result)(folder, fresh=fresh)
    if open_report:
        _open(folder / PAGE)
    if failed:
        raise typer.Exit(2)


def _loaded(system: str, checkpoint: str | None, seed: int, device: str | None) -> Any:
    from m2l_bench.suite.suite import SystemSpec, parse_system

    given = {"checkpoint": checkpoint, "device": device, "seed": seed}
    return SystemSpec.model_validate(parse_system(system).model_dump() | given).load()


def _convert(source: Path, target: Path, suffixes: tuple[str, ...], convert: Callable[[Path, Path], None]) -> None:
    """Convert one file, or every file of a folder into the first suffix."""
    from m2l_bench.converting import convert_files

    if not convert_files(source, target, suffixes, convert):
        raise typer.Exit(2)


def main() -> None:
    """Entry point of ``m2l-bench``."""
    app()
