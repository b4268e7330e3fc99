"""From a suite to jobs: a pure function of the suite, the files' content and the systems' fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2l_bench import assets
from m2l_bench.audio import AudioError
from m2l_bench.cards import Card
from m2l_bench.reconstruction.metrics import METRICS, PairMetric, SetMetric
from m2l_bench.results import Item
from m2l_bench.suite.data import AudioSet, from_folder
from m2l_bench.suite.engine import Outcome
from m2l_bench.suite.jobs import (
    REFERENCE,
    REFERENCE_LABEL,
    DistanceJob,
    ReconstructJob,
    SystemSpec,
    failures,
    load_embedding,
    windows_of,
)
from m2l_bench.suite.probing import EncodeJob, ProbeJob, TaskSpec, probe_settings
from m2l_bench.suite.suite import Suite
from m2l_bench.systems.base import Codec, Encoder, ReadyMade
from m2l_bench.tasks.sources.source import MissingDataset

# Few enough that a killed run loses little, enough that loading a system is paid rarely.
SLICE = 4
TASK_SLICE = 32  # notes and clips of a task are short


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes
    ----------
    suite : Suite
    data : tuple of AudioSet
    tasks : tuple of TaskSpec
        Those whose data are there.
    jobs : tuple of ReconstructJob and EncodeJob
        The first phase; what compares whole sets, and the probes, follow from its outcome.
    systems : mapping of str to (SystemSpec, str)
        Label -> how to load it and its fingerprint, of those that can do something of what is asked.
    embeddings : mapping of str to str
        Name and fingerprint of each embedding that a set metric listens with.
    unusable : mapping of str to (SystemSpec, str)
        Label -> a system that cannot be loaded, or can do nothing of what is asked, and why.
    unheard : mapping of str to str
        Embeddings that cannot be loaded, and why.
    missing : mapping of str to str
        Audio and tasks whose data are not there, and how to get them.
    """

    suite: Suite
    data: tuple[AudioSet, ...]
    tasks: tuple[TaskSpec, ...]
    jobs: tuple[ReconstructJob | EncodeJob, ...]
    systems: Mapping[str, tuple[SystemSpec, str]]
    embeddings: Mapping[str, str]
    unusable: Mapping[str, tuple[SystemSpec, str]]
    unheard: Mapping[str, str]
    missing: Mapping[str, str]

    @property
    def hash(self) -> str:
        """Names the run: equal plans give equal rows."""
        cards = sorted(METRICS[name].card.hash for name in self.suite.metrics)
        left_out = [*self.unusable, *sorted(self.unheard), *sorted(self.missing)]
        rest = self.suite.model_dump_json(exclude={"systems", "audio"})
        probes = [json.dumps(probe_settings(name), sort_keys=True) for name in self.suite.probes if self.tasks]
        parts = [*(job.id for job in self.jobs), *cards, *left_out, rest, *probes]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]

    @property
    def set_metrics(self) -> list[tuple[str, str]]:
        """Name and embedding of each set-level metric asked for."""
        metrics = ((name, METRICS[name]) for name in self.suite.metrics)
        return [(name, metric.embedding) for name, metric in metrics if isinstance(metric, SetMetric)]

    @property
    def rebuilders(self) -> dict[str, tuple[SystemSpec, str]]:
        """The systems that reconstruct here."""
        labels = {job.label for job in self.jobs if isinstance(job, ReconstructJob)}
        return {label: value for label, value in self.systems.items() if label in labels}


def make_plan(suite: Suite) -> Plan:
    """Hash the audio, load each system once for its fingerprint, and cut the work into jobs.

    Raises
    ------
    ValueError
        If a task is unknown.
    """
    data, silent = _find_sets(suite)
    tasks, missing = _find_tasks(suite)
    missing = silent | missing
    heard, unheard = find_embeddings(suite) if data else ({}, {})
    systems: dict[str, tuple[SystemSpec, str]] = {}
    unusable: dict[str, tuple[SystemSpec, str]] = {}
    jobs: list[ReconstructJob | EncodeJob] = _reconstruct_jobs(suite, None, REFERENCE, data, heard) if heard else []
    for entry in suite.systems:
        spec = entry.spec()
        try:
            system = spec.load()
            own: list[ReconstructJob | EncodeJob] = []
            if isinstance(system, (Codec, ReadyMade)):
                own += _reconstruct_jobs(suite, spec, system.fingerprint, data, heard)
            if isinstance(system, Encoder):
                own += _encode_jobs(spec, system.fingerprint, tasks)
            if not own and (data or tasks):
                wanted = " and ".join(["reconstructs"] * bool(data) + ["is probed"] * bool(tasks))
                raise TypeError(f"{spec.label}: has not what this run needs (it neither {wanted or 'does anything'})")
        except (ValueError, ImportError, OSError, TypeError) as error:
            unusable[spec.label] = spec, " ".join(str(error).split())
            continue
        systems[spec.label] = spec, system.fingerprint
        jobs += own
    return Plan(suite, data, tuple(tasks), tuple(jobs), systems, heard, unusable, unheard, missing)


