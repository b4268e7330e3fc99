"""Embeddings for Fréchet and kernel distances, by name. Listing them imports neither torch nor transformers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from m2l_bench.systems.encoders.embedding import Embedding


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An embedding as a metric's card describes it, before its weights are loaded.

    Attributes
    ----------
    model : str
        Checkpoint and layer, in words.
    source : str
        Author, year.
    sample_rate, window, hop : int
        Of the loaded embedding, whose class reads them here: Hz, and samples.
    place : str
        ``"module:Class"`` in this package.
    options : mapping
        Constructor options.
    """

    model: str
    source: str
    sample_rate: int
    window: int
    hop: int
    place: str
    options: Mapping[str, Any] = field(default_factory=dict)


_VGGISH = Entry(
    model="torchvggish v0.1, SHA-256 10086976..., no PCA, last ReLU off",
    source="Hershey et al., 2017",
    sample_rate=16000,
    window=15600,
    hop=15360,
    place="vggish:Vggish",
)
_CLAP = Entry(
    model="laion/larger_clap_music, projected, unit length",
    source="Wu et al., 2023",
    sample_rate=48000,
    window=480000,
    hop=240000,
    place="clap:Clap",
)
EMBEDDINGS = {
    "musicnn": Entry(
        model="musicnn 0.1.0 MTT_musicnn, SHA-256 c278acc460e4..., penultimate layer",
        source="Pons and Serra, 2019",
        sample_rate=16000,
        window=47616,
        hop=23808,
        place="musicnn:Musicnn",
    ),
    "vggish": _VGGISH,
    "vggish:relu": replace(_VGGISH, model=_VGGISH.model.replace("off", "on"), options={"relu": True}),
    "clap": _CLAP,
    "clap:htsat-unfused": replace(
        _CLAP, model="laion/clap-htsat-unfused, projected, unit length", options={"name": "clap:htsat-unfused"}
    ),
}


def load(name: str, *, checkpoint: str | Path | None = None, device: str | None = None) -> Embedding:
    """Load an embedding by its name, a key of :data:`EMBEDDINGS`.

    Parameters
    ----------
    checkpoint : path-like, optional
        Weights to use instead of the published ones.
    device : str, optional
        CUDA where there is one, else the CPU, by default.

    Raises
    ------
    ValueError, ImportError, OSError
        If no embedding has that name, its extra is not installed, or its weights cannot be downloaded.

    Examples
    --------
    >>> load("musicnn").sample_rate
    16000
    """
    if name not in EMBEDDINGS:
        raise ValueError(f"embedding must be one of {', '.join(EMBEDDINGS)}, got {name!r}")
    entry = EMBEDDINGS[name]
    module, _, cls = entry.place.partition(":")
    found = getattr(importlib.import_module(f"{__name__}.{module}"), cls)
    return found(checkpoint=checkpoint, device=device, **entry.options)
