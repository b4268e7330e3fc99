"""Waveform autoencoders of diffusers, by one adapter: Stable Audio, ACE-Step, KVAE-Audio, or a repository of the user's.

Conventions
-----------
Latents are the mean of the posterior where a model has one, and nothing is random. The audio is padded with zeros to whole
frames and goes through the convolutions and windowed attention in blocks, with enough context that the result is the same;
what attends to the whole file sees the whole file. Stereo models code channels in pairs, mono models each channel alone.
Weights are computed with in float32, however they are stored.

References
----------
Evans, Parker, Carr, Zukowski, Taylor and Pons, "Stable Audio Open", ICASSP 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.files.hub import CheckpointError, HubFile
from m2l_bench.systems import framing, pretrained
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, configured, find, hub_files, named

FILES = ("config.json", "diffusion_pytorch_model.safetensors")  # as diffusers saves a model


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a class of diffusers has its sizes, and how it encodes.

    Attributes
    ----------
    rate, channels, width : str
        Fields of the configuration: sample rate, channels, dimension of the latents.
    hop, context : callable
        Configuration -> samples per frame; and the frames on either side that an output of `encode` or of the decoder needs.
    encode : callable
        (model, wave) -> latents, or what `whole` makes latents from; applied in blocks.
    whole : callable, optional
        (model, output of `encode` for the whole file) -> latents.
    """

    rate: str = "sampling_rate"
    channels: str = "audio_channels"
    width: str
    hop: Callable[[Any], int]
    context: Callable[[Any], int]
    encode: Callable[[Any, Tensor], Tensor]
    whole: Callable[[Any, Tensor], Tensor] = lambda model, z: z


def _attend(model: Any, hidden: Tensor) -> Tensor:
    """KVAE-Audio's attention over all frames, and the mean of the posterior."""
    attended = model.attn(hidden.transpose(1, 2)).transpose(1, 2)
    moments: Tensor = model.in_proj(attended.contiguous())
    return moments.chunk(2, dim=1)[0]


