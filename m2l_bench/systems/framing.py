"""The border between NumPy and a network: checks, channel pairs, exact lengths, long inputs in blocks, the device.

Conventions
-----------
Audio is float32 ``(channels, samples)``. Stereo models code channels in pairs: a single channel goes in twice and comes
back as the mean of the two outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length


def as_audio(audio: np.ndarray) -> np.ndarray:
    """Check audio and return it as contiguous float32 (channels, samples).

    Raises
    ------
    ValueError
        Where it has other than two dimensions, no channel, no sample, or a value that is not finite.
    """
    array = np.asarray(audio)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"audio must be (channels >= 1, samples >= 1), got shape {array.shape}")
    array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise ValueError("audio must be finite, got NaN or infinity")
    return array


def as_latents(latents: np.ndarray, dim: int) -> np.ndarray:
    """Check latents and return them as contiguous float32 (streams, dim, frames).

    Raises
    ------
    ValueError
        Where the shape is not (streams >= 1, dim, frames >= 1).
    """
    array = np.asarray(latents)
    if array.ndim != 3 or array.shape[1] != dim or 0 in array.shape:
        raise ValueError(f"latents must be (streams >= 1, {dim}, frames >= 1), got shape {array.shape}")
    return np.ascontiguousarray(array, np.float32)


def slice_with_zeros(audio: np.ndarray, start: int, stop: int) -> np.ndarray:
    """``audio[..., start:stop]`` where whatever lies outside the array, on either side, is zero.

    Examples
    --------
    >>> slice_with_zeros(np.arange(1, 4), -1, 5)
    array([0, 1, 2, 3, 0, 0])
    """
    out = np.zeros((*audio.shape[:-1], stop - start), audio.dtype)
    inside = audio[..., max(start, 0) : max(stop, 0)]
    offset = max(-start, 0)
    out[..., offset : offset + inside.shape[-1]] = inside
    return out


def pad_to_multiple(audio: np.ndarray, multiple: int) -> np.ndarray:
    """Fill the end with zeros up to the next multiple of ``multiple`` samples."""
    return fit_length(audio, -(-audio.shape[-1] // multiple) * multiple)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let code that draws from PyTorch's global generators draw from a seed; their own state is put back."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def to_pairs(audio: np.ndarray) -> np.ndarray:
    """(channels, samples) -> (ceil(channels / 2), 2, samples); a channel without a partner is its own."""
    if audio.shape[0] % 2:
        audio = np.concatenate([audio, audio[-1:]])
    return audio.reshape(-1, 2, audio.shape[-1])


def from_pairs(pairs: np.ndarray, channels: int) -> np.ndarray:
    """(pairs, 2, samples) -> (channels, samples), the way back; a lone channel is its pair's mean."""
    flat = pairs.reshape(-1, pairs.shape[-1])
    if channels % 2:
        flat = np.concatenate([flat[: channels - 1], pairs[-1].mean(0, keepdims=True)])
    return flat


def in_blocks(
    function: Callable[[Tensor], Tensor], x: Tensor, *, block: int, context: int, scale: Fraction | int
) -> Tensor:
    """Apply a network of finite reach to a long input piece by piece, with the result of applying it once.

    Parameters
    ----------
    function : callable
        (..., n) -> (..., n * scale), every output depending on at most ``context`` inputs on either side of its place.
    x : Tensor
        Shape (..., time).
    block : int
        Inputs whose outputs are kept per piece.
    context : int
        Inputs that each piece has on either side in addition.
    scale : Fraction or int
        Outputs per input; ``block`` and ``context`` times it are whole. The last outputs are kept as they come, so that
        a network may round a length that it does not divide.

    Returns
    -------
    Tensor
        Shape (..., time * scale).
    """
    length = x.shape[-1]
    if length <= block + context:
        return function(x)
    pieces = []
    for start in range(0, length, block):
        first, stop = max(0, start - context), min(start + block, length)
        piece = function(x[..., first : stop + context])
        end = None if stop == length else int((stop - first) * scale)
        pieces.append(piece[..., int((start - first) * scale) : end])
    return torch.cat(pieces, -1)
