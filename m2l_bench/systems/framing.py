"""Audio and latents on their way into and out of networks: checks, channel pairs, exact lengths, blocks, seeds.

Conventions
-----------
Audio is float32 ``(channels, samples)``. Stereo models code channels in pairs: a single channel is given twice, and its
reconstruction is the mean of the two outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.music2latent.windows import join, plan

_NOISE_BLOCK = 4096  # samples drawn at once


def as_audio(audio: np.ndarray) -> np.ndarray:
    """Check audio and return it as contiguous float32 (channels, samples); ValueError if it is empty or not finite."""
    array = np.asarray(audio)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"audio must be (channels >= 1, samples >= 1), got shape {array.shape}")
    array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise ValueError("audio must be finite, got NaN or infinity")
    return array


def as_latents(latents: np.ndarray, dim: int) -> np.ndarray:
    """Check latents and return them as contiguous float32 (streams, dim, frames); ValueError if they have another shape."""
    array = np.asarray(latents)
    if array.ndim != 3 or array.shape[1] != dim or 0 in array.shape:
        raise ValueError(f"latents must be (streams >= 1, {dim}, frames >= 1), got shape {array.shape}")
    return np.ascontiguousarray(array, np.float32)


def slice_with_zeros(audio: np.ndarray, start: int, stop: int) -> np.ndarray:
    """``audio[..., start:stop]`` with zeros for the part outside the array, on either side.

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
    """Zero-pad the end to the next multiple of ``multiple`` samples."""
    return fit_length(audio, -(-audio.shape[-1] // multiple) * multiple)


def mirror_to(x: np.ndarray, length: int) -> np.ndarray:
    """Extend the end with the mirror image, as often as needed, to ``length``.

    Mirrored music keeps the level and the spectrum of the recording, which silence would not: normalisation layers see
    the whole window.

    Examples
    --------
    >>> mirror_to(np.array([1, 2, 3]), 8)
    array([1, 2, 3, 3, 2, 1, 1, 2])
    """
    missing = length - x.shape[-1]
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)], mode="symmetric") if missing > 0 else x


def noise_at(start: int, length: int, *, seed: int, channels: int) -> np.ndarray:
    """Normal noise that depends on the seed and the absolute position alone: (channels, length) float32."""
    first, last = start // _NOISE_BLOCK, (start + length - 1) // _NOISE_BLOCK
    blocks = [
        np.random.default_rng((seed, block)).standard_normal((channels, _NOISE_BLOCK), dtype=np.float32)
        for block in range(first, last + 1)
    ]
    offset = start - first * _NOISE_BLOCK
    return np.concatenate(blocks, -1)[:, offset : offset + length]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators within the context, and restore their state after it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@torch.inference_mode()
def each_row(function: Callable[[Tensor], Tensor], rows: np.ndarray, device: torch.device) -> Tensor:
    """Apply a function to each item of a batch, (1, ...) -> (1, ...), and join the results, on the CPU."""
    given = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
    return torch.cat([function(row) for row in given.split(1)]).cpu()


def each_seeded(function: Callable[[Tensor], Tensor], x: Tensor, seed: int, device: torch.device) -> Tensor:
    """Apply a function to each item of a batch, (1, ...) -> (1, ...), from the same seed each time, and join the results."""
    rows = []
    for row in x.split(1):
        with seeded(seed, device):
            rows.append(function(row))
    return torch.cat(rows)


def to_pairs(audio: np.ndarray) -> np.ndarray:
    """(channels, samples) -> (ceil(channels / 2), 2, samples); a channel without a partner is paired with itself."""
    if audio.shape[0] % 2:
        audio = np.concatenate([audio, audio[-1:]])
    return audio.reshape(-1, 2, audio.shape[-1])


def from_pairs(pairs: np.ndarray, channels: int) -> np.ndarray:
    """(pairs, 2, samples) -> (channels, samples), the inverse of :func:`to_pairs`; a lone channel is its pair's mean."""
    flat = pairs.reshape(-1, pairs.shape[-1])
    if channels % 2:
        flat = np.concatenate([flat[: channels - 1], pairs[-1].mean(0, keepdims=True)])
    return flat


def in_windows(function: Callable[[int, int], Tensor], frames: int, window: int, unit: int) -> Tensor:
    """Compute in overlapping windows (:mod:`m2l_bench.music2latent.windows`) and join them: (..., frames * unit).

    `function` takes the first latent frame of a window and the one after its last, and gives `unit` values for each frame.
    """
    layout = plan(frames, window)
    pieces = (function(start, start + layout.length) for start in layout.starts)
    return join(pieces, layout, unit)


def in_blocks(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    block: int,
    context: int | tuple[int, int],
    scale: Fraction | int,
) -> Tensor:
    """Apply a network of finite context to a long input, (..., time) -> (..., time * scale), in blocks, as in one call.

    Parameters
    ----------
    function : callable
        (..., n) -> (..., n * scale), every output depending on at most ``context`` inputs on either side of its place.
    block : int
        Inputs whose outputs are kept per piece.
    context : int or (int, int)
        Inputs that each piece has in addition: on either side, or before and after it.
    scale : Fraction or int
        Outputs per input; ``block`` and ``context`` times it are whole. The last outputs are kept as they come, so that
        a network may round a length that it does not divide.
    """
    before, after = context if isinstance(context, tuple) else (context, context)
    length = x.shape[-1]
    if length <= block + after:
        return function(x)
    pieces = []
    for start in range(0, length, block):
        first, stop = max(0, start - before), min(start + block, length)
        piece = function(x[..., first : stop + after])
        end = None if stop == length else int((stop - first) * scale)
        pieces.append(piece[..., int((start - first) * scale) : end])
    return torch.cat(pieces, -1)
