"""Builds Moûsai from its original libraries: a-unet, audio-encoders-pytorch and audio-diffusion-pytorch.

Used by the recording script alone. The libraries import torchaudio for a mel front end; a stand-in gives them the two
classes they use, written from torchaudio's documentation.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import librosa
import torch
from torch import Tensor, nn

from m2l_bench.systems.mousai.network import Config


class Spectrogram(nn.Module):
    """torchaudio's, with ``power=None``."""

    def __init__(self, n_fft: int, hop_length: int, win_length: int, center: bool, power: None) -> None:
        super().__init__()
        self.options = {"n_fft": n_fft, "hop_length": hop_length, "win_length": win_length, "center": center}
        self.register_buffer("window", torch.hann_window(win_length))

    def forward(self, wave: Tensor) -> Tensor:
        return torch.stft(wave, **self.options, window=self.window, normalized=False, return_complex=True)


class MelScale(nn.Module):
    """torchaudio's default: HTK triangles without area normalisation."""

    def __init__(self, n_mels: int, n_stft: int, sample_rate: int) -> None:
        super().__init__()
        bands = librosa.filters.mel(sr=sample_rate, n_fft=2 * (n_stft - 1), n_mels=n_mels, htk=True, norm=None)
        self.register_buffer("fb", torch.from_numpy(bands.T.copy()))

    def forward(self, spectrogram: Tensor) -> Tensor:
        return torch.matmul(spectrogram.transpose(-1, -2), self.fb).transpose(-1, -2)


def build(libraries: Path, config: Config) -> nn.Module:
    """The original of one configuration; its state dict is the published one's without the leading ``model.``."""
    transforms = types.SimpleNamespace(Spectrogram=Spectrogram, MelScale=MelScale)
    sys.modules["torchaudio"] = types.SimpleNamespace(transforms=transforms)  # type: ignore[assignment]
    if str(libraries) not in sys.path:
        sys.path.insert(0, str(libraries))
    from audio_diffusion_pytorch import DiffusionAE, LTPlugin, UNetV0
    from audio_encoders_pytorch import ME1d, MelE1d, TanhBottleneck

    shared = {
        "in_channels": 2,
        "channels": config.encoder_channels,
        "multipliers": [1] * (1 + len(config.encoder_factors)),
        "factors": list(config.encoder_factors),
        "num_blocks": list(config.encoder_blocks),
        "out_channels": config.latent_dim,
        "bottleneck": TanhBottleneck(),
    }
    if config.mel_bands is None:
        encoder = ME1d(stft_num_fft=config.fft_size, stft_hop_length=config.hop, **shared)
    else:
        encoder = MelE1d(
            mel_channels=config.mel_bands,
            mel_sample_rate=config.sample_rate,
            mel_n_fft=config.fft_size,
            mel_win_length=config.fft_size,
            mel_hop_length=config.hop,
            mel_normalize_log=True,
            **shared,
        )
    return DiffusionAE(
        net_t=LTPlugin(UNetV0, num_filters=config.filters, window_length=config.window, stride=config.stride),
        in_channels=2,
        channels=list(config.channels),
        factors=list(config.factors),
        items=list(config.blocks),
        inject_depth=config.latent_level,
        encoder=encoder,
        modulation_features=config.features,
    ).eval()
