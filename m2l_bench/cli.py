"""The command line: reads arguments, calls, prints. Everything heavy is imported inside the command that needs it.

Exit codes: 0 all done; 2 bad input, be it an argument or a single file that could not be scored (the rest was done).
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from m2l_bench import __version__, console
from m2l_bench.files.untrusted import printable

if TYPE_CHECKING:
    from m2l_bench.suite.engine import Engine
    from m2l_bench.suite.run import RunResult
    from m2l_bench.suite.suite import Suite

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success; 2 invalid input, or some files or jobs failed; 130 interrupted.",
)

# By which the clips worth hearing are chosen: the first that was measured.
RANKING = ("mel_distance", "si_sdr", "stft_distance")
# What is written once a run is finished, and again by m2l-bench report.
REPORTED = ("audio", "report", "index.md")
CPUS = os.cpu_count() or 1

Out = Annotated[Path | None, typer.Option("--out", help="Run folder; an unfinished run in it is resumed.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Number of worker processes.")]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Time limit of a job in seconds.")]
Memory = Annotated[float | None, typer.Option("--memory", help="Memory limit of a worker in GiB.")]
EngineName = Annotated[Literal["local", "ray"], typer.Option("--engine", help="Engine that runs the jobs.")]
Address = Annotated[str | None, typer.Option("--address", help="Address of a Ray cluster (default: start Ray here).")]
Mirror = Annotated[str | None, typer.Option("--mirror", help="fsspec URL where machines share finished jobs.")]
GpusPerJob = Annotated[
    float, typer.Option("--gpus-per-job", min=0.0, help="GPUs per job, may be a fraction (Ray only).")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed jobs again.")]
Clips = Annotated[
    int, typer.Option("--clips", min=0, help="Clips on the listening page: odd and at least 3, or 0 for no page.")
]
SystemName = Annotated[str, typer.Option("--system", help="Name of the autoencoder.")]
Checkpoint = Annotated[str | None, typer.Option("--checkpoint", help="File with the system's weights.")]
Device = Annotated[str | None, typer.Option("--device", help="Device: cpu, cuda or cuda:N.")]
Seed = Annotated[int, typer.Option("--seed", help="Random seed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="Metric; repeat for several (see: m2l-bench list metrics).")
]


@app.callback(invoke_without_command=True)
def common(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Compare audio autoencoders and codecs."""
    if version:
        print(f"m2l-bench {__version__}")
        raise typer.Exit


@app.command()
def run(
    suite: Annotated[Path | None, typer.Argument(help="A suite file (TOML); the embedded suite by default.")] = None,
    system: Annotated[
        list[str] | None, typer.Option("--system", help="NAME, NAME:VARIANT, FILE.py:CLASS, or LABEL=one of these.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Task (see: m2l-bench list tasks), or TASK=FOLDER of its data.")
    ] = None,
    probe: Annotated[list[str] | None, typer.Option("--probe", help="Probe: linear or mlp (default: both).")] = None,
    metric: Metrics = None,
    audio: Annotated[
        list[str] | None, typer.Option("--audio", help="Folder of music, or name of an embedded set.")
    ] = None,
    out: Out = None,
    workers: Workers = None,
    timeout: Timeout = None,
    memory: Memory = None,
    retry_failed: RetryFailed = False,
    engine: EngineName = "local",
    address: Address = None,
    gpus_per_job: GpusPerJob = 0.0,
    mirror: Mirror = None,
    device: Device = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the jobs, downloads and missing data, and stop.")
    ] = False,
    clips: Clips = 3,
    as_json: AsJson = False,
) -> None:
    """Run systems on music and tasks, print the comparison and write its report."""
    from m2l_bench.suite.suite import default_metrics, make_suite, read_suite

    with bad_input():
        base = read_suite(suite) if suite else make_suite({})
        given = {"systems": system, "metrics": metric, "audio": audio, "tasks": task, "probes": probe}
        chosen: dict[str, Any] = {key: value for key, value in given.items() if value}
        if chosen and not suite:
            chosen["name"] = "run"
            # Asking for tasks alone, or for reconstruction alone, leaves the other out.
            if (task or probe) and not (audio or metric):
                chosen["audio"] = ()
            elif (audio or metric) and not (task or probe):
                chosen["tasks"] = ()
            if audio and not metric:
                chosen["metrics"], note = default_metrics(audio)
                typer.echo(note, err=True, nl=bool(note))
        if device:
            chosen["device"] = device
        if chosen:
            base = make_suite(base.model_dump() | chosen, source="command line")
        if device:
            from m2l_bench.music2latent.device import pick_device

            pick_device(device)  # once, in place of an error for each system
        if dry_run:
            from m2l_bench.suite.forecast import forecast

            with closing(_local(workers=workers, timeout=None, device=device)) as where:
                found = forecast(base, out=out, engine=where)
            console.print_forecast(found, workers or CPUS)
            if found.plan.missing and not found.planned:
                raise ValueError("nothing can be run: all data are missing")
        else:
            limits = {"workers": workers, "timeout": timeout, "device": base.device}
            with closing(_engine(engine, address, gpus_per_job, memory, **limits)) as where:
                _run(base, out, where, clips, as_json, retry_failed=retry_failed, mirror=mirror)