def _reconstruct_jobs(
    suite: Suite, spec: SystemSpec | None, fingerprint: str, data: Sequence[AudioSet], heard: Mapping[str, str]
) -> list[ReconstructJob | EncodeJob]:
    metrics = tuple(name for name in suite.metrics if isinstance(METRICS[name], PairMetric)) if spec else ()
    return [
        ReconstructJob(
            system=spec,
            fingerprint=fingerprint,
            dataset=audio_set.name,
            items=audio_set.items[start : start + SLICE],
            metrics=metrics,
            embeddings=tuple(heard.items()),
            max_length_difference=suite.max_length_difference,
        )
        for audio_set in data
        for start in range(0, len(audio_set.items), SLICE)
    ]


def _encode_jobs(spec: SystemSpec, fingerprint: str, tasks: Sequence[TaskSpec]) -> list[EncodeJob]:
    """One job a slice of audio and pooling: tasks that share both share the job."""
    jobs: dict[str, EncodeJob] = {}
    for task_spec in tasks:
        task, items = task_spec.load(), task_spec.audio()
        for start in range(0, len(items), TASK_SLICE):
            job = EncodeJob(
                system=spec,
                fingerprint=fingerprint,
                items=items[start : start + TASK_SLICE],
                pooling=task.pooling,
                clip_seconds=task.clip_seconds,
            )
            jobs[job.id] = job
    return list(jobs.values())


def probe_jobs(plan: Plan, outcomes: Sequence[Outcome]) -> list[ProbeJob]:
    """The second phase of probing: each probe of each system on each task, over the items that gave latents."""
    failed: dict[tuple[str, str, str | None], dict[str, str]] = {}
    probed: dict[str, None] = {}
    for job, outcome in zip(plan.jobs, outcomes, strict=True):
        if isinstance(job, EncodeJob):
            probed[job.label] = None
            for record in outcome.items:
                if record.reason:
                    key = job.label, job.pooling, str(job.clip_seconds)
                    failed.setdefault(key, {})[record.item] = record.reason
    jobs = []
    for label in probed:
        spec, fingerprint = plan.systems[label]
        for task_spec in plan.tasks:
            task = task_spec.load()
            lost = failed.get((label, task.pooling, str(task.clip_seconds)), {})
            names = {item.id for item in task_spec.audio()}
            jobs += [
                ProbeJob(
                    system=spec,
                    fingerprint=fingerprint,
                    task=task_spec,
                    items=task_spec.audio(),
                    failed_items=tuple(sorted((name, why) for name, why in lost.items() if name in names)),
                    probe=probe,
                    seeds=plan.suite.probe_seeds,
                    train_items=plan.suite.train_items,
                )
                for probe in plan.suite.probes
            ]
    return jobs


def distance_jobs(plan: Plan, items: Sequence[Item]) -> list[DistanceJob]:
    """The second phase: each set metric of each system, over the files that could be heard on both sides."""
    jobs = []
    for audio_set in plan.data:
        records: dict[str, list[Item]] = {}
        for item in items:
            if item.dataset == audio_set.name:
                records.setdefault(item.system, []).append(item)
        for label, (spec, fingerprint) in plan.rebuilders.items():
            for metric, embedding in plan.set_metrics:
                if embedding in plan.embeddings:
                    name = windows_of(embedding)
                    failed = failures(records.get("reference", []), name) | failures(records[label], name)
                    jobs.append(
                        DistanceJob(
                            system=spec,
                            fingerprint=fingerprint,
                            dataset=audio_set.name,
                            items=audio_set.items,
                            failed_items=tuple(sorted(failed.items())),
                            metric=metric,
                            embedding_fingerprint=plan.embeddings[embedding],
                            seed=plan.suite.seed,
                            note=audio_set.note,
                        )
                    )
    return jobs


