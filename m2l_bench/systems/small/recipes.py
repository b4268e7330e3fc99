"""Recipes of the families, and their objective for the trainer.

Conventions
-----------
As :mod:`m2l_bench.training.recipe` says. A crop is ``crop_latents * samples_per_latent`` samples. In validation noise
is drawn once, from the recipe's seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from m2l_bench.systems.small.adversarial import AdversarialLoss
from m2l_bench.systems.small.dac import DacLoss
from m2l_bench.systems.small.family import FamilyConfig, FamilyLoss, FamilyNetwork
from m2l_bench.systems.small.latmusic import LatmusicLoss
from m2l_bench.systems.small.mousai import MousaiLoss
from m2l_bench.systems.small.musika import MusikaLoss
from m2l_bench.systems.small.system import NETWORKS
from m2l_bench.training import loop
from m2l_bench.training import recipe as base
from m2l_bench.training.crops import Crops, Examples
from m2l_bench.training.music2latent.consistency_objective import ConsistencyObjective
from m2l_bench.training.music2latent.consistency_recipe import ConsistencyRecipe
from m2l_bench.training.objective import Losses, Objective, fixed_noise
from m2l_bench.training.validation import Score


class FamilyRecipe(base.Recipe):
    """The part of a recipe that these families share.

    Attributes
    ----------
    model : dict
        Fields of the family's configuration.
    """

    loss_class: ClassVar[type[FamilyLoss]]
    needs_noise: ClassVar[bool] = False

    @field_validator("model")
    @classmethod
    def _describes_a_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        return NETWORKS[cls.model_fields["family"].default][1].from_dict(model).to_dict()

    @property
    def config(self) -> FamilyConfig:
        """The model."""
        return NETWORKS[self.family][1].from_dict(self.model)

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def crop_samples(self) -> int:
        return self.data.crop_latents * self.config.samples_per_latent

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.crop_samples if self.needs_noise else 0,)

    def loss(self) -> FamilyLoss:
        """The family's loss around its network, with random weights."""
        return self.loss_class(NETWORKS[self.family][0](self.config), **self.loss_options())

    def loss_options(self) -> dict[str, Any]:
        """Options of the loss that the recipe sets."""
        return {}


class LatmusicRecipe(FamilyRecipe):
    """latmusic-style: see :mod:`m2l_bench.systems.small.latmusic`."""

    family: Literal["latmusic-style"] = "latmusic-style"
    loss_class = LatmusicLoss


class StagesSection(base.Section):
    """When the second stage takes over.

    Attributes
    ----------
    first : float
        Share of the steps that is the first stage.
    """

    first: float = Field(0.5, gt=0, lt=1)


class AdversarialSection(base.Section):
    """Discriminators: see :class:`~m2l_bench.systems.small.adversarial.AdversarialLoss`. Learning rate: the decoder's."""

    width: int = Field(8, ge=1)
    weight: float = Field(1.0, gt=0)
    features: float = Field(2.0, ge=0)


class AdversarialRecipe(FamilyRecipe):
    """Of a family that may be trained against discriminators.

    Attributes
    ----------
    adversarial : AdversarialSection, optional
        Without it there are none.
    """

    adversarial: AdversarialSection | None = None

    def loss_options(self) -> dict[str, Any]:
        return {"adversarial": AdversarialLoss(**self.adversarial.model_dump()) if self.adversarial else None}


class MusikaRecipe(AdversarialRecipe):
    """musika-style: see :mod:`m2l_bench.systems.small.musika`."""

    family: Literal["musika-style"] = "musika-style"
    stages: StagesSection = StagesSection()
    loss_class = MusikaLoss

    def loss_options(self) -> dict[str, Any]:
        return {"first_stage": self.stages.first, **super().loss_options()}


