"""Music2Latent through its authors' package, with that package's limits (extra ``authors``, CC BY-NC 4.0).

It serves as a comparison: this package's own ``music2latent:published`` has the same weights and no such limits.

Conventions
-----------
44.1 kHz; every channel is coded alone. The package cuts its input to whole latents; here the input is padded with
zeros to whole latents and the output is cut to the input's length. All else is the package's: the first and last 35 ms
fade, and minutes are coded separately, without overlap.

References
----------
Pasini, Lattner, Fazekas, "Music2Latent: Consistency Autoencoders for Latent Audio Compression", ISMIR 2024.
"""

from __future__ import annotations

import numpy as np
import torch

from m2l_bench.audio import fit_length
from m2l_bench.systems import framing
from m2l_bench.systems.packages import EncoderDecoderSystem
from m2l_bench.systems.repository import Checkpoint, Device, Repository

PUBLISHED = Repository("SonyCSLParis/music2latent", ("music2latent.pt",), "233 MB, CC BY-NC 4.0")


class AuthorsMusic2Latent(EncoderDecoderSystem):
    """The authors' ``EncoderDecoder``.

    Parameters
    ----------
    num_steps, checkpoint, device, seed
        As for :class:`~m2l_bench.systems.packages.EncoderDecoderSystem`.
    """

    name, published = "music2latent-authors", PUBLISHED
    module, extra = "music2latent.inference", "authors"
    exact = False  # the package itself ignores what else the checkpoint holds

    def __init__(
        self, *, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0, num_steps: int = 1
    ) -> None:
        super().__init__(num_steps=num_steps, checkpoint=checkpoint, device=device, seed=seed)
        settings = self.package.hparams
        self.sample_rate = settings.sample_rate
        self.latent_dim = self.model.encoder.conv_out.out_channels
        self._hop: int = settings.hop
        self._unit = self._hop * 2 ** settings.freq_downsample_list.count(0)
        self.latent_rate = self.sample_rate / self._unit

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, latent_dim, frames), as the package scales them."""
        audio, overhang = framing.as_audio(audio), 3 * self._hop
        units = max(1, -(-(audio.shape[-1] - overhang) // self._unit))
        self.set_precision()
        latents: torch.Tensor = self.codec.encode(fit_length(audio, units * self._unit + overhang))
        return latents.cpu().numpy()

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples), in [-1, 1]; zeros after the end of the latents."""
        z = torch.from_numpy(framing.as_latents(latents, self.latent_dim))
        self.set_precision()
        with framing.seeded(self.seed, self.device):
            wave: torch.Tensor = self.codec.decode(z, denoising_steps=self.num_steps)
        return fit_length(wave.cpu().numpy(), n_samples)
