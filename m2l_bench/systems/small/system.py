"""A family's trained network as a system: any number of channels, any length, bounded memory.

Conventions
-----------
Every channel is coded alone; ends are filled up with silence. What is longer than a window is coded in overlapping
windows, placed and joined as Music2Latent's (:mod:`m2l_bench.music2latent.windows`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.files.disk import sha256
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.untrusted import parse_json
from m2l_bench.files.weights import read_safetensors
from m2l_bench.music2latent.device import pick_device
from m2l_bench.systems import bits, framing
from m2l_bench.systems.small.dac import DacStyle, DacStyleConfig
from m2l_bench.systems.small.family import FamilyConfig, FamilyNetwork
from m2l_bench.systems.small.latmusic import LatmusicStyle, LatmusicStyleConfig
from m2l_bench.systems.small.mousai import MousaiStyle, MousaiStyleConfig
from m2l_bench.systems.small.musika import MusikaStyle, MusikaStyleConfig

ASSETS = Path(__file__).parents[2] / "assets"
WINDOW = 64  # latent frames that go through at once: 5.9 s

NETWORKS: dict[str, tuple[Callable[..., FamilyNetwork], type[FamilyConfig]]] = {
    "latmusic-style": (LatmusicStyle, LatmusicStyleConfig),
    "musika-style": (MusikaStyle, MusikaStyleConfig),
    "mousai-style": (MousaiStyle, MousaiStyleConfig),
    "dac-style": (DacStyle, DacStyleConfig),
}


class FamilySystem:
    """An autoencoder in the style of a family, with weights that ``m2l-bench train`` wrote.

    Parameters
    ----------
    family : str
        A key of `NETWORKS`.
    checkpoint : path-like, optional
        The ``weights.safetensors`` of a training; by default the shipped one.
    device : str or torch.device, optional
    seed : int
        Of the noise that mousai-style decodes from, which depends on the absolute place; nothing else is random.

    Attributes
    ----------
    network : FamilyNetwork
    """

    def __init__(
        self,
        *,
        family: str,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        seed: int = 0,
    ) -> None:
        path = ASSETS / f"{family}-small" / "weights.safetensors" if checkpoint is None else Path(checkpoint)
        self.name = f"{family}:{'small' if checkpoint is None else path.stem}"
        self.seed, self.device = seed, pick_device(device)
        self.network = load_network(family, path).to(self.device)
        self.is_seeded = self.network.starts_from_noise
        config = self.network.config
        self.sample_rate, self.latent_dim = config.sample_rate, config.latent_dim
        self.latent_rate = config.sample_rate / config.samples_per_latent
        self._unit = config.samples_per_latent
        self.fingerprint = fingerprint(self.name, {"seed": seed, "window": WINDOW}, checkpoint_sha256=sha256(path))

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, latent_dim, frames)."""
        return self._by_windows(framing.as_audio(audio), self.network.encode)

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples), in [-1, 1]."""
        latents = framing.as_latents(latents, self.latent_dim)

        def piece(start: int, stop: int) -> Tensor:
            part = latents[..., start:stop]
            noise = framing.noise_at(start * self._unit, part.shape[-1] * self._unit, seed=self.seed, channels=1)
            given = torch.from_numpy(noise).to(self.device)
            return framing.each_row(lambda z: self.network.decode(z, given), part, self.device)

        wave = framing.in_windows(piece, latents.shape[-1], WINDOW, self._unit)
        return np.clip(fit_length(wave.numpy(), n_samples), -1, 1)

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, samples)."""
        return self.decode(self.encode(audio), np.shape(audio)[-1])

    def _frames(self, n_samples: int) -> int:
        return -(-(n_samples + self.network.margin) // self._unit)

    def _by_windows(self, audio: np.ndarray, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Apply an encoder, (1, samples) -> (1, dim, frames), to each channel of each window."""

        def piece(start: int, stop: int) -> Tensor:
            part = framing.slice_with_zeros(audio, start * self._unit, stop * self._unit)
            return framing.each_row(function, part, self.device)

        return framing.in_windows(piece, self._frames(audio.shape[-1]), WINDOW, 1).numpy()


class DacFamilySystem(FamilySystem):
    """dac-style with its bit stream; parameters as :class:`FamilySystem`'s."""

    network: DacStyle

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> codes: channel by channel, codebook by codebook, frame by frame."""
        codes = self._codes(framing.as_audio(audio))
        return bits.pack(codes, self.network.config.bits_per_code)

    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """Bytes of :meth:`compress` -> (channels, n_samples)."""
        config = self.network.config
        shape = channels, config.n_codebooks, self._frames(n_samples)
        codes = bits.unpack(data, config.bits_per_code, int(np.prod(shape))).reshape(shape)
        return self.decode(self._from_codes(codes), n_samples)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> quantised latents (channels, latent_dim, frames), from the codes alone."""
        return self._from_codes(self._codes(framing.as_audio(audio)))

    def _codes(self, audio: np.ndarray) -> np.ndarray:
        # Codes cannot be faded into one another: before quantisation windows are joined, then all is quantised.
        joined = self._by_windows(audio, self.network.unquantised)
        return framing.each_row(self.network.quantise, joined, self.device).numpy()

    def _from_codes(self, codes: np.ndarray) -> np.ndarray:
        return framing.each_row(self.network.from_codes, codes, self.device).numpy()


def load_network(family: str, path: Path) -> FamilyNetwork:
    """Build a family's network with the weights of a training, for inference.

    CheckpointError if the file is missing, damaged, of another family, or does not hold exactly the network's tensors.
    """
    state, metadata = read_safetensors(path)
    if metadata.get("family") != family or "config" not in metadata:
        raise CheckpointError(f"{path}: must hold weights of {family}, got {metadata.get('family', 'no family')}")
    make, config = NETWORKS[family]
    try:
        network = make(config.from_dict(parse_json(metadata["config"])))
        network.load_state_dict(state)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return network.eval().requires_grad_(False)
