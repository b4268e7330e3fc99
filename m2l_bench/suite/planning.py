"""Make a plan: find and hash the data, and let workers load each system, reader and encoder once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m2l_bench import plugins
from m2l_bench.cards import Card
from m2l_bench.reconstruction.metrics import PairMetric, SetMetric, get_metric
from m2l_bench.suite.audio_sets import find_audio
from m2l_bench.suite.data import AudioSet, TaskSpec
from m2l_bench.suite.engine import Done, Engine, Job, run_jobs
from m2l_bench.suite.jobs.describe import DescribeEncoder, DescribeReader, DescribeSystem
from m2l_bench.suite.jobs.reconstruct import BIT_RATE
from m2l_bench.suite.jobs.reencode import COMPRESSION_RATIO
from m2l_bench.suite.jobs.repeat import REPEATABILITY_CARD, seed_change_card
from m2l_bench.suite.latent_records import latent_cards
from m2l_bench.suite.plan import Plan, PlannedSystem
from m2l_bench.suite.suite import Suite
from m2l_bench.tasks.scoring import TASK_CARDS
from m2l_bench.tasks.sources.source import MissingDataset


def make_plan(suite: Suite, engine: Engine, *, offline: bool = False) -> Plan:
    """Hash the audio, and let workers load each system and encoder once for its fingerprint.

    Parameters
    ----------
    suite : Suite
    engine : Engine
    offline : bool
        Download nothing, and say in `downloads` what would be.

    Raises
    ------
    ValueError
        If a task is unknown.
    """
    data, no_audio = _find_sets(suite)
    tasks, no_tasks = _find_tasks(suite)
    set_metrics: dict[str, list[str]] = {}
    for name in suite.metrics:
        metric = get_metric(name)
        if isinstance(metric, SetMetric):
            set_metrics.setdefault(metric.encoder, []).append(name)
    wanted = dict(sorted(set_metrics.items())) if suite.audio and (data or offline) else {}
    jobs: list[DescribeEncoder | DescribeSystem] = [
        DescribeEncoder(name=name, metrics=tuple(metrics), device=suite.encoder_device, offline=offline)
        for name, metrics in wanted.items()
    ]
    jobs += [DescribeSystem(spec=spec, offline=offline) for spec in suite.system_specs()]
    jobs += [DescribeReader(spec=spec, offline=offline) for spec in suite.reader_specs() if tasks]
    described = _describe(jobs, engine)

    cards = {plugins.label(name): get_metric(name).card for name in suite.metrics} | {BIT_RATE.name: BIT_RATE}
    cards |= {COMPRESSION_RATIO.name: COMPRESSION_RATIO} if suite.reader_specs() else {}
    if data:
        of_pairs = [metric.card for name in suite.metrics if isinstance(metric := get_metric(name), PairMetric)]
        cards |= {card.name: card for card in (REPEATABILITY_CARD, *map(seed_change_card, of_pairs))}
    encoders, missing_encoders = {}, {}
    systems: dict[str, PlannedSystem] = {}
    readers: dict[str, PlannedSystem] = {}
    unusable: dict[str, str] = {}
    missing_readers: dict[str, str] = {}
    downloads: dict[tuple[str, str, str, bool], None] = {}
    for job, done in zip(jobs, described, strict=True):
        downloads |= dict.fromkeys(
            (repo, file, about, found) for repo, file, about, found in done.value.get("asked", ())
        )
        if isinstance(job, DescribeEncoder):
            if done.reason:
                missing_encoders[job.name] = done.reason
            else:
                encoders[job.name] = done.value["fingerprint"]
                cards |= {name: Card(**fields) for name, fields in done.value["cards"].items()}
            continue
        reads = isinstance(job, DescribeReader)
        reason = done.reason or ("" if reads else _useless(done.value, bool(data), bool(tasks), suite))
        if reason:
            (missing_readers if reads else unusable)[job.label] = reason
        else:
            facts = {key: value for key, value in done.value.items() if key != "asked"}
            (readers if reads else systems)[job.label] = PlannedSystem(spec=job.spec, **facts)
    cards |= latent_cards([cards[plugins.label(name)] for name in suite.metrics]) if suite.latent else {}
    cards |= {name: TASK_CARDS[name] for spec in tasks for name in spec.load().metrics}
    return Plan(
        suite=suite,
        data=data,
        tasks=tasks,
        systems=systems,
        encoders=encoders if data else {},
        cards=cards,
        unusable=unusable,
        missing_encoders=missing_encoders,
        missing=no_audio | no_tasks,
        readers=readers,
        missing_readers=missing_readers,
        downloads=tuple(downloads),
    )


def _describe(jobs: Sequence[Job], engine: Engine) -> list[Done]:
    found: dict[int, Done] = {}

    def keep(done: Done) -> None:
        found[next(k for k, job in enumerate(jobs) if job is done.job)] = done

    run_jobs(jobs, None, engine, on_finished=keep)
    return [found[k] for k in range(len(jobs))]


def _useless(facts: Mapping[str, bool], data: bool, tasks: bool, suite: Suite) -> str:
    """Why a system cannot be used in this run, or empty."""
    reconstructs = data or (tasks and bool(suite.reader_specs()))
    encodes = (tasks and suite.probes_latents) or (data and suite.latent is not None)
    if (reconstructs and facts["reconstructs"]) or (encodes and facts["encodes"]) or not (data or tasks):
        return ""
    lacks = ["no reconstruct()"] * reconstructs + ["no encode()"] * encodes
    return f"cannot be evaluated here: it has {' and '.join(lacks)}"


def _find_sets(suite: Suite) -> tuple[tuple[AudioSet, ...], dict[str, str]]:
    """The audio that is there, and why the rest is not."""
    found, missing = [], {}
    for name in suite.audio:
        try:
            found.append(find_audio(name))
        except ValueError as error:
            missing[name] = str(error)
    return tuple(found), missing


def _find_tasks(suite: Suite) -> tuple[tuple[TaskSpec, ...], dict[str, str]]:
    """The tasks whose data are there; and those whose data are not, with how to get them. An unknown name raises."""
    found, missing = [], {}
    for spec in suite.task_specs():
        spec.load()
        try:
            spec.audio()
            found.append(spec)
        except MissingDataset as error:
            missing[spec.name] = " ".join(str(error).split())
    return tuple(found), missing
