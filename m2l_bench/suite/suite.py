"""What a suite file says: which systems meet which data and metrics.

A suite is TOML::

    name = "my-comparison"
    systems = ["opus:32k", { system = "music2latent", checkpoint = "mine.safetensors", label = "ours" }]
    audio = ["reconstruction/wesnoth", "path/to/folder", "song-describer=path/to/it"]
    metrics = ["si_sdr", "mel_distance", "fad:musicnn"]
    tasks = ["key/tunes", "genre/gtzan=path/to/gtzan"]
    readers = ["latents", "musicnn"]  # who reads the tasks: each system's latents, or an encoder its reconstructions
    probes = ["linear", "mlp"]
    probe_seeds = [0, 1, 2]
    train_items = [20, 80]  # learning curves: also probe with so few training items
    seed = 0

    [latent]  # what can be said of the latent space without labels
    parts = ["sheet", "equivariance", "noise", "rate_distortion"]
    steps = [0.25, 0.5, 1.0, 2.0]  # of the quantiser, in standard deviations of each dimension
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from m2l_bench import plugins
from m2l_bench.files.untrusted import ALLOW_OUTSIDE, OutsideError, faults, outside_allowed, read_toml
from m2l_bench.latent.rate import STEPS
from m2l_bench.probes import PROBES
from m2l_bench.suite.data import TaskSpec
from m2l_bench.systems.base import System
from m2l_bench.systems.registry import check_encoder, load, needs_download

EMBEDDED_SYSTEMS = (
    "identity",
    "lowpass-3.5k",
    "lowpass-7k",
    *(f"opus:{rate}" for rate in ("12k", "24k", "96k")),
    *(f"mp3:{rate}" for rate in ("64k", "128k")),
    "vorbis:q4",
    "pca",
    *(f"{family}:small" for family in ("music2latent", "musika-style", "latmusic-style", "mousai-style", "dac-style")),
)
_SUITES = Path(__file__).parent.parent / "suites"
DEMO = "demo"  # the suite of this package that runs when none is asked for
EMBEDDED_AUDIO = ("reconstruction/wesnoth",)
EMBEDDED_METRICS = (
    "si_sdr",
    "si_sdr_aligned",
    "mel_distance",
    "stft_distance",
    "fad:musicnn",
    "kad:musicnn",
    "lag",
    "gain",
    "polarity",
    "si_sdr_mid",
    "si_sdr_side",
    "width_error",
    "width_change",
    "panning_error",
    "interchannel_coherence_error",
    "phase_coherence",
)
LATENT_METRICS = ("si_sdr", "mel_distance", "fad:musicnn")  # of m2l-bench latents, for quality against bit rate


CHANCE = "chance"  # label of the line of other tracks in the place of reconstructions
LATENTS = "latents"  # the reader that stands for each system's own latents
CEILING = "identity"  # the system whose reconstructions are the originals: what the cost of coding is measured against


class SystemSpec(BaseModel):
    """One system of a suite, and how to load it in any process or on any machine.

    Attributes
    ----------
    system : str
        Registry name, ``path/to/file.py:Class``, or ``folder``.
    label : str
        Its name in the tables; the registry name by default.
    checkpoint, device : str or None
    seed : int
    options : dict
        Constructor options; strings, numbers and truth values only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str
    label: str = ""
    checkpoint: str | None = None
    device: str | None = None
    seed: int = 0
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Give it a label, and make the paths that it names absolute: the run may be verified from another folder."""
        if not isinstance(values, dict) or not isinstance(values.get("system"), str):
            return values
        system, checkpoint = values["system"], values.get("checkpoint")
        if ".py:" in system:
            system = plugins.absolute(system)
        if checkpoint and Path(checkpoint).exists():
            checkpoint = str(Path(checkpoint).absolute())
        label = values.get("label") or system.rpartition("/")[2]
        return values | {"system": system, "label": label, "checkpoint": checkpoint}

    def load(self) -> System:
        """Load the system; ValueError, ImportError or OSError says in one line why it cannot be."""
        return _load_system(self.model_dump_json(exclude={"label"}))

    def load_reader(self) -> System:
        """As :meth:`load`, and kept loaded: a job passes each file to all readers of a suite."""
        return _load_reader(self.model_dump_json(exclude={"label"}))

    def would_download(self) -> bool:
        """Whether it is loaded from a checkpoint on the hub."""
        return self.checkpoint is None and needs_download(self.system)


def _load(spec: str) -> System:
    given = json.loads(spec)
    return load(given["system"], given["checkpoint"], device=given["device"], seed=given["seed"], **given["options"])


_load_system = lru_cache(maxsize=2)(
    _load
)  # a worker meets a few systems one after the other; large ones must not pile up
_load_reader = lru_cache(maxsize=8)(_load)


class LatentSpec(BaseModel):
    """What is measured of the latent space of each system, over the audio of the suite.

    Attributes
    ----------
    parts : tuple of str
        ``"sheet"``: scale, effective rank, smoothness. ``"equivariance"``: gain, mixing, shift. ``"noise"``: decoding of
        disturbed latents. ``"rate_distortion"``: decoding of quantised latents, under the suite's metrics, against their bit
        rate. Encoders without a decoder have a sheet alone.
    steps : tuple of float
        Steps of the quantiser in standard deviations of each dimension, rising.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: Annotated[tuple[Literal["sheet", "equivariance", "noise", "rate_distortion"], ...], Field(min_length=1)] = (
        *("sheet", "equivariance"),
        *("noise", "rate_distortion"),
    )
    steps: Annotated[tuple[Annotated[float, Field(gt=0, le=100)], ...], Field(min_length=1)] = STEPS

    @field_validator("steps")
    @classmethod
    def _rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{step:g}" for step in value}) < len(value):
            raise ValueError(f"must differ, got {', '.join(f'{step:g}' for step in value)}")
        return tuple(sorted(value))


