"""Moûsai's two published diffusion autoencoders as systems.

Conventions
-----------
Stereo, 48 kHz; channels are coded in pairs. A recording whose length is a power of two and at most the window is
processed as it is; any other is extended by its mirror image to such a length, or cut into windows that overlap by an
eighth.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.files.weights import fill, read_weights, tensors_of
from m2l_bench.systems import framing
from m2l_bench.systems.mousai.network import VERSIONS, Network, sample
from m2l_bench.systems.mousai.state_dict import translate
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

PUBLISHED = {
    version: hub_files(repo, ("pytorch_model.bin",), f"about {size} MB, licence not stated", revision=revision)
    for version, repo, size, revision in (
        ("v2", "archinetai/dmae1d-ATC64-v2", 750, "3ffeea68d4c069777055fce9ac77bbb67eec1d68"),
        ("v3", "archinetai/dmae1d-ATC32-v3", 350, "3d43b811b83fa395d5ccd6cf58b796b85fddd1d2"),
    )
}


class Mousai(PublishedSystem):
    """Moûsai's diffusion magnitude autoencoder, v2 (64 samples per latent value) or v3 (32).

    Parameters
    ----------
    version : {"v2", "v3"}
    checkpoint, device, precision
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    num_steps : int
        Steps of the sampler, each one pass through the U-Net. The authors state no default; their example uses 20.
    window : int
        Longest input that is processed in one piece; a power of two. The published models were trained on 2**18.
    seed : int
        Seed of the noise that decoding starts from. The noise depends on the absolute place, so overlapping windows share it.

    References
    ----------
    Schneider, Kamal, Jin and Schölkopf, "Moûsai: Efficient Text-to-Music Diffusion Models", ACL 2024.
    """

    pairs = True

    def __init__(
        self,
        *,
        version: str = "v2",
        checkpoint: Checkpoint = None,
        num_steps: int = 20,
        window: int = 2**18,
        device: Device = None,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        if version not in VERSIONS:
            raise ValueError(f"version must be one of {sorted(VERSIONS)}, got {version!r}")
        self.num_steps, self.window = num_steps, window
        self.name, self.published = f"mousai-{version}", PUBLISHED[version]
        self.options = {"num_steps": num_steps, "window": window, "seed": seed}
        super().__init__(checkpoint=checkpoint, device=device, seed=seed, precision=precision)
        self.config, file = VERSIONS[version], self.paths[0]
        self.network = Network(self.config)
        published = tensors_of(file, read_weights(file, mmap=True))
        fill(self.network, translate(published, self.config), file)
        self.network.to(self.device).eval().requires_grad_(False)
        least = max(self.config.shortest, 16 * self.config.samples_per_latent)  # an eighth is two latents at least
        if window < least or window & (window - 1):
            raise ValueError(f"window must be a power of two >= {least}, got {window}")
        self.sample_rate = self.config.sample_rate
        self.latent_dim = self.config.latent_dim
        self.latent_rate = self.sample_rate / self.config.samples_per_latent
        spectrum, encoder = self.network.encoder.spectrum, self.network.encoder
        audio = torch.zeros(1, self.config.audio_channels, least)
        self._latents = self.compiled("encode", encoder.latents, spectrum(audio).flatten(1, 2), code=Network)
        z, sigma = torch.zeros(1, self.latent_dim, least // self.config.samples_per_latent), torch.ones(1)
        self._unet = self.compiled("decode", self.network.unet, audio, sigma, z, code=Network)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (ceil(channels / 2), latent_dim, frames), values in (-1, 1)."""
        pairs = self.streams(audio)
        ratio = self.config.samples_per_latent
        frames = -(-pairs.shape[-1] // ratio)
        window = self._window(frames * ratio)
        padded = framing.mirror_to(pairs, max(frames * ratio, window))

        def piece(start: int, stop: int) -> Tensor:
            return framing.each_row(self._encode, padded[..., start * ratio : stop * ratio], self.device)

        return framing.in_windows(piece, padded.shape[-1] // ratio, window // ratio, 1)[..., :frames].numpy()

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(pairs, latent_dim, frames) -> (2 * pairs, n_samples); values may exceed 1, as the original's do."""
        latents = framing.as_latents(latents, self.latent_dim)
        ratio = self.config.samples_per_latent
        window = self._window(latents.shape[-1] * ratio)
        padded = framing.mirror_to(latents, max(latents.shape[-1], window // ratio))

        def piece(start: int, stop: int) -> Tensor:
            drawn = framing.noise_at(start * ratio, window, seed=self.seed, channels=2)
            noise = torch.from_numpy(np.ascontiguousarray(drawn[None])).to(self.device)
            decode = partial(sample, self._unet, noise=noise, num_steps=self.num_steps)
            return framing.each_row(decode, padded[..., start:stop], self.device)

        wave = framing.in_windows(piece, padded.shape[-1], window // ratio, ratio)
        return fit_length(wave.flatten(0, 1).numpy(), n_samples)

    def _encode(self, audio: Tensor) -> Tensor:
        return self._latents(self.network.encoder.spectrum(audio).flatten(1, 2))

    def _window(self, length: int) -> int:
        return min(self.window, max(1 << (length - 1).bit_length(), self.config.shortest))
