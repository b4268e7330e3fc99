"""The protocol of embeddings, and the windows they share: one vector a window, independent of other files.

Conventions
-----------
Audio is float32 ``(channels, samples)`` at the embedding's own ``sample_rate``; a model of one channel gets the mean
of the channels. Windows start at multiples of ``hop`` and lie wholly inside the file; samples after the last whole window
are ignored (the tail rule of every embedding here). A file shorter than one window gives ``(0, dim)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TAIL_RULE = "whole windows only; the rest of the file is ignored"


@runtime_checkable
class Embedding(Protocol):
    """A model whose vectors Fréchet and kernel distances compare.

    Attributes
    ----------
    name : str
        Registry name, such as ``"musicnn"``.
    sample_rate : int
        Hz.
    window, hop : int
        Samples of one window, and from the start of one window to the next.
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


def settings(embedding: type[Embedding] | Embedding) -> dict[str, object]:
    """Window, hop and tail rule of an embedding, as part of its fingerprint."""
    return {"window": embedding.window, "hop": embedding.hop, "tail": TAIL_RULE, "version": 1}


def refusal(embedding: Embedding, audio: np.ndarray) -> str:
    """Reason why a file, (channels, samples) at the embedding's rate, cannot be embedded; empty if it can."""
    if not np.isfinite(audio).all():
        return f"not finite: {int((~np.isfinite(audio)).sum())} samples are NaN or infinite"
    if audio.shape[-1] < embedding.window:
        seconds, needed = audio.shape[-1] / embedding.sample_rate, embedding.window / embedding.sample_rate
        return f"too short for {embedding.name}: must last {needed:.2f} s, lasts {seconds:.2f} s"
    if not audio.any():
        return "silent: every sample is 0"
    return ""


def embed_files(embedding: Embedding, audios: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    """Embed the files, (channels, samples) at the embedding's rate, that can be embedded.

    Returns
    -------
    windows : list of np.ndarray, float32, (windows, dim)
        Empty for a refused file.
    reasons : list of str
        :func:`refusal` of each file.
    """
    reasons = [refusal(embedding, audio) for audio in audios]
    usable = [audio for audio, reason in zip(audios, reasons, strict=True) if not reason]
    vectors = iter(embedding.embed(usable) if usable else ())
    return [np.empty((0, embedding.dim), np.float32) if reason else next(vectors) for reason in reasons], reasons


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


def in_batches(
    files: Sequence[np.ndarray], network: Callable[[Tensor], Tensor], *, batch_size: int, device: torch.device
) -> list[np.ndarray]:
    """Run a network over the windows of many files in batches that cross file borders.

    Every batch has exactly `batch_size` rows (the last is filled up with zeros), so that the kernels a library picks,
    and with them the rounding, do not depend on how many windows or files there are.

    Parameters
    ----------
    files : sequence of np.ndarray, (windows, ...)
    network : callable
        (batch_size, ...) -> (batch_size, dim), on `device`.

    Returns
    -------
    list of np.ndarray, (windows, dim)
    """
    import torch

    rows = np.concatenate([np.asarray(file) for file in files])
    missing = -len(rows) % batch_size
    filled = np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
    if not len(filled):  # no window at all: one empty batch tells the width
        filled = np.zeros((batch_size, *rows.shape[1:]), rows.dtype)
    with torch.inference_mode():
        batches = [network(batch.to(device)).cpu() for batch in torch.from_numpy(filled).split(batch_size)]
    vectors = torch.cat(batches).numpy()[: len(rows)]
    return np.split(vectors, np.cumsum([len(file) for file in files])[:-1])
