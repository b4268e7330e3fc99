"""From a suite to jobs: a pure function of the suite, the files' content and the systems' fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2l_bench import assets
from m2l_bench.audio import AudioError
from m2l_bench.reconstruction.cards import PairMetric, SetMetric
from m2l_bench.reconstruction.metrics import METRICS
from m2l_bench.results import Item
from m2l_bench.suite.data import AudioSet, from_folder
from m2l_bench.suite.jobs import (
    REFERENCE,
    DistanceJob,
    ReconstructJob,
    SystemSpec,
    failures,
    load_embedding,
    windows_of,
)
from m2l_bench.suite.suite import Suite

# Few enough that a killed run loses little, enough that loading a system is paid rarely.
SLICE = 4


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes
    ----------
    suite : Suite
    data : tuple of AudioSet
    jobs : tuple of ReconstructJob
        The first phase; what compares whole sets follows from its outcome.
    embeddings : mapping of str to str
        Name and fingerprint of each embedding that a set metric listens with.
    unusable : tuple of (SystemSpec, str)
        Systems that cannot be loaded, and why; counted as failed on every file.
    unheard : mapping of str to str
        Embeddings that cannot be loaded, and why; their metrics are counted as failed on every file.
    """

    suite: Suite
    data: tuple[AudioSet, ...]
    jobs: tuple[ReconstructJob, ...]
    embeddings: Mapping[str, str]
    unusable: tuple[tuple[SystemSpec, str], ...]
    unheard: Mapping[str, str]

    @property
    def hash(self) -> str:
        """Names the run: equal plans give equal rows."""
        cards = sorted(METRICS[name].card.hash for name in self.suite.metrics)
        left_out = [spec.label for spec, _ in self.unusable] + sorted(self.unheard)
        parts = [*(job.id for job in self.jobs), *cards, *left_out, str(self.suite.seed)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]

    @property
    def set_metrics(self) -> list[tuple[str, str]]:
        """Name and embedding of each set-level metric asked for."""
        metrics = ((name, METRICS[name]) for name in self.suite.metrics)
        return [(name, metric.embedding) for name, metric in metrics if isinstance(metric, SetMetric)]


def make_plan(suite: Suite) -> Plan:
    """Hash the audio, load each system once for its fingerprint, and cut the work into jobs.

    Raises
    ------
    ValueError
        If a folder of audio is missing or empty, or no system can be loaded.
    """
    data = tuple(find_audio(name) for name in suite.audio)
    heard, unheard = _find_embeddings(suite)
    usable: list[tuple[SystemSpec | None, str]] = [(None, REFERENCE)] if heard else []
    unusable = []
    for entry in suite.systems:
        spec = entry.spec()
        try:
            usable.append((spec, spec.load().fingerprint))
        except (ValueError, ImportError, OSError) as error:
            unusable.append((spec, " ".join(str(error).split())))
    if len(unusable) == len(suite.systems):
        raise ValueError("; ".join(reason for _, reason in unusable))
    jobs = tuple(
        ReconstructJob(
            system=spec,
            fingerprint=fingerprint,
            dataset=audio_set.name,
            items=audio_set.items[start : start + SLICE],
            metrics=tuple(name for name in suite.metrics if isinstance(METRICS[name], PairMetric)) if spec else (),
            embeddings=tuple(heard.items()),
            max_length_difference=suite.max_length_difference,
        )
        for spec, fingerprint in usable
        for audio_set in data
        for start in range(0, len(audio_set.items), SLICE)
    )
    return Plan(suite, data, jobs, heard, tuple(unusable), unheard)


def distance_jobs(plan: Plan, items: Sequence[Item]) -> list[DistanceJob]:
    """The second phase: each set metric of each system, over the files that could be heard on both sides."""
    jobs = []
    specs = {job.label: (job.system, job.fingerprint) for job in plan.jobs if job.system}
    for audio_set in plan.data:
        records: dict[str, list[Item]] = {}
        for item in items:
            if item.dataset == audio_set.name:
                records.setdefault(item.system, []).append(item)
        for label, (spec, fingerprint) in specs.items():
            for metric, embedding in plan.set_metrics:
                if embedding in plan.embeddings and spec:
                    name = windows_of(embedding)
                    failed = failures(records.get("reference", []), name) | failures(records[label], name)
                    jobs.append(
                        DistanceJob(
                            system=spec,
                            fingerprint=fingerprint,
                            dataset=audio_set.name,
                            items=audio_set.items,
                            failed=tuple(sorted(failed.items())),
                            metric=metric,
                            embedding_fingerprint=plan.embeddings[embedding],
                            seed=plan.suite.seed,
                            note=audio_set.note,
                        )
                    )
    return jobs


def _find_embeddings(suite: Suite) -> tuple[dict[str, str], dict[str, str]]:
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


def left_out(plan: Plan) -> list[Item]:
    """Records of what could not even be tried: systems and embeddings that cannot be loaded."""
    specs = {job.label: (job.system, job.fingerprint) for job in plan.jobs if job.system}
    missing = [(spec, "", name, reason) for spec, reason in plan.unusable for name in plan.suite.metrics]
    missing += [
        (spec, fingerprint, metric, plan.unheard[embedding])
        for spec, fingerprint in specs.values()
        for metric, embedding in plan.set_metrics
        if spec and embedding in plan.unheard
    ]
    return [
        Item(
            system=spec.label,
            fingerprint=fingerprint,
            dataset=audio_set.name,
            metric=metric,
            card=METRICS[metric].card.hash,
            seed=spec.seed,
            item=item.id,
            group=item.id,
            reason=reason,
        )
        for spec, fingerprint, metric, reason in missing
        for audio_set in plan.data
        for item in audio_set.items
    ]
