"""Mel distance, in the three definitions of released tools (lower is better).

Conventions
-----------
Signals are ``(..., samples)``, the reference first, each channel alone, at one sample rate; channels that are silent
in the reference are not scored (:func:`~m2l_bench.reconstruction.checks.silent_channels`). Spectra as in
:mod:`m2l_bench.reconstruction.pair.spectra`, hop = window / 4. Each definition is named after
the tool whose number it gives:

- ``dac-eval`` (default): the evaluation script of descript-audio-codec, at 44.1 and 22.05 kHz, to which it resamples.
- ``dac-train``: the training loss of descript-audio-codec (its 44 kHz configuration).
- ``audiocodecbench``: the mel distance of AudioCodecBench.

Numbers of different definitions are different quantities and must not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from m2l_bench.reconstruction.checks import by_channel, check_pair, check_sample_rate, require_samples
from m2l_bench.reconstruction.pair.spectra import Spectrum, take


@dataclass(frozen=True, kw_only=True)
class MelDefinition:
    """Parameters of one definition of mel distance.

    Attributes
    ----------
    windows, n_mels : tuple of int
        Window of each scale in samples, and its number of mel bands.
    scale : str
        ``"slaney"`` (filters of unit area, as librosa) or ``"htk"`` (filters of unit height, as torchaudio).
    power : int
        1: filters sum magnitudes; 2: they sum powers.
    clamp : float
        Mel values are raised to this before the logarithm.
    log_weight : float
        Factor on the mean absolute difference of *natural* logarithms.
    raw_weight : float
        Factor on the mean absolute difference of the mel values themselves.
    """

    windows: tuple[int, ...]
    n_mels: tuple[int, ...]
    scale: str
    power: int
    clamp: float = 1e-5
    log_weight: float
    raw_weight: float = 0.0


_SEVEN_WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
_SEVEN_BANDS = (5, 10, 20, 40, 80, 160, 320)
_GROUP = 16  # bands multiplied at once
_LOG10 = float(1.0 / np.log(10.0))

DEFINITIONS: dict[str, MelDefinition] = {
    # log10 of the squared mel magnitude: 2 / ln 10
    "dac-eval": MelDefinition(
        windows=(2048, 512), n_mels=(150, 80), scale="slaney", power=1, log_weight=2.0 * _LOG10, raw_weight=1.0
    ),
    "dac-train": MelDefinition(windows=_SEVEN_WINDOWS, n_mels=_SEVEN_BANDS, scale="slaney", power=1, log_weight=_LOG10),
    "audiocodecbench": MelDefinition(
        windows=_SEVEN_WINDOWS, n_mels=_SEVEN_BANDS, scale="htk", power=2, log_weight=1.0 / 7.0
    ),
}

DEFAULT = "dac-eval"
# Can be reflected by window / 2.
MIN_SAMPLES = max(window for d in DEFINITIONS.values() for window in d.windows) // 2 + 1


def mel_distance(
    reference: ArrayLike, estimate: ArrayLike, sample_rate: int, *, definition: str = DEFAULT
) -> np.ndarray | float:
    """Mel distance of each channel.

    Parameters
    ----------
    reference, estimate : array_like of float, shape (..., samples)
        At least 1025 samples; the axis before the last has the channels of one recording.
    sample_rate : int
        Hz.
    definition : {"dac-eval", "dac-train", "audiocodecbench"}

    Returns
    -------
    float or np.ndarray of float64, shape (...)
        At least 0; 0.0 exactly for an exact copy; NaN where the reference is silent (constant, or 60 dB below its loudest
        channel). The sum over windows of
        ``a mean|ln max(m_r, c) - ln max(m_e, c)| + b mean|m_r - m_e|``, where m are mel spectra, c = 1e-5 and the means
        run over bands and frames; windows, bands, a and b are those of the definition (:data:`DEFINITIONS`).

    Raises
    ------
    ValueError
        If the definition is unknown, the shapes differ, a signal is not floating point, or the rate is not positive.
    Unscorable
        If a signal is too short or not finite.

    References
    ----------
    R. Kumar, P. Seetharaman, A. Luebs, I. Kumar, K. Kumar: "High-fidelity audio compression with improved RVQGAN",
    NeurIPS 2023, section 3.4 (the training loss).

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(0.1 * np.arange(4096))
    >>> mel_distance(tone, tone, 44100), mel_distance(tone, 0.1 * tone, 44100, definition="dac-train") > 1
    (0.0, True)
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"definition must be one of {', '.join(DEFINITIONS)}, got {definition!r}")
    check_sample_rate(sample_rate)
    name = f"mel_distance:{definition}"

    def distance(r: np.ndarray, e: np.ndarray) -> float:
        pair = r[None], e[None]
        return take([Mel(*pair, sample_rate, [name])], *pair)[name]

    return by_channel(distance, *check_pair(reference, estimate, min_samples=MIN_SAMPLES))


