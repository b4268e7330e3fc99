"""The one description of a Music2Latent model: every width, level and constant, frozen and JSON-able.

Conventions
-----------
Levels are numbered from the spectrogram's resolution (0) down to the latents' (the last). Between level ``i`` and
``i + 1`` a map shrinks by 4 in frequency alone where ``frequency_only[i]``, else by 2 in frequency and time.
Rates are in Hz, lengths in samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Sizes:
    """Base of the configurations of networks."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of :meth:`to_dict`.

        Raises
        ------
        ValueError
            If a key is unknown or a value out of range.
        """
        require(isinstance(values, Mapping), "config", "be an object", values)
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"config must hold known keys only ({', '.join(known)}), got {', '.join(unknown)}")
        return cls(**values)


@dataclass(frozen=True)
class Config(Sizes):
    """A Music2Latent model; the defaults are the published one (58,185,026 parameters).

    Parameters
    ----------
    sample_rate : int
        Hz.
    window, hop : int
        Length of the Hann window and its step, in samples; `window` is a multiple of ``2 * hop`` and a model has
        ``window / 2`` frequency bins (the Nyquist bin is dropped).
    alpha, beta : float
        Amplitude compression of a complex coefficient: ``beta * |c|**alpha``.
    width : int
        Channels of the first level; a multiple of 4 * `heads`.
    multipliers : tuple of int
        Channels of each level, in units of `width`.
    blocks, encoder_blocks : tuple of int
        Residual blocks of each level, in the U-Net (each way) and in encoder and decoder.
    attention : tuple of bool
        Whether a level's blocks end in self-attention over frequency.
    frequency_only : tuple of bool
        How the map shrinks below each level but the last.
    heads : int
    embedding_width : int
        Channels of the noise-level embedding; even.
    bottleneck_width, bottleneck_blocks : int
        Channels and number of the 1-D residual blocks on either side of the latents.
    unused_embedding : bool
        Whether the decoder's 1-D blocks hold a linear layer for a noise embedding that nothing feeds, as the published
        weights do (526,336 of the parameters); frozen at zero. A new model does better without.
    latent_dim : int
    latent_scale : float
        Published latents are the bounded code of the encoder, in [-1, 1], divided by this.
    sigma_data, sigma_min, sigma_max, rho : float
        Constants of the consistency model and of its grid of noise levels.

    Raises
    ------
    ValueError
        If the numbers do not describe a model.

    Examples
    --------
    >>> PUBLISHED.samples_per_latent, PUBLISHED.features_dim
    (4096, 8192)
    """

    sample_rate: int = 44100
    window: int = 2048
    hop: int = 512
    alpha: float = 0.65
    beta: float = 0.34
    width: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4, 4, 4)
    blocks: tuple[int, ...] = (2, 2, 2, 2, 2)
    encoder_blocks: tuple[int, ...] = (1, 1, 1, 1, 1)
    attention: tuple[bool, ...] = (False, False, True, True, True)
    frequency_only: tuple[bool, ...] = (True, False, False, False)
    heads: int = 4
    embedding_width: int = 256
    bottleneck_width: int = 512
    bottleneck_blocks: int = 4
    unused_embedding: bool = True
    latent_dim: int = 64
    latent_scale: float = 0.06
    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        self._check_kinds()
        levels = len(self.multipliers)
        for name in ("blocks", "encoder_blocks", "attention"):
            value = getattr(self, name)
            require(len(value) == levels, name, f"have one entry a level ({levels})", value)
        shrinking = self.frequency_only
        require(len(shrinking) == levels - 1, "frequency_only", f"have {levels - 1} entries", shrinking)
        for width in (*self.widths, self.bottleneck_width):
            in_groups = width % 4 == 0 and width % min(width // 4, 32) == 0
            require(in_groups, "width", "split into min(width/4, 32) equal groups", width)
            require(width % self.heads == 0, "width", f"be a multiple of heads ({self.heads})", width)
        require(self.window % (2 * self.hop) == 0, "window", f"be a multiple of 2 * hop ({2 * self.hop})", self.window)
        require(self.bins % self.frequency_downsampling == 0, "window", "divide into the levels", self.window)
        width = self.embedding_width
        require(width % 2 == 0 and width >= 4, "embedding_width", "be even, at least 4", width)
        require(0 < self.sigma_min < self.sigma_max, "sigma_min", f"be in (0, {self.sigma_max})", self.sigma_min)

    def _check_kinds(self) -> None:
        """Check that numbers are of the right kind and of a size that some machine could hold: a file may say anything."""
        for name in _LISTS:
            value = getattr(self, name)
            fits = isinstance(value, (list, tuple)) and len(value) <= _MOST_LEVELS
            require(fits, name, f"be a list of at most {_MOST_LEVELS} entries", value)
            object.__setattr__(self, name, tuple(value))  # JSON gives lists
        for name, most in _MOST.items():
            value = getattr(self, name)
            whole = all(type(number) is int and 1 <= number <= most for number in _entries(value))
            require(whole, name, f"be whole, at least 1 and at most {most}", value)
        for name in ("attention", "frequency_only", "unused_embedding"):
            value = getattr(self, name)
            require(set(map(type, _entries(value))) <= {bool}, name, "be true or false", value)
        for name in ("alpha", "beta", "latent_scale", "sigma_data", "sigma_min", "sigma_max", "rho"):
            value = getattr(self, name)
            require(type(value) in (int, float) and 0 < value < math.inf, name, "be a positive number", value)

    @property
    def bins(self) -> int:
        """Frequency bins F."""
        return self.window // 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def time_downsampling(self) -> int:
        """STFT frames per latent frame."""
        return 2 ** self.frequency_only.count(False)

    @property
    def frequency_downsampling(self) -> int:
        """Frequency bins per row of the last level."""
        return 4 ** self.frequency_only.count(True) * self.time_downsampling

    @property
    def features_dim(self) -> int:
        """Channels of the features: the last level's channels times its rows."""
        return self.widths[-1] * self.bins // self.frequency_downsampling

    @property
    def samples_per_latent(self) -> int:
        """Samples from one latent frame to the next."""
        return self.hop * self.time_downsampling

    @property
    def latent_rate(self) -> float:
        """Latent frames a second, in Hz."""
        return self.sample_rate / self.samples_per_latent


_LISTS = ("multipliers", "blocks", "encoder_blocks", "attention", "frequency_only")
_MOST_LEVELS = 16
_MOST = {
    "sample_rate": 1_000_000,
    "window": 1 << 16,
    "hop": 1 << 16,
    "width": 4096,
    "multipliers": 64,
    "blocks": 64,
    "encoder_blocks": 64,
    "heads": 1024,
    "embedding_width": 1 << 14,
    "bottleneck_width": 1 << 14,
    "bottleneck_blocks": 256,
    "latent_dim": 1 << 16,
}


def _entries(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


def require(condition: bool, name: str, constraint: str, value: object) -> None:
    """Raise ValueError that names parameter, constraint and value unless the condition holds."""
    if not condition:
        raise ValueError(f"{name} must {constraint}, got {value!r}")


PUBLISHED = Config()
