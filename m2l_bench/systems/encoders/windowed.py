"""Encoders whose frames are long windows: one vector a window, independent of the others.

Conventions
-----------
Windows start at multiples of ``hop``. :meth:`WindowEncoder.encode` fills up the end with silence to a whole window, so that
it takes any length; :meth:`WindowEncoder.whole_windows` ignores the samples after the last whole window, as set metrics do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from m2l_bench.audio import fit_length

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class WindowEncoder(ABC):
    """Mean of the channels -> one vector a window.

    Attributes
    ----------
    sample_rate : int
        Hz.
    window, hop : int
        Samples of one window, and from the start of one window to the next.
    batch_size : int
        Windows that the network computes at once.
    """

    name: str
    sample_rate: int
    window: int
    hop: int
    latent_dim: int
    seed: int
    fingerprint: str
    device: torch.device
    batch_size: int

    @property
    def latent_rate(self) -> float:
        """Windows a second."""
        return self.sample_rate / self.hop

    @property
    def latent_offset(self) -> float:
        """Seconds by which a window's centre is later than the middle of its hop."""
        return (self.window - self.hop) / 2 / self.sample_rate

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (1, latent_dim, windows), at least one."""
        signal = mono(audio)
        rest = max(0, len(signal) - self.window)
        return self._latents(fit_length(signal, self.window + -(-rest // self.hop) * self.hop))

    def whole_windows(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (1, latent_dim, windows), none for a file shorter than one window."""
        return self._latents(mono(audio))

    @abstractmethod
    def patches(self, signal: np.ndarray) -> np.ndarray:
        """What the network takes: (samples,) -> (windows, ...), whole windows only."""

    @abstractmethod
    def vectors(self, patches: Tensor) -> Tensor:
        """(windows, ...) -> (windows, latent_dim), on :attr:`device`."""

    def _latents(self, signal: np.ndarray) -> np.ndarray:
        """Run the network over batches of exactly :attr:`batch_size` windows, the last filled up with zeros.

        So the kernels that a library picks, and with them the rounding, do not depend on how many windows there are.
        """
        import torch

        patches = self.patches(signal)
        if not len(patches):
            return np.empty((1, self.latent_dim, 0), np.float32)
        missing = -len(patches) % self.batch_size
        filled = np.concatenate([patches, np.zeros((missing, *patches.shape[1:]), patches.dtype)])
        with torch.inference_mode():
            batches = [self.vectors(x.to(self.device)).cpu() for x in torch.from_numpy(filled).split(self.batch_size)]
        return np.ascontiguousarray(torch.cat(batches).numpy()[: len(patches)].T[None])


def mono(audio: np.ndarray) -> np.ndarray:
    """Mean of the channels: (channels, samples) -> float32 (samples,)."""
    audio = np.asarray(audio, dtype=np.float32)
    if audio.ndim != 2 or audio.shape[0] == 0:
        raise ValueError(f"audio must have shape (channels, samples), got {audio.shape}")
    return audio.mean(axis=0)


def frames(signal: np.ndarray, length: int, hop: int) -> np.ndarray:
    """View whole frames along the first axis: (samples, ...) -> (frames, length, ...), without copying."""
    if len(signal) < length:
        return np.empty((0, length, *signal.shape[1:]), signal.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(signal, length, axis=0)[::hop]
    return np.moveaxis(windows, -1, 1)


def hann(length: int) -> np.ndarray:
    """Periodic Hann window, float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
