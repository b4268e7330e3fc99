"""Scores of the metrics whose windows advance by a quarter: they share one STFT for each window.

Conventions
-----------
As in :mod:`m2l_bench.reconstruction.pair.spectra`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.pair.image import Image
from m2l_bench.reconstruction.pair.mel import Mel
from m2l_bench.reconstruction.pair.phase import Phase
from m2l_bench.reconstruction.pair.spectra import Measure, take

_Make = Callable[[np.ndarray, np.ndarray, int, Sequence[str]], Measure]
_MEASURES: dict[str, _Make] = {
    "mel_distance": Mel,
    "panning_error": Image,
    "interchannel_coherence_error": Image,
    "phase_coherence": Phase,
}


def scores(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]
) -> dict[str, float | Unscorable]:
    """Scores of a checked pair ``(channels, samples)``, by name; what a measure refuses has the reason."""
    groups: dict[_Make, list[str]] = {}
    for name in names:
        groups.setdefault(_MEASURES[name.partition(":")[0]], []).append(name)
    found: dict[str, float | Unscorable] = {}
    measures: list[Measure] = []
    for make, together in groups.items():
        try:
            measures.append(make(reference, estimate, sample_rate, together))
        except Unscorable as reason:
            found |= dict.fromkeys(together, reason)
    return found | take(measures, reference, estimate)
