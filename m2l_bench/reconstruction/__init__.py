"""Reconstruction metrics: distances of an estimate from its reference."""

from __future__ import annotations

from m2l_bench.reconstruction.pair.mel import mel_distance
from m2l_bench.reconstruction.pair.si_sdr import si_sdr
from m2l_bench.reconstruction.pair.stft import stft_distance
from m2l_bench.reconstruction.sets.frechet import frechet_distance, frechet_distance_inf
from m2l_bench.reconstruction.sets.kernel import kernel_distance

__all__ = [
    "frechet_distance",
    "frechet_distance_inf",
    "kernel_distance",
    "mel_distance",
    "si_sdr",
    "stft_distance",
]
