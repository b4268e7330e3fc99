"""The reconstruction metrics by name, each with its card.

Conventions
-----------
A metric of a pair takes float32 ``(channels, samples)`` arrays of one shape at the reference's sample rate and gives
one number: channels are scored alone and averaged, unless the card says otherwise. Where the number is not defined (a
silent channel in the reference, a clip too short, NaN) it raises :class:`~m2l_bench.cards.Unscorable`:
the pair is counted as not scored, with that reason, and never enters a mean unseen. :func:`score_pair` gives several
metrics of one pair and shares their transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from m2l_bench.cards import Card, PairMetric, SetMetric, Unscorable
from m2l_bench.reconstruction.checks import check_pair, check_sample_rate, require_sound
from m2l_bench.reconstruction.pair import alignment, mel, stft
from m2l_bench.reconstruction.pair.si_sdr import LIMIT, si_sdr
from m2l_bench.reconstruction.sets.distribution import DISTRIBUTION_METRICS

Scores = dict[str, "float | Unscorable"]
# Metrics that share transforms: (reference, estimate, sample_rate, names) -> a score for each name.
Family = Callable[[np.ndarray, np.ndarray, int, Sequence[str]], Scores]


def get_metric(name: str) -> PairMetric | SetMetric:
    """Return the metric of a name, or raise ValueError listing the known ones."""
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    return METRICS[name]


def score_pair(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> Scores:
    """Several metrics of one pair; what they have in common is computed once.

    Parameters
    ----------
    reference, estimate : np.ndarray of float32, shape (channels, samples)
    sample_rate : int
        Hz.
    names : sequence of str
        Metrics of pairs in :data:`METRICS`.

    Returns
    -------
    dict
        For each name, in the order asked for, its score, or the :class:`Unscorable` that says why there is none.

    Raises
    ------
    ValueError
        If a name is unknown or of a metric of sets, the shapes differ, or a signal is not floating point.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal((1, 8000)).astype(np.float32)
    >>> score_pair(noise, noise, 44100, ["si_sdr", "mel_distance", "lag"])
    {'si_sdr': 100.0, 'mel_distance': 0.0, 'lag': 0.0}
    """
    metrics = {name: _pair_metric(name) for name in names}
    check_sample_rate(sample_rate)
    try:
        reference, estimate = _channels(reference, estimate)
    except Unscorable as reason:
        return dict.fromkeys(names, reason)
    scores: Scores = {}
    for name, metric in metrics.items():
        if name not in scores:
            family = _FAMILIES.get(name) or _alone(metric)
            together = [other for other in names if _FAMILIES.get(other) is family] or [name]
            scores |= _or_reason(family, reference, estimate, sample_rate, together)
    return {name: scores[name] for name in names}


def _pair_metric(name: str) -> PairMetric:
    metric = get_metric(name)
    if not isinstance(metric, PairMetric):
        raise ValueError(f"{name!r} is a metric of sets, not of pairs")
    return metric


def _alone(metric: PairMetric) -> Family:
    return lambda reference, estimate, sample_rate, names: {
        metric.card.name: metric.score(reference, estimate, sample_rate)
    }


def _or_reason(
    family: Family, reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]
) -> Scores:
    try:
        return family(reference, estimate, sample_rate, names)
    except Unscorable as reason:
        return dict.fromkeys(names, reason)


def _channels(reference: np.ndarray, estimate: np.ndarray, min_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    reference, estimate = check_pair(reference, estimate, min_samples=min_samples)
    if reference.ndim != 2:
        raise ValueError(f"a metric takes (channels, samples) arrays, got shape {reference.shape}")
    return reference, estimate


def _waveform_scores(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> Scores:
    reference, estimate = _channels(reference, estimate, min_samples=2)
    require_sound(reference, "reference")
    return {"si_sdr": float(np.mean(si_sdr(reference, estimate)))}


def _mel_scores(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> Scores:
    definitions = {name: name.partition(":")[2] or "dac-eval" for name in names}
    reference, estimate = _channels(reference, estimate, min_samples=mel.MIN_SAMPLES)
    channels = [
        mel.distances(r, e, sample_rate, list(definitions.values())) for r, e in zip(reference, estimate, strict=True)
    ]
    return {name: float(np.mean([c[definition] for c in channels])) for name, definition in definitions.items()}


def _stft_scores(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> Scores:
    reference, estimate = _channels(reference, estimate, min_samples=stft.MIN_SAMPLES)
    values = np.array([stft.distance(r, e) for r, e in zip(reference, estimate, strict=True)])
    zeros = [str(i + 1) for i in np.flatnonzero(np.isnan(values))]
    if zeros:
        raise Unscorable(f"reference is all zeros in channel {', '.join(zeros)}")
    return {"stft_distance": float(values.mean())}


def _alignment_scores(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> Scores:
    reference, estimate = _channels(reference, estimate, min_samples=alignment.min_samples(sample_rate))
    lag = 0
    scores: Scores
    try:
        found = alignment.align(reference, estimate, sample_rate)
        scores = {"lag": float(found.lag), "gain": found.gain, "polarity": float(found.polarity)}
        lag = found.lag
    except Unscorable as reason:
        scores = {"lag": reason, "gain": reason, "polarity": reason}
    if "si_sdr_aligned" in names:
        parts = alignment.undo_lag(reference, estimate, lag)
        scores |= _or_reason(_waveform_scores, *parts, sample_rate, ["si_sdr"])
        scores["si_sdr_aligned"] = scores.pop("si_sdr")
    return {name: scores[name] for name in names}


def _metric(card: Card) -> PairMetric:
    def score(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
        value = _FAMILIES[card.name](reference, estimate, sample_rate, [card.name])[card.name]
        if isinstance(value, Unscorable):
            raise value
        return value

    return PairMetric(card=card, score=score)


_FAMILIES: dict[str, Family] = {
    "si_sdr": _waveform_scores,
    "si_sdr_aligned": _alignment_scores,
    "mel_distance": _mel_scores,
    "mel_distance:dac-train": _mel_scores,
    "mel_distance:audiocodecbench": _mel_scores,
    "stft_distance": _stft_scores,
    "lag": _alignment_scores,
    "gain": _alignment_scores,
    "polarity": _alignment_scores,
}

_SI_SDR_SOURCE = "Le Roux, Wisdom, Erdogan, Hershey 2019, equation 4"
_SI_SDR_CONSTANTS = {"limit_db": LIMIT, "zero_mean": True, "dtype": "float64"}
_ALIGNMENT_CONSTANTS = {"max_lag_seconds": alignment.MAX_LAG, "tie": alignment.TIE, "zero_mean": True}
_ONE_FOR_ALL = "one value for all channels, which weigh by their energy"


def _mel_card(definition: str, title: str, formula: str, source: str) -> Card:
    return Card(
        name="mel_distance" if definition == "dac-eval" else f"mel_distance:{definition}",
        title=title,
        higher_is_better=False,
        formula=formula,
        constants={"definition": definition, "hop": "window / 4", **asdict(mel.DEFINITIONS[definition])},
        source=source,
    )


CARDS: tuple[Card, ...] = (
    Card(
        name="si_sdr",
        title="SI-SDR",
        unit="dB",
        higher_is_better=True,
        formula="10 log10(|s|^2 / |e - s|^2), s = (<e, r> / <r, r>) r, r and e zero-mean over time; silent reference: "
        "not scored, silent estimate: -100",
        constants=_SI_SDR_CONSTANTS,
        source=_SI_SDR_SOURCE,
    ),
    Card(
        name="si_sdr_aligned",
        title="SI-SDR aligned",
        unit="dB",
        higher_is_better=True,
        formula="SI-SDR of the samples that overlap once the lag is undone (0 where there is none)",
        constants=_SI_SDR_CONSTANTS | _ALIGNMENT_CONSTANTS,
        source=_SI_SDR_SOURCE,
    ),
    _mel_card(
        "dac-eval",
        "Mel distance",
        "sum over windows of mean|log10 max(m_r, c)^2 - log10 max(m_e, c)^2| + mean|m_r - m_e|, m: mel magnitudes",
        "Kumar et al. 2023; descript-audio-codec, evaluation script",
    ),
    _mel_card(
        "dac-train",
        "Mel distance (DAC training)",
        "sum over windows of mean|log10 max(m_r, c) - log10 max(m_e, c)|, m: mel magnitudes",
        "Kumar et al. 2023, section 3.4; descript-audio-codec, 44 kHz configuration",
    ),
    _mel_card(
        "audiocodecbench",
        "Mel distance (AudioCodecBench)",
        "mean over windows of mean|ln max(m_r, c) - ln max(m_e, c)|, m: mel powers",
        "AudioCodecBench, reconstruction evaluation",
    ),
    Card(
        name="stft_distance",
        title="STFT distance",
        higher_is_better=False,
        formula="mean over resolutions of ||R - E||_F / ||R||_F + mean|ln R - ln E|, R and E from clamped powers; "
        "all-zero reference: not scored",
        constants={"n_fft_hop_window": stft.RESOLUTIONS, "min_power": stft.MIN_POWER, "window": "periodic Hann"},
        source="Yamamoto, Song, Kim 2020, equations 4 to 7; auraloss MultiResolutionSTFTLoss",
    ),
    Card(
        name="lag",
        title="Lag",
        unit="samples",
        higher_is_better=None,
        formula="k within +-50 ms of the largest |sum r[t] e[t + k]|, r and e zero-mean; positive: estimate is late",
        channel_rule=_ONE_FOR_ALL,
        constants=_ALIGNMENT_CONSTANTS,
        source="m2l_bench",
    ),
    Card(
        name="gain",
        title="Gain",
        unit="dB",
        higher_is_better=None,
        formula="20 log10 |a|, a = <e, r> / <r, r> with the lag undone, r and e zero-mean",
        channel_rule=_ONE_FOR_ALL,
        constants=_ALIGNMENT_CONSTANTS,
        source="m2l_bench",
    ),
    Card(
        name="polarity",
        title="Polarity",
        higher_is_better=None,
        formula="sign of a = <e, r> / <r, r> with the lag undone, r and e zero-mean",
        channel_rule=_ONE_FOR_ALL,
        constants=_ALIGNMENT_CONSTANTS,
        source="m2l_bench",
    ),
)

METRICS: dict[str, PairMetric | SetMetric] = {**{card.name: _metric(card) for card in CARDS}, **DISTRIBUTION_METRICS}
