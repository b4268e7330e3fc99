"""From a suite to jobs: a function of the suite, the files' content and the systems' fingerprints.

Jobs are made one by one as they are asked for, so that a plan of millions of jobs takes no more memory than its files' names.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from m2l_bench import plugins
from m2l_bench.cards import Card
from m2l_bench.reconstruction.metrics import PairMetric, SetMetric, get_metric
from m2l_bench.results import REFERENCES
from m2l_bench.suite.data import AudioItem, AudioSet, TaskSpec
from m2l_bench.suite.jobs.distance import DistanceJob
from m2l_bench.suite.jobs.encode import EncodeJob, PooledAs
from m2l_bench.suite.jobs.latent_sheet import SheetJob
from m2l_bench.suite.jobs.latents import EquivarianceJob, LatentsJob, NoiseJob
from m2l_bench.suite.jobs.probe import ProbeJob, probe_settings
from m2l_bench.suite.jobs.quantise import CoderJob, QuantiseJob
from m2l_bench.suite.jobs.read import ReadJob
from m2l_bench.suite.jobs.reconstruct import ReconstructJob, Scoring
from m2l_bench.suite.jobs.reencode import ReencodeJob
from m2l_bench.suite.jobs.repeat import MOST_FILES, RepeatJob
from m2l_bench.suite.suite import CHANCE, Suite, SystemSpec
from m2l_bench.systems.registry import caveat
from m2l_bench.tasks.sources.source import SPLITS

TRAINING = ("train", "valid")
FOLDS = 10  # of a dataset: the entropy model for the files of one is fitted on those of the others


@dataclass(frozen=True, kw_only=True)
class PlannedSystem:
    """A system that could be loaded.

    Attributes
    ----------
    spec : SystemSpec
    fingerprint : str
    reconstructs, encodes, decodes : bool
        What it can do.
    has_bits : bool
        Whether it has a bit stream of its own.
    stated : mapping
        :class:`~m2l_bench.systems.facts.Facts` by name: no number depends on them.
    """

    spec: SystemSpec
    fingerprint: str
    reconstructs: bool
    encodes: bool
    decodes: bool
    has_bits: bool
    stated: Mapping[str, Any] = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes
    ----------
    suite : Suite
    data : tuple of AudioSet
    tasks : tuple of TaskSpec
        Those whose data are there.
    systems : mapping of str to PlannedSystem
        By label, those that can be used.
    encoders : mapping of str to str
        Spelling and fingerprint of each encoder that set metrics compare vectors of.
    cards : mapping of str to Card
        Of everything that is measured, by metric name.
    unusable : mapping of str to str
        Systems by label that cannot be loaded, or can do nothing of what is asked, and why.
    missing_encoders : mapping of str to str
        Encoders that cannot be loaded, and why.
    readers : mapping of str to PlannedSystem
        By label, the encoders that read reconstructions.
    missing_readers : mapping of str to str
        Readers that cannot be used, and why.
    missing : mapping of str to str
        Audio and tasks whose data are not there, and how to get them.
    downloads : tuple of (str, str, str, bool)
        Of a plan made offline: repository, file, size and licence, and whether it is in the cache.
    """

    suite: Suite
    data: tuple[AudioSet, ...]
    tasks: tuple[TaskSpec, ...]
    systems: Mapping[str, PlannedSystem]
    encoders: Mapping[str, str]
    cards: Mapping[str, Card]
    unusable: Mapping[str, str]
    missing_encoders: Mapping[str, str]
    missing: Mapping[str, str]
    readers: Mapping[str, PlannedSystem] = field(default_factory=dict)
    missing_readers: Mapping[str, str] = field(default_factory=dict)
    downloads: tuple[tuple[str, str, str, bool], ...] = field(default=(), compare=False)

    @cached_property
    def codecs(self) -> dict[str, PlannedSystem]:
        """The systems whose reconstructions are scored."""
        return {label: system for label, system in self.systems.items() if system.reconstructs and self.data}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Kind of each system that can be used, one of :data:`m2l_bench.results.KINDS`."""
        kinds = {}
        for label, system in self.systems.items():
            kind = "autoencoders" if system.decodes else "codecs" if system.reconstructs else "encoders"
            kinds[label] = "references" if system.spec.system in REFERENCES else kind
        return kinds

    @cached_property
    def probed(self) -> dict[str, PlannedSystem]:
        """The systems whose latents are probed."""
        wanted = self.tasks and self.suite.probes_latents
        return {label: system for label, system in self.systems.items() if system.encodes and wanted}

    @cached_property
    def read(self) -> dict[str, PlannedSystem]:
        """The systems whose reconstructions are read."""
        wanted = self.tasks and self.suite.reader_specs()
        return {label: system for label, system in self.systems.items() if system.reconstructs and wanted}

    @cached_property
    def latent(self) -> dict[str, PlannedSystem]:
        """The systems whose latent space is measured."""
        wanted = self.data and self.suite.latent
        return {label: system for label, system in self.systems.items() if system.encodes and wanted}

    @property
    def steps(self) -> tuple[float, ...]:
        """Steps of the quantiser of latents."""
        return self.suite.latent.steps if self.suite.latent else ()

    def _measures(self, part: str) -> bool:
        return self.suite.latent is not None and part in self.suite.latent.parts

    def is_changed(self, system: PlannedSystem) -> bool:
        """Whether gain, mixing and shift are measured."""
        return system.decodes and self._measures("equivariance")

    def is_disturbed(self, system: PlannedSystem) -> bool:
        """Whether its latents are decoded with noise."""
        return system.decodes and self._measures("noise")

    def is_quantised(self, system: PlannedSystem) -> bool:
        """Whether its latents are decoded quantised: not those that have a bit stream already."""
        return system.decodes and not system.has_bits and self._measures("rate_distortion")

    def needs_sheet(self, system: PlannedSystem) -> bool:
        """Whether the scale of its dimensions must be known."""
        return self._measures("sheet") or self.is_disturbed(system)

    @cached_property
    def reread(self) -> dict[AudioItem, tuple[PooledAs, ...]]:
        """The files whose reconstructions readers encode, and how the tasks that have them keep it."""
        found: dict[AudioItem, dict[PooledAs, None]] = {}
        for spec in self.tasks if self.readers else ():
            for item in spec.audio(*(SPLITS if self.suite.refit else ("test",))):
                found.setdefault(item, {})[spec.load().pooled_as] = None
        return {item: tuple(several) for item, several in found.items()}

    def note(self, spec: SystemSpec) -> str:
        """What must stand under every number of a system."""
        return caveat(spec.system, has_checkpoint=spec.checkpoint is not None) if spec.label in self.systems else ""

    @cached_property
    def set_metrics(self) -> dict[str, str]:
        """Each set metric asked for, by its name in tables, and its encoder."""
        metrics = map(get_metric, self.suite.metrics)
        return {metric.card.name: metric.encoder for metric in metrics if isinstance(metric, SetMetric)}

    @cached_property
    def spellings(self) -> dict[str, str]:
        """Each metric asked for, by its name in tables."""
        return {plugins.label(name): name for name in self.suite.metrics}

    @cached_property
    def pair_metrics(self) -> tuple[str, ...]:
        """The pair metrics asked for."""
        return tuple(name for name in self.suite.metrics if isinstance(get_metric(name), PairMetric))

    @cached_property
    def listeners(self) -> tuple[tuple[str, str], ...]:
        """Spelling and fingerprint of each encoder, two spellings of one encoder once."""
        return tuple({fingerprint: (name, fingerprint) for name, fingerprint in self.encoders.items()}.values())

    @cached_property
    def references(self) -> Scoring:
        """How the references' own windows are kept."""
        return Scoring(spec=None, fingerprint="", encoders=self.listeners, device=self.suite.encoder_device)

    @cached_property
    def scorings(self) -> dict[str, Scoring]:
        """How each codec's files are scored, by label."""
        return {label: self.scoring_of(system) for label, system in self.codecs.items()}

    def scoring_of(self, system: PlannedSystem) -> Scoring:
        """How a system's files are scored."""
        return Scoring(
            spec=system.spec,
            fingerprint=system.fingerprint,
            metrics=self.pair_metrics,
            encoders=self.listeners,
            max_length_difference=self.suite.max_length_difference,
            device=self.suite.encoder_device,
        )

    @cached_property
    def chance(self) -> Scoring | None:
        """How other tracks are scored in the place of reconstructions: what a system that ignores its input would get."""
        directed = tuple(n for n in self.pair_metrics if get_metric(n).card.higher_is_better is not None)
        return Scoring(spec=None, fingerprint=CHANCE, metrics=directed) if directed and self.codecs else None

    def chance_jobs(self, audio_set: AudioSet) -> list[ReconstructJob]:
        """Each file with the one half of the list away in the place of its reconstruction; none of a single file."""
        items, half = audio_set.items, len(audio_set.items) // 2
        if self.chance is None or not half:
            return []
        return [self.chance.job(item, items[(k + half) % len(items)]) for k, item in enumerate(items)]

    def latents_job(self, system: PlannedSystem, item: AudioItem) -> LatentsJob:
        """The job that keeps one system's latents of a file."""
        return LatentsJob(spec=system.spec, fingerprint=system.fingerprint, item=item)

    def equivariance_jobs(self, system: PlannedSystem, audio_set: AudioSet) -> dict[AudioItem, EquivarianceJob]:
        """Each file changed, the one half of the list away added; nothing is added to a single file."""
        items, half = audio_set.items, len(audio_set.items) // 2
        return {
            item: EquivarianceJob(
                spec=system.spec,
                fingerprint=system.fingerprint,
                item=item,
                other=items[(k + half) % len(items)] if half else None,
            )
            for k, item in enumerate(items)
        }

    def repeat_jobs(self, label: str, audio_set: AudioSet) -> list[RepeatJob]:
        """The jobs that reconstruct files with another seed, see :func:`repeated`; none of ready-made reconstructions."""
        system = self.codecs[label]
        if system.spec.system == "folder":
            return []
        return [
            RepeatJob(spec=system.spec, fingerprint=system.fingerprint, item=item, metrics=self.pair_metrics)
            for item in audio_set.items
        ]

    def first_jobs(
        self,
    ) -> Iterator[ReconstructJob | RepeatJob | LatentsJob | EquivarianceJob | EncodeJob | ReencodeJob]:
        """The jobs over files, each once: two labels of one system share them, and so do tasks with one pooling."""
        for audio_set in self.data if self.encoders else ():
            yield from (self.references.job(item) for item in audio_set.items)
        for system in distinct(self.codecs.values()):
            label = system.spec.label
            for audio_set in self.data:
                yield from (self.scorings[label].job(item) for item in audio_set.items)
                yield from self.repeat_jobs(label, repeated(audio_set))
        for audio_set in self.data:
            yield from self.chance_jobs(audio_set)
        for system in distinct(self.latent.values()):
            for audio_set in self.data:
                yield from (self.latents_job(system, item) for item in audio_set.items)
                if self.is_changed(system):
                    yield from self.equivariance_jobs(system, audio_set).values()
        probed = distinct(self.probed.values())
        for system in distinct([*probed, *self.readers.values()]):
            encoded: set[str] = set()
            for task in self.tasks:
                for job in self.encode_jobs(system, task, SPLITS if system in probed else TRAINING):
                    if job.id not in encoded:
                        encoded.add(job.id)
                        yield job
        for system in distinct(self.read.values()):
            yield from (self.reencode_job(system, item) for item in self.reread)

    def encode_jobs(self, system: PlannedSystem, spec: TaskSpec, splits: Sequence[str] = SPLITS) -> Iterator[EncodeJob]:
        """The jobs that give one system's latents for one task."""
        return (self.encode_job(system, spec, item) for item in spec.audio(*splits))

    def encode_job(self, system: PlannedSystem, spec: TaskSpec, item: AudioItem) -> EncodeJob:
        """The job that gives one system's latents of a file as a task asks for them."""
        pooling, clip_seconds = spec.load().pooled_as
        return EncodeJob(
            spec=system.spec,
            fingerprint=system.fingerprint,
            item=item,
            pooling=pooling,
            clip_seconds=clip_seconds,
        )

    def reencode_job(self, system: PlannedSystem, item: AudioItem) -> ReencodeJob:
        """The job that gives what all readers find in one system's reconstruction of a file."""
        return ReencodeJob(
            spec=system.spec,
            fingerprint=system.fingerprint,
            item=item,
            readers=tuple((reader.spec, reader.fingerprint) for reader in distinct(self.readers.values())),
            pooled_as=self.reread[item],
            max_length_difference=self.suite.max_length_difference,
        )

    def counts(self, absent: Mapping[str, tuple[bool, bool]] | None = None) -> Counter[tuple[str, str]]:
        """How many jobs of each kind and label there are, in all phases; latents of absent systems are not counted.

        Parameters
        ----------
        absent : mapping of str to (bool, bool), optional
            Systems by label to be counted although they could not be loaded, as they would be after a download, and whether
            they reconstruct and encode.
        """
        counts = Counter((job.kind, job.label) for job in self.first_jobs())
        absent = absent or {}
        coding = [label for label, (reconstructs, _) in absent.items() if reconstructs]
        codecs = [*self.codecs, *(coding if self.data else ())]
        encoding = [label for label, (_, encodes) in absent.items() if encodes]
        probed = [*self.probed, *(encoding if self.tasks and self.suite.probes_latents else ())]
        for label in coding:
            counts[ReencodeJob.kind, label] += len(self.reread)
        for label in self.readers:
            several = 1 + (len(self.read) + len(coding)) * self.suite.refit
            counts[ReadJob.kind, label] += len(self.tasks) * len(self.suite.probes) * several
        sets = sum(encoder in self.encoders for encoder in self.set_metrics.values())
        for label in codecs:
            counts[DistanceJob.kind, label] += sets * len(self.data)
            if label in absent:
                counts[ReconstructJob.kind, label] += sum(len(audio_set.items) for audio_set in self.data)
                counts[RepeatJob.kind, label] += sum(len(repeated(audio_set).items) for audio_set in self.data)
        for system in distinct(self.latent.values()):
            for audio_set in self.data:
                label, n = system.spec.label, len(audio_set.items)
                counts[SheetJob.kind, label] += self.needs_sheet(system)
                counts[NoiseJob.kind, label] += n * self.is_disturbed(system)
                if self.is_quantised(system):
                    counts[CoderJob.kind, label] += min(FOLDS, n) * len(self.steps)
                    counts[QuantiseJob.kind, label] += n * len(self.steps)
                    counts[DistanceJob.kind, label] += sets * len(self.steps)
        for label in probed:
            counts[ProbeJob.kind, label] += len(self.tasks) * len(self.suite.probes)
            if label in absent:
                counts[EncodeJob.kind, label] += sum(len(spec.audio()) for spec in self.tasks)
        return +counts

    @cached_property
    def hash(self) -> str:
        """Name of the run, 8 hexadecimal digits: equal plans give equal rows."""
        digest = hashlib.sha256()
        for job in self.first_jobs():
            digest.update(bytes.fromhex(job.id))
        labels = [[label, system.fingerprint] for label, system in self.systems.items()]
        labels += [[label, reader.fingerprint] for label, reader in self.readers.items()]
        left_out = [*self.unusable, *sorted(self.missing_encoders), *sorted(self.missing), *self.missing_readers]
        cards = sorted(card.hash for card in self.cards.values())
        in_time = sorted({spec.load().in_time for spec in self.tasks})
        probes = [probe_settings(name, in_time=time) for time in in_time for name in self.suite.probes]
        tasks = [spec.name if spec.data_home else spec.load().name for spec in self.tasks]
        apart = {"systems", "audio", "tasks", "device", "readers"}
        if not self.suite.reader_specs():
            apart.add("refit")
        if self.suite.latent is None:
            apart.add("latent")
        rest = self.suite.model_dump(mode="json", exclude=apart)
        text = json.dumps([labels, left_out, cards, probes, tasks, rest], sort_keys=True)
        digest.update(text.encode())
        return digest.hexdigest()[:8]


def repeated(audio_set: AudioSet) -> AudioSet:
    """The files of a set that are reconstructed with another seed: at most 4, evenly spread over the list."""
    n, n_repeated = len(audio_set.items), min(len(audio_set.items), MOST_FILES)
    items = tuple(audio_set.items[(2 * k + 1) * n // (2 * n_repeated)] for k in range(n_repeated))
    return replace(audio_set, items=items)


def distinct(systems: Iterable[PlannedSystem]) -> list[PlannedSystem]:
    """The first system of each fingerprint."""
    found: dict[str, PlannedSystem] = {}
    for system in systems:
        found.setdefault(system.fingerprint, system)
    return list(found.values())
