"""The recipe of a consistency training: what every recipe has, the noise levels, and Music2Latent's own start.

Conventions
-----------
As :mod:`m2l_bench.training.recipe` says. Defaults are the published training.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from m2l_bench.music2latent.config import Config
from m2l_bench.training import recipe as base


class NoiseSection(base.Section):
    """How the noise levels of a pair are drawn: see :mod:`m2l_bench.training.music2latent.loss`."""

    mean: float = -1.1
    std: float = Field(2.0, gt=0)
    bins: int = Field(10_000, ge=1)
    start_exponent: float = Field(1.0, ge=0)
    end_exponent: float = Field(3.0, ge=0)


class OptimizationSection(base.OptimizationSection):
    """Options of every family, and Music2Latent's initialisation.

    Attributes
    ----------
    unit_variance : bool
        Initialise as :mod:`m2l_bench.training.music2latent.initialisation` says; for short trainings.
    magnitude_steps : int
        Updates of encoder and decoder before the first step: see :mod:`m2l_bench.training.music2latent.magnitudes`.
    """

    unit_variance: bool = False
    magnitude_steps: int = Field(0, ge=0)


class ValidationSection(base.ValidationSection):
    """Options of every family, and the noise levels of the measured loss.

    Attributes
    ----------
    sigmas : tuple of float
        Noise levels.
    """

    sigmas: tuple[float, ...] = (0.1, 1.0, 10.0, 80.0)


class ConsistencyRecipe(base.Recipe):
    """Recipe of a Music2Latent training.

    Attributes
    ----------
    model : dict
        Fields of :class:`~m2l_bench.music2latent.config.Config`.
    noise : NoiseSection

    Examples
    --------
    >>> recipe = ConsistencyRecipe.model_validate({"data": {"folders": [{"path": "music"}]}, "model": {"width": 16}})
    >>> recipe.config.width, recipe.optimization.batch, recipe.crop_samples
    (16, 16, 34304)
    """

    family: Literal["music2latent"] = "music2latent"
    noise: NoiseSection = NoiseSection()
    optimization: OptimizationSection = OptimizationSection()
    validation: ValidationSection | None = None

    @field_validator("model")
    @classmethod
    def _describes_a_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        return Config.from_dict(model).to_dict()

    @property
    def config(self) -> Config:
        """The model."""
        return Config.from_dict(self.model)

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def crop_samples(self) -> int:
        """Samples of a crop: ``crop_latents * samples_per_latent + window - hop``."""
        return self.data.crop_latents * self.config.samples_per_latent + self.config.window - self.config.hop

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (2, self.config.bins, self.data.crop_latents * self.config.time_downsampling)
