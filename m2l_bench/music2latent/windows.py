"""Long inputs: overlapping windows on the latents' grid, and their joining.

Conventions
-----------
Positions and lengths are in latent frames, counted from the beginning of the file. A window is what a network sees at
once. Its GroupNorms take their statistics over the whole window, so the window's length is part of a model's definition
(it changes numbers), while how many windows are computed at once is not.

Consecutive windows overlap by an eighth. In the middle of each overlap, over a quarter of it, one window fades into the
next, linearly; outside these seams each frame comes from one window alone. The last window ends where the file ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Where the windows of a file lie.

    Attributes
    ----------
    starts : tuple of int
    length : int
        Of each window, in latent frames.
    seams : tuple of (int, int)
        Begin and end of the fade between each window and the next.
    """

    starts: tuple[int, ...]
    length: int
    seams: tuple[tuple[int, int], ...]


def plan(n_latents: int, window: int) -> Windows:
    """Lay windows of `window` latent frames (at least 16) over a file of `n_latents`.

    Examples
    --------
    >>> plan(100, 64)
    Windows(starts=(0, 36), length=64, seams=((49, 51),))
    """
    if n_latents <= window:
        return Windows((0,), n_latents, ())
    overlap = window // 8
    hop, last = window - overlap, n_latents - window
    starts = (*range(0, last, hop), last)
    fade = max(1, overlap // 4)
    middles = [(begin + window + following) // 2 for begin, following in pairwise(starts)]
    return Windows(starts, window, tuple((middle - fade // 2, middle - fade // 2 + fade) for middle in middles))


def join(pieces: Iterable[Tensor], windows: Windows, unit: int) -> Tensor:
    """Join what was computed window by window.

    Parameters
    ----------
    pieces : iterable of Tensor, (..., n)
        One for each window, in order; values ``unit * start`` and on, at least up to the end of the window's last seam.
        Only the last may be shorter or longer than the window, which sets the end of the whole.
    windows : Windows
    unit : int
        Values per latent frame.

    Returns
    -------
    Tensor, (..., n)
    """
    stretches: list[Tensor] = []
    tail: Tensor | None = None
    for index, piece in enumerate(pieces):
        offset, begin = windows.starts[index] * unit, 0
        if tail is not None:
            first, after = (edge * unit - offset for edge in windows.seams[index - 1])
            ramp = (torch.arange(after - first, device=piece.device, dtype=piece.dtype) + 0.5) / (after - first)
            stretches.append(tail + (piece[..., first:after] - tail) * ramp)
            begin = after
        end: int | None = None
        if index < len(windows.seams):
            end, after = (edge * unit - offset for edge in windows.seams[index])
            tail = piece[..., end:after]
        stretches.append(piece[..., begin:end])
    return torch.cat(stretches, -1)
