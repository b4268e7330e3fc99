"""The metrics of pairs, each with its card: a reference and an estimate of it.

To add one, write its function in a module of :mod:`m2l_bench.reconstruction.pair` and add an entry to :data:`PAIR_METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from m2l_bench import loudness
from m2l_bench.cards import STEREO, Card
from m2l_bench.reconstruction.checks import SILENT_DB, SILENT_RULE, Unscorable
from m2l_bench.reconstruction.pair import alignment, bands, level, mel, shared_stft, si_sdr, stereo, stft, visqol

Scores = dict[str, "float | Unscorable"]
OVER_FILES = "Student's t over files, studentised bootstrap where their skewness is beyond 1"


@dataclass(frozen=True, kw_only=True)
class PairMetric:
    """A metric of one reference and one estimate.

    Attributes
    ----------
    card : Card
    score : callable, optional
        ``(reference, estimate, sample_rate) -> float`` for two checked float32 arrays (channels, samples) of one shape;
        raises :class:`Unscorable`.
    scores : callable, optional
        ``(reference, estimate, sample_rate, names) -> Scores`` in place of `score`, for metrics that share
        transforms: they have the same function.
    """

    card: Card
    score: Callable[[np.ndarray, np.ndarray, int], float] | None = None
    scores: Callable[[np.ndarray, np.ndarray, int, Sequence[str]], Scores] | None = None


_EACH_CHANNEL = f"{SILENT_RULE}; each other channel alone, then their mean"
_SI_SDR_SOURCE = "Le Roux, Wisdom, Erdogan, Hershey 2019, equation 4"
_SI_SDR_CONSTANTS = {"limit_db": si_sdr.LIMIT, "zero_mean": True, "dtype": "float64"}
_ALIGNMENT_CONSTANTS = {
    "max_lag_seconds": alignment.MAX_LAG,
    "tie": alignment.TIE,
    "window": f"periodic Hann, {alignment.WINDOW} samples, half overlapping",
    "integer_within": alignment.ROUNDED,
    "decimals": alignment.DECIMALS,
    "ringing_samples": alignment.RINGING,
    "min_samples": f"2 (round({alignment.MAX_LAG} sample rate) + {alignment.RINGING}) + 1",
    "zero_mean": True,
}
_ALIGNED = (
    "not scored unless the coefficient |sum r[t] e[t + k]| / (|r| |e|) at k is above "
    f"max(b, min({alignment.FACTOR} b, {alignment.SURE})), b the largest coefficient at lags from {1000 * alignment.MAX_LAG:.0f} "
    f"ms to {alignment.BEYOND:.0f} s"
)
_FACTOR = "a = <e, r> / <r, r> with the lag undone, r and e zero-mean"


def _mel_metric(definition: str, title: str, meaning: str, source: str) -> PairMetric:
    card = Card(
        name="mel_distance" if definition == "dac-eval" else f"mel_distance:{definition}",
        title=title,
        higher_is_better=False,
        formula="sum over windows of log_weight mean|ln max(m_r, clamp) - ln max(m_e, clamp)| "
        f"+ raw_weight mean|m_r - m_e|, means over bands and frames, m = mel filters times |X|^power; {meaning}",
        constants={
            "definition": definition,
            "window": "periodic Hann",
            "hop": "window / 4",
            "padding": "reflection by window / 2",
            "frequency_range": "0 Hz to half the sample rate",
            "min_samples": mel.MIN_SAMPLES,
            **asdict(mel.DEFINITIONS[definition]),
        },
        channel_rule=_EACH_CHANNEL,
        source=source,
        version=2,
    )
    return PairMetric(card=card, scores=shared_stft.scores)


def _alignment_metric(name: str, unit: str, formula: str) -> PairMetric:
    card = Card(
        name=name,
        title=name.capitalize(),
        unit=unit,
        higher_is_better=None,
        formula=f"{formula}; {_ALIGNED}",
        channel_rule=f"{SILENT_RULE}; one value for all others, which weigh by their energy",
        constants=_ALIGNMENT_CONSTANTS,
        source="m2l_bench",
        version=2,
    )
    return PairMetric(card=card, scores=alignment.scores)


_STEREO = (
    f"{SILENT_RULE}; needs two others, L and R, with M = (L + R) / 2 and S = (L - R) / 2; a reference whose S is more than "
    f"{SILENT_DB:.0f} dB below M (mono) is not scored"
)
_STFT_CONSTANTS = {
    "n_fft": bands.N_FFT,
    "hop": bands.N_FFT // 4,
    "window": "periodic Hann",
    "padding": "reflection by window / 2",
    "min_samples": bands.MIN_SAMPLES,
}
_ERB_SOURCE = "bands: Glasberg and Moore 1990"


def _si_sdr_of(side: str, symbol: str, more: str) -> PairMetric:
    card = Card(
        name=f"si_sdr_{side}",
        title=f"SI-SDR {side}",
        unit="dB",
        higher_is_better=True,
        formula=f"SI-SDR of {symbol}: 10 log10(|s|^2 / |e - s|^2), s = (<e, r> / <r, r>) r, r and e zero-mean over time; "
        f"constant estimate: -100{more}",
        channel_rule=_STEREO,
        constants=_SI_SDR_CONSTANTS | {"min_samples": stereo.MIN_SAMPLES},
        source=_SI_SDR_SOURCE,
    )
    return PairMetric(card=card, scores=stereo.scores)


def _error_and_change(quantity: str, title: str, unit: str, formula: str, **fields: Any) -> tuple[Card, Card]:
    """Cards of the absolute value of a quantity's change, and of the signed change, which has no better direction."""
    change = Card(
        name=f"{quantity}_change",
        title=f"{title} change",
        unit=unit,
        higher_is_better=None,
        formula=f"estimate - reference; {formula}",
        **fields,
    )
    error = replace(
        change,
        name=f"{quantity}_error",
        title=f"{title} error",
        higher_is_better=False,
        formula=f"|estimate - reference|; {formula}",
    )
    return error, change


