"""Reconstruction evaluators: how far an estimate lies from its reference."""

from __future__ import annotations

from m2l_bench.reconstruction.mel import mel_distance
from m2l_bench.reconstruction.si_sdr import si_sdr
from m2l_bench.reconstruction.stft import stft_distance

__all__ = ["mel_distance", "si_sdr", "stft_distance"]
