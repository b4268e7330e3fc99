"""The metrics of sets of files, each with its card: distances of the vectors that an encoder gives of both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from m2l_bench import plugins
from m2l_bench.cards import Card
from m2l_bench.reconstruction.pair_metrics import OVER_FILES
from m2l_bench.reconstruction.sets import compatibility, distribution, frechet, kernel
from m2l_bench.reconstruction.sets.compatibility import Files
from m2l_bench.reconstruction.sets.distribution import SetScore
from m2l_bench.reconstruction.sets.vectors import SIDE, SIDE_RULE


@dataclass(frozen=True, kw_only=True)
class SetMetric:
    """A metric of a set of references and a set of estimates, through the vectors of an encoder.

    Attributes
    ----------
    card : Card
    encoder : str
        As :mod:`m2l_bench.reconstruction.sets.vectors` spells it; the vectors of a file are computed once for all set
        metrics.
    score : callable
        ``(references, estimates, seed) -> SetScore``; both are sequences with one float32 array (vectors, dim) a file,
        in the same file order; raises :class:`Unscorable` (too few files or windows).
    """

    card: Card
    encoder: str
    score: Callable[[Files, Files, int], SetScore]


_FAD = "|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), means and unbiased covariances of the pooled windows"
_MINIMUM = {"minimum_files": distribution.MINIMUM_FILES, "minimum_windows": distribution.MINIMUM_WINDOWS}
_JACKKNIFE = (
    "Student's t over the files' jackknife pseudo-values (studentised bootstrap where their skewness is beyond 1)"
)
_INF: dict[str, Any] = {
    "minimum_files": distribution.MINIMUM_FILES_INF,
    "sizes": frechet.N_SIZES,
    "repeats": frechet.REPEATS,
    "smallest_share": frechet.SMALLEST_SHARE,
    "drawn": "files, without replacement, the same of both sides",
    "interval": "none",
}
_BANDWIDTH = (
    f"median distance of the reference's windows (of {kernel.MEDIAN_WINDOWS} evenly spaced ones if there are more)"
)


# name -> (title, formula, constants, source, score, version)
KINDS: dict[str, tuple[str, str, dict[str, Any], str, Callable[[Files, Files, int], SetScore], int]] = {
    "fad": (
        "FAD",
        f"{_FAD}, at least 0; corrected: mean of n F - (n - 1) F without a file, over n files, both sides of a file left out",
        _MINIMUM | {"interval": f"of the corrected value, for the sampling of files: {_JACKKNIFE}"},
        "Kilgour et al., 2019, eq. 1; corrected: Quenouille, 1956",
        distribution.fad,
        3,
    ),
    "fad_inf": (
        "FAD-inf",
        f"intercept at 1/n = 0 of: {_FAD}",
        _INF,
        "Gui et al., 2024, section 2.3",
        distribution.fad_inf,
        2,
    ),
    "kad": (
        "KAD",
        "100 MMD^2, unbiased, over windows of different files; k = exp(-|x - y|^2 / 2 s^2)",
        _MINIMUM | {"interval": _JACKKNIFE, "bandwidth": _BANDWIDTH},
        "Chung et al., 2025, eq. 5",
        distribution.kad,
        3,
    ),
    "embedding_distance": (
        "Embedding distance",
        "mean over files of mean over vectors |x - y|^2 / V, x and y of one time, V the trace of the unbiased covariance of the "
        "references' pooled vectors",
        _MINIMUM | {"interval": OVER_FILES},
        "Bereuter, Stahl, Plumbley, Sontacchi, 2025 (mean squared error of embeddings); division by V: m2l_bench",
        distribution.embedding_distance,
        1,
    ),
}


_VGGISH = "torchvggish v0.1, SHA-256 10086976..., no PCA, last ReLU"
# name -> (checkpoint and layer in words, source) of the encoders that the field measures with
_ENCODERS = {
    "musicnn": ("musicnn 0.1.0 MTT_musicnn, SHA-256 c278acc460e4..., penultimate layer", "Pons and Serra, 2019"),
    "vggish": (f"{_VGGISH} off", "Hershey et al., 2017"),
    "vggish:relu": (f"{_VGGISH} on", "Hershey et al., 2017"),
    "clap": ("laion/larger_clap_music, projected, unit length", "Wu et al., 2023"),
    "clap:htsat-unfused": ("laion/clap-htsat-unfused, projected, unit length", "Wu et al., 2023"),
}


def set_metric(kind: str, encoder: str) -> SetMetric:
    title, formula, constants, source, score, version = KINDS[kind]
    label, base = plugins.label(encoder), encoder.removesuffix(SIDE)
    listed = base in _ENCODERS
    model, encoder_source = _ENCODERS[base] if listed else (plugins.label(base), plugins.label(base))
    channel_rule = "mean of the channels" if listed else "as the encoder takes them; each of its streams has vectors"
    card = Card(
        name=f"{kind}:{label}",
        title=f"{title}-{label}",
        higher_is_better=False,
        formula=formula,
        channel_rule=channel_rule if base == encoder else f"the side signal (L - R) / 2 as one channel; {SIDE_RULE}",
        constants=constants if listed else constants | {"encoder": label},
        model=model,
        source=f"{source}; {encoder_source}",
        version=version,
    )
    return SetMetric(card=card, encoder=encoder, score=score)


def _as_released(kind: str, mode: str, rule: str, tool: Callable[[Files, Files, int], float]) -> SetMetric:
    plain = set_metric(kind, "vggish").card
    card = replace(
        plain,
        name=f"{plain.name}:{mode}",
        title=f"{plain.title} ({mode})",
        constants={"mode": mode, "rule": rule},
        source=f"{mode} as released; {_ENCODERS['vggish'][1]}",
        version=1,
    )
    return SetMetric(card=card, encoder="vggish", score=distribution.released(tool))


SET_METRICS: tuple[SetMetric, ...] = (
    *(set_metric(kind, encoder) for encoder in _ENCODERS for kind in KINDS),
    *(set_metric("fad", encoder + SIDE) for encoder in _ENCODERS),
    _as_released("fad", "fadtk", "float16 windows and file means, statistics merged by file", compatibility.fadtk),
    _as_released(
        "fad_inf", "fadtk", "float16; 25 sizes from 500 windows, drawn with replacement", compatibility.fadtk_inf
    ),
    _as_released(
        "fad", "frechet-audio-distance", "float32 mean of pooled windows", compatibility.frechet_audio_distance
    ),
)
"""In the order of tables; of other encoders :func:`set_metric` makes them."""
