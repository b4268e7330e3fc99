"""Reconstruction evaluators: how far an estimate lies from its reference."""

from __future__ import annotations

from m2l_bench.reconstruction.frechet import frechet_distance, frechet_distance_inf
from m2l_bench.reconstruction.kernel import kernel_distance
from m2l_bench.reconstruction.mel import mel_distance
from m2l_bench.reconstruction.si_sdr import si_sdr
from m2l_bench.reconstruction.stft import stft_distance

__all__ = [
    "frechet_distance",
    "frechet_distance_inf",
    "kernel_distance",
    "mel_distance",
    "si_sdr",
    "stft_distance",
]
