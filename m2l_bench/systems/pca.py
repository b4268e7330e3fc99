"""The linear baseline: principal components of amplitude-compressed MDCT frames, at Music2Latent's compression.

A neural autoencoder is worth its cost only if it is better than the best linear one of equal size. This one keeps 64
values of every 4096 samples (64x), as Music2Latent does: frames of 4096 MDCT coefficients, compressed in amplitude by
Music2Latent's exponent (so that quiet partials count), projected on the components of greatest variance of the music that
the basis was fitted on.

Conventions
-----------
Each channel is coded alone: latents are ``(channels, dim, frames)`` at ``44100 / 4096`` Hz. The MDCT is orthonormal with a
sine window and zero delay: the signal is padded by one hop before and trimmed after.

References
----------
Princen, Johnson, Bradley, "Subband/transform coding using filter bank designs based on time domain aliasing
cancellation", ICASSP 1987, eq. 2-6.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.files.fingerprint import fingerprint

HOP = 4096
SHIPPED = Path(__file__).parent.parent / "assets" / "pca" / "mdct-64x.safetensors"
ALPHA = 0.65  # amplitude compression of Music2Latent's representation


class Pca:
    """Linear autoencoder of MDCT frames.

    Parameters
    ----------
    checkpoint : path-like, optional
        Safetensors with ``mean`` (4096,) and ``components`` (dim, 4096), as ``scripts/fit_pca.py`` writes them; the shipped
        basis by default.
    dim : int, optional
        Keep only the first `dim` components; all of them by default.
    """

    sample_rate: int | None = 44100
    latent_rate = 44100 / HOP

    def __init__(self, *, checkpoint: str | Path | None = None, dim: int | None = None, seed: int = 0) -> None:
        mean, components = load_basis(checkpoint or SHIPPED)
        if dim is not None and not 1 <= dim <= len(components):
            raise ValueError(f"dim must lie in 1...{len(components)}, got {dim}")
        self.mean, self.components = mean, components[:dim]
        self.latent_dim = len(self.components)
        self.name = "pca" if self.latent_dim == 64 else f"pca-{self.latent_dim}"
        self.seed = seed
        digest = hashlib.sha256(self.mean.tobytes() + self.components.tobytes()).hexdigest()
        self.fingerprint = fingerprint(self.name, {"hop": HOP, "alpha": ALPHA}, checkpoint_sha256=digest)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, dim, frames), ``frames = ceil(samples / 4096) + 1``."""
        frames = compress(mdct(np.asarray(audio, np.float32)))  # (channels, frames, HOP)
        return np.swapaxes((frames - self.mean) @ self.components.T, -1, -2).astype(np.float32)

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, dim, frames) -> (channels, n_samples)."""
        frames = np.swapaxes(latents, -1, -2) @ self.components + self.mean
        return np.clip(imdct(expand(frames), n_samples), -1, 1).astype(np.float32)

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> the same shape."""
        return self.decode(self.encode(audio), audio.shape[-1])


def load_basis(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read ``mean`` and ``components`` from safetensors; ValueError if they are missing or of another shape."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        mean, components = tensors["mean"], tensors["components"]
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(f"{path}: must be safetensors with 'mean' and 'components', got {error}") from error
    if mean.shape != (HOP,) or components.ndim != 2 or components.shape[1] != HOP:
        raise ValueError(f"{path}: shapes must be ({HOP},) and (dim, {HOP}), got {mean.shape} and {components.shape}")
    return mean.astype(np.float32), components.astype(np.float32)


def compress(coefficients: np.ndarray) -> np.ndarray:
    """Compress in amplitude: sign(c) |c|^0.65."""
    return np.sign(coefficients) * np.abs(coefficients) ** ALPHA


def expand(coefficients: np.ndarray) -> np.ndarray:
    """The inverse of :func:`compress`."""
    return np.sign(coefficients) * np.abs(coefficients) ** (1 / ALPHA)


def mdct(signal: np.ndarray) -> np.ndarray:
    """(..., samples) -> (..., frames, 4096), orthonormal, sine window of 8192.

    Examples
    --------
    >>> mdct(np.zeros((2, 10000), np.float32)).shape
    (2, 4, 4096)
    """
    from scipy.fft import dct

    n_frames = -(-signal.shape[-1] // HOP) + 1
    padded = audio_io.fit_length(np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(HOP, 0)]), (n_frames + 1) * HOP)
    blocks = padded.reshape(*padded.shape[:-1], n_frames + 1, HOP)
    windowed = np.concatenate([blocks[..., :-1, :], blocks[..., 1:, :]], -1) * _window()
    a, b, c, d = np.split(windowed, 4, axis=-1)
    # Folding 2N windowed samples (a, b, c, d) into N makes the MDCT a DCT-IV of (-c_r - d, a - b_r).
    folded = np.concatenate([-c[..., ::-1] - d, a - b[..., ::-1]], -1)
    return dct(folded, type=4, norm="ortho")


def imdct(coefficients: np.ndarray, n_samples: int) -> np.ndarray:
    """(..., frames, 4096) -> (..., n_samples), the inverse of :func:`mdct`."""
    from scipy.fft import dct

    folded = dct(coefficients, type=4, norm="ortho")
    first, second = np.split(folded, 2, axis=-1)
    unfolded = np.concatenate([second, -second[..., ::-1], -first[..., ::-1], -first], -1) * _window()
    left, right = unfolded[..., :HOP], unfolded[..., HOP:]
    blocks = left[..., 1:, :] + right[..., :-1, :]
    return blocks.reshape(*blocks.shape[:-2], -1)[..., :n_samples]


def _window() -> np.ndarray:
    return np.sin(np.pi * (np.arange(2 * HOP, dtype=np.float32) + 0.5) / (2 * HOP))
