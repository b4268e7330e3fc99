"""A metric of one's own: a function with a docstring."""

import numpy as np


def crest(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> np.ndarray:
    """Difference of the crest factors of estimate and reference (peak over root mean square), in dB, of each channel."""

    def factor(x: np.ndarray) -> np.ndarray:
        return 20 * np.log10(np.abs(x).max(axis=1) / np.sqrt(np.square(x).mean(axis=1)))

    return factor(estimate) - factor(reference)


crest.title, crest.unit = "Crest factor", "dB"  # and higher_is_better, where one direction is better
