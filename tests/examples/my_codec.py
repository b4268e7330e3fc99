"""A complete system in a user's file; CONTRIBUTING.md shows it."""

import numpy as np

from m2l_bench.audio import resample


class Downsampled:
    """Remove the upper octaves: resample to a lower rate and back."""

    name, sample_rate = "downsampled", 44100

    def __init__(self, *, factor: int = 4) -> None:
        self.factor = factor

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> the same shape."""
        low = resample(audio, 44100, 44100 // self.factor)
        return resample(low, 44100 // self.factor, 44100, n_samples=audio.shape[-1])