def windows_reach(depths: Sequence[int], strides: Sequence[int], window: int) -> int:
    """Context of SAME's encoder and decoder, in frames on either side.

    Each layer of a level attends to `window` of the level's segments on either side.

    Parameters
    ----------
    depths, strides : sequence of int
        Layers and stride of each level, from the waveform down.
    window : int

    Examples
    --------
    >>> windows_reach([6], [16], 1), windows_reach([3, 2], [4, 4], 1)
    (6, 3)
    """
    return sum(-(-depth * window // prod(strides[level + 1 :])) for level, depth in enumerate(depths))


LAYOUTS = {
    "AutoencoderOobleck": Layout(
        width="decoder_input_channels",
        hop=lambda config: prod(config.downsampling_ratios),
        context=lambda config: pretrained.reach(config.downsampling_ratios),
        encode=lambda model, wave: model.encode(wave).latent_dist.mode(),
    ),
    "AutoencoderKLKVAEAudio": Layout(
        rate="sample_rate",
        channels="num_channels",
        width="codebook_dim",
        hop=lambda config: prod(config.encoder_rates),
        context=lambda config: pretrained.reach(config.encoder_rates),  # its convolutions are Oobleck's
        encode=lambda model, wave: model.encoder(wave),
        whole=_attend,
    ),
    "AutoencoderSAME": Layout(
        width="latent_dim",
        hop=lambda config: config.patch_size * prod(config.encoder_strides),
        context=lambda config: windows_reach(
            config.encoder_transformer_depths, config.encoder_strides, config.sliding_window
        ),
        encode=lambda model, wave: model.encode(wave).latents,
    ),
}

# The class of each system, and its published files.
SYSTEMS: dict[str, tuple[str, tuple[HubFile, ...]]] = {
    "stable-audio": (
        "AutoencoderOobleck",
        hub_files(
            "stabilityai/stable-audio-open-1.0",
            [f"vae/{file}" for file in FILES],
            "625 MB, Stability AI Community License, gated: accept it on the hub and log in",
        ),
    ),
    "ace-step": (
        "AutoencoderOobleck",
        hub_files("ACE-Step/Ace-Step1.5", [f"vae/{file}" for file in FILES], "337 MB, MIT"),
    ),
    "kvae-audio": (
        "AutoencoderKLKVAEAudio",
        hub_files("kandinskylab/KVAE-Audio", [f"diffusers/{file}" for file in FILES], "668 MB, MIT"),
    ),
}


class DiffusersAutoencoder(PublishedSystem):
    """A published autoencoder of :data:`SYSTEMS`.

    Parameters
    ----------
    system : str
        Its name there.
    checkpoint, device, seed, precision
        As for the base class.
    """

    def __init__(
        self,
        *,
        system: str,
        checkpoint: Checkpoint = None,
        device: Device = None,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        self.name = system
        model_class, self.published = SYSTEMS[system]
        self._load(model_class, checkpoint, device, seed, precision)

    def _load(
        self, model_class: str, checkpoint: Checkpoint, device: Device, seed: int, precision: str = "float32"
    ) -> None:
        """Load the files of `published`, or of a folder; an empty `model_class` takes the configuration's."""
        config_file = find(checkpoint, self.published, only_first=True)[0]
        model_class = _checked_class(self.name, config_file, model_class)
        super().__init__(checkpoint=checkpoint, device=device, seed=seed, precision=precision)
        self._layout = LAYOUTS[model_class]
        model = pretrained.load("diffusers", model_class, self.paths[0].parent)
        config, channels = model.config, getattr(model.config, self._layout.channels)
        if channels not in (1, 2):
            raise CheckpointError(f"{config_file}: {self._layout.channels} must be 1 or 2, got {channels}")
        self.model, self.pairs = model.float().to(self.device), channels == 2
        self._hop, self._context = self._layout.hop(config), self._layout.context(config)
        self.sample_rate, self.latent_dim = getattr(config, self._layout.rate), getattr(config, self._layout.width)
        self.latent_rate = self.sample_rate / self._hop
        layout, own, code = self._layout, self.model, type(model)
        wave = torch.zeros(1, channels, pretrained.EXAMPLE_FRAMES * self._hop)
        self._encoder = self.compiled("encode", lambda piece: layout.encode(own, piece), wave, code=code)
        z = torch.zeros(1, self.latent_dim, pretrained.EXAMPLE_FRAMES)
        self._decoder = self.compiled("decode", lambda piece: own.decode(piece).sample, z, code=code)

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, latent_dim, frames)."""
        wave = torch.from_numpy(framing.pad_to_multiple(self.streams(audio), self._hop))
        return torch.cat([self._encode_one(one.to(self.device)).cpu() for one in wave.split(1)]).numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(streams, latent_dim, frames) -> (channels, n_samples)."""
        z = self.latents(latents)
        wave = pretrained.each_in_blocks(self._decoder, z, self._context, Fraction(self._hop))
        return fit_length(wave.flatten(0, 1).cpu().numpy(), n_samples)

    def _encode_one(self, wave: Tensor) -> Tensor:
        """(1, channels, whole frames of samples) -> (1, latent_dim, frames)."""
        z = pretrained.each_in_blocks(self._encoder, wave, self._context, Fraction(1, self._hop))
        return self._layout.whole(self.model, z)


class FromRepository(DiffusersAutoencoder):
    """An autoencoder of a class of :data:`LAYOUTS` in diffusers' layout, from any repository or folder.

    Parameters
    ----------
    source, checkpoint
        As for :func:`~m2l_bench.systems.repository.named`.
    device, seed
        As for the base class.
    """

    def __init__(
        self, *, source: str | None = None, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
    ) -> None:
        self.published, checkpoint, label = named("diffusers", source, checkpoint, FILES)
        self.name = f"diffusers:{label}"
        self._load("", checkpoint, device, seed)


def _checked_class(name: str, path: Path, wanted: str) -> str:
    """The class that a ``config.json`` names, or `wanted` where it names none; CheckpointError if it does not fit."""
    found = configured(path, "_class_name") or wanted
    if found not in LAYOUTS:
        raise CheckpointError(
            f"{name}: {path.name} names the class {found!r}, which is not supported; known are {', '.join(LAYOUTS)}"
        )
    if wanted and found != wanted:
        raise CheckpointError(f"{name}: {path} must be of the class {wanted}, got {found}")
    return found
