"""Linear consistency autoencoders (Lin-CAE), through their authors' package (extra ``lin-cae``, Apache-2.0).

Conventions
-----------
44.1 kHz; every channel is coded alone. The package cuts its input to whole STFT frames; here it is padded with zeros
to whole latents. Inputs of more than 12 s are processed in overlapping windows that are cross-faded, latents too: the
package's own chunks would give overlapping latents. All else is the package's: the first and last three hops (35 ms) fade.

References
----------
Torres, Moussallam, Meseguer-Brocal, "Learning Linearity in Audio Consistency Autoencoders via Implicit Regularization", 2025
(arXiv 2510.23530).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.weights import fill, read_weights, tensors_of
from m2l_bench.systems import framing
from m2l_bench.systems.packages import load_package
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

_PARTS = ("frontend", "generator", "diffusion")  # each with its arguments in a YAML file
_WINDOW = 128  # latents that the network sees at once: 11.9 s of the published models
_FILES = ("autoencoder_inference_model_last.pth", *(f"{part}_kwargs_last.yaml" for part in _PARTS))
PUBLISHED = {
    variant: hub_files(
        "BernardoTorres/linear_consistency_autoencoders",
        [f"{digest}_weights/{file}" for file in _FILES],
        "about 230 MB, Apache-2.0 (the package's licence)",
    )
    for variant, digest in (("lin-cae", "0a3afbec"), ("lin-cae-2", "2f4c6d21"), ("m2l", "1511f18a"))
}


class LinCae(PublishedSystem):
    """One of the three published models.

    Parameters
    ----------
    variant : {"lin-cae", "lin-cae-2", "m2l"}
        With gain annealing, without it, or Music2Latent trained on the same data without the linear augmentation.
    checkpoint, device
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    seed : int
        Seed of the noise that decoding starts from.
    num_steps : int
        Steps of the sampler, at least 1.
    """

    def __init__(
        self,
        *,
        variant: str = "lin-cae",
        checkpoint: Checkpoint = None,
        device: Device = None,
        seed: int = 0,
        num_steps: int = 1,
    ) -> None:
        if variant not in PUBLISHED:
            raise ValueError(f"variant must be one of {', '.join(PUBLISHED)}, got {variant!r}")
        package = load_package("linear_cae", extra="lin-cae", licence="Apache-2.0")
        self.name, self.published = f"lin-cae:{variant}", PUBLISHED[variant]
        self.options = {"seed": seed, "num_steps": num_steps}
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        paths = self.paths
        try:
            # Under its name the package knows how large latents come out, and scales them to about 1.
            self.model = package.Autoencoder(*map(_arguments, paths[1:]), name=variant, diffusion_steps=num_steps)
        except TypeError as error:
            raise CheckpointError(f"{paths[0].parent}: must hold the package's arguments ({error})") from error
        fill(self.model, tensors_of(paths[0], read_weights(paths[0])), paths[0])
        self.model.eval().requires_grad_(False).to(self.device)
        frontend, generator = self.model.frontend, self.model.generator
        self.sample_rate = self.model.sample_rate or 44100
        self.latent_dim = generator.encoder.conv_out.out_channels
        self._unit: int = frontend.hop_size * 2 ** generator.freq_downsample_list.count(0)
        self._overhang: int = frontend.hop_size * (frontend.fac - 1)
        self.latent_rate = self.sample_rate / self._unit

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, latent_dim, frames), as the package scales them."""
        audio = framing.as_audio(audio)
        frames = max(1, -(-(audio.shape[-1] - self._overhang) // self._unit))
        padded = fit_length(audio, frames * self._unit + self._overhang)

        def latents(channel: Tensor, start: int, stop: int) -> Tensor:
            piece = channel[:, start * self._unit : stop * self._unit + self._overhang]
            return self.model.encode(piece.to(self.device)).cpu()

        return self._in_windows(latents, torch.from_numpy(padded), frames, 1)

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples); zeros after the end of the latents."""
        z = torch.from_numpy(framing.as_latents(latents, self.latent_dim))

        def wave(channel: Tensor, start: int, stop: int) -> Tensor:
            return self.model.decode(channel[..., start:stop].to(self.device)).cpu()

        return fit_length(self._in_windows(wave, z, z.shape[-1], self._unit), n_samples)

    @torch.inference_mode()
    def _in_windows(
        self, function: Callable[[Tensor, int, int], Tensor], x: Tensor, frames: int, unit: int
    ) -> np.ndarray:
        """Apply `function` to each channel, window by window, and join; each channel gets the same noise."""

        def whole(row: Tensor) -> Tensor:
            return framing.in_windows(partial(function, row), frames, _WINDOW, unit)

        return framing.each_seeded(whole, x, self.seed, self.device).numpy()


def _arguments(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path}: must be YAML ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: must hold arguments by name, got {type(found).__name__}")
    return found
