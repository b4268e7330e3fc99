"""SAME, the autoencoders of Stable Audio 3, from their published files.

The layers are those of diffusers' ``AutoencoderSAME``. What is between them follows the published code, of which the class
has one case: attention in a sliding window (SAME-L), or in chunks that are shifted by half for the second half of the layers
(SAME-S); a mapping over three patches; and the noise that decoding adds.

Conventions
-----------
44.1 kHz stereo; channels are coded in pairs. The input is padded with zeros to whole frames (SAME-S: to pairs of frames).
Noise depends on the seed and the place in the file alone. Long files go through in blocks, with enough context that the
result is the same. Weights are computed with in float32, however they are stored.

References
----------
Stability AI, "SAME" and "Stable Audio 3", 2026 (arXiv 2605.18613, 2605.17991).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.untrusted import parse_json
from m2l_bench.plugins import one_line
from m2l_bench.systems import framing, pretrained
from m2l_bench.systems.diffusers_audio import windows_reach
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

FILES = ("model_config.json", "model.safetensors")
_LICENCE = "Stability AI Community License"
PUBLISHED = {
    "same-s": hub_files("stabilityai/SAME-S", FILES, f"0.2 to 0.4 GB (108 million parameters), {_LICENCE}"),
    "same-l": hub_files("stabilityai/SAME-L", FILES, f"1.7 to 3.4 GB (852 million parameters), {_LICENCE}"),
}
_NOISE = 1e-3  # of decoding, in standard deviations of the encoder's output


class Stack(BaseModel):
    """Options of the encoder or the decoder, with the published code's defaults; others have no effect there.

    One entry a level, from the waveform down. ``chunk_size`` is in patches; with ``sliding_window`` (segments before and
    after) there are no chunks.
    """

    model_config = ConfigDict(frozen=True)

    channels: int = 128
    latent_dim: int = 32
    c_mults: tuple[int, ...] = (1, 2, 4, 8)
    strides: tuple[int, ...] = (2, 4, 8, 8)
    transformer_depths: tuple[int, ...] = (3, 3, 3, 3)
    sliding_window: tuple[int, int] | None = None
    chunk_size: int = 128
    chunk_midpoint_shift: bool = False
    dim_heads: int = 128
    ff_mult: int = 3
    differential: bool = True
    variable_stride: bool = False
    conv_mapping: bool = False
    mask_noise: float = 0.0
    sinusoidal_blocks: tuple[int, ...] = (0,)
    # Networks that diffusers' class does not have.
    conformer: bool = False
    layer_scale: bool = False
    feat_scale: bool = False
    cross_attn: bool = False
    dyt: bool = True
    mapping_bias: bool = True

    def check(self, encoder: Stack) -> None:
        """Raise ValueError where there is no such network here; sizes must be those of the encoder."""
        for name in ("conformer", "layer_scale", "feat_scale", "cross_attn", "dyt", "mapping_bias"):
            if getattr(self, name) != Stack.model_fields[name].default:
                raise ValueError(f"{name} must be {not getattr(self, name)}, got {getattr(self, name)}")
        for name in (
            *("channels", "latent_dim", "c_mults", "strides", "transformer_depths", "sliding_window", "chunk_size"),
            *("dim_heads", "ff_mult", "differential"),
        ):
            if getattr(self, name) != getattr(encoder, name):
                raise ValueError(f"{name} must be the encoder's, {getattr(encoder, name)}, got {getattr(self, name)}")
        window = self.sliding_window
        if window is not None and window[0] != window[1]:
            raise ValueError(f"sliding_window must be as wide before as after, got {window}")
        if window is None and (len(self.strides) > 1 or self.chunk_size % self.strides[0]):
            raise ValueError(
                "without sliding_window there must be one level, whose stride divides chunk_size, got strides "
                f"{self.strides} and chunk_size {self.chunk_size}"
            )

    @property
    def unit(self) -> int:
        """Frames whose number the input must be a multiple of: those of a chunk."""
        return 1 if self.sliding_window else self.chunk_size // self.strides[0]

    @property
    def context(self) -> int:
        """Frames on either side that an output can depend on, a multiple of `unit`."""
        if self.sliding_window is None:
            return 2 * self.unit
        # A mapping of three patches reaches into the next frame.
        return windows_reach(self.transformer_depths, self.strides, self.sliding_window[0]) + self.conv_mapping


@dataclass(frozen=True)
class Settings:
    """What a ``model_config.json`` says."""

    sample_rate: int
    channels: int
    patch_size: int
    encoder: Stack
    decoder: Stack
    soft_clip: bool
    noise: bool

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return self.patch_size * prod(self.encoder.strides)

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Read a file; CheckpointError if it does not describe a network of these."""
        try:
            config = parse_json(path.read_bytes())
            model = config["model"]
            encoder, decoder = (Stack.model_validate(model[side]["config"]) for side in ("encoder", "decoder"))
            encoder.check(encoder)
            decoder.check(encoder)
            patches, bottleneck = model["pretransform"]["config"], model["bottleneck"]["config"]
            for name, options in (("oversampling", patches), ("postfilter_channels", patches)):
                if options.get(name, 0) > (name == "oversampling"):
                    raise ValueError(f"{name} is not supported, got {options[name]}")
            if bottleneck.get("noise_augment_dim"):
                raise ValueError(f"noise_augment_dim must be 0, got {bottleneck['noise_augment_dim']}")
            noise = bool(bottleneck.get("noise_regularize"))
            if noise and not bottleneck.get("auto_scale"):
                raise ValueError("noise_regularize must have auto_scale beside it, got none")
            if patches["channels"] not in (1, 2):
                raise ValueError(f"channels must be 1 or 2, got {patches['channels']}")
            soft_clip = bool(model["decoder"].get("soft_clip"))
            sizes = int(config["sample_rate"]), int(patches["channels"]), int(patches["patch_size"])
            return cls(*sizes, encoder, decoder, soft_clip, noise)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}: must describe an autoencoder as SAME's: {one_line(error)}") from error