class MousaiRecipe(FamilyRecipe):
    """mousai-style: see :mod:`m2l_bench.systems.small.mousai`."""

    family: Literal["mousai-style"] = "mousai-style"
    stages: StagesSection = StagesSection(first=0.25)
    loss_class = MousaiLoss
    needs_noise = True

    def loss_options(self) -> dict[str, Any]:
        return {"first_stage": self.stages.first}


class DacRecipe(AdversarialRecipe):
    """dac-style: see :mod:`m2l_bench.systems.small.dac`."""

    family: Literal["dac-style"] = "dac-style"
    loss_class = DacLoss


RECIPES: dict[str, type[base.Recipe]] = {
    "music2latent": ConsistencyRecipe,
    "latmusic-style": LatmusicRecipe,
    "musika-style": MusikaRecipe,
    "mousai-style": MousaiRecipe,
    "dac-style": DacRecipe,
}


def read_recipe(path: str | Path) -> base.Recipe:
    """Read a recipe of any family: see :func:`m2l_bench.training.recipe.read_recipe`."""
    return base.read_recipe(path, RECIPES)


def objective_of(recipe: base.Recipe) -> Objective:
    """The network that a recipe describes, with random weights, and its losses."""
    if isinstance(recipe, FamilyRecipe):
        return FamilyObjective(recipe.loss(), recipe.seed)
    return ConsistencyObjective(cast(ConsistencyRecipe, recipe))


def train(
    recipe: base.Recipe, out: str | Path, *, resume: bool = False, score: Score | None = None, progress: bool = True
) -> Path:
    """Train a model of any family: see :func:`m2l_bench.training.loop.train`."""
    return loop.train(recipe, objective_of, out, resume=resume, score=score, progress=progress)


class FamilyObjective:
    """A family's network and loss as the trainer takes them.

    Parameters
    ----------
    loss : FamilyLoss
    seed : int
        Of the noise in validation.
    """

    def __init__(self, loss: FamilyLoss, seed: int) -> None:
        self.loss, self.seed = loss, seed
        self.has_stages = len(loss.stages) > 1

    @property
    def network(self) -> FamilyNetwork:
        return self.loss.network

    def begin(self, crops: Crops) -> int:
        """Weights start as they were drawn."""
        return 0

    def inputs(self, examples: Examples, progress: float) -> tuple[Tensor, Tensor, Tensor, float]:
        return examples.audio, examples.uniforms, examples.noise, progress

    def measure(self, excerpts: Tensor) -> dict[str, float]:
        """Mean loss of each stage; noise levels, where there are any, are spread evenly over the excerpts."""
        excerpts = self._padded(excerpts, 0)
        (count, length), device = excerpts.shape, self._device
        uniforms = ((torch.arange(count, dtype=torch.float64) + 0.5) / count)[:, None].expand(-1, 2)
        total = dict.fromkeys(self.loss.stages, 0.0)
        for number, excerpt in enumerate(excerpts):
            audio, noise = excerpt[None].to(device), self._noise(length, number)
            for name, progress in self.loss.stages.items():
                result: Losses = self.loss(audio, uniforms[number : number + 1].to(device), noise, progress)
                total[name] += float(result.loss) / count
        return total

    def reconstruct(self, excerpt: Tensor) -> np.ndarray:
        """Encode and decode: (samples,) -> (samples,)."""
        padded = self._padded(excerpt[None], self.network.margin).to(self._device)
        decoded = self.network.decode(self.network.encode(padded), self._noise(padded.shape[-1], 0))
        return decoded[0, : excerpt.shape[-1]].float().clamp(-1, 1).cpu().numpy()

    def _padded(self, audio: Tensor, margin: int) -> Tensor:
        """Silence behind, up to whole latent frames that hold `margin` samples more."""
        unit, length = self.network.config.samples_per_latent, audio.shape[-1]
        return F.pad(audio, (0, -(-(length + margin) // unit) * unit - length))

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _noise(self, length: int, number: int) -> Tensor:
        return fixed_noise((1, length), self.seed, number).to(self._device)
