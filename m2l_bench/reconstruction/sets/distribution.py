"""The set-level metrics by name, as a run scores them: paired files in, a value with interval and health out.

Conventions
-----------
File i of `estimates` is the reconstruction of file i of `references`: float32 (windows, dim), window by window. The
windows of all files are pooled. A pair without windows (one side was refused: too short, silent, broken) is left out on
both sides and counted in the health record. Intervals are 95 %, over files drawn on both sides at once.
Importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from m2l_bench.cards import Card, PairMetric, SetMetric, SetScore, Unscorable
from m2l_bench.reconstruction.pair.visqol import SHORTEST, visqol
from m2l_bench.reconstruction.sets import compatibility, frechet, kernel
from m2l_bench.reconstruction.sets.frechet_draws import interval, left_out, paired_draws
from m2l_bench.statistics import contributions
from m2l_bench.systems.encoders import EMBEDDINGS
from m2l_bench.systems.encoders.windows import TAIL_RULE, Embedding

MINIMUM_FILES = 10
MINIMUM_WINDOWS = 20
MINIMUM_FILES_INF = 20
N_DRAWS = 1000

Files = Sequence[np.ndarray]


def fad(references: Files, estimates: Files, seed: int) -> SetScore:
    """Fréchet distance over the pooled windows; the interval is a paired bootstrap over files, its bias removed."""
    left, right, health = _usable(references, estimates)
    reference, estimate = (frechet.Gaussian.of(np.concatenate(side)) for side in (left, right))
    value = frechet.distance(reference, estimate)
    draws = paired_draws(left, right, n_draws=N_DRAWS, seed=seed)
    health |= _sides(reference, estimate) | {"bootstrap_bias": float(draws.mean() - value)}
    added = _spread_out(references, estimates, contributions(value, left_out(left, right)))
    return SetScore(value=value, **_bounds(interval(value, draws)), health=health, contributions=added)


def fad_inf(references: Files, estimates: Files, seed: int) -> SetScore:
    """Fréchet distance extrapolated over subsets of files, the same files of both sides; the interval is the fit's."""
    left, right, health = _usable(references, estimates, minimum_files=MINIMUM_FILES_INF)
    groups = np.repeat(np.arange(len(left)), [len(file) for file in left])
    pooled = np.concatenate(left), np.concatenate(right)
    result = frechet.frechet_distance_inf(*pooled, groups=groups, paired=True, seed=seed)
    health |= _sides(*map(frechet.Gaussian.of, pooled)) | {"n_subsets": len(result.sizes)}
    return SetScore(value=result.value, ci_low=result.ci_low, ci_high=result.ci_high, health=health)


def kad(references: Files, estimates: Files, seed: int) -> SetScore:
    """Unbiased kernel distance over pairs of different files; the interval is a bootstrap over files."""
    left, right, health = _usable(references, estimates)
    pooled = np.concatenate(left), np.concatenate(right)
    bandwidth = kernel.median_distance(pooled[0])
    sums = kernel.paired_sums(left, right, bandwidth=bandwidth)
    value, draws = kernel.paired_distance(*sums), kernel.paired_kernel_draws(*sums, n_draws=N_DRAWS, seed=seed)
    health |= {"n": len(pooled[0]), "dim": pooled[0].shape[1], "bandwidth": bandwidth}
    health |= {"variance": float(draws.var()), "unpaired": kernel.kernel_distance(*pooled, bandwidth=bandwidth)}
    bounds = _bounds(interval(value, draws, lowest=-np.inf))
    added = _spread_out(references, estimates, contributions(value, kernel.paired_left_out(*sums)))
    return SetScore(value=value, **bounds, health=health, contributions=added)


def heard_through(metric: SetMetric, embedding: Embedding) -> SetMetric:
    """The metric with the loaded embedding's fingerprint in its card: what the rows of a run carry."""
    model = f"{metric.card.model}; {embedding.name} {embedding.fingerprint}"
    return replace(metric, card=replace(metric.card, model=model))