class Suite(BaseModel):
    """A validated suite; every field has the embedded suite's value by default.

    `readers` are encoders, which read the tasks from each system's reconstructions: a probe is fitted on what they give of
    original training items, and tested on what they give of reconstructed test items. ``"latents"`` stands for each system's
    own latents. With `refit` it is also fitted on reconstructed training items. `latent` is None where latent spaces are not
    measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "embedded"
    systems: tuple[SystemSpec, ...] = tuple(SystemSpec(system=name) for name in EMBEDDED_SYSTEMS)
    audio: tuple[str, ...] = EMBEDDED_AUDIO
    metrics: tuple[str, ...] = EMBEDDED_METRICS
    tasks: tuple[str, ...] = ()
    readers: tuple[SystemSpec, ...] = Field(default=(SystemSpec(system=LATENTS),), min_length=1)
    refit: bool = False
    probes: tuple[str, ...] = PROBES
    probe_seeds: tuple[int, ...] = (0, 1, 2)
    train_items: tuple[PositiveInt, ...] = ()
    seed: int = Field(default=0, ge=0)
    device: str | None = None
    max_length_difference: float = Field(default=0.0, ge=0.0)
    latent: LatentSpec | None = None

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        """The run's folder is named by it."""
        if not re.fullmatch(r"[\w][\w .+-]{0,79}", value):
            raise ValueError("must be 1 to 80 letters, digits, spaces and .+-_ and begin with a letter or digit")
        return value

    @field_validator("systems", "readers", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        """A plain string is a system."""
        if not isinstance(value, (list, tuple)):
            return value
        return [parse_system(entry) if isinstance(entry, str) else entry for entry in value]

    @field_validator("systems", "readers")
    @classmethod
    def _labels_differ(cls, value: tuple[SystemSpec, ...]) -> tuple[SystemSpec, ...]:
        labels = [spec.label for spec in value]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if CHANCE in labels:
            raise ValueError(
                f"label must not be {CHANCE!r}, which is that of other tracks in the place of reconstructions"
            )
        if twice:
            raise ValueError(f"labels must differ, got {', '.join(twice)} more than once (LABEL=SYSTEM names one)")
        return value

    @field_validator("audio")
    @classmethod
    def _folders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Folders by their absolute paths, also that of ``NAME=FOLDER``."""
        return tuple(str(Path(text).absolute()) if Path(text).exists() else _in_folder(text) for text in value)

    @field_validator("tasks")
    @classmethod
    def _files(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Files and folders of tasks by their absolute paths."""
        return tuple(map(_absolute, value))

    @field_validator("metrics")
    @classmethod
    def _metrics_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from m2l_bench.reconstruction.metrics import get_metric

        for name in value:
            get_metric(name)
        return _differing("metrics", value)

    @field_validator("probes")
    @classmethod
    def _probes_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = (*PROBES, *plugins.names("probe"))
        for name in value:
            if name not in known and ".py:" not in name:
                raise plugins.unknown("probe", name, known)
        return _differing("probes", value)

    @field_validator("readers")
    @classmethod
    def _readers_encode(cls, value: tuple[SystemSpec, ...]) -> tuple[SystemSpec, ...]:
        for spec in value:
            if spec.system != LATENTS:
                check_encoder(spec.system)
        return value

    @model_validator(mode="after")
    def _has_a_ceiling(self) -> Suite:
        """What readers find in reconstructions is compared with what they find in the originals."""
        if self.refit and not self.reader_specs():
            raise ValueError(f"refit needs readers that are encoders, got {LATENTS}")
        if self.reader_specs() and not self.tasks:
            raise ValueError("readers need tasks to read, got none")
        if self.reader_specs() and all(spec.label != CEILING for spec in self.systems):
            object.__setattr__(self, "systems", (SystemSpec(system=CEILING), *self.systems))  # the model is frozen
        wrong = [spec.system for spec in self.systems if spec.label == CEILING and spec.system != CEILING]
        if self.reader_specs() and wrong:
            raise ValueError(f"label {CEILING!r} must be that of the originals, got {wrong[0]!r} under it")
        return self

    @model_validator(mode="after")
    def _has_latents(self) -> Suite:
        """Latents are measured over audio, of one system at least."""
        if self.latent is not None and not self.audio:
            raise ValueError("latent needs audio to measure, got none")
        if self.latent is not None:
            reasons = []
            for spec in self.systems:
                try:
                    check_encoder(spec.system)
                except ValueError as error:
                    reasons.append(str(error))
            if len(reasons) == len(self.systems):
                raise ValueError(f"latent needs a system with latents, got none: {'; '.join(reasons)}")
        return self

    def system_specs(self) -> list[SystemSpec]:
        """The systems, each on the suite's device unless it names one of its own.

        A worker sees no GPU but its own, so that ``"cuda:1"`` is ``"cuda"`` there.
        """
        return [self._placed(spec) for spec in self.systems]

    def reader_specs(self) -> list[SystemSpec]:
        """The encoders that read reconstructions, on devices as the systems."""
        return [self._placed(spec) for spec in self.readers if spec.system != LATENTS]

    @property
    def probes_latents(self) -> bool:
        """Whether the systems' own latents are probed."""
        return any(spec.system == LATENTS for spec in self.readers)

    def _placed(self, spec: SystemSpec) -> SystemSpec:
        return spec if spec.device else spec.model_copy(update={"device": self.encoder_device})

    @property
    def encoder_device(self) -> str | None:
        """The device of a worker: none has a number there."""
        return self.device and self.device.partition(":")[0]

    def task_specs(self) -> list[TaskSpec]:
        """The tasks as the jobs take them; ``NAME=DIR`` says where the data lie."""
        parts = [text.partition("=") for text in self.tasks]
        return [TaskSpec(name=name, data_home=folder or None) for name, _, folder in parts]


def suite_names() -> list[str]:
    """Names of the suites of this package."""
    return sorted(path.stem for path in _SUITES.glob("*.toml"))


def suite_file(name: str | Path) -> Path:
    """The file of a suite: a path, or the name of a suite of this package.

    Raises
    ------
    ValueError
        If it is neither; the nearest name is given.
    """
    path = Path(name)
    if path.suffix or len(path.parts) > 1 or path.is_file():
        return path
    if str(name) not in suite_names():
        raise plugins.unknown(
            "suite",
            str(name),
            suite_names(),
            otherwise=f"known are {', '.join(suite_names())}, and paths of files (FILE.toml)",
        )
    return _SUITES / f"{name}.toml"


def read_suite(name: str | Path) -> Suite:
    """Read and validate a suite: a TOML file, or a suite of this package by its name.

    Raises
    ------
    ValueError
        If the file is missing, not TOML, or breaks a constraint; the message names file, key, constraint and value.
    """
    path = suite_file(name)
    content = read_toml(path)
    # Before it is validated, which imports what it names: a suite file may come from anybody.
    code = [text for text in texts(content) if ".py:" in text]
    if code and not outside_allowed():
        raise OutsideError(f"{path}: {code[0]!r} would run that file's code; set {ALLOW_OUTSIDE}=1 if you trust it")
    return make_suite({"name": path.stem, **content}, source=str(path))


def texts(value: Any) -> Iterator[str]:
    """Every string in a TOML value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


def make_suite(content: dict[str, Any], *, source: str = "suite") -> Suite:
    """Validate a suite given as a mapping; `source` names it in errors."""
    try:
        return Suite.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{source}: {faults(error)}") from error


def default_metrics(audio: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The embedded suite's metrics, without those of whole sets where a folder is too small; and what was left out."""
    from m2l_bench.audio import list_audio
    from m2l_bench.reconstruction.sets.distribution import MINIMUM_FILES

    small = [name for name in audio if Path(name).is_dir() and len(list_audio(name)) < MINIMUM_FILES]
    if not small:
        return EMBEDDED_METRICS, ""
    of_pairs = _default_pair_metrics()
    whole_sets = ", ".join(name for name in EMBEDDED_METRICS if name not in of_pairs)
    return of_pairs, f"{whole_sets}: left out, {small[0]} must hold at least {MINIMUM_FILES} files"


def are_default(metrics: Sequence[str]) -> bool:
    """Whether these are the embedded suite's metrics, with or without those of whole sets: then nobody named them."""
    return tuple(metrics) in (EMBEDDED_METRICS, _default_pair_metrics())


def _default_pair_metrics() -> tuple[str, ...]:
    from m2l_bench.reconstruction.metrics import METRICS, PairMetric

    return tuple(name for name in EMBEDDED_METRICS if isinstance(METRICS[name], PairMetric))


def folder_entry(text: str) -> dict[str, Any]:
    """``NAME=DIR`` as a system of ready-made reconstructions; ValueError where it is not that."""
    label, sign, directory = text.partition("=")
    if not (sign and label and directory):
        raise ValueError(f"system must be NAME=DIR, got {text!r}")
    if not Path(directory).is_dir():
        raise ValueError(f"{directory}: must be a folder of reconstructions, got no such folder")
    return {"system": "folder", "label": label, "options": {"directory": str(Path(directory).resolve())}}


def _differing(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Absolute spellings; ValueError where two have one name in the tables."""
    labels = [plugins.label(name) for name in dict.fromkeys(names)]
    if len(set(labels)) < len(labels):
        raise ValueError(f"names of {kind} must differ, got {', '.join(labels)}")
    return tuple(map(plugins.absolute, names))


def _absolute(text: str) -> str:
    """``labels.csv``, ``file.py:NAME``, or ``NAME=FOLDER`` with absolute paths; other names stay, whatever lies in the folder."""
    name, sign, _ = text.partition("=")
    if sign:
        return f"{_absolute(name)}{_in_folder(text).removeprefix(name)}"
    return str(Path(text).absolute()) if text.endswith(".csv") else plugins.absolute(text)


def _in_folder(text: str) -> str:
    """``NAME=FOLDER`` with an absolute path; a name alone stays."""
    name, sign, place = text.partition("=")
    return f"{name}={Path(place).expanduser().absolute()}" if sign else text


def parse_system(text: str) -> SystemSpec:
    """A system from ``SYSTEM``, ``LABEL=SYSTEM``, or either with options: ``ae.py:MyAE(keep=64)``."""
    spelling, options = plugins.split_options(text)
    label, _, system = spelling.rpartition("=")
    return SystemSpec(system=system, label=label or text.rpartition("/")[2] if options else label, options=options)
