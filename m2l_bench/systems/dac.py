"""DAC, the Descript audio codec, through transformers: with its quantiser, or as the autoencoder around it.

Conventions
-----------
44.1 kHz; every channel is coded alone. The input is padded with zeros to whole frames of 512 samples, as the library's
own feature extractor does. Long inputs are processed in blocks with enough context that the result is the same.

References
----------
Kumar, Seetharaman, Luebs, Kumar and Kumar, "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from m2l_bench.systems import bits, pretrained
from m2l_bench.systems.repository import Checkpoint, Device, hub_files

PUBLISHED = hub_files("descript/dac_44khz", ("config.json", "model.safetensors"), "307 MB, MIT")


class ContinuousDac(pretrained.ConvolutionalAutoencoder):
    """DAC's encoder and decoder without the quantiser: 1,024 values per 512 samples (86.1 Hz)."""

    name, published = "dac:44khz-continuous", PUBLISHED
    library, model_class, width = "transformers", "DacModel", "hidden_size"


class Dac(bits.FrameCodes, ContinuousDac):
    """DAC with its residual vector quantiser.

    Parameters
    ----------
    codebooks : int, optional
        Number of codebooks used, all by default: of 9 with 10 bits a frame each, 9 make 7.75 kbit/s, 3 make 2.58 kbit/s.
    checkpoint, device, seed, precision
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    """

    def __init__(
        self,
        *,
        codebooks: int | None = None,
        checkpoint: Checkpoint = None,
        device: Device = None,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        super().__init__(checkpoint=checkpoint, device=device, seed=seed, precision=precision)
        most = self.model.config.n_codebooks
        self.codebooks = most if codebooks is None else codebooks
        if not 1 <= self.codebooks <= most:
            raise ValueError(f"codebooks must be in [1, {most}], got {codebooks}")
        self.code_bits = self.model.bits_per_codebook
        name = "dac:44khz" if self.codebooks == most else f"dac:44khz-{codebooks}"
        self.identify(name, {"codebooks": self.codebooks})

    @torch.inference_mode()
    def quantise(self, audio: np.ndarray) -> Tensor:
        """(channels, samples) -> codes (channels, codebooks, frames)."""
        z = self.encoded(audio)
        return pretrained.frames_in_blocks(lambda piece: self.model.quantizer(piece, self.codebooks)[1], z)

    @torch.inference_mode()
    def dequantise(self, codes: Tensor) -> np.ndarray:
        """Codes -> latents (channels, latent_dim, frames)."""
        return (
            pretrained.frames_in_blocks(lambda piece: self.model.quantizer.from_codes(piece)[0], codes.to(self.device))
            .cpu()
            .numpy()
        )