_WIDTH_CARDS = _error_and_change(
    "width",
    "Width",
    "dB",
    "width = 10 log10(E_S / E_M) within +-limit_db, energies about the mean; constant estimate: not scored",
    channel_rule=_STEREO,
    constants={"limit_db": stereo.LIMIT, "min_samples": stereo.MIN_SAMPLES},
    source="m2l_bench",
)
_LOUDNESS_CARDS = _error_and_change(
    "loudness",
    "Loudness",
    "LU",
    "integrated loudness in LUFS, each side gated by itself; no block above the absolute gate: not scored",
    channel_rule=f"{SILENT_RULE}; all others together, each of weight 1",
    constants={
        "block_seconds": loudness.BLOCK,
        "step_seconds": loudness.STEP,
        "absolute_gate_lufs": loudness.ABSOLUTE_GATE,
        "relative_gate_lu": loudness.RELATIVE_GATE,
        "filter": "K-weighting of the 48 kHz table, carried to other rates by its analogue prototypes",
        "min_seconds": loudness.BLOCK,
    },
    source="ITU-R BS.1770-4, 2015, annex 1",
)
_TRUE_PEAK_CARDS = _error_and_change(
    "true_peak",
    "True peak",
    "dB",
    "true peak = 20 log10 max |x|, x oversampled; zero signal: not scored",
    channel_rule=f"{SILENT_RULE}; the highest peak of all others",
    constants={
        "oversampling": loudness.OVERSAMPLING,
        "filter": "soxr VHQ",
        "dtype": "float64",
        "min_samples": level.MIN_SAMPLES,
    },
    source="ITU-R BS.1770-4, 2015, annex 2",
)

# Stereo and phase: the report shows them in a table of their own.
_STEREO_METRICS = (
    _si_sdr_of("mid", "M", f"; M of the reference more than {SILENT_DB:.0f} dB below S: not scored"),
    _si_sdr_of("side", "S", ""),
    PairMetric(card=_WIDTH_CARDS[0], scores=stereo.scores),
    PairMetric(card=_WIDTH_CARDS[1], scores=stereo.scores),
    PairMetric(
        card=Card(
            name="panning_error",
            title="Panning error",
            higher_is_better=False,
            formula="sum w |P_e - P_r| / sum w over bins and frames, P = (|L| - |R|) / (|L| + |R|) (0 where both are 0), "
            "w = |L_r|^2 + |R_r|^2; constant estimate: not scored",
            channel_rule=_STEREO,
            constants=_STFT_CONSTANTS,
            source="m2l_bench",
        ),
        scores=shared_stft.scores,
    ),
    PairMetric(
        card=Card(
            name="interchannel_coherence_error",
            title="Interchannel coherence error",
            higher_is_better=False,
            formula="mean over bands of |C_e - C_r|, C = |sum L R*| / sqrt(sum |L|^2 sum |R|^2), sums over the bins of the band "
            "and all frames; constant estimate: not scored",
            channel_rule=_STEREO,
            constants=_STFT_CONSTANTS | {"bands": bands.RULE},
            source=f"Breebaart, van de Par, Kohlrausch, Schuijers 2005 (coherence); {_ERB_SOURCE}",
        ),
        scores=shared_stft.scores,
    ),
    PairMetric(
        card=Card(
            name="phase_coherence",
            title="Phase coherence",
            higher_is_better=True,
            formula="mean over bands of |sum X Y*| / sum |X| |Y|, sums over the bins of the band and all frames; the lag is not "
            "undone",
            channel_rule=_EACH_CHANNEL,
            constants=_STFT_CONSTANTS | {"bands": bands.RULE},
            source=f"m2l_bench; {_ERB_SOURCE}",
        ),
        scores=shared_stft.scores,
    ),
)

