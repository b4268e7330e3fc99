"""Base classes of the families' configurations, networks and losses.

Conventions
-----------
Audio is ``(batch, samples)`` in [-1, 1], one channel each, latents ``(batch, latent_dim, frames)``. ``frames`` latent
frames stand for ``frames * samples_per_latent`` samples, and that is what both ways take and give; the last ``margin``
of the decoded samples lie under too few frames and fade.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from m2l_bench.music2latent.config import Sizes
from m2l_bench.systems.small.adversarial import AdversarialLoss
from m2l_bench.training.objective import Losses


@dataclass(frozen=True, kw_only=True)
class FamilyConfig(Sizes, ABC):
    """Sizes of a network, whole numbers or lists of them; every family adds its own.

    Attributes
    ----------
    sample_rate : int
        Hz.
    latent_dim : int
    """

    sample_rate: int = 44100
    latent_dim: int = 64

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            numbers = tuple(value) if isinstance(value, (list, tuple)) else (value,)
            if not numbers or not all(isinstance(number, int) and number >= 1 for number in numbers):
                raise ValueError(f"{name} must hold whole numbers of at least 1, got {value!r}")
            if isinstance(value, list):  # as JSON and TOML give them
                object.__setattr__(self, name, numbers)

    @property
    @abstractmethod
    def samples_per_latent(self) -> int:
        """Samples from one latent frame to the next."""


class FamilyNetwork(nn.Module, ABC):
    """An autoencoder of single channels.

    Attributes
    ----------
    config : FamilyConfig
    margin : int
        Samples at the end of what :meth:`decode` gives that fade.
    starts_from_noise : bool
        Whether :meth:`decode` depends on its noise.
    """

    margin: int = 0
    starts_from_noise: bool = False

    def __init__(self, config: FamilyConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def encode(self, audio: Tensor) -> Tensor:
        """(batch, frames * samples_per_latent) -> (batch, latent_dim, frames)."""

    def decode(self, latents: Tensor, noise: Tensor) -> Tensor:
        """(batch, latent_dim, frames) -> (batch, frames * samples_per_latent), of mean 0.

        `noise` is normal, of the result's shape, for decoders that start from it.
        """
        audio = self.synthesise(latents, noise)
        # The mel distance ignores a constant offset, which may otherwise grow larger than the music.
        return audio - audio.mean(-1, keepdim=True)

    @abstractmethod
    def synthesise(self, latents: Tensor, noise: Tensor) -> Tensor:
        """As :meth:`decode`, whatever the mean."""


class FamilyLoss(nn.Module, ABC):
    """Training loss of a family; one module with one forward call, as wrappers for several processes need.

    Parameters
    ----------
    network : FamilyNetwork
    first_stage : float
        Share of the training that is the first stage, in (0, 1); unused in families with one stage.
    adversarial : AdversarialLoss, optional
        Discriminators, for families that use them.

    Attributes
    ----------
    stages : mapping of str to float
        Name of each stage's loss in validation, and a share of the training at which that stage runs.
    """

    stages: Mapping[str, float] = {"loss": 0.0}

    def __init__(
        self, network: FamilyNetwork, *, first_stage: float = 0.0, adversarial: AdversarialLoss | None = None
    ) -> None:
        super().__init__()
        if len(self.stages) > 1 and not 0 < first_stage < 1:
            raise ValueError(f"first_stage must be in (0, 1), got {first_stage}")
        self.network, self.first_stage, self.adversarial = network, first_stage, adversarial

    @abstractmethod
    def forward(self, audio: Tensor, uniforms: Tensor, noise: Tensor, progress: float) -> Losses:
        """One loss a crop, and its noise level.

        Parameters
        ----------
        audio : Tensor, (batch, samples)
        uniforms : Tensor, (batch, 2)
            Uniform numbers in [0, 1).
        noise : Tensor, (batch, samples)
            Normal numbers; of no length where the family needs none.
        progress : float
            Step over the number of steps, in [0, 1].
        """


def inside(network: FamilyNetwork, estimate: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """An estimate and its reference without the end that fades."""
    length = audio.shape[-1] - network.margin
    return estimate[..., :length], audio[..., :length]


def without_noise(loss: Tensor) -> Losses:
    """Losses of a family that adds none."""
    return Losses(loss, torch.zeros_like(loss))