@app.command()
def status(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, finished or not.")],
) -> None:
    """Print the planned, finished and failed jobs of a run."""
    from m2l_bench.suite.status import read_status

    with bad_input():
        found = read_status(run_folder)
        console.print_status(found)
    if found.failed:
        raise typer.Exit(2)


@app.command()
def verify(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    sample: Annotated[int, typer.Option("--sample", min=0, help="Number of rows to compute again.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Random seed for the choice of rows.")] = 0,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0.0, help="Relative difference up to which two values count as equal.")
    ] = 0.0,
) -> None:
    """Check the hashes of a run's files and inputs, and compute some of its rows again."""
    from m2l_bench.suite.verify import verify as verify_run

    with bad_input():
        found = verify_run(run_folder, sample=sample, seed=seed, tolerance=tolerance)
        console.print_verification(found)
    if not found.sound:
        raise typer.Exit(2)


@app.command()
def score(
    reference: Annotated[Path, typer.Argument(help="Folder of the originals.")],
    systems: Annotated[
        list[str],
        typer.Argument(metavar="NAME=DIR...", help="Label and folder of reconstructions with the same file names."),
    ],
    metric: Metrics = None,
    max_length_difference: Annotated[
        float,
        typer.Option(min=0.0, help="Largest difference in length of a pair in seconds; both are cut to the shorter."),
    ] = 0.0,
    out: Out = None,
    workers: Workers = None,
    timeout: Timeout = None,
    retry_failed: RetryFailed = False,
    clips: Clips = 9,
    as_json: AsJson = False,
) -> None:
    """Score existing reconstructions against their originals."""
    from m2l_bench.suite.suite import default_metrics, folder_entry, make_suite

    with bad_input():
        entries = [folder_entry(text) for text in systems]
        if not reference.is_dir():
            raise ValueError(f"{reference}: must be a folder of originals, no such folder")
        metrics, note = (metric, "") if metric else default_metrics([str(reference)])
        typer.echo(note, err=True, nl=bool(note))
        content = {
            "name": "score",
            "systems": entries,
            "audio": [str(reference)],
            "metrics": metrics,
            "tasks": (),
            "max_length_difference": max_length_difference,
        }
        chosen = make_suite(content, source="command line")
        with closing(_local(workers=workers, timeout=timeout)) as engine:
            _run(chosen, out, engine, clips, as_json, retry_failed=retry_failed)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders (several are merged), or training folders.")],
    published: Annotated[bool, typer.Option(help="Print published figures below the tables.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the report.")] = None,
    listen: Annotated[bool, typer.Option(help="Write the listening page.")] = True,
) -> None:
    """Write tables, figures and the listening page of runs, or the curves of trainings."""
    from m2l_bench.report.build import build
    from m2l_bench.report.curves import draw_training
    from m2l_bench.results import add_checksums

    with bad_input():
        if all((run / "log.csv").is_file() for run in runs):
            typer.echo(draw_training(runs))
        else:
            index = build(runs, published=published, out=out, listen=listen)
            add_checksums(index.parent, REPORTED)
            typer.echo(index)


