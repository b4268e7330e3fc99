"""Music2Latent through its authors' package, as users of that package hear it (an extra of its own, CC BY-NC 4.0).

It is here to be compared with: this package's own ``music2latent:published`` has the same weights and no such limits.

Conventions
-----------
44.1 kHz; every channel is coded alone. The package cuts its input to whole latents; here zeros fill it up to them, and
what comes back is cut to the input's length. All else is the package's: the first and last 35 ms fade, and minutes are
coded apart, without overlap.

References
----------
Pasini, Lattner, Fazekas, "Music2Latent: Consistency Autoencoders for Latent Audio Compression", ISMIR 2024.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from m2l_bench.audio import fit_length
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.files.weights import fill
from m2l_bench.music2latent.checkpoint import read_published
from m2l_bench.music2latent.device import pick_device
from m2l_bench.systems import framing, repository
from m2l_bench.systems.packages import load_package
from m2l_bench.systems.repository import Repository

PUBLISHED = Repository("SonyCSLParis/music2latent", ("music2latent.pt",), "233 MB, CC BY-NC 4.0")


class AuthorsMusic2Latent:
    """The authors' ``EncoderDecoder``, its weights read without executing what is pickled.

    Parameters
    ----------
    checkpoint : path-like, optional
        ``music2latent.pt`` or a folder with it. By default the published file, downloaded once.
    device : str or torch.device, optional
    seed : int
        Of the noise that decoding starts from.
    num_steps : int
        Of the sampler, at least 1.

    Raises
    ------
    ImportError
        Without the package.
    CheckpointError
        If the checkpoint cannot be had or is not that network's.
    """

    def __init__(
        self,
        *,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        seed: int = 0,
        num_steps: int = 1,
    ) -> None:
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        package = load_package("music2latent.inference", extra="authors", licence="CC BY-NC 4.0")
        self.name, self.seed, self.num_steps = "music2latent-authors", seed, num_steps
        self.device = pick_device(device)
        paths = repository.find(checkpoint, PUBLISHED)
        self.model = package.models.UNet().eval().requires_grad_(False)
        weights = read_published(paths[0])  # may hold more than the network, as in the package itself
        fill(self.model, {name: weights[name] for name in self.model.state_dict() if name in weights}, paths[0])
        # Its constructor would download into the package's own folder and execute what is pickled there.
        self._codec = object.__new__(package.inference.EncoderDecoder)
        self._codec.device, self._codec.gen = self.device, self.model.to(self.device)
        self._package = package
        self.sample_rate: int = package.hparams.sample_rate
        self.latent_dim: int = self.model.encoder.conv_out.out_channels
        self._hop: int = package.hparams.hop
        self._unit = self._hop * 2 ** package.hparams.freq_downsample_list.count(0)
        self.latent_rate = self.sample_rate / self._unit
        options = {"seed": seed, "num_steps": num_steps}
        self.fingerprint = fingerprint(self.name, options, checkpoint_sha256=repository.digest(paths))

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, latent_dim, frames), as the package scales them."""
        audio, overhang = framing.as_audio(audio), 3 * self._hop
        units = max(1, -(-(audio.shape[-1] - overhang) // self._unit))
        self._set_precision()
        latents: torch.Tensor = self._codec.encode(fit_length(audio, units * self._unit + overhang))
        return latents.cpu().numpy()

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples), in [-1, 1]; zeros where the latents end before."""
        z = torch.from_numpy(framing.as_latents(latents, self.latent_dim))
        self._set_precision()
        with framing.seeded(self.seed, self.device):
            wave: torch.Tensor = self._codec.decode(z, denoising_steps=self.num_steps)
        return fit_length(wave.cpu().numpy(), n_samples)

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, samples)."""
        return self.decode(self.encode(audio), np.shape(audio)[-1])

    def _set_precision(self) -> None:
        # The package's own switch, of CUDA's half precision; left on, it warns wherever there is none.
        for module in (self._package.inference, self._package.utils):
            module.mixed_precision = self.device.type == "cuda"