class Same(PublishedSystem):
    """SAME-S or SAME-L.

    Parameters
    ----------
    system : {"same-s", "same-l"}
    checkpoint, device, seed
        As for the base class; the seed is that of the noise.
    """

    def __init__(
        self, *, system: str = "same-s", checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
    ) -> None:
        self.name, self.published, self.options = system, PUBLISHED[system], {"seed": seed}
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        self.settings = Settings.read(self.paths[0])
        self.model = build(self.settings, self.paths[1]).to(self.device)
        self.pairs = self.settings.channels == 2
        self.sample_rate, self.latent_dim = self.settings.sample_rate, self.settings.encoder.latent_dim
        self.latent_rate = self.sample_rate / self.settings.hop

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, latent_dim, frames)."""
        hop, unit = self.settings.hop, self.settings.encoder.unit
        wave = torch.from_numpy(framing.pad_to_multiple(self.streams(audio), hop * unit)).to(self.device)
        z = [self._in_blocks(self._encode, one, self.settings.encoder, Fraction(1, hop)) for one in wave.split(1)]
        return torch.cat(z).cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(streams, latent_dim, frames) -> (channels, n_samples)."""
        hop, unit = self.settings.hop, self.settings.decoder.unit
        z = self.latents(latents) * self.model.bottleneck.running_std
        if self.settings.noise:
            noise = framing.noise_at(0, z.shape[-1], seed=self.seed, channels=z.shape[1])
            z = z + torch.from_numpy(noise).to(z) * self.model.bottleneck.running_std * _NOISE
        x = self.model.decoder.proj(z.transpose(1, 2)).transpose(1, 2)
        x = torch.nn.functional.pad(x, (0, -x.shape[-1] % unit))
        waves = [self._in_blocks(self._decode, one, self.settings.decoder, Fraction(hop)) for one in x.split(1)]
        wave = torch.cat(waves).flatten(0, 1)
        return fit_length((wave.tanh() if self.settings.soft_clip else wave).cpu().numpy(), n_samples)

    def _in_blocks(self, function: Callable[[Tensor, int], Tensor], x: Tensor, stack: Stack, scale: Fraction) -> Tensor:
        """Apply ``function(x, first frame)`` to one stream, in blocks of whole chunks."""
        step = scale.denominator  # inputs of a frame
        frame = torch.arange(x.shape[-1], device=x.device).div(step, rounding_mode="floor")
        block = max(1, pretrained.BLOCK_SAMPLES // (self.settings.hop * stack.unit)) * stack.unit
        return framing.in_blocks(
            lambda piece: function(piece[:, :-1], int(piece[0, -1, 0])),
            torch.cat([x, frame.to(x).expand(1, 1, -1)], 1),  # each piece carries where it is
            block=block * step,
            context=stack.context * step,
            scale=scale,
        )

    def _encode(self, wave: Tensor, frame: int) -> Tensor:
        x = self.model.patch_embed.encode(wave)
        for level, block in enumerate(self.model.encoder.blocks):
            below = prod(self.settings.encoder.strides[level + 1 :])  # segments a frame
            x = self._resample(block, x, self.settings.encoder, frame * below)
        z: Tensor = self.model.encoder.proj(x.transpose(1, 2)).transpose(1, 2)
        return self.model.bottleneck.encode(z)

    def _decode(self, x: Tensor, frame: int) -> Tensor:
        segments = 1
        for block in self.model.decoder.blocks:
            x = self._resample(block, x, self.settings.decoder, frame * segments)
            segments *= block.stride
        return self.model.patch_embed.decode(x)

    def _resample(self, block: Any, x: Tensor, stack: Stack, first: int) -> Tensor:
        """One level: segments of given and new tokens, through its layers, to the new ones: (1, channels, tokens)."""
        encodes = block.mode == "encoder"
        given, new = (block.stride, 1) if encodes else (1, block.stride)
        if encodes:
            x = block.mapping(x)
        x = x.transpose(1, 2).unflatten(1, (-1, given))
        tokens = block.new_tokens[:, None].expand(1, x.shape[1], new, -1)
        if stack.mask_noise:
            size = x.shape[1] * new
            draw = framing.noise_at(first * new, size, seed=self.seed + 1 + encodes, channels=x.shape[-1])
            tokens = tokens + stack.mask_noise * torch.from_numpy(draw).to(x).T.reshape(tokens.shape)
        x = torch.cat([x, tokens], 2).flatten(1, 2)
        x = _through(block.transformers, x, stack, given + new)
        x = x.unflatten(1, (-1, given + new))[:, :, -new:].flatten(1, 2).transpose(1, 2)
        return x if encodes else block.mapping(x)


def _through(layers: Any, x: Tensor, stack: Stack, segment: int) -> Tensor:
    """(1, tokens, width) through the layers, attention limited to windows or chunks of segments."""
    if stack.sliding_window:
        place = torch.arange(x.shape[1], device=x.device)
        outside = (place[None] - place[:, None]).abs() > stack.sliding_window[0] * segment
        mask = torch.zeros(outside.shape, device=x.device).masked_fill(outside, -torch.inf)
        for layer in layers:
            x = layer(x, attn_mask=mask)
        return x
    chunk = stack.unit * segment
    shift = chunk // 2 if stack.chunk_midpoint_shift else 0
    half = len(layers) // 2 if shift else len(layers)
    x = _in_chunks(layers[:half], x, chunk)
    if shift:
        x = torch.cat([x[:, :shift], x, x[:, -shift:]], 1)
        x = _in_chunks(layers[half:], x, chunk)[:, shift:-shift]
    return x


def _in_chunks(layers: Any, x: Tensor, chunk: int) -> Tensor:
    folded = x.reshape(-1, chunk, x.shape[-1])
    for layer in layers:
        folded = layer(folded)
    return folded.reshape(x.shape)


def build(settings: Settings, weights: Path) -> Any:
    """Diffusers' model with the published weights.

    ImportError without a diffusers that has it; CheckpointError if the weights do not fit, every one of them.
    """
    stack, model_class = settings.encoder, pretrained.library_class("diffusers", "AutoencoderSAME")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the published names of weights are those of torch's older weight_norm
        model = empty(model_class, settings)
    try:
        state = renamed(load_file(weights), len(stack.strides), differential=stack.differential)
        state.setdefault("bottleneck.running_std", torch.ones(1))  # without auto_scale there is none
        model.load_state_dict(state)
    except (ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: must fit its model_config.json: {one_line(error)}") from error
    return model.float().eval().requires_grad_(False)


def empty(model_class: Any, settings: Settings) -> Any:
    """Diffusers' model of these sizes, with weights of its own."""
    stack = settings.encoder
    model = model_class(
        audio_channels=settings.channels,
        patch_size=settings.patch_size,
        encoder_channels=stack.channels,
        encoder_c_mults=stack.c_mults,
        encoder_strides=stack.strides,
        encoder_transformer_depths=stack.transformer_depths,
        latent_dim=stack.latent_dim,
        use_differential_attention=stack.differential,
        dim_heads=stack.dim_heads,
        ff_mult=stack.ff_mult,
        sliding_window=stack.sliding_window[0] if stack.sliding_window else 1,
        encoder_sinusoidal_blocks=(0,),
        decoder_sinusoidal_blocks=settings.decoder.sinusoidal_blocks,
        sampling_rate=settings.sample_rate,
    )
    for side, options in ((model.encoder, settings.encoder), (model.decoder, settings.decoder)):
        for block in side.blocks:
            _adjust(block, options)
    return model


def _adjust(block: Any, options: Stack) -> None:
    """Give a level what diffusers' class does not have: a mapping of three patches, a new token for each place."""
    if options.conv_mapping and not isinstance(block.mapping, torch.nn.Identity):
        conv = torch.nn.Conv1d(block.in_channels, block.out_channels, 3, padding="same")
        block.mapping = torch.nn.utils.weight_norm(conv)
    if not options.variable_stride:
        places = 1 if block.mode == "encoder" else block.stride
        block.new_tokens = torch.nn.Parameter(torch.empty(1, places, block.new_tokens.shape[-1]))


# Names inside a layer: published -> diffusers'.
_LAYER = {
    "pre_norm.": "norm_attn.",
    "self_attn.": "attn.",
    "ff_norm.": "norm_ff.",
    "ff.ff.0.proj.": "ff.proj_in.",
    "ff.ff.2.": "ff.proj_out.",
}


def renamed(state: Mapping[str, Tensor], levels: int, *, differential: bool) -> dict[str, Tensor]:
    """Published weights under the names, and in the order, of diffusers' class.

    Parameters
    ----------
    state : mapping of str to Tensor
        Published name -> weight. Fused differential projections hold q, k, v and the subtracted q and k, in this order.
    levels : int
    differential : bool

    Raises
    ------
    ValueError
        If a name is none of the published ones.
    """
    out = {}
    for name, value in state.items():
        new = _renamed(name, levels)
        if new is None:
            raise ValueError(f"{name} must be one of the published names of weights")
        if new == "":  # no weight
            continue
        if differential and new.endswith("attn.to_qkv.weight"):
            q, k, v, q2, k2 = value.chunk(5)
            value = torch.cat([q, q2, k, k2, v])
        out[new] = value
    return out


def _renamed(name: str, levels: int) -> str | None:
    if re.fullmatch(r".*\.rope\.inv_freq", name) or name == "bottleneck.noise_scaling_factor":
        return ""  # constants; and the noise of other bottlenecks, which has no channels here
    if name.startswith("bottleneck."):
        return name.replace("scaling_factor", "scale")
    found = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(.*)", name)
    if found is None:
        return None
    side, place, rest = found[1], int(found[2]), found[3]
    # Beside the levels, with a transposition on either side: the projection to or from the latents.
    if place == (levels + 1 if side == "encoder" else 1):
        return f"{side}.proj.{rest}"
    level = place if side == "encoder" else place - 3
    if not 0 <= level < levels:
        return None
    layer = re.fullmatch(r"(transformers\.\d+\.)(.*)", rest)
    if layer is not None:
        rest = layer[1] + next(
            (new + layer[2][len(old) :] for old, new in _LAYER.items() if layer[2].startswith(old)), layer[2]
        )
    return f"{side}.blocks.{level}.{rest}"
