"""What FAD and KAD listen with: embeddings of audio windows."""

from __future__ import annotations

from m2l_bench.embeddings.base import Embedding, embed_files, refusal
from m2l_bench.embeddings.registry import EMBEDDINGS, load

__all__ = ["EMBEDDINGS", "Embedding", "embed_files", "load", "refusal"]
