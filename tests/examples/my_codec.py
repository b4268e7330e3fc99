"""A user's own codec, complete: what CONTRIBUTING.md shows."""

import numpy as np

from m2l_bench.audio import resample
from m2l_bench.files.fingerprint import fingerprint


class Downsampled:
    """Throws away the upper octaves by resampling down and up again."""

    name, sample_rate = "downsampled", 44100

    def __init__(self, *, factor: int = 4, seed: int = 0) -> None:
        self.factor, self.seed = factor, seed
        self.fingerprint = fingerprint(self.name, {"factor": factor})

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> the same shape."""
        low = resample(audio, 44100, 44100 // self.factor)
        return resample(low, 44100 // self.factor, 44100, n_samples=audio.shape[-1])
