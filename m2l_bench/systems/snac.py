"""SNAC, a codec with codes at several time scales, through its authors' package (extra ``snac``).

Conventions
-----------
44.1 kHz; every channel is coded alone. The input is padded with zeros to whole units, as the package does: a unit is
a whole number of steps of the slowest codebook and of attention windows. Long inputs are processed in blocks of units with enough
context that the result is the same, but for the decoder's noise, which is drawn block by block from the seed.

References
----------
Siuzdak, Grötschla and Lanzendörfer, "SNAC: Multi-Scale Neural Audio Codec", 2024 (arXiv 2410.14411).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.untrusted import parse_json
from m2l_bench.files.weights import read_weights, tensors_of
from m2l_bench.systems import bits, framing
from m2l_bench.systems.packages import load_package
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

PUBLISHED = hub_files("hubertsiuzdak/snac_44khz", ("config.json", "pytorch_model.bin"), "218 MB, MIT")
_UNITS_AT_ONCE = 16
_CONTEXT = 2  # units to either side: convolutions reach less than one, attention into its own window only


class Snac(PublishedSystem):
    """SNAC with its quantisers.

    Parameters
    ----------
    checkpoint, device
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    seed : int
        Seed of the noise that the decoder adds.

    Attributes
    ----------
    block : int
        Samples of a block.
    """

    name, published = "snac", PUBLISHED

    def __init__(self, *, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0) -> None:
        self.options = {"seed": seed}
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        self.model = _load(*self.paths).to(self.device)
        self.sample_rate: int = self.model.sampling_rate
        self.latent_dim: int = self.model.latent_dim
        self.hop = int(self.model.hop_length)
        self._frames_a_unit = math.lcm(self.model.vq_strides[0], self.model.attn_window_size or 1)
        self.latent_rate = self.sample_rate / self.hop
        self.block = _UNITS_AT_ONCE * self._frames_a_unit * self.hop
        self._bits = int(self.model.codebook_size - 1).bit_length()

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> quantised latents (channels, latent_dim, frames)."""
        return self._dequantise(self._codes(audio)).cpu().numpy()

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples)."""
        wave = self._in_units(self.model.decoder, self.latents(latents), Fraction(self.hop))
        return fit_length(wave[:, 0].cpu().numpy(), n_samples)

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> codes: codebook by codebook, channel by channel, step by step."""
        codes = np.concatenate([part.cpu().numpy().ravel() for part in self._codes(audio)])
        return bits.pack(codes, self._bits)

    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """Output of :meth:`compress` -> (channels, n_samples)."""
        unit = self.hop * self._frames_a_unit
        frames = -(-n_samples // unit) * self._frames_a_unit
        steps = [frames // stride for stride in self.model.vq_strides]
        values = torch.from_numpy(bits.unpack(data, self._bits, channels * sum(steps))).to(self.device)
        codes = [part.reshape(channels, -1) for part in values.split([channels * count for count in steps])]
        return self.decode(self._dequantise(codes).cpu().numpy(), n_samples)

    @torch.inference_mode()
    def _codes(self, audio: np.ndarray) -> list[Tensor]:
        padded = framing.pad_to_multiple(self.streams(audio), self.hop * self._frames_a_unit)
        wave = torch.from_numpy(padded).to(self.device)
        z = self._in_units(self.model.encoder, wave, Fraction(1, self.hop))
        pieces = [self.model.quantizer(piece)[1] for piece in z.split(_UNITS_AT_ONCE * self._frames_a_unit, -1)]
        return [torch.cat(level, -1) for level in zip(*pieces, strict=True)]

    @torch.inference_mode()
    def _dequantise(self, codes: list[Tensor]) -> Tensor:
        return self.model.quantizer.from_codes(codes)

    @torch.inference_mode()
    def _in_units(self, function: Callable[[Tensor], Tensor], x: Tensor, scale: Fraction) -> Tensor:
        """Apply encoder or decoder to each channel, in blocks; each channel gets the same noise."""
        unit = self._frames_a_unit * scale.denominator
        sizes = {"block": _UNITS_AT_ONCE * unit, "context": _CONTEXT * unit}
        return framing.each_seeded(
            lambda row: framing.in_blocks(function, row, scale=scale, **sizes), x, self.seed, self.device
        )


def _load(config: Path, weights: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package still uses torch.jit.script and the older weight_norm
        model = load_package("snac", extra="snac", licence="MIT").SNAC(**parse_json(config.read_text(encoding="utf-8")))
    state = tensors_of(weights, read_weights(weights))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:  # names and shapes that do not fit, all in one message
        raise CheckpointError(f"{weights}: must hold SNAC's weights and nothing else ({error})") from error
    return model.eval().requires_grad_(False)
