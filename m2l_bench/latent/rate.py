"""Rate-distortion of continuous latents: uniform quantisation, and the bits of an entropy model of order 0.

Conventions
-----------
Latents are ``(streams, dim, frames)``. The step of the quantiser is given in standard deviations of each dimension, so that
every dimension gets the same signal-to-noise ratio, and about the same number of bits, whatever its scale. Symbols are the
nearest multiples of the step from the dimension's mean, and decode to the centre of their bin.

Bits are those of an ideal arithmetic coder: ``-log2`` of each symbol's probability. Everything that a decoder must know
(means, standard deviations, integer frequencies) is fitted on *other* files than the one that is coded: it is part of the
decoder, as the tables of any codec are, and is not counted; nor are the numbers of streams, frames and samples.

A symbol outside the fitted range is an escape, which a decoder can read: the escape symbol, one bit for the side, and the
distance from the end of the range (1, 2, ...) in Elias's gamma code, ``2 floor(log2 distance) + 1`` bits.

Notes
-----
Of white Gaussian latents D(R) is ``s^2 2^(-2R)`` (R bits a value). A scalar quantiser of uniform step needs 0.25 bit more at
high rates, or is 1.53 dB worse (``10 log10(pi e / 6)``): Gish and Pierce 1968; with bins decoded to their centres, about
``0.36 step^2`` dB more, up to a step of 1 standard deviation. Where the variances s[d]^2 differ, equal
*relative* steps are worse by a further ``10 log10`` of their arithmetic over their geometric mean, measured as squared error
of the latents: equal absolute steps would be best for an orthonormal decoder, but no neural decoder weighs its dimensions by
their variance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from m2l_bench.cards import Card
from m2l_bench.latent.moments import Moments, check_latents, moments

STEPS = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Steps of a rate-distortion curve, in standard deviations."""
LARGEST = 2**30  # of a symbol; farther values are coded as this one


@dataclass(frozen=True)
class LatentCoder:
    """Quantiser and entropy model, fitted by :func:`fit_coder`.

    Attributes
    ----------
    mean, width : np.ndarray of float64, shape (dim,)
        Centre of symbol 0, and width of a bin: the step times the standard deviation. Where that is 0, every value is coded
        as symbol 0 and decoded as the mean.
    first : np.ndarray of int64, shape (dim,)
        Smallest symbol of the fitted range.
    frequencies : tuple of np.ndarray of int64
        Of each dimension: of the symbols from `first` on, then of the escape. Twice the count plus one (Krichevsky and
        Trofimov 1981), and 1 for the escape.
    """

    mean: np.ndarray
    width: np.ndarray
    first: np.ndarray
    frequencies: tuple[np.ndarray, ...]

    def quantise(self, latents: np.ndarray) -> np.ndarray:
        """Quantise latents, (streams, dim, frames) -> int64 symbols of the same shape."""
        latents = check_latents(latents, len(self.mean))
        return _quantise(latents, self.mean, self.width)

    def dequantise(self, symbols: np.ndarray) -> np.ndarray:
        """Decode symbols to the centres of their bins, float32 of the same shape."""
        return (self.mean[:, None] + self.width[:, None] * symbols).astype(np.float32)

    def bits(self, symbols: np.ndarray) -> float:
        """Number of bits of the symbols of a file, all streams together."""
        total = 0.0
        for d, (first, frequencies) in enumerate(zip(self.first, self.frequencies, strict=True)):
            place, escape = symbols[:, d].ravel() - first, len(frequencies) - 1
            beyond = np.maximum(-place, place - escape + 1)  # 1 for the symbol next to the range
            escaped = beyond > 0
            lengths = np.log2(frequencies.sum()) - np.log2(frequencies)
            total += float(lengths[np.where(escaped, escape, place)].sum())
            # frexp gives floor(log2 x) + 1 exactly; one bit for the side, and the gamma code
            total += float(np.sum(2 * np.frexp(beyond[escaped])[1]))
        return total

    def code(self, latents: np.ndarray, seconds: float) -> tuple[np.ndarray, float]:
        """Code a file and decode it.

        Parameters
        ----------
        latents : np.ndarray of float, shape (streams, dim, frames)
        seconds : float
            Duration of its audio.

        Returns
        -------
        latents : np.ndarray of float32, shape (streams, dim, frames)
            The decoded ones, for the system's ``decode``.
        kbps : float
            kbit/s of all streams together.

        Raises
        ------
        ValueError
            If the latents have another shape or are not finite, or the duration is not positive.
        """
        if not 0 < seconds < np.inf:
            raise ValueError(f"seconds must be positive, got {seconds!r}")
        symbols = self.quantise(latents)
        return self.dequantise(symbols), self.bits(symbols) / seconds / 1000.0