def planned_counts(plan: Plan, absent: Collection[str] = ()) -> Counter[tuple[str, str]]:
    """How many jobs of each kind and system, those of the second phase too.

    Parameters
    ----------
    plan : Plan
    absent : collection of str
        Labels of systems to be counted although they could not be loaded, as they would be after a download.
    """
    counts = Counter((job.kind, job.label) for job in plan.jobs)
    slices = sum(-(-len(audio_set.items) // SLICE) for audio_set in plan.data)
    for label in absent:
        system = plan.unusable[label][0].system_class()
        if hasattr(system, "reconstruct") and slices:
            counts[ReconstructJob.kind, label] += slices
        if hasattr(system, "encode") and plan.tasks:
            counts[EncodeJob.kind, label] += len(_encode_jobs(plan.unusable[label][0], "", plan.tasks))
    heard = [embedding for _, embedding in plan.set_metrics if embedding in plan.embeddings]
    for kind, label in list(counts):
        if kind == ReconstructJob.kind and label != REFERENCE_LABEL:
            counts[DistanceJob.kind, label] += len(plan.data) * len(heard)
        elif kind == EncodeJob.kind:
            counts[ProbeJob.kind, label] += len(plan.tasks) * len(plan.suite.probes)
    return +counts


def _find_sets(suite: Suite) -> tuple[tuple[AudioSet, ...], dict[str, str]]:
    """The audio that is there, and why the rest is not."""
    found, missing = [], {}
    for name in suite.audio:
        try:
            found.append(find_audio(name))
        except AudioError as error:
            missing[name] = str(error)
    return tuple(found), missing


def _find_tasks(suite: Suite) -> tuple[list[TaskSpec], dict[str, str]]:
    """The tasks whose data are there; and those whose data are not, with how to get them. An unknown name raises."""
    found, missing = [], {}
    for spec in suite.task_specs():
        spec.load()
        try:
            spec.audio()
            found.append(spec)
        except MissingDataset as error:
            missing[spec.name] = " ".join(str(error).split())
    return found, missing


def find_embeddings(suite: Suite) -> tuple[dict[str, str], dict[str, str]]:
    """Fingerprints of the embeddings that the metrics listen with; and those that cannot be loaded, with the reason."""
    found, missing = {}, {}
    metrics = (METRICS[name] for name in suite.metrics)
    for name in sorted({metric.embedding for metric in metrics if isinstance(metric, SetMetric)}):
        try:
            found[name] = load_embedding(name).fingerprint
        except (ValueError, ImportError, OSError) as error:
            missing[name] = " ".join(str(error).split())
    return found, missing


def find_audio(name: str) -> AudioSet:
    """An embedded set by its name, or the user's folder.

    Raises
    ------
    AudioError
        If it is neither, or an embedded file is not the one that its manifest names.
    """
    if Path(name).is_dir():
        return from_folder(name)
    if name in assets.FOLDERS:
        assets.verify(name)
        return from_folder(assets.folder(name), name=name)
    raise AudioError(f"audio {name!r}: must be a folder or one of {', '.join(assets.FOLDERS)}")


def left_out(plan: Plan, cards: Mapping[str, Card]) -> list[Item]:
    """Records of what could not even be tried: systems and embeddings that cannot be loaded; `cards` by metric."""
    missing = [(spec, "", name, reason) for spec, reason in plan.unusable.values() for name in plan.suite.metrics]
    missing += [
        (spec, fingerprint, metric, plan.unheard[embedding])
        for spec, fingerprint in plan.rebuilders.values()
        for metric, embedding in plan.set_metrics
        if embedding in plan.unheard
    ]
    return [
        Item(
            system=spec.label,
            fingerprint=fingerprint,
            dataset=audio_set.name,
            metric=metric,
            card=cards[metric].hash,
            seed=spec.seed,
            item=item.id,
            group=item.id,
            reason=reason,
        )
        for spec, fingerprint, metric, reason in missing
        for audio_set in plan.data
        for item in audio_set.items
    ]
