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


class Dac(ContinuousDac):
    """DAC with its residual vector quantiser.

    Parameters
    ----------
    codebooks : int
        Number of codebooks used, at most 9, 10 bits a frame each: 9 make 7.75 kbit/s, 3 make 2.58 kbit/s.
    checkpoint, device, seed
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    """

    def __init__(
        self, *, codebooks: int = 9, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
    ) -> None:
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        most = self.model.config.n_codebooks
        if not 1 <= codebooks <= most:
            raise ValueError(f"codebooks must be in [1, {most}], got {codebooks}")
        self.codebooks = codebooks
        self.identify("dac:44khz" if codebooks == most else f"dac:44khz-{codebooks}", {"codebooks": codebooks})

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> quantised latents (channels, latent_dim, frames)."""
        return self._dequantise(self._quantise(audio))

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> codes of 10 bits: channel by channel, codebook by codebook, frame by frame."""
        return bits.pack(self._quantise(audio).cpu().numpy(), self.model.bits_per_codebook)

    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """Output of :meth:`compress` -> (channels, n_samples)."""
        shape = channels, self.codebooks, -(-n_samples // self._hop)
        codes = bits.unpack(data, self.model.bits_per_codebook, int(np.prod(shape))).reshape(shape)
        return self.decode(self._dequantise(torch.from_numpy(codes).to(self.device)), n_samples)

    @torch.inference_mode()
    def _quantise(self, audio: np.ndarray) -> Tensor:
        """Codes (channels, codebooks, frames)."""
        z = self.encoded(audio)
        return pretrained.frames_in_blocks(lambda piece: self.model.quantizer(piece, self.codebooks)[1], z)

    @torch.inference_mode()
    def _dequantise(self, codes: Tensor) -> np.ndarray:
        """Latents from the codes alone, so that reconstructions equal the decoded bit stream exactly."""
        return pretrained.frames_in_blocks(lambda piece: self.model.quantizer.from_codes(piece)[0], codes).cpu().numpy()
