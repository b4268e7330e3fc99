"""The autoencoder of Stable Audio Open, through diffusers.

Conventions
-----------
44.1 kHz stereo; channels are coded in pairs. Latents are the mean of the variational posterior. The input is filled
with zeros up to whole frames of 2,048 samples. Long inputs go through in blocks with enough context that the result is
the same.

References
----------
Evans, Parker, Carr, Zukowski, Taylor and Pons, "Stable Audio Open", ICASSP 2025.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from m2l_bench.audio import fit_length
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.music2latent.device import pick_device
from m2l_bench.systems import framing, pretrained, repository
from m2l_bench.systems.repository import Repository

PUBLISHED = Repository(
    "stabilityai/stable-audio-open-1.0",
    ("config.json", "diffusion_pytorch_model.safetensors"),
    "625 MB, Stability AI Community License, gated: accept it on the hub and log in",
    subfolder="vae",
)


class StableAudio:
    """Stable Audio's variational autoencoder: 64 values per 2,048 stereo samples (21.5 Hz).

    Parameters
    ----------
    checkpoint : path-like, optional
        Folder with ``config.json`` and ``diffusion_pytorch_model.safetensors`` as diffusers writes them. By default the
        published files, downloaded once; the repository is gated, so a licence must be accepted and a token set first.
    device : str or torch.device, optional
    seed : int
        Nothing is random here; kept for the record.
    """

    def __init__(
        self, *, checkpoint: str | Path | None = None, device: str | torch.device | None = None, seed: int = 0
    ) -> None:
        self.name = "stable-audio"
        self.seed = seed
        self.device = pick_device(device)
        paths = repository.find(checkpoint, PUBLISHED)
        self.model = pretrained.load("diffusers", "AutoencoderOobleck", paths[0].parent).to(self.device)
        self.sample_rate = self.model.config.sampling_rate
        self.latent_dim = self.model.config.decoder_input_channels
        self._hop = self.model.hop_length
        self.latent_rate = self.sample_rate / self._hop
        self._context = pretrained.reach(self.model.config.downsampling_ratios)
        self.fingerprint = fingerprint(self.name, {}, checkpoint_sha256=repository.digest(paths))

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (ceil(channels / 2), latent_dim, frames)."""
        hop = self._hop
        pairs = framing.pad_to_multiple(framing.to_pairs(framing.as_audio(audio)), hop)
        wave = torch.from_numpy(pairs).to(self.device)
        moments = pretrained.each_in_blocks(self.model.encoder, wave, self._context, Fraction(1, hop))
        return moments[:, : self.latent_dim].cpu().numpy()  # the other half is the posterior's width

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(pairs, latent_dim, frames) -> (2 * pairs, n_samples)."""
        z = torch.from_numpy(framing.as_latents(latents, self.latent_dim)).to(self.device)
        wave = pretrained.each_in_blocks(self.model.decoder, z, self._context, Fraction(self._hop))
        return fit_length(wave.flatten(0, 1).cpu().numpy(), n_samples)

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, samples)."""
        wave = self.decode(self.encode(audio), np.shape(audio)[-1])
        return framing.from_pairs(wave.reshape(-1, 2, wave.shape[-1]), np.shape(audio)[0])
