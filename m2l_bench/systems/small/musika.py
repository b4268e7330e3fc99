"""musika-style: Musika's four networks, narrower, trained in its two stages with spectral losses.

The first stage codes each spectrogram frame and gives magnitude and phase back; the second codes 16 of the first
stage's frames in one latent, the first stage frozen. The original is trained against discriminators of its own; here
they are those of :mod:`~m2l_bench.systems.small.adversarial`, where the recipe asks for any. The noise layers' scales
stay 0.

Conventions
-----------
As :mod:`~m2l_bench.systems.small.family` says. Four latents are decoded together, whatever stands around them.

References
----------
Pasini and Schlüter, "Musika! Fast Infinite Waveform Music Generation", ISMIR 2022, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from m2l_bench.systems.musika.network import (
    FRAMES_PER_LATENT,
    FRAMES_PER_WINDOW,
    LATENTS_PER_WINDOW,
    OVERLAP,
    Decoder,
    Encoder,
    LatentDecoder,
    LatentEncoder,
    by_windows,
    log_spectrogram,
    waveform,
)
from m2l_bench.systems.small.adversarial import in_training
from m2l_bench.systems.small.family import FamilyConfig, FamilyLoss, FamilyNetwork, inside, without_noise
from m2l_bench.systems.small.spectral import PHASE, complex_distance, mel_distance
from m2l_bench.training.objective import Losses


@dataclass(frozen=True, kw_only=True)
class MusikaStyleConfig(FamilyConfig):
    """Sizes.

    Attributes
    ----------
    hop : int
        Samples from frame to frame; frames have 4 hops.
    width : int
        What all layers scale with, a multiple of 4; the original's is 256.
    """

    hop: int = 256
    width: int = 64

    @property
    def samples_per_latent(self) -> int:
        return self.hop * FRAMES_PER_LATENT


class MusikaStyle(FamilyNetwork):
    """Log spectrogram -> frames -> latents -> frames -> log magnitude and phase."""

    config: MusikaStyleConfig

    def __init__(self, config: MusikaStyleConfig) -> None:
        super().__init__(config)
        self.margin = (OVERLAP - 1) * config.hop
        self.encoder = Encoder(config.hop, config.width)
        self.latent_encoder = LatentEncoder(config.width, config.latent_dim)
        self.latent_decoder = LatentDecoder(config.width, config.latent_dim)
        self.decoder = Decoder(config.hop, config.width)
        for decoder in (self.latent_decoder, self.decoder):
            decoder.noise_scales.requires_grad_(False)

    def encode(self, audio: Tensor) -> Tensor:
        return self.to_latents(self.encoder(self.spectrogram(audio)))

    def synthesise(self, latents: Tensor, noise: Tensor) -> Tensor:
        frames = latents.shape[-1] * FRAMES_PER_LATENT
        return self.to_audio(self.to_frames(latents))[..., : frames * self.config.hop]

    def spectrogram(self, audio: Tensor) -> Tensor:
        """(batch, frames * hop) -> (batch, bins, frames)."""
        return log_spectrogram(F.pad(audio, (self.margin, 0)), self.config.hop)

    def to_latents(self, frames: Tensor) -> Tensor:
        """(batch, width / 4, 16 n) -> (batch, latent_dim, n)."""
        return by_windows(self.latent_encoder, frames, FRAMES_PER_LATENT)

    def to_frames(self, latents: Tensor) -> Tensor:
        """(batch, latent_dim, n) -> (batch, width / 4, 64 ceil(n / 4)); the last latent is repeated to fill a window."""
        whole = _whole_windows(latents, LATENTS_PER_WINDOW)
        return by_windows(partial(self.latent_decoder, noise=_no_noise), whole, LATENTS_PER_WINDOW)

    def heads(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, width / 4, 64 n) -> log magnitude and phase / pi, each (batch, bins, 64 n)."""
        both = by_windows(partial(self.decoder, noise=_no_noise), frames, FRAMES_PER_WINDOW)
        magnitude, phase = both.float().chunk(2, 1)
        return magnitude, phase

    def to_audio(self, frames: Tensor) -> Tensor:
        """(batch, width / 4, 64 n) -> (batch, 64 n hop)."""
        return waveform(*self.heads(frames))[..., self.margin :]


def _no_noise(layer: int, length: int) -> Tensor:
    return torch.zeros(1)


class MusikaLoss(FamilyLoss):
    """Stage one, then stage two.

    Mel distances at several scales and 0.3 times the relative distance of complex spectra take the place of the original's
    spectral losses. Discriminators, if any, train in both stages.
    """

    network: MusikaStyle
    stages = {"first_stage": 0.0, "second_stage": 1.0}  # noqa: RUF012 (a constant)

    def forward(self, audio: Tensor, uniforms: Tensor, noise: Tensor, progress: float) -> Losses:
        """Of stage one: L1 of the magnitude head, spectral distances of the waveform. Of stage two: the same distances
        through the frozen first stage, and L1 of its frames."""
        net, first = self.network, progress < self.first_stage
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name.startswith("latent_") != first and not name.endswith("noise_scales"))
        spectrogram = net.spectrogram(audio)
        frames = net.encoder(spectrogram)
        decoded = _whole_windows(frames, FRAMES_PER_WINDOW) if first else net.to_frames(net.to_latents(frames))
        count = frames.shape[-1]
        magnitude, phase = net.heads(decoded)
        estimate = waveform(magnitude, phase)[..., net.margin :][..., : audio.shape[-1]]
        x, y = inside(net, estimate, audio)
        loss = mel_distance(x, y, net.config.sample_rate) + PHASE * complex_distance(x, y)
        loss = loss + (magnitude[..., :count] - spectrogram).abs().mean((-2, -1)) + in_training(self.adversarial, x, y)
        return without_noise(loss if first else loss + (decoded[..., :count] - frames).abs().mean((-2, -1)))


def _whole_windows(x: Tensor, length: int) -> Tensor:
    return F.pad(x, (0, -x.shape[-1] % length), mode="replicate")
