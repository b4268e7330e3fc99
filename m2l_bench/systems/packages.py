"""Packages of other authors that one system alone needs: imported on use, with a note on their licence.

Each is an extra of this package (``pyproject.toml``) and not shipped with it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from typing import Any

import numpy as np
import torch

from m2l_bench.audio import fit_length
from m2l_bench.files.weights import fill
from m2l_bench.music2latent.checkpoint import read_published
from m2l_bench.systems import framing
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

MUSIC2LATENT = hub_files("SonyCSLParis/music2latent", ("music2latent.pt",), "233 MB, CC BY-NC 4.0")
_announced: set[str] = set()


def load_package(module: str, *, extra: str, licence: str) -> Any:
    """Import a package by one of its modules, such as ``"codicodec.inference"``, which the `extra` of this package installs.

    Its licence is printed to stderr the first time in a process; worker processes print nothing. ImportError, which says what
    to install, if it is not installed.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"the package {package} ({licence}) is needed: pip install 'm2l-bench[{extra}]'") from error
    if package not in _announced and multiprocessing.parent_process() is None:
        _announced.add(package)
        print(f"{package}: another author's package, licence {licence}", file=sys.stderr)
    return sys.modules[package]


class EncoderDecoderSystem(PublishedSystem):
    """Base class of the systems on the ``EncoderDecoder`` of Pasini's packages; pickled code is never executed.

    Parameters
    ----------
    num_steps : int
        Steps of the sampler, at least 1.
    checkpoint, device, seed
        As for the base class; the noise that decoding starts from is seeded.

    Attributes
    ----------
    module, extra : str
        As for :func:`load_package`.
    exact : bool
        Whether a checkpoint that holds more than the network is refused.
    """

    module: str
    extra: str
    exact = True

    def __init__(self, *, num_steps: int, checkpoint: Checkpoint, device: Device, seed: int) -> None:
        self.package = load_package(self.module, extra=self.extra, licence="CC BY-NC 4.0")
        self.num_steps, self.options = num_steps, {"seed": seed, "num_steps": num_steps}
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        self.model = self.package.models.UNet().eval().requires_grad_(False)
        weights, names = read_published(self.paths[0]), self.model.state_dict()
        fill(self.model, {key: value for key, value in weights.items() if self.exact or key in names}, self.paths[0])
        # Its constructor would download into the package's own folder and execute what is pickled there.
        self.codec = object.__new__(self.package.inference.EncoderDecoder)
        self.codec.device, self.codec.gen = self.device, self.model.to(self.device)

    def set_precision(self) -> None:
        """Set the package's own switch: half precision on CUDA alone (elsewhere it warns or gives other numbers)."""
        for module in (self.package.inference, self.package.utils):
            module.mixed_precision = self.device.type == "cuda"


class AuthorsMusic2Latent(EncoderDecoderSystem):
    """Music2Latent through its authors' package, with that package's limits, as a comparison.

    This package's own ``music2latent:published`` has the same weights and no such limits. 44.1 kHz; every channel is coded
    alone. The input is padded with zeros to whole latents and the output cut to the input's length. All else is the
    package's: the first and last 35 ms fade, and minutes are coded separately, without overlap.

    Parameters
    ----------
    num_steps, checkpoint, device, seed
        As for :class:`EncoderDecoderSystem`.

    References
    ----------
    Pasini, Lattner, Fazekas, "Music2Latent: Consistency Autoencoders for Latent Audio Compression", ISMIR 2024.
    """

    name, published = "music2latent-authors", MUSIC2LATENT
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