@app.command()
def compare(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    a: Annotated[str, typer.Argument(help="Label of the first system.")],
    b: Annotated[str, typer.Argument(help="Label of the second system.")],
) -> None:
    """Compare two systems: paired difference per metric, with interval and outliers."""
    from m2l_bench.report.compare import compare as compare_systems
    from m2l_bench.report.compare import comparison_markdown

    with bad_input():
        typer.echo(comparison_markdown(a, b, compare_systems(run_folder, a, b)))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="A training recipe.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of checkpoints, log and weights.")] = Path("training"),
    device: Device = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint.")] = False,
) -> None:
    """Train a model on folders of music."""
    with bad_input():
        from pydantic import ValidationError

        from m2l_bench.files.untrusted import faults
        from m2l_bench.reconstruction.held_out import held_out_scores
        from m2l_bench.systems.small.recipes import read_recipe
        from m2l_bench.systems.small.recipes import train as train_model
        from m2l_bench.training.loop import Interrupted, NonFiniteError

        try:
            chosen = read_recipe(recipe)
            if device:
                try:  # model_copy alone would not check the value
                    section = type(chosen.run).model_validate(chosen.run.model_dump() | {"device": device})
                except ValidationError as error:
                    raise ValueError(f"--device: {faults(error)}") from error
                chosen = chosen.model_copy(update={"run": section})
            typer.echo(train_model(chosen, out, resume=resume, score=held_out_scores))
        except Interrupted as stopped:
            typer.echo(str(stopped), err=True)
            raise typer.Exit(130) from None
        except NonFiniteError as error:
            raise ValueError(str(error)) from error


