"""The embeddings by name. Nothing heavy is imported before one is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from m2l_bench.embeddings.base import Embedding


def load(name: str, *, checkpoint: str | Path | None = None, device: str = "cpu") -> Embedding:
    """Load an embedding.

    Parameters
    ----------
    name : str
        A key of :data:`EMBEDDINGS`.
    checkpoint : path-like, optional
        Weights to use in place of the published ones.
    device : str
        torch device.

    Returns
    -------
    Embedding

    Raises
    ------
    ValueError
        If no embedding has that name.
    ImportError
        If its extra is not installed.
    OSError
        If its weights cannot be fetched.

    Examples
    --------
    >>> load("musicnn").sample_rate
    16000
    """
    if name not in EMBEDDINGS:
        raise ValueError(f"embedding must be one of {', '.join(EMBEDDINGS)}, got {name!r}")
    return EMBEDDINGS[name](checkpoint, device)


def _musicnn(checkpoint: str | Path | None, device: str) -> Embedding:
    from m2l_bench.embeddings.musicnn import Musicnn

    return Musicnn(checkpoint, device=device)


def _vggish(checkpoint: str | Path | None, device: str) -> Embedding:
    from m2l_bench.embeddings.vggish import Vggish

    return Vggish(checkpoint, device=device)


def _vggish_relu(checkpoint: str | Path | None, device: str) -> Embedding:
    from m2l_bench.embeddings.vggish import Vggish

    return Vggish(checkpoint, relu=True, device=device)


def _clap(checkpoint: str | Path | None, device: str) -> Embedding:
    from m2l_bench.embeddings.clap import Clap

    return Clap("clap", checkpoint, device=device)


def _clap_htsat(checkpoint: str | Path | None, device: str) -> Embedding:
    from m2l_bench.embeddings.clap import Clap

    return Clap("clap:htsat-unfused", checkpoint, device=device)


EMBEDDINGS: dict[str, Callable[[str | Path | None, str], Embedding]] = {
    "musicnn": _musicnn,
    "vggish": _vggish,
    "vggish:relu": _vggish_relu,
    "clap": _clap,
    "clap:htsat-unfused": _clap_htsat,
}
