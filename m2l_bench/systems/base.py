"""Protocols of systems: codec, encoder, autoencoder.

Conventions
-----------
Audio is float32 ``(channels, samples)`` in [-1, 1] at the system's own ``sample_rate``; a system takes any number of
channels and any length >= 1, and ``reconstruct`` returns exactly the shape it was given. Latents are float32
``(streams, dim, frames)``; ``streams`` is the number of channels if a system codes each channel alone, else 1.
Nothing here depends on torch: NumPy is enough to write a system.

Optional, for accelerators: ``encode_batch`` and ``reconstruct_batch`` take several files of one length,
``(files, channels, samples)``, and give for each what ``encode`` and ``reconstruct`` give. A run uses them where they are there.
Optional too: ``is_seeded``, False where nothing depends on the seed although the fingerprint has it: a run then tries no other.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


class System(Protocol):
    """Attributes that every system has.

    Attributes
    ----------
    name : str
        Registry name with its variant, such as ``"opus:32k"``; the label in every table.
    sample_rate : int or None
        Rate in Hz of the audio it takes and returns; None where it accepts any rate.
    seed : int
        Random seed.
    fingerprint : str
        16 hexadecimal digits that change whenever its numbers could: see :mod:`m2l_bench.files.fingerprint`.
    """

    name: str
    sample_rate: int | None
    seed: int
    fingerprint: str


@runtime_checkable
class Codec(Protocol):
    """A system that reconstructs audio."""

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, samples), the same shape."""


@runtime_checkable
class BitstreamCodec(Codec, Protocol):
    """A codec with a bit stream, so that its bit rate is measured."""

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> the encoded bytes."""

    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """The encoded bytes -> (channels, samples)."""


@runtime_checkable
class Encoder(Protocol):
    """A system with latents, or features, to probe.

    ``latent_dim`` is their dimension and ``latent_rate`` their frames a second (Hz).
    """

    latent_dim: int
    latent_rate: float

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, latent_dim, frames)."""


@runtime_checkable
class WindowedEncoder(Encoder, Protocol):
    """An encoder whose frames are long windows of the audio, the last of which it fills up with silence.

    ``window`` and ``hop`` are in samples. Fréchet and kernel distances use the whole windows alone.
    """

    window: int
    hop: int

    def whole_windows(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (1, latent_dim, windows): as ``encode``, without the window that is filled up."""


@runtime_checkable
class Autoencoder(Codec, Encoder, Protocol):
    """A codec and encoder that also decodes latents."""

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(streams, latent_dim, frames) -> (channels, n_samples)."""


@runtime_checkable
class ReadyMade(Protocol):
    """Existing reconstructions: files, found by the reference's relative path without suffix."""

    def find(self, stem: str) -> tuple[np.ndarray, int]:
        """Relative stem, such as ``"album/01"`` -> audio (channels, samples) and its sample rate."""
