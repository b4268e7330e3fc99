"""Encoders that attend to their whole input: which layer is given, and the windows that a long file goes through in."""

from __future__ import annotations

from collections.abc import Iterator


def layer_number(layer: int | str, layers: int) -> int:
    """Number of a layer, from 1; 0 for the mean of all.

    Parameters
    ----------
    layer : int or str
        ``"mean"``, ``"last"``, or a whole number from 1 to `layers`; ValueError otherwise.
    layers : int

    Examples
    --------
    >>> layer_number("7", 12), layer_number("last", 12), layer_number("mean", 12)
    (7, 12, 0)
    """
    if layer in ("mean", "last"):
        return 0 if layer == "mean" else layers
    text = str(layer)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= layers):
        raise ValueError(f"layer must be mean, last or a whole number from 1 to {layers}, got {layer!r}")
    return int(text)


def windows(frames: int, window: int) -> Iterator[tuple[int, int, int]]:
    """Windows side by side, of which the last ends with the file.

    The last window begins earlier than its place, so that it is as long as the others; only the frames that no other window
    has are kept of it. Of fewer frames than a window there is one, shorter.

    Parameters
    ----------
    frames, window : int
        Of the file, and of each window.

    Yields
    ------
    first, start, stop : int
        The window's first frame, the first that is kept, and the one after its last.

    Examples
    --------
    >>> list(windows(25, 10)), list(windows(7, 10))
    ([(0, 0, 10), (10, 10, 20), (15, 20, 25)], [(0, 0, 7)])
    """
    for start in range(0, frames, window):
        stop = min(start + window, frames)
        yield max(0, stop - window), start, stop