class Mel:
    """Mel distances of a checked pair, the mean over channels: a :class:`~m2l_bench.reconstruction.pair.spectra.Measure`.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (channels, samples)
        Finite, no channel of the reference constant.
    sample_rate : int
        Hz.
    names : sequence of str
        ``"mel_distance"`` or ``"mel_distance:DEFINITION"``.

    Raises
    ------
    Unscorable
        If the signals are too short.
    """

    def __init__(self, reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> None:
        require_samples(reference, MIN_SAMPLES)
        self.sample_rate = sample_rate
        self.definitions = {name: DEFINITIONS[name.partition(":")[2] or DEFAULT] for name in names}
        self.windows = sorted({window for d in self.definitions.values() for window in d.windows})
        self.n_frames = dict.fromkeys(self.windows, 0)
        self.sums = {
            name: {window: np.zeros(len(reference)) for window in sorted(d.windows)}
            for name, d in self.definitions.items()
        }

    def add(self, window: int, reference: Sequence[Spectrum], estimate: Sequence[Spectrum]) -> None:
        """Add a block of frames of every channel."""
        self.n_frames[window] += len(reference[0].bins)
        wanted = {name: d for name, d in self.definitions.items() if window in d.windows}
        powers = {d.power for d in wanted.values()}
        for channel, pair in enumerate(zip(reference, estimate, strict=True)):
            # The root of the power is faster than |X|, which takes care of numbers whose squares overflow.
            spectra = {power: [np.sqrt(x.power) if power == 1 else x.power for x in pair] for power in powers}
            for name, d in wanted.items():
                n_mels = d.n_mels[d.windows.index(window)]
                filters = _groups(self.sample_rate, window, n_mels, d.scale)
                mel_reference, mel_estimate = (
                    np.concatenate([x[:, bins] @ part for bins, part in filters], axis=1) for x in spectra[d.power]
                )
                self.sums[name][window][channel] += _summed_difference(mel_reference, mel_estimate, d) / n_mels

    def scores(self) -> dict[str, float]:
        """Distances by name of the metric."""
        return {
            name: float(np.mean(sum(total / self.n_frames[window] for window, total in sums.items())))
            for name, sums in self.sums.items()
        }


@lru_cache(maxsize=64)
def _groups(sample_rate: int, n_fft: int, n_mels: int, scale: str) -> list[tuple[slice, np.ndarray]]:
    """Filters as groups of neighbouring bands, each with the bins it spans, which skips most multiplications by 0."""
    groups = []
    for filters in np.array_split(mel_filters(sample_rate, n_fft, n_mels, scale), max(n_mels // _GROUP, 1)):
        used = np.flatnonzero(filters.any(axis=0))
        bins = slice(used[0], used[-1] + 1) if used.size else slice(0, 1)
        groups.append((bins, np.ascontiguousarray(filters[:, bins].T)))
    return groups


def _summed_difference(reference: np.ndarray, estimate: np.ndarray, d: MelDefinition) -> float:
    total = 0.0
    if d.raw_weight:
        total += d.raw_weight * np.abs(reference - estimate).sum()
    ratio = np.maximum(reference, d.clamp) / np.maximum(estimate, d.clamp)
    return float(total + d.log_weight * np.abs(np.log(ratio, out=ratio)).sum())


@lru_cache(maxsize=64)
def mel_filters(sample_rate: int, n_fft: int, n_mels: int, scale: str) -> np.ndarray:
    """Triangular mel filters.

    Parameters
    ----------
    sample_rate, n_fft, n_mels : int
        Hz, samples, bands. The bands reach from 0 Hz to half the sample rate.
    scale : {"slaney", "htk"}
        ``"slaney"``: linear to 1 kHz, then logarithmic; each filter has unit area in Hz (librosa's default).
        ``"htk"``: ``2595 log10(1 + f / 700)``; each filter has unit height (torchaudio's default).

    Returns
    -------
    np.ndarray of float64, shape (n_mels, n_fft // 2 + 1)
        Read-only. A band narrower than the bin spacing may hold no bin and is then all zero, as in the tools.

    References
    ----------
    M. Slaney: Auditory Toolbox, Interval Research technical report 1998-010; S. Young et al.: The HTK Book, section
    5.4.
    """
    to_mel, to_hertz = _SCALES[scale]
    frequencies = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    edges = to_hertz(np.linspace(0.0, to_mel(np.array(sample_rate / 2)), n_mels + 2))[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    filters = np.maximum(np.minimum(rising, falling), 0.0)
    if scale == "slaney":
        filters *= 2.0 / (high - low)
    filters.setflags(write=False)
    return filters


_SLANEY_LINEAR = 200.0 / 3.0  # Hz per mel, below 1 kHz = mel 15
_SLANEY_STEP = np.log(6.4) / 27.0  # natural logarithm of the frequency ratio of one mel, above


def _hertz_to_slaney(f: np.ndarray) -> np.ndarray:
    return np.where(f < 1000.0, f / _SLANEY_LINEAR, 15.0 + np.log(np.maximum(f, 1000.0) / 1000.0) / _SLANEY_STEP)


def _slaney_to_hertz(m: np.ndarray) -> np.ndarray:
    return np.where(m < 15.0, m * _SLANEY_LINEAR, 1000.0 * np.exp(_SLANEY_STEP * (m - 15.0)))


def _hertz_to_htk(f: np.ndarray) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + f / 700.0)


def _htk_to_hertz(m: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (m / 2595.0) - 1.0)


_SCALES = {"slaney": (_hertz_to_slaney, _slaney_to_hertz), "htk": (_hertz_to_htk, _htk_to_hertz)}
