"""The embeddings by name: what each hears, and how it is loaded. Nothing heavy is imported before one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from m2l_bench.systems.encoders.windows import Embedding


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An embedding as it stands in a metric's card, before its weights are there.

    Attributes
    ----------
    model : str
        Checkpoint and layer, in words.
    sample_rate, window, hop : int
        As of the loaded embedding.
    load : callable
        ``(checkpoint, device) -> Embedding``
    source : str
        Author, year.
    """

    model: str
    sample_rate: int
    window: int
    hop: int
    load: Callable[[str | Path | None, str | None], Embedding]
    source: str


def load(name: str, *, checkpoint: str | Path | None = None, device: str | None = None) -> Embedding:
    """Load an embedding.

    Parameters
    ----------
    name : str
        A key of :data:`EMBEDDINGS`.
    checkpoint : path-like, optional
        Weights to use in place of the published ones.
    device : str, optional
        CUDA where there is one, else the CPU, by default.

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
    return EMBEDDINGS[name].load(checkpoint, device)


def _musicnn(checkpoint: str | Path | None, device: str | None) -> Embedding:
    from m2l_bench.systems.encoders.musicnn import Musicnn

    return Musicnn(checkpoint, device=device)


def _vggish(checkpoint: str | Path | None, device: str | None) -> Embedding:
    from m2l_bench.systems.encoders.vggish import Vggish

    return Vggish(checkpoint, device=device)


def _vggish_relu(checkpoint: str | Path | None, device: str | None) -> Embedding:
    from m2l_bench.systems.encoders.vggish import Vggish

    return Vggish(checkpoint, relu=True, device=device)


def _clap(checkpoint: str | Path | None, device: str | None) -> Embedding:
    from m2l_bench.systems.encoders.clap import Clap

    return Clap("clap", checkpoint, device=device)


def _clap_htsat(checkpoint: str | Path | None, device: str | None) -> Embedding:
    from m2l_bench.systems.encoders.clap import Clap

    return Clap("clap:htsat-unfused", checkpoint, device=device)


_VGGISH = "torchvggish v0.1, SHA-256 10086976..., no PCA"

EMBEDDINGS = {
    "musicnn": Entry(
        model="musicnn 0.1.0 MTT_musicnn, SHA-256 c278acc460e4..., penultimate layer",
        sample_rate=16000,
        window=47616,
        hop=23808,
        load=_musicnn,
        source="Pons and Serra, 2019",
    ),
    "vggish": Entry(
        model=f"{_VGGISH}, last ReLU off",
        sample_rate=16000,
        window=15600,
        hop=15360,
        load=_vggish,
        source="Hershey et al., 2017",
    ),
    "vggish:relu": Entry(
        model=f"{_VGGISH}, last ReLU on",
        sample_rate=16000,
        window=15600,
        hop=15360,
        load=_vggish_relu,
        source="Hershey et al., 2017",
    ),
    "clap": Entry(
        model="laion/larger_clap_music, projected, unit length",
        sample_rate=48000,
        window=480000,
        hop=240000,
        load=_clap,
        source="Wu et al., 2023",
    ),
    "clap:htsat-unfused": Entry(
        model="laion/clap-htsat-unfused, projected, unit length",
        sample_rate=48000,
        window=480000,
        hop=240000,
        load=_clap_htsat,
        source="Wu et al., 2023",
    ),
}
