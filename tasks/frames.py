"""Latents of a track on the common grid: what a probe of a task in time sees, and where its outputs lie.

The rule for fast and slow latents is in :mod:`m2l_bench.tasks.time`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.special

from m2l_bench.tasks.annotation import GRID, OUTPUTS

CONTEXT = 0.25  # seconds on either side


@dataclass(frozen=True, kw_only=True)
class Track:
    """An item's latents, and its length.

    Attributes
    ----------
    latents : np.ndarray, (dim, frames)
        Averaged over the streams.
    rate : float
        Frames a second.
    seconds : float
        Of the audio.
    offset : float
        Seconds by which frames are later than their place says.
    """

    latents: np.ndarray
    rate: float
    seconds: float
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Frames:
    """A track's frames as a probe sees them.

    Attributes
    ----------
    features : np.ndarray, float32, (frames, 3 * dim)
    starts : np.ndarray, (frames, K)
        Where each output's grid step begins, in seconds.
    places : np.ndarray, (grid frames, 2)
        Frame and output of each step of the grid of the track.
    """

    features: np.ndarray
    starts: np.ndarray
    places: np.ndarray


def frames_of(track: Track) -> Frames:
    """Bring latents to the grid, and add their context."""
    n_grid = max(1, int(np.ceil(track.seconds * GRID - 1e-9)))
    centres = (np.arange(n_grid) + 0.5) / GRID
    latents, rate, offset = np.asarray(track.latents, np.float64), track.rate, track.offset
    if rate > GRID:
        latents, rate, offset = _averaged(latents, rate, offset, n_grid), float(GRID), 0.0
    n = latents.shape[1]
    per_frame = int(np.ceil(GRID / rate - 1e-9))
    begins = np.arange(n) / rate + offset
    frame = np.clip(np.floor((centres - offset) * rate + 1e-9), 0, n - 1).astype(int)
    output = np.clip(np.floor((centres - begins[frame]) * GRID + 1e-9), 0, per_frame - 1).astype(int)
    starts = begins[:, None] + np.arange(per_frame) / GRID
    return Frames(features=_with_context(latents, rate), starts=starts, places=np.stack([frame, output], 1))


def _averaged(latents: np.ndarray, rate: float, offset: float, n_grid: int) -> np.ndarray:
    """Mean of the frames centred in each grid step; where there is none, the nearest frame."""
    centres = (np.arange(latents.shape[1]) + 0.5) / rate + offset
    edges = np.searchsorted(centres, np.arange(n_grid + 1) / GRID - 1e-9)
    sums = np.concatenate([np.zeros((len(latents), 1)), latents.cumsum(1)], 1)
    counts = np.diff(edges)
    nearest = np.clip(np.round(((np.arange(n_grid) + 0.5) / GRID - offset) * rate - 0.5), 0, latents.shape[1] - 1)
    means = (sums[:, edges[1:]] - sums[:, edges[:-1]]) / np.maximum(counts, 1)
    return np.asarray(np.where(counts, means, latents[:, nearest.astype(int)]))


def _with_context(latents: np.ndarray, rate: float) -> np.ndarray:
    """(dim, frames) -> float32 (frames, 3 * dim)."""
    n, reach = latents.shape[1], int(np.floor(CONTEXT * rate + 1e-9))
    sums = np.concatenate([np.zeros((len(latents), 1)), latents.cumsum(1)], 1)
    place = np.arange(n)
    parts = [latents]
    for first, last in ((place - reach, place), (place + 1, place + 1 + reach)):
        first, last = np.clip(first, 0, n), np.clip(last, 0, n)
        counts = last - first
        means = (sums[:, last] - sums[:, first]) / np.maximum(counts, 1)
        parts.append(np.where(counts, means, latents))
    return np.concatenate(parts).T.astype(np.float32)


def on_grid(kind: str, logits: np.ndarray, frames: Frames) -> np.ndarray:
    """Outputs of a track's frames -> (grid frames, size): probabilities, or logits where outputs exclude each other."""
    size = OUTPUTS[kind].size
    each = logits.reshape(len(logits), -1, size)[frames.places[:, 0], frames.places[:, 1]]
    return each if OUTPUTS[kind].exclusive else scipy.special.expit(each)
