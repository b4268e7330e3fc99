"""EAR-VAE and EAR-VAE2 with the published weights, as systems.

Conventions
-----------
Channels are coded in pairs. Latents are the mean of the posterior, and nothing is random. The audio is padded with zeros to
whole frames (EAR-VAE's authors drop the last, incomplete one); EAR-VAE2's by half a window at least, so that a file whose
last frame is nearly full gets one frame more than from its authors. Neither clipping nor the loudness normalisation
(-14 LUFS) of the authors' command line is applied. Long audio goes through in blocks, with enough context that the result
is that of the whole file; EAR-VAE's transformer sees all frames of a file, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import torch

from m2l_bench.audio import fit_length
from m2l_bench.files.hub import HubFile
from m2l_bench.systems.ear_vae import complex_spectrum, waveform
from m2l_bench.systems.ear_vae.published_file import load
from m2l_bench.systems.pretrained import each_in_blocks
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

Network: TypeAlias = waveform.Network | complex_spectrum.Network
CONFIGS = {"ear-vae": waveform.Config(), "ear-vae2": complex_spectrum.Config()}
NETWORKS: dict[str, Callable[[Any], Network]] = {"ear-vae": waveform.Network, "ear-vae2": complex_spectrum.Network}
# Sizes are those of the published configurations in float32.
PUBLISHED: dict[str, tuple[HubFile, ...]] = {
    "ear-vae": hub_files("earlab/EAR_VAE", ["pretrained_weight/ear_vae_44k.pyt"], "about 590 MB, Apache-2.0"),
    "ear-vae2": hub_files("earlab/EAR_VAE2", ["weights/ear_vae2.pt"], "about 710 MB, Apache-2.0"),
}


class EarVae(PublishedSystem):
    """EAR-VAE (44.1 kHz, 32 samples per latent value) or EAR-VAE2 (48 kHz, 30).

    Parameters
    ----------
    system : {"ear-vae", "ear-vae2"}
    checkpoint, device, seed
        As for the base class.
    """

    pairs = True

    def __init__(
        self, *, system: str = "ear-vae", checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
    ) -> None:
        self.name, self.published = system, PUBLISHED[system]
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        self.network = network = NETWORKS[system](CONFIGS[system])
        load(network, network.published_names(), self.paths[0])
        network.to(self.device).eval().requires_grad_(False)
        self.sample_rate, self.latent_dim = network.sample_rate, network.latent_dim
        self.latent_rate = network.sample_rate / network.hop

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, latent_dim, frames)."""
        pairs, network = self.streams(audio), self.network
        frames = -(-(pairs.shape[-1] + network.tail) // network.hop)
        wave = torch.from_numpy(fit_length(pairs, frames * network.hop)).to(self.device)
        return each_in_blocks(network.encode, wave, network.encoder_context, Fraction(1, network.hop)).cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(streams, latent_dim, frames) -> (channels, n_samples); values may exceed 1, as the networks' do."""
        network = self.network
        z = torch.cat([network.attend(one) for one in self.latents(latents).split(1)])
        wave = each_in_blocks(network.decode, z, network.decoder_context, Fraction(network.hop))
        return fit_length(wave.flatten(0, 1).cpu().numpy(), n_samples)
