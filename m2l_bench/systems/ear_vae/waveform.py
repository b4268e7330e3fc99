"""EAR-VAE's networks: Oobleck's convolutions, and a small transformer between the latents and the decoder.

Conventions
-----------
Audio is ``(batch, 2, samples)`` at 44.1 kHz, latents are ``(batch, latent_dim, frames)``; a frame has 1,024 samples. The
convolutions are those of diffusers' ``AutoencoderOobleck``, in other sizes than Stable Audio's. The transformer attends to
all frames of a file, with rotary positions.

The authors sample the posterior; here latents are its mean. Attention is in float32, which the authors' code computes in
float16 where the package flash-attn is installed.

References
----------
Wang, Wu, Zhou, Lin, Dai and Jiang, "Back to Ear: Perceptually Driven High Fidelity Music Reconstruction", ICASSP 2026.
Code: github.com/Eps-Acoustic-Revolution-Lab/EAR_VAE, Apache-2.0.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m2l_bench.systems import pretrained

_HEAD = 32  # dimension of an attention head, all of which is rotated
# Our names of a transformer layer's modules, and of weights, -> the published ones.
_LAYER = {
    "norm_1": "pre_norm",
    "qkv": "self_attn.to_qkv",
    "out": "self_attn.to_out",
    "norm_2": "ff_norm",
    "up": "ff.ff.0.proj",
    "down": "ff.ff.2",
}
_WEIGHT = {"frequencies": "inv_freq", "normweight": "gamma", "normbias": "beta"}


@dataclass(frozen=True)
class Config:
    """Sizes, by default the published ones; the encoder is ``2 * latent_dim`` channels wide at the waveform's rate."""

    latent_dim: int = 64
    decoder_channels: int = 128
    multiples: tuple[int, ...] = (1, 2, 4, 8, 16)
    strides: tuple[int, ...] = (2, 4, 4, 4, 8)
    depth: int = 2


class Layer(nn.Module):
    """x + attention(norm(x)), then x + gated feed-forward(norm(x)): (batch, frames, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 8 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        qkv = self.qkv(self.norm_1(x)).unflatten(-1, (3, -1, _HEAD))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, frames, _HEAD)
        attended = F.scaled_dot_product_attention(rotate(q, angles), rotate(k, angles), v)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        value, gate = self.up(self.norm_2(x)).chunk(2, -1)
        return x + self.down(value * F.silu(gate))


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate the pairs (x[i], x[i + width / 2]) by their angles: (..., frames, width) and (frames, width / 2)."""
    a, b = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Transformer(nn.Module):
    """Latents (batch, latent_dim, frames) -> what the decoder takes, of the same shape."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        # radians per frame
        self.register_buffer("frequencies", 10000 ** (-torch.arange(0, _HEAD, 2) / _HEAD))
        self.frequencies: Tensor

    def forward(self, z: Tensor) -> Tensor:
        angles = torch.arange(z.shape[-1], device=z.device)[:, None] * self.frequencies
        x = z.transpose(1, 2)
        for layer in self.layers:
            x = layer(x, angles)
        return x.transpose(1, 2)


class Network(nn.Module):
    """Encoder, transformer and decoder.

    Attributes
    ----------
    sample_rate, latent_dim, hop : int
    encoder_context, decoder_context : int
        Frames on either side that the convolutions need.
    tail : int
        Samples of silence that the end of a file must be followed by.
    """

    sample_rate, tail = 44100, 0

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.latent_dim, self.hop = config.latent_dim, prod(config.strides)
        self.encoder_context = self.decoder_context = pretrained.reach(config.strides)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # diffusers still uses torch's older weight_norm
            self.convolutions = pretrained.library_class("diffusers", "AutoencoderOobleck")(
                encoder_hidden_size=2 * config.latent_dim,  # the mean and the scale of the posterior
                downsampling_ratios=list(config.strides),
                channel_multiples=list(config.multiples),
                decoder_channels=config.decoder_channels,
                decoder_input_channels=config.latent_dim,
                audio_channels=2,
                sampling_rate=self.sample_rate,
            )
        self.transformer = Transformer(config.latent_dim, config.depth)

    def encode(self, wave: Tensor) -> Tensor:
        """(batch, 2, whole frames of samples) -> the mean of the posterior, (batch, latent_dim, frames)."""
        mean: Tensor = self.convolutions.encoder(wave).chunk(2, 1)[0]
        return mean

    def attend(self, z: Tensor) -> Tensor:
        """All latents of a file -> what :meth:`decode` takes."""
        attended: Tensor = self.transformer(z)
        return attended

    def decode(self, attended: Tensor) -> Tensor:
        """(batch, latent_dim, frames) -> (batch, 2, samples)."""
        wave: Tensor = self.convolutions.decoder(attended)
        return wave

    def published_names(self) -> dict[str, str]:
        """Names in the state dict -> those in the published file, which numbers Oobleck's layers in their order."""
        modules = {"transformer": "transformers.rotary_pos_emb"}
        for part in ("encoder", "decoder"):
            modules |= _numbered(getattr(self.convolutions, part), f"convolutions.{part}", part)
        for i in range(len(self.transformer.layers)):
            modules |= {f"transformer.layers.{i}.{a}": f"transformers.layers.{i}.{b}" for a, b in _LAYER.items()}
        names = {}
        for name in self.state_dict():
            module, _, weight = name.rpartition(".")
            kind = "norm" if ".norm_" in name else ""
            names[name] = f"{modules[module]}.{_WEIGHT.get(kind + weight, weight)}"
        return names


def _numbered(module: nn.Module, ours: str, theirs: str) -> dict[str, str]:
    """Names of the layers within a module, and the same numbered in their order, lists of layers unrolled."""
    children: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        inner = child.named_children() if isinstance(child, nn.ModuleList) else []
        children += [(f"{name}.{i}", block) for i, block in inner] or [(name, child)]
    names = {} if children else {ours: theirs}
    for i, (name, child) in enumerate(children):
        names |= _numbered(child, f"{ours}.{name}", f"{theirs}.layers.{i}")
    return names
