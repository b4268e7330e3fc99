"""Systems and encoders that a worker has loaded, kept for its next jobs."""

from __future__ import annotations

from functools import lru_cache

from m2l_bench.systems import encoders
from m2l_bench.systems.encoders.embedding import Embedding


@lru_cache(maxsize=4)
def load_encoder(name: str, device: str | None) -> Embedding:
    """An encoder of set metrics by name, on the device of the suite's systems."""
    return encoders.load(name, device=device)