_PAIR_METRICS = (
    PairMetric(
        card=Card(
            name="si_sdr",
            title="SI-SDR",
            unit="dB",
            higher_is_better=True,
            formula="10 log10(|s|^2 / |e - s|^2), s = (<e, r> / <r, r>) r, r and e zero-mean over time; silent "
            "reference: not scored, constant estimate: -100",
            channel_rule=_EACH_CHANNEL,
            constants=_SI_SDR_CONSTANTS | {"min_samples": si_sdr.MIN_SAMPLES},
            source=_SI_SDR_SOURCE,
            version=2,
        ),
        score=si_sdr.score,
    ),
    PairMetric(
        card=Card(
            name="si_sdr_aligned",
            title="SI-SDR aligned",
            unit="dB",
            higher_is_better=True,
            formula="SI-SDR of the samples that overlap once the lag is undone: by a phase shift of the zero-padded estimate "
            "for the fraction of a sample (ringing_samples more are then dropped at either end), by a shift for the rest; "
            f"constant estimate: -100; {_ALIGNED}",
            channel_rule=_EACH_CHANNEL,
            constants=_SI_SDR_CONSTANTS | _ALIGNMENT_CONSTANTS,
            source=_SI_SDR_SOURCE,
            version=2,
        ),
        scores=alignment.scores,
    ),
    _mel_metric(
        "dac-eval",
        "Mel distance",
        "log_weight = 2 / ln 10, for log10 of the squared magnitude",
        "Kumar et al. 2023; descript-audio-codec, evaluation script (what it prints, at 44.1 and 22.05 kHz: it resamples first)",
    ),
    _mel_metric(
        "dac-train",
        "Mel distance (DAC training)",
        "log_weight = 1 / ln 10, for log10 of the magnitude",
        "Kumar et al. 2023, section 3.4; descript-audio-codec, 44 kHz configuration",
    ),
    _mel_metric(
        "audiocodecbench",
        "Mel distance (AudioCodecBench)",
        "log_weight = 1 / 7, for the mean over seven windows",
        "AudioCodecBench, reconstruction evaluation",
    ),
    PairMetric(
        card=Card(
            name="stft_distance",
            title="STFT distance",
            higher_is_better=False,
            formula="mean over resolutions of ||R - E||_F / ||R||_F + mean|ln R - ln E|, R and E from clamped powers; "
            "silent reference: not scored",
            channel_rule=_EACH_CHANNEL,
            constants={
                "n_fft_hop_window": stft.RESOLUTIONS,
                "min_power": stft.MIN_POWER,
                "window": "periodic Hann",
                "min_samples": stft.MIN_SAMPLES,
            },
            source="Yamamoto, Song, Kim 2020, equations 4 to 7; auraloss MultiResolutionSTFTLoss",
            version=2,
        ),
        score=stft.score,
    ),
    _alignment_metric(
        "lag",
        "samples",
        "k + d, positive where the estimate is late; k within +-50 ms of the largest |sum r[t] e[t + k]|, r and e zero-mean; d "
        "within +-1 of the largest |Re sum_f S(f) exp(2 pi i f d)|, S the cross-spectrum with k undone, summed over windows and "
        "channels",
    ),
    _alignment_metric("gain", "dB", f"20 log10 |a|, {_FACTOR}"),
    _alignment_metric("polarity", "", f"sign of {_FACTOR}"),
    PairMetric(
        card=Card(
            name="visqol",
            title="ViSQOL",
            unit="MOS-LQO",
            higher_is_better=True,
            formula="support-vector map of gammatone spectrogram similarity, audio mode, reference first",
            rate_rule="both resampled to 48000 Hz (soxr VHQ)",
            channel_rule=f"{SILENT_RULE}; mean of the others",
            constants={"min_seconds": visqol.SHORTEST},
            model="visqol-python 3.8, libsvm_nu_svr_model.txt",
            source="Chinen et al., 2020",
            version=2,
        ),
        score=visqol.visqol,
    ),
    *(replace(metric, card=replace(metric.card, group=STEREO)) for metric in _STEREO_METRICS),
    *(PairMetric(card=card, scores=level.scores) for card in (*_LOUDNESS_CARDS, *_TRUE_PEAK_CARDS)),
)


def with_interval(card: Card) -> Card:
    """A pair metric's card with the rule of the intervals in its rows."""
    return replace(card, constants={**card.constants, "interval": f"mean: {OVER_FILES}; median: percentile bootstrap"})


PAIR_METRICS = tuple(replace(metric, card=with_interval(metric.card)) for metric in _PAIR_METRICS)
"""In the order of tables."""
