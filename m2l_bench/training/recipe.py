"""A training's recipe: what is trained, on what, how long; read from TOML, checked once.

Conventions
-----------
Sections and keys of the TOML file are those of the classes below; an unknown key is an error. Paths are relative to the
recipe's own folder. Defaults are Music2Latent's published training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from m2l_bench.audio import list_audio
from m2l_bench.files.untrusted import faults, read_toml


def _absolute(path: Path, info: ValidationInfo) -> Path:
    return (info.context["base"] / path.expanduser()).resolve() if info.context else path


RecipePath = Annotated[Path, AfterValidator(_absolute)]


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MusicFolder(Section):
    """A folder of music and its share of the crops.

    Attributes
    ----------
    path : path
    weight : float, optional
        Share of the crops, relative to the other folders'; by default each hour of music counts the same.
    include, exclude : tuple of str
        Patterns of relative paths, such as ``"album/*"``; a file is taken where one of `include` and none of `exclude`
        matches.
    """

    path: RecipePath
    weight: float | None = Field(None, gt=0)
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def files(self) -> list[Path]:
        """List the audio files taken, sorted by relative path."""
        return [path for path in list_audio(self.path) if self._takes(path.relative_to(self.path).as_posix())]

    def _takes(self, name: str) -> bool:
        return any(fnmatch(name, p) for p in self.include) and not any(fnmatch(name, p) for p in self.exclude)


class DataSection(Section):
    """Where crops come from.

    Attributes
    ----------
    folders : tuple of MusicFolder
    crop_latents : int
        Length of a crop in latent frames.
    min_rms : float
        A quieter crop is drawn again.
    workers : int
        Loading processes.
    """

    folders: tuple[MusicFolder, ...] = Field(min_length=1)
    crop_latents: int = Field(8, ge=1)
    min_rms: float = Field(0.001, ge=0)
    workers: int = Field(0, ge=0)


class OptimizationSection(Section):
    """RAdam with warm-up and cosine, and averaged weights.

    Attributes
    ----------
    steps : int
        Updates of the weights; learning rate and step size are functions of step / steps.
    batch : int
        Crops a step, over all processes.
    encoder_rate : float
        Factor on the encoder's learning rate.
    """

    steps: int = Field(800_000, ge=1)
    batch: int = Field(16, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(1e-6, ge=0)
    warm_up: int = Field(10_000, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    ema: float = Field(0.9999, ge=0, lt=1)
    encoder_rate: float = Field(1.0, ge=0)


class ValidationSection(Section):
    """Held-out audio, and what is measured on it every `every` steps.

    Attributes
    ----------
    folders : tuple of MusicFolder
    every : int
    clips : int
        Excerpts, spread evenly over the files.
    seconds : float
        Length of an excerpt.
    samples : int
        Reconstructions written as audio and as pictures of the spectrogram.
    """

    folders: tuple[MusicFolder, ...] = Field(min_length=1)
    every: int = Field(1000, ge=1)
    clips: int = Field(16, ge=1)
    seconds: float = Field(5.0, gt=0)
    samples: int = Field(4, ge=0)


class RunSection(Section):
    """How it runs, which changes no result beyond rounding.

    Attributes
    ----------
    precision : str
        ``"no"`` (float32), ``"bf16"`` or ``"fp16"``.
    device : str
        ``"auto"`` (the first CUDA device, else the CPU), ``"cpu"``, ``"cuda"`` or one card such as ``"cuda:1"``.
    threads : int
        CPU threads; 0 leaves PyTorch's choice.
    checkpoint_every, keep : int
        Steps between checkpoints; how many of the last to keep.
    log_every : int
        Steps that one row of the log averages over.
    """

    precision: Literal["no", "bf16", "fp16"] = "no"
    device: str = "auto"
    threads: int = Field(0, ge=0)
    checkpoint_every: int = Field(1000, ge=1)
    keep: int = Field(3, ge=1)
    log_every: int = Field(50, ge=1)


class Recipe(Section, ABC):
    """The part of a recipe that all families share; a family's own class adds the rest.

    Attributes
    ----------
    family : str
        What is trained.
    seed : int
        Seeds the initial weights and, with its number, every crop.
    model : dict
        Sizes of the network, by the names of the family's configuration.
    weights : path, optional
        Weights of an earlier training of the same family and sizes to start from, ``.safetensors``; in place of random
        ones and of whatever the family does before its first step.
    """

    family: str
    seed: int = Field(0, ge=0)
    model: dict[str, Any] = {}
    weights: RecipePath | None = None
    data: DataSection
    optimization: OptimizationSection = OptimizationSection()
    validation: ValidationSection | None = None
    run: RunSection = RunSection()

    @model_validator(mode="after")
    def _schedules_fit(self) -> Recipe:
        if self.optimization.warm_up > self.optimization.steps:
            raise ValueError(
                f"warm_up must be at most steps ({self.optimization.steps}), got {self.optimization.warm_up}"
            )
        return self

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Of the model, in Hz."""

    @property
    @abstractmethod
    def crop_samples(self) -> int:
        """Samples of a crop."""

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the normal numbers that come with a crop."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.model_dump(mode="json")


def read_recipe(path: str | Path, kinds: Mapping[str, type[Recipe]]) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : path-like
        A TOML file.
    kinds : mapping of str to class
        The recipes of the families that may be meant; without ``family``, the file is of ``"music2latent"``.

    Returns
    -------
    Recipe
        Of the family's class, with all paths absolute.

    Raises
    ------
    ValueError
        If the file is missing, not TOML, or not a recipe; every fault is named with its key.
    """
    path = Path(path)
    values = read_toml(path)
    family = values.get("family", "music2latent")
    if family not in kinds:
        raise ValueError(f"{path}: family must be one of {', '.join(kinds)}, got {family!r}")
    try:
        return kinds[family].model_validate(values, context={"base": path.parent})
    except ValidationError as error:
        raise ValueError(f"{path}: {faults(error)}") from error


def require_same(checkpoint: Path, saved: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse to resume a checkpoint under a recipe that would give other numbers; ValueError names the first difference."""
    before, now = _numbers(saved), _numbers(recipe.to_dict())
    for name, value in now.items():
        if value != before.get(name):  # what an older version did not know was not there
            raise ValueError(
                f"{checkpoint}: {name} must be as in the checkpoint to resume, {before.get(name)}, got {value}"
            )


def _numbers(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a recipe that a resumed training may not change: not its length, nor where the music lies."""
    data = {key: value for key, value in recipe["data"].items() if key != "workers"}
    data["folders"] = [{k: v for k, v in folder.items() if k != "path"} for folder in data["folders"]]
    optimization = {key: value for key, value in recipe["optimization"].items() if key != "steps"}
    free = ("data", "optimization", "validation", "run", "weights")
    kept = {name: value for name, value in recipe.items() if name not in free}
    return {"family": "music2latent", **kept, "data": data, "optimization": optimization}
