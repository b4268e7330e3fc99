"""DAC, the Descript audio codec, through transformers: with its quantiser, or as the autoencoder around it.

Conventions
-----------
44.1 kHz; every channel is coded alone. The input is filled with zeros up to whole frames of 512 samples, as the
library's own feature extractor does. Long inputs go through in blocks with enough context that the result is the same.

References
----------
Kumar, Seetharaman, Luebs, Kumar and Kumar, "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.music2latent.device import pick_device
from m2l_bench.systems import bits, framing, pretrained, repository
from m2l_bench.systems.repository import Repository

PUBLISHED = Repository("descript/dac_44khz", ("config.json", "model.safetensors"), "307 MB, MIT")


class ContinuousDac:
    """DAC's encoder and decoder without the quantiser between: 1,024 values per 512 samples (86.1 Hz).

    Parameters
    ----------
    checkpoint : path-like, optional
        Folder with ``config.json`` and ``model.safetensors`` as transformers writes them. By default the published
        files, downloaded once.
    device : str or torch.device, optional
    seed : int
        Nothing is random here; kept for the record.
    """

    def __init__(
        self, *, checkpoint: str | Path | None = None, device: str | torch.device | None = None, seed: int = 0
    ) -> None:
        self.name = "dac:44khz-continuous"
        self.seed = seed
        self.device = pick_device(device)
        paths = repository.find(checkpoint, PUBLISHED)
        self.model = pretrained.load("transformers", "DacModel", paths[0].parent).to(self.device)
        config = self.model.config
        self.sample_rate = config.sampling_rate
        self.latent_dim = config.hidden_size
        self.latent_rate = config.sampling_rate / config.hop_length
        self._hop = config.hop_length
        self._context = pretrained.reach(config.downsampling_ratios)
        self._sha256 = repository.digest(paths)
        self.fingerprint = fingerprint(self.name, {}, checkpoint_sha256=self._sha256)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, latent_dim, frames)."""
        return self._encode(audio).cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples)."""
        z = torch.from_numpy(framing.as_latents(latents, self.latent_dim)).to(self.device)
        wave = pretrained.each_in_blocks(self.model.decoder, z, self._context, Fraction(self._hop))
        return fit_length(wave[:, 0].cpu().numpy(), n_samples)

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, samples)."""
        return self.decode(self.encode(audio), np.shape(audio)[-1])

    @torch.inference_mode()
    def _encode(self, audio: np.ndarray) -> Tensor:
        padded = framing.pad_to_multiple(framing.as_audio(audio), self._hop)
        wave = torch.from_numpy(padded).to(self.device)[:, None]
        return pretrained.each_in_blocks(self.model.encoder, wave, self._context, Fraction(1, self._hop))


class Dac(ContinuousDac):
    """DAC with its residual vector quantiser.

    Parameters
    ----------
    codebooks : int
        How many of the 9 codebooks are used, 10 bits a frame each: 9 make 7.75 kbit/s, 3 make 2.58 kbit/s.
    checkpoint, device, seed
        As for :class:`ContinuousDac`.
    """

    def __init__(
        self,
        *,
        codebooks: int = 9,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        most = self.model.config.n_codebooks
        if not 1 <= codebooks <= most:
            raise ValueError(f"codebooks must be in [1, {most}], got {codebooks}")
        self.codebooks = codebooks
        self.name = "dac:44khz" if codebooks == most else f"dac:44khz-{codebooks}"
        self.fingerprint = fingerprint(self.name, {"codebooks": codebooks}, checkpoint_sha256=self._sha256)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> quantised latents (channels, latent_dim, frames)."""
        return self._latents(self._quantise(audio))

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> codes of 10 bits: channel by channel, codebook by codebook, frame by frame."""
        return bits.pack(self._quantise(audio).cpu().numpy(), self.model.bits_per_codebook)

    @torch.inference_mode()
    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """What :meth:`compress` wrote -> (channels, n_samples)."""
        shape = channels, self.codebooks, -(-n_samples // self._hop)
        codes = bits.unpack(data, self.model.bits_per_codebook, int(np.prod(shape))).reshape(shape)
        return self.decode(self._latents(torch.from_numpy(codes).to(self.device)), n_samples)

    @torch.inference_mode()
    def _quantise(self, audio: np.ndarray) -> Tensor:
        """Codes (channels, codebooks, frames)."""
        z = self._encode(audio)
        return pretrained.frames_in_blocks(lambda piece: self.model.quantizer(piece, self.codebooks)[1], z)

    @torch.inference_mode()
    def _latents(self, codes: Tensor) -> np.ndarray:
        """From the codes alone, so that reconstructions are what the bit stream holds, to the last bit."""
        return pretrained.frames_in_blocks(lambda piece: self.model.quantizer.from_codes(piece)[0], codes).cpu().numpy()
