"""Musika: its 44.1 kHz autoencoder, ported to PyTorch, reading the published Keras weights."""

from m2l_bench.systems.musika.system import Musika

__all__ = ["Musika"]
