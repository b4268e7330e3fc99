"""Fit the basis of the system ``pca`` on a folder of music: ``python scripts/fit_pca.py FOLDER OUT.safetensors``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.sparse.linalg import eigsh

from m2l_bench import audio as audio_io
from m2l_bench.systems import pca
from m2l_bench.systems.pca import HOP


def fit(paths: Iterable[Path], *, dim: int = 64, max_seconds: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    """Fit the basis on music.

    Parameters
    ----------
    paths : iterable of Path
    dim : int
        Components to keep.
    max_seconds : float
        At most this much is read from the middle of each file, so that long tracks do not dominate.

    Returns
    -------
    mean : np.ndarray, float32, (4096,)
    components : np.ndarray, float32, (dim, 4096)
        Orthonormal, by falling variance; each one's largest entry is positive.

    Raises
    ------
    AudioError
        If a file cannot be read or the files hold fewer than `dim` frames together.
    """
    total, outer, count = np.zeros(HOP), np.zeros((HOP, HOP)), 0
    for path in paths:
        header = audio_io.info(path)
        length = min(header.n_samples, int(max_seconds * header.sample_rate))
        start = (header.n_samples - length) // 2
        signal, _ = audio_io.load(path, start=start, n_samples=length, sample_rate=44100)
        frames = pca.compress(pca.mdct(signal)).reshape(-1, HOP).astype(np.float64)
        total += frames.sum(0)
        outer += frames.T @ frames
        count += len(frames)
    if count < dim:
        raise audio_io.AudioError(f"fitting {dim} components needs at least {dim} frames of {HOP} samples, got {count}")
    mean = total / count
    covariance = outer / count - np.outer(mean, mean)
    # Lanczos: 64 of 4096 pairs are wanted; the start vector is fixed so that two fits agree.
    values, vectors = eigsh(covariance, k=dim, which="LA", v0=np.ones(HOP))
    components = vectors.T[np.argsort(-values)]
    signs = np.sign(components[np.arange(dim), np.abs(components).argmax(1)])
    return mean.astype(np.float32), np.ascontiguousarray(components * signs[:, None], dtype=np.float32)


def save_basis(path: str | Path, mean: np.ndarray, components: np.ndarray) -> None:
    """Write a basis as safetensors, components in half precision (its error is far below the loss of 64x)."""
    save_file({"mean": mean, "components": components.astype(np.float16)}, path)


if __name__ == "__main__":
    save_basis(sys.argv[2], *fit(audio_io.list_audio(sys.argv[1])))