def _fadtk(references: Files, estimates: Files, seed: int) -> SetScore:
    return _compatible(references, estimates, "fadtk")


def _frechet_audio_distance(references: Files, estimates: Files, seed: int) -> SetScore:
    return _compatible(references, estimates, "frechet-audio-distance")


def _fadtk_inf(references: Files, estimates: Files, seed: int) -> SetScore:
    left, right, health = _usable(references, estimates, minimum_files=2)
    if sum(map(len, right)) < compatibility.INF_SMALLEST:
        raise Unscorable(f"too few windows: fadtk's smallest subset has 500, got {sum(map(len, right))}")
    value = compatibility.fadtk_frechet_distance_inf(left, right, seed=seed)
    return SetScore(value=value, ci_low=np.nan, ci_high=np.nan, health=health)


def _compatible(references: Files, estimates: Files, mode: str) -> SetScore:
    left, right, health = _usable(references, estimates, minimum_files=2)
    value = compatibility.compatible_frechet_distance(left, right, mode=mode)
    if np.isnan(value):
        raise Unscorable(f"{mode} prints NaN: one of the files has a single window")
    return SetScore(value=value, ci_low=np.nan, ci_high=np.nan, health=health)


def _usable(
    references: Files, estimates: Files, *, minimum_files: int = MINIMUM_FILES
) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, float]]:
    """The pairs with windows on both sides, and how many were left out."""
    # A reconstruction that is a little short may lack the last window: the windows that both sides have stand opposite.
    whole = [(r, e) for r, e in zip(references, estimates, strict=True) if len(r) and len(e)]
    pairs = [(r[: len(e)], e[: len(r)]) for r, e in whole]
    dims = {side.shape[1] for pair in pairs for side in pair}
    if len(dims) > 1:
        raise ValueError(f"windows must have one dimension, got {sorted(dims)}")
    if len(pairs) < minimum_files:
        raise Unscorable(f"too few files: needs {minimum_files} with at least one window, got {len(pairs)}")
    n_windows = sum(len(reference) for reference, _ in pairs)
    if n_windows < MINIMUM_WINDOWS:
        raise Unscorable(f"too few windows: needs {MINIMUM_WINDOWS} in all, got {n_windows}")
    health: dict[str, float] = {"n_files": len(pairs), "n_left_out": len(references) - len(pairs)}
    health["n_unpaired_windows"] = sum(abs(len(r) - len(e)) for r, e in whole)
    return [r for r, _ in pairs], [e for _, e in pairs], health


def _spread_out(references: Files, estimates: Files, values: np.ndarray) -> tuple[float, ...]:
    """Values of the usable pairs, NaN for the others."""
    of_pairs = iter(values)
    return tuple(
        float(next(of_pairs)) if len(r) and len(e) else np.nan for r, e in zip(references, estimates, strict=True)
    )


def _sides(reference: frechet.Gaussian, estimate: frechet.Gaussian) -> dict[str, float]:
    health: dict[str, float] = {"n": reference.n, "dim": reference.mean.size}
    for side, gaussian in (("reference", reference), ("estimate", estimate)):
        record = gaussian.health()
        health |= {f"rank_{side}": record["rank"], f"smallest_eigenvalue_{side}": record["smallest_eigenvalue"]}
    return health


def _bounds(interval: tuple[float, float]) -> dict[str, float]:
    return {"ci_low": interval[0], "ci_high": interval[1]}