@app.command()
def encode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="An audio file, or a folder of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A .safetensors file, or a folder for them.")],
    system: SystemName = "music2latent",
    checkpoint: Checkpoint = None,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Encode audio to latents (safetensors). Files that the same system made from the same audio are skipped."""
    from m2l_bench.systems.files import file_encoder

    with bad_input():
        _each(source, target, (".safetensors",), file_encoder(_loaded(system, checkpoint, seed, device)))


@app.command()
def decode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Latents that encode wrote, or a folder of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="An audio file, or a folder for them (WAV).")],
    system: SystemName = "music2latent",
    checkpoint: Checkpoint = None,
    seed: Seed = 0,
    device: Device = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip files whose output exists, without checking it.")
    ] = False,
) -> None:
    """Decode latents to audio."""
    from m2l_bench.audio import AUDIO_SUFFIXES
    from m2l_bench.systems.files import file_decoder

    with bad_input():
        decoder = file_decoder(_loaded(system, checkpoint, seed, device))
        _each(source, target, AUDIO_SUFFIXES, decoder, skip=skip_existing)


@app.command(name="list")
def list_(
    what: Annotated[Literal["systems", "tasks", "probes", "metrics", "audio"], typer.Argument()],
    as_json: AsJson = False,
) -> None:
    """List the known systems, tasks, probes, metrics or audio sets."""
    table = {
        "systems": console.systems_table,
        "tasks": console.tasks_table,
        "probes": console.probes_table,
        "metrics": console.metrics_table,
        "audio": console.audio_table,
    }[what]()
    if as_json:
        print(json.dumps(table, indent=2))
    else:
        (console.print_systems if what == "systems" else console.print_table)(table)


@contextmanager
def bad_input() -> Iterator[None]:
    """One line on stderr and exit code 2 for what the user can mend; everything else keeps its traceback."""
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        unwritable = isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES)
        hint = "; choose another folder with --out" if unwritable else ""
        typer.echo(f"error: {printable(str(error))}{hint}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; finished jobs are kept, run the same command again to resume", err=True)
        raise typer.Exit(130) from None


def _engine(name: str, address: str | None, gpus_per_job: float, memory: float | None, **limits: Any) -> Engine:
    if name == "ray":
        from m2l_bench.suite.on_ray import RayEngine

        if memory is not None:
            raise ValueError("--memory needs --engine local: Ray watches the memory of its workers itself")
        limits.pop("device")  # Ray gives each worker its GPUs
        return RayEngine(address=address, gpus_per_job=gpus_per_job, **limits)
    if address is not None or gpus_per_job:
        raise ValueError("--address and --gpus-per-job need --engine ray")
    return _local(memory=memory, **limits)


def _local(*, workers: int | None, device: str | None = None, **limits: Any) -> Engine:
    """Workers of this machine: by default one a GPU where systems run on GPUs, else one a processor."""
    from m2l_bench.suite.local import LocalEngine, gpus_for

    gpus = gpus_for(device)
    return LocalEngine(workers=workers or len(gpus) or CPUS, gpus=gpus, on_stopping=console.print_stopping, **limits)


def _run(suite: Suite, out: Path | None, engine: Engine, clips: int, as_json: bool, **how: Any) -> None:
    from m2l_bench.suite.run import run_suite

    if clips and (clips < 3 or clips % 2 == 0):
        raise ValueError(f"--clips must be odd and at least 3, or 0, got {clips}")
    with console.progress() as hooks:
        result = run_suite(suite, out=out, engine=engine, **how | hooks)
    if result.fresh or not (result.folder / "index.md").is_file():
        _report(result, clips, engine)
    (console.print_json if as_json else console.print_result)(result)
    if result.n_failed:
        raise typer.Exit(2)


def _report(result: RunResult, n_clips: int, engine: Engine) -> None:
    """Write the clips worth hearing, then the report."""
    from m2l_bench.report.build import build
    from m2l_bench.report.clips import Clip, choose_clips, write_clips
    from m2l_bench.results import add_checksums
    from m2l_bench.suite.run import render_clips

    metric = next((name for name in RANKING if name in result.cards), None)
    if metric and n_clips and result.plan.data:
        better = bool(result.cards[metric].higher_is_better)
        clips = (
            Clip(id=item.id, dataset=data.name, sample_rate=rate, reference=reference, estimates=estimates)
            for data in result.plan.data
            for item, rate, reference, estimates in render_clips(
                result,
                data.name,
                choose_clips(result.items, dataset=data.name, metric=metric, higher_is_better=better, n=n_clips),
                engine=engine,
            )
        )
        write_clips(result.folder / "audio", clips, systems=list(result.plan.codecs))
    build([result.folder])
    add_checksums(result.folder, REPORTED)


def _loaded(system: str, checkpoint: str | None, seed: int, device: str | None) -> Any:
    from m2l_bench.suite.suite import SystemSpec

    return SystemSpec(system=system, checkpoint=checkpoint, device=device, seed=seed).load()


def _each(
    source: Path, target: Path, suffixes: tuple[str, ...], convert: Callable[[Path, Path], None], *, skip: bool = False
) -> None:
    """Convert one file, or every file of a folder into the first suffix; existing files stay, failures are printed."""
    from m2l_bench.audio import scan_audio
    from m2l_bench.systems.files import DoneError

    encoding = suffixes == (".safetensors",)
    pairs = [(source, target)]
    if source.is_dir():
        listing = scan_audio(source) if encoding else None
        found = listing.paths if listing else sorted(source.rglob("*.safetensors"))
        pairs = [(path, target / path.relative_to(source).with_suffix(suffixes[0])) for path in found]
        if listing and listing.skipped:
            typer.echo(f"{len(listing.skipped)} paths skipped: {console.grouped(listing.skipped)}", err=True)
    elif target.suffix.lower() not in suffixes:
        raise ValueError(f"{target}: suffix must be one of {', '.join(suffixes)}, got {target.suffix!r}")
    if not pairs:
        raise ValueError(f"{source}: must hold files to convert, got none")
    failed: dict[str, str] = {}
    done = 0
    with console.counting("files", len(pairs)) as advance:
        for given, written in pairs:
            try:
                if skip and written.exists():
                    raise DoneError
                convert(given, written)
            except DoneError:
                done += 1
            except (ValueError, OSError) as error:
                failed[str(given)] = str(error)
            advance()
    if done:
        typer.echo(f"{done} done before", err=True)
    for line in console.by_reason(failed.items()):
        typer.echo(f"error: {printable(line)}", err=True)
    if failed:
        raise typer.Exit(2)


def main() -> None:
    """Entry point of ``m2l-bench``."""
    app()
