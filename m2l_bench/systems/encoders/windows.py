"""What an embedding is: audio in, one vector a window out, the same for a file whatever lies beside it.

Conventions
-----------
Audio is float32 ``(channels, samples)`` at the embedding's own ``sample_rate``; a model of one channel hears the mean
of the channels. Windows start at multiples of ``hop`` and lie wholly inside the file; what is left behind the last
whole window is not heard (the tail rule of every embedding here). A file shorter than one window gives ``(0, dim)``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

TAIL_RULE = "whole windows only; the rest of the file is not heard"


@runtime_checkable
class Embedding(Protocol):
    """A model that Fréchet and kernel distances listen with.

    Attributes
    ----------
    name : str
        Registry name, such as ``"musicnn"``.
    sample_rate : int
        Hz.
    window, hop : int
        Samples that one vector hears, and between the starts of neighbouring vectors.
    dim : int
        Values a vector.
    fingerprint : str
        16 hexadecimal digits that change whenever its numbers could: model, checkpoint SHA-256, layer, window, hop.
    """

    name: str
    sample_rate: int
    window: int
    hop: int
    dim: int
    fingerprint: str

    def embed(self, audios: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Files (channels, samples) -> one float32 array (windows, dim) a file."""


def refusal(embedding: Embedding, audio: np.ndarray) -> str:
    """Say why a file cannot be scored through an embedding: not finite, too short or silent; empty where it can.

    Parameters
    ----------
    embedding : Embedding
    audio : np.ndarray, (channels, samples)
        At the embedding's sample rate.

    Returns
    -------
    str
    """
    if not np.isfinite(audio).all():
        return f"not finite: {int((~np.isfinite(audio)).sum())} samples are NaN or infinite"
    if audio.shape[-1] < embedding.window:
        seconds, needed = audio.shape[-1] / embedding.sample_rate, embedding.window / embedding.sample_rate
        return f"too short for {embedding.name}: must last {needed:.2f} s, lasts {seconds:.2f} s"
    if not audio.any():
        return "silent: every sample is 0"
    return ""


def embed_files(embedding: Embedding, audios: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    """Embed what can be embedded, and say why the rest cannot.

    Parameters
    ----------
    embedding : Embedding
    audios : sequence of np.ndarray, (channels, samples)
        At the embedding's sample rate.

    Returns
    -------
    windows : list of np.ndarray, float32, (windows, dim)
        Without windows where a file was refused.
    reasons : list of str
        :func:`refusal` of each file.
    """
    reasons = [refusal(embedding, audio) for audio in audios]
    usable = [audio for audio, reason in zip(audios, reasons, strict=True) if not reason]
    vectors = iter(embedding.embed(usable) if usable else ())
    return [np.empty((0, embedding.dim), np.float32) if reason else next(vectors) for reason in reasons], reasons


def n_windows(n_samples: int, window: int, hop: int) -> int:
    """Count the whole windows of a file.

    Examples
    --------
    >>> [n_windows(n, 100, 50) for n in (99, 100, 149, 150)]
    [0, 1, 1, 2]
    """
    return max(0, 1 + (n_samples - window) // hop)


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


def in_batches(
    files: Sequence[np.ndarray], network: Callable[[np.ndarray], np.ndarray], *, batch_size: int
) -> list[np.ndarray]:
    """Run a network over the windows of many files in batches that cross file borders.

    Every batch has exactly `batch_size` rows (the last is filled up with zeros), so that the kernels a library picks,
    and with them the rounding, do not depend on how many windows or files there are.

    Parameters
    ----------
    files : sequence of np.ndarray, (windows, ...)
    network : callable
        (batch_size, ...) -> (batch_size, dim)
    batch_size : int

    Returns
    -------
    list of np.ndarray, (windows, dim)
    """
    rows = np.concatenate([np.asarray(file) for file in files])
    missing = -len(rows) % batch_size
    filled = np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
    starts = range(0, max(len(filled), batch_size), batch_size)
    if not len(filled):  # no window at all: one empty batch tells the width
        filled = np.zeros((batch_size, *rows.shape[1:]), rows.dtype)
    vectors = np.concatenate([network(filled[start : start + batch_size]) for start in starts])[: len(rows)]
    return np.split(vectors, np.cumsum([len(file) for file in files])[:-1])


def tensors_sha256(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of named tensors: names in order, each with its type, shape and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
