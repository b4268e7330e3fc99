"""Moûsai v2 and v3: diffusion autoencoders of magnitude spectrograms, built here, reading the published weights."""

from m2l_bench.systems.mousai.system import Mousai

__all__ = ["Mousai"]
