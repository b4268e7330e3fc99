"""A training's recipe: what is trained, on what, how long; read from TOML, checked once.

Conventions
-----------
Sections and keys of the TOML file are those of the classes below; an unknown key is an error. Paths are relative to the
recipe's own folder. Defaults are the published training.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.data import Folder
from m2l_bench.music2latent.objective import NoiseLevels

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FolderSection(_Section):
    """A folder of music: see :class:`~m2l_bench.music2latent.data.Folder`."""

    path: Path
    weight: float | None = Field(None, gt=0)
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def folder(self) -> Folder:
        """The folder."""
        return Folder(self.path, self.weight, self.include, self.exclude)


class DataSection(_Section):
    """Where crops come from.

    Attributes
    ----------
    folders : tuple of FolderSection
    crop_latents : int
        Length of a crop in latent frames: ``crop_latents * samples_per_latent + window - hop`` samples.
    min_rms : float
        A quieter crop is drawn again.
    workers : int
        Loading processes.
    """

    folders: tuple[FolderSection, ...] = Field(min_length=1)
    crop_latents: int = Field(8, ge=1)
    min_rms: float = Field(0.001, ge=0)
    workers: int = Field(0, ge=0)


class NoiseSection(_Section):
    """How the noise levels of a pair are drawn: see :mod:`m2l_bench.music2latent.objective`."""

    mean: float = -1.1
    std: float = Field(2.0, gt=0)
    bins: int = Field(10_000, ge=1)
    start_exponent: float = Field(1.0, ge=0)
    end_exponent: float = Field(3.0, ge=0)

    def levels(self) -> NoiseLevels:
        """How positions are drawn."""
        return NoiseLevels(self.mean, self.std, self.bins)


class OptimizationSection(_Section):
    """RAdam with warm-up and cosine, and averaged weights.

    Attributes
    ----------
    steps : int
        Updates of the weights; learning rate and step size are functions of step / steps.
    batch : int
        Crops a step, over all processes.
    encoder_rate : float
        Factor on the encoder's learning rate.
    unit_variance : bool
        Whether to start as :mod:`m2l_bench.music2latent.initialization` says; for short trainings.
    magnitude_steps : int
        Updates of encoder and decoder before the first step: see :mod:`m2l_bench.music2latent.magnitudes`.
    """

    steps: int = Field(800_000, ge=1)
    batch: int = Field(16, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(1e-6, ge=0)
    warm_up: int = Field(10_000, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    ema: float = Field(0.9999, ge=0, lt=1)
    encoder_rate: float = Field(1.0, ge=0)
    unit_variance: bool = False
    magnitude_steps: int = Field(0, ge=0)


class ValidationSection(_Section):
    """Held-out audio, and what is measured on it every `every` steps.

    Attributes
    ----------
    folders : tuple of FolderSection
    every : int
    clips : int
        Excerpts, spread evenly over the files.
    seconds : float
        Length of an excerpt.
    sigmas : tuple of float
        Noise levels at which the loss is measured.
    samples : int
        Reconstructions written as audio and as pictures of the spectrogram.
    """

    folders: tuple[FolderSection, ...] = Field(min_length=1)
    every: int = Field(1000, ge=1)
    clips: int = Field(16, ge=1)
    seconds: float = Field(5.0, gt=0)
    sigmas: tuple[float, ...] = (0.1, 1.0, 10.0, 80.0)
    samples: int = Field(4, ge=0)


class RunSection(_Section):
    """How it runs, which changes no result beyond rounding.

    Attributes
    ----------
    precision : str
        ``"no"`` (float32), ``"bf16"`` or ``"fp16"``.
    device : str
        ``"auto"`` or ``"cpu"``.
    threads : int
        CPU threads; 0 leaves PyTorch's choice.
    checkpoint_every, keep : int
        Steps between checkpoints; how many of the last to keep.
    log_every : int
        Steps that one row of the log averages over.
    tensorboard : bool
    """

    precision: Literal["no", "bf16", "fp16"] = "no"
    device: Literal["auto", "cpu"] = "auto"
    threads: int = Field(0, ge=0)
    checkpoint_every: int = Field(1000, ge=1)
    keep: int = Field(3, ge=1)
    log_every: int = Field(50, ge=1)
    tensorboard: bool = False


class Recipe(_Section):
    """The whole recipe.

    Attributes
    ----------
    seed : int
        Seeds the initial weights and, with its number, every crop.
    model : dict
        Fields of :class:`~m2l_bench.music2latent.config.Config`.

    Examples
    --------
    >>> recipe = Recipe.model_validate({"data": {"folders": [{"path": "music"}]}, "model": {"width": 16}})
    >>> recipe.config.width, recipe.optimization.batch, recipe.crop_samples
    (16, 16, 34304)
    """

    seed: int = Field(0, ge=0)
    model: dict[str, Any] = {}
    data: DataSection
    noise: NoiseSection = NoiseSection()
    optimization: OptimizationSection = OptimizationSection()
    validation: ValidationSection | None = None
    run: RunSection = RunSection()

    @field_validator("model")
    @classmethod
    def _describes_a_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        return Config.from_dict(model).to_dict()

    @model_validator(mode="after")
    def _schedules_fit(self) -> Recipe:
        if self.optimization.warm_up > self.optimization.steps:
            raise ValueError(
                f"warm_up must be at most steps ({self.optimization.steps}), got {self.optimization.warm_up}"
            )
        return self

    @property
    def config(self) -> Config:
        """The model."""
        return Config.from_dict(self.model)

    @property
    def crop_frames(self) -> int:
        """STFT frames of a crop."""
        return self.data.crop_latents * self.config.time_downsampling

    @property
    def crop_samples(self) -> int:
        """Samples of a crop."""
        return self.data.crop_latents * self.config.samples_per_latent + self.config.window - self.config.hop

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return json.loads(self.model_dump_json())


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : path-like
        A TOML file.

    Returns
    -------
    Recipe
        With all paths absolute.

    Raises
    ------
    ValueError
        If the file is missing, not TOML, or not a recipe; every fault is named with its key.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: must be a readable TOML file, got {error}") from error
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path}: {_explain(error)}") from error
    return _absolute(recipe, path.parent)


def _explain(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']) or 'recipe'}: {fault['msg']}, got {str(fault['input'])[:80]}"
        for fault in error.errors()
    )


def _absolute(recipe: Recipe, base: Path) -> Recipe:
    def move(folders: tuple[FolderSection, ...]) -> tuple[FolderSection, ...]:
        return tuple(f.model_copy(update={"path": (base / f.path.expanduser()).resolve()}) for f in folders)

    data = recipe.data.model_copy(update={"folders": move(recipe.data.folders)})
    validation = recipe.validation
    if validation is not None:
        validation = validation.model_copy(update={"folders": move(validation.folders)})
    return recipe.model_copy(update={"data": data, "validation": validation})


def require_same(checkpoint: Path, saved: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse to resume a checkpoint under a recipe that would give other numbers; ValueError names the first difference."""
    before, now = _numbers(saved), _numbers(recipe.to_dict())
    for name, value in now.items():
        if value != before[name]:
            raise ValueError(
                f"{checkpoint}: {name} must be as in the checkpoint to resume, {before[name]}, got {value}"
            )


def _numbers(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a recipe that a resumed training may not change: not its length, nor where the music lies."""
    data = {key: value for key, value in recipe["data"].items() if key != "workers"}
    data["folders"] = [{k: v for k, v in folder.items() if k != "path"} for folder in data["folders"]]
    optimization = {key: value for key, value in recipe["optimization"].items() if key != "steps"}
    kept = {name: recipe[name] for name in ("seed", "model", "noise")}
    return {**kept, "data": data, "optimization": optimization}
