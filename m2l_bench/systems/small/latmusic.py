"""latmusic-style: one autoencoder, trained end to end on magnitude and phase.

What is public of LatMusic's autoencoder is that it compresses the waveform 64 times, is trained in one stage, and with
an L1 and a multi-scale spectral loss on magnitude and phase. Everything else here (a complex spectrogram in and out,
convolutions over time between) is our own choice, and no figure of it is a figure of LatMusic.

Conventions
-----------
As :mod:`~m2l_bench.systems.small.family` says. The amplitude-compressed complex spectrogram is Music2Latent's; all bins of a
frame are channels.

References
----------
Pasini, Grachten and Lattner, "Bass Accompaniment Generation via Latent Diffusion", ICASSP 2024 (arXiv 2402.01412).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from m2l_bench.music2latent.config import Config as SpectrogramConfig
from m2l_bench.music2latent.representation import istft, stft
from m2l_bench.systems.mousai.network import Residual
from m2l_bench.systems.small.family import FamilyConfig, FamilyLoss, FamilyNetwork, inside, without_noise
from m2l_bench.systems.small.spectral import PHASE, complex_distance, mel_distance
from m2l_bench.training.objective import Losses

_QUIET = 1e-3  # mean absolute sample below which the waveform's distance stops to be relative


@dataclass(frozen=True, kw_only=True)
class LatmusicStyleConfig(FamilyConfig):
    """Sizes.

    Attributes
    ----------
    window, hop : int
        Samples of the spectrogram.
    widths : tuple of int
        Channels of each level, multiples of 8; between two levels time is halved.
    """

    window: int = 2048
    hop: int = 512
    widths: tuple[int, ...] = (160, 160, 160, 160)

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(width % 8 for width in self.widths):
            raise ValueError(f"widths must be multiples of 8, got {self.widths}")

    @property
    def samples_per_latent(self) -> int:
        return self.hop * 2 ** (len(self.widths) - 1)

    @property
    def spectrogram(self) -> SpectrogramConfig:
        """Of which window, hop and compression count."""
        return SpectrogramConfig(sample_rate=self.sample_rate, window=self.window, hop=self.hop)


class LatmusicStyle(FamilyNetwork):
    """Complex spectrogram -> residual convolutions, down in time -> latents, and the same way back."""

    config: LatmusicStyleConfig

    def __init__(self, config: LatmusicStyleConfig) -> None:
        super().__init__(config)
        self.margin = config.window - config.hop
        values, widths = 2 * config.spectrogram.bins, config.widths
        self.encoder = nn.Sequential(
            nn.Conv1d(values, widths[0], 1),
            *[step for a, b in pairwise(widths) for step in (Residual(a, a), nn.Conv1d(a, b, 4, 2, 1))],
            Residual(widths[-1], widths[-1]),
            nn.Conv1d(widths[-1], config.latent_dim, 1),
            nn.Tanh(),
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(config.latent_dim, widths[-1], 1),
            *[step for b, a in pairwise(reversed(widths)) for step in (Residual(b, b), _up(b, a))],
            Residual(widths[0], widths[0]),
            nn.Conv1d(widths[0], values, 1),
        )

    def encode(self, audio: Tensor) -> Tensor:
        spectrogram = stft(F.pad(audio, (self.margin, 0)), self.config.spectrogram)
        return self.encoder(spectrogram.flatten(1, 2))

    def synthesise(self, latents: Tensor, noise: Tensor) -> Tensor:
        spectrogram = self.decoder(latents).float().unflatten(1, (2, -1))
        return istft(spectrogram, self.config.spectrogram)[..., self.margin :]


def _up(channels_in: int, channels: int) -> nn.Module:
    """Twice as long: each value repeated, then a convolution of 3."""
    conv = nn.Conv1d(channels_in, channels, 3, padding=1)
    return nn.Sequential(OrderedDict({"repeat": nn.Upsample(scale_factor=2), "conv": conv}))


class LatmusicLoss(FamilyLoss):
    """Multi-scale mel distance, and 0.3 times relative distances of waveforms (L1) and of complex spectra.

    With equal weights a short training stays at silence, the best guess while no phase is known.
    """

    network: LatmusicStyle

    def forward(self, audio: Tensor, uniforms: Tensor, noise: Tensor, progress: float) -> Losses:
        estimate = self.network.synthesise(self.network.encode(audio), audio.new_zeros(()))
        x, y = inside(self.network, estimate, audio)
        waveform = (x - y).abs().mean(-1) / y.abs().mean(-1).clamp_min(_QUIET)
        mel = mel_distance(x, y, self.network.config.sample_rate)
        return without_noise(mel + PHASE * (waveform + complex_distance(x, y)))