_FAD = "|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), means and unbiased covariances of the pooled windows"
_MINIMUM = {"minimum_files": MINIMUM_FILES, "minimum_windows": MINIMUM_WINDOWS}
_BOOTSTRAP = {"interval": "paired percentile bootstrap over files, centred on the value", "draws": N_DRAWS}
_INF = {
    "minimum_files": MINIMUM_FILES_INF,
    "sizes": frechet.N_SIZES,
    "repeats": frechet.REPEATS,
    "smallest_share": frechet.SMALLEST_SHARE,
    "drawn": "files, without replacement, the same of both sides",
    "interval": "Student's t of the intercept",
}
# family -> (title, formula, constants, source, score)
_FAMILIES: dict[str, tuple[str, str, dict[str, object], str, Callable[[Files, Files, int], SetScore]]] = {
    "fad": ("FAD", _FAD, _MINIMUM | _BOOTSTRAP, "Kilgour et al., 2019, eq. 1", fad),
    "fad_inf": ("FAD-inf", f"intercept at 1/n = 0 of: {_FAD}", _INF, "Gui et al., 2024, section 2.3", fad_inf),
    "kad": (
        "KAD",
        "100 MMD^2, unbiased, over windows of different files; k = exp(-|x - y|^2 / 2 s^2)",
        _MINIMUM | _BOOTSTRAP | {"bandwidth": "median distance of the reference's windows"},
        "Chung et al., 2025, eq. 5",
        kad,
    ),
}
# (family, embedding, mode) -> (what the tool does, score)
_COMPATIBLE: dict[tuple[str, str, str], tuple[str, Callable[[Files, Files, int], SetScore]]] = {
    ("fad", "vggish", "fadtk"): ("float16 windows and file means, statistics merged by file", _fadtk),
    ("fad_inf", "vggish", "fadtk"): ("float16; 25 sizes from 500 windows, drawn with replacement", _fadtk_inf),
    ("fad", "vggish", "frechet-audio-distance"): ("float32 mean of pooled windows", _frechet_audio_distance),
}


def _metric(family: str, embedding: str) -> SetMetric:
    title, formula, constants, source, score = _FAMILIES[family]
    entry = EMBEDDINGS[embedding]
    card = Card(
        name=f"{family}:{embedding}",
        title=f"{title}-{embedding}",
        higher_is_better=False,
        formula=formula,
        rate_rule=f"both resampled to {entry.sample_rate} Hz (soxr VHQ)",
        channel_rule="mean of the channels",
        constants=constants | {"window": entry.window, "hop": entry.hop, "tail": TAIL_RULE},
        model=entry.model,
        source=f"{source}; {entry.source}",
    )
    return SetMetric(card=card, embedding=embedding, score=score)


def _compatible_metric(family: str, embedding: str, mode: str) -> SetMetric:
    rule, score = _COMPATIBLE[family, embedding, mode]
    plain = _metric(family, embedding)
    constants = {key: plain.card.constants[key] for key in ("window", "hop", "tail")} | {"mode": mode, "rule": rule}
    card = replace(
        plain.card,
        name=f"{plain.card.name}:{mode}",
        title=f"{plain.card.title} ({mode})",
        constants=constants,
        source=f"{mode} as released; {EMBEDDINGS[embedding].source}",
    )
    return SetMetric(card=card, embedding=embedding, score=score)


VISQOL = PairMetric(
    card=Card(
        name="visqol",
        title="ViSQOL",
        unit="MOS-LQO",
        higher_is_better=True,
        formula="support-vector map of gammatone spectrogram similarity, audio mode, reference first",
        rate_rule="both resampled to 48000 Hz (soxr VHQ)",
        channel_rule="mean of the channels",
        constants={"shortest_seconds": SHORTEST},
        model="visqol-python 3.8, libsvm_nu_svr_model.txt",
        source="Chinen et al., 2020",
    ),
    score=visqol,
    slow=True,
)

_SET_METRICS = [
    *(_metric(family, embedding) for embedding in EMBEDDINGS for family in _FAMILIES),
    *(_compatible_metric(*key) for key in _COMPATIBLE),
]
DISTRIBUTION_METRICS: dict[str, SetMetric | PairMetric] = {metric.card.name: metric for metric in _SET_METRICS}
DISTRIBUTION_METRICS["visqol"] = VISQOL