def fit_coder(files: Sequence[np.ndarray], step: float) -> LatentCoder:
    """Fit the quantiser and the entropy model.

    Parameters
    ----------
    files : sequence of np.ndarray of float, each (streams, dim, frames)
        Latents of other files than those that will be coded; read twice, one at a time.
    step : float
        In standard deviations of each dimension; :data:`STEPS` make a curve.

    Returns
    -------
    LatentCoder

    Raises
    ------
    ValueError
        If there is no file, latents differ in dimension or are not finite, or the step is not positive.

    References
    ----------
    H. Gish, J. N. Pierce: "Asymptotically efficient quantizing", IEEE Transactions on Information Theory 14, 1968;
    R. E. Krichevsky, V. K. Trofimov: "The performance of universal encoding", same journal 27, 1981;
    P. Elias: "Universal codeword sets and representations of the integers", same journal 21, 1975.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> coder = fit_coder([rng.standard_normal((1, 4, 5000))], step=1.0)
    >>> decoded, kbps = coder.code(rng.standard_normal((1, 4, 1000)), seconds=10.0)
    >>> decoded.shape, round(kbps, 2)  # 400 values a second, of 2.1 bits each
    ((1, 4, 1000), 0.84)
    """
    if not 0 < step < np.inf:
        raise ValueError(f"step must be positive, got {step!r}")
    if not len(files):
        raise ValueError("files must be at least 1, got none")
    total = reduce(Moments.__add__, (moments(file, 1.0) for file in files))
    width = step * np.sqrt(total.variance)
    seen = [Counter[int]() for _ in width]
    for file in files:
        symbols = _quantise(check_latents(file), total.mean, width)
        for d, counts in enumerate(seen):
            values, times = np.unique(symbols[:, d], return_counts=True)
            counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
    first = np.array([min(counts) for counts in seen])
    frequencies = (
        np.array([2 * counts[k] + 1 for k in range(min(counts), max(counts) + 1)] + [1], np.int64) for counts in seen
    )
    return LatentCoder(total.mean, width, first, tuple(frequencies))


def _quantise(latents: np.ndarray, mean: np.ndarray, width: np.ndarray) -> np.ndarray:
    away = latents - mean[:, None]
    steps = np.divide(away, width[:, None], out=np.zeros_like(away), where=width[:, None] > 0)
    return np.rint(np.clip(steps, -LARGEST, LARGEST)).astype(np.int64)


BIT_RATE = Card(
    name="latent_bit_rate",
    title="latent bit rate",
    unit="kbit/s",
    higher_is_better=False,
    formula="bits / duration / 1000 of latents quantised to the nearest multiple of step * standard deviation from the mean of "
    "each dimension; bits: -log2 of the probability of each symbol in an entropy model of order 0 for each dimension; mean, "
    "standard deviation and model are fitted on other files and not counted; decoded to the centre of the bin",
    rate_rule="of the system: files are resampled to it",
    channel_rule="all streams together",
    constants={
        "steps": STEPS,
        "frequencies": "2 * count + 1 from the smallest to the largest fitted symbol, 1 for the escape",
        "escape": "outside that range: the escape, 1 bit for the side, Elias gamma code of the distance from the range",
        "largest_symbol": LARGEST,
    },
    source="m2l_bench; Krichevsky and Trofimov 1981 (frequencies); Elias 1975 (escape)",
)
