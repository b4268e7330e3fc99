"""How often intervals cover and paired tests reject: ``python tests/benchmarks/bench_coverage.py [REPETITIONS]``.

Scores, and windows of an encoder, are drawn from known populations, and scored by the functions that a run uses. Intervals
should cover in 95 %, tests reject in 5 % of the repetitions where two systems are equal. docs/statistics.md has the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from scipy.optimize import brentq

from m2l_bench.reconstruction.sets.distribution import SetScore, fad, kad
from m2l_bench.statistics import mean_interval, paired_test

# Scores of single files in the reference run.
REAL = {
    "opus:24k, SI-SDR": np.array(
        [9.39, 8.86, 8.52, 10.05, 8.76, 8.65, 8.2, 8.56, 10.17, 9.06, 13.29, 9.36, 9.86, 12.2, 12.17, 9.05, 11.23, 9.81,
         13.17, 10.11, 8.29, 3.9, 11.02, 6.36, 10.27]
    ),
    "pca, mel distance": np.array(
        [6.45, 6.3, 5.91, 6.02, 6.28, 5.68, 6.83, 5.94, 6.08, 5.85, 6.32, 4.85, 6.03, 5.85, 4.89, 6.35, 4.97, 7.03, 3.82,
         4.13, 6.38, 8.12, 5.66, 7.3, 4.28]
    ),
}  # fmt: skip
LOST = [0.1, 0.03, 0.87]  # of differences of right answers: 1, -1, 0
N_FILES = 25
KINDS = ("noise", "other noise", "quieter")
SHARE = 0.1  # population FAD, as a share of the reference's variance
Rng = np.random.Generator
Draw = Callable[[Rng, int], np.ndarray]


def drawn_from(scores: np.ndarray) -> Draw:
    return lambda rng, n: rng.choice(scores, n)


def populations() -> Iterator[tuple[str, Draw, float]]:
    """Name, draw and mean of each shape."""
    mild, strong = (2 / 1.75) ** 2, (2 / 6) ** 2  # shapes of gamma distributions with these skewnesses
    yield "normal", lambda rng, n: rng.standard_normal(n), 0.0
    yield "gamma, skewness 1.75", lambda rng, n: rng.gamma(mild, size=n), mild
    yield "gamma, skewness 6", lambda rng, n: rng.gamma(strong, size=n), strong
    yield "two modes", lambda rng, n: np.where(rng.random(n) < 0.3, -3.0, 1.0) + 0.5 * rng.standard_normal(n), -0.2
    yield "rare large values (4 %)", lambda rng, n: 0.5 * rng.standard_normal(n) + 20.0 * (rng.random(n) < 0.04), 0.8
    yield (
        "differences of right answers (10 % lost, 3 % won)",
        lambda rng, n: rng.choice([1.0, -1.0, 0.0], n, p=LOST),
        0.07,
    )
    for name, scores in REAL.items():
        yield f"scores of {name}", drawn_from(scores), float(np.mean(scores))


def means(repetitions: int) -> None:
    """Coverage of the interval of a mean, and rejections of a difference whose mean is 0."""
    print("| population | n | interval covers | test rejects a mean of 0 |\n|---|--:|--:|--:|")
    for name, draw, mean in populations():
        for n in (25, 100):
            rng = np.random.default_rng(n)
            covered = rejected = 0
            for _ in range(repetitions):
                values = draw(rng, n)
                low, high = mean_interval(values)
                covered += low <= mean <= high
                rejected += paired_test(values, np.full(n, mean)) < 0.05
            print(f"| {name} | {n} | {covered / repetitions:.1%} | {rejected / repetitions:.1%} |", flush=True)


def equal_systems(repetitions: int) -> None:
    """Rejections of two systems whose scores are drawn from one population; and power at a difference of 0.5."""
    print("\n| two systems | n | test rejects |\n|---|--:|--:|")
    for name, draw, _ in populations():
        for n in (25, 100):
            rng = np.random.default_rng(n)
            found = np.mean([paired_test(draw(rng, n), draw(rng, n)) < 0.05 for _ in range(repetitions)])
            print(f"| equal, {name} | {n} | {found:.1%} |", flush=True)
    for n in (25, 100):
        rng = np.random.default_rng(n)
        found = np.mean([paired_test(rng.standard_normal(n) + 0.5, np.zeros(n)) < 0.05 for _ in range(repetitions)])
        print(f"| half a standard deviation of the differences apart, normal | {n} | {found:.1%} |", flush=True)


def spectrum(dim: int) -> np.ndarray:
    """Standard deviations of the dimensions: a falling spectrum, as encoders have."""
    return np.asarray(np.arange(1, dim + 1) ** -0.5)


def population_fad(kind: str, amount: float, dim: int) -> float:
    """Fréchet distance of the populations of :func:`windows`."""
    variance = spectrum(dim) ** 2
    if kind == "quieter":
        return float(np.sum(variance) * amount**2)
    noise = variance[::-1] if kind == "other noise" else variance
    louder = variance + amount**2 * noise
    return float(np.sum(variance + louder - 2 * np.sqrt(variance * louder)))


def amount_of(kind: str, target: float, dim: int) -> float:
    """Amount of a distortion that has this population distance."""
    most = 1.0 if kind == "quieter" else 99.0
    return float(brentq(lambda amount: population_fad(kind, amount, dim) - target, 0.0, most))


def windows(rng: Rng, n_windows: int, dim: int, amounts: dict[str, float]) -> dict[str, list[np.ndarray]]:
    """Windows of references and of systems with other distortions; half of the variance is that of the file."""
    scale = spectrum(dim)
    shape = (N_FILES, n_windows, dim)
    x = (rng.standard_normal((N_FILES, 1, dim)) + rng.standard_normal(shape)) * scale * 0.5**0.5
    sides = {"": x, "quieter": x * (1 - amounts["quieter"])}
    for kind, spread in (("noise", scale), ("other noise", scale[::-1])):
        sides[kind] = x + amounts[kind] * rng.standard_normal(shape) * spread
    return {kind: list(side) for kind, side in sides.items()}


def distances(repetitions: int) -> None:
    """Bias and coverage of FAD and KAD; rejections of systems of equal population FAD."""
    print(
        "\n| metric | dimensions | windows | distortion | bias | corrected | interval covers |\n|---|--:|--:|---|--:|--:|--:|"
    )
    rejections = []
    for dim, n_windows in ((16, 5), (64, 5), (64, 40), (200, 5), (200, 40)):
        rng = np.random.default_rng(dim)
        target = SHARE * float(np.sum(spectrum(dim) ** 2))
        amounts = {kind: amount_of(kind, target, dim) for kind in KINDS}
        runs = max(repetitions // (1 if dim == 16 else 5 if n_windows == 5 else 20), 20)
        found: dict[tuple[str, str], list[SetScore]] = {}
        tests: list[list[bool]] = []
        for _ in range(runs):
            sides = windows(rng, n_windows, dim, amounts)
            for kind in KINDS:
                for name, score in (("FAD", fad), ("KAD", kad)):
                    found.setdefault((name, kind), []).append(score(sides[""], sides[kind], 0))
            last = [found["FAD", kind][-1].contributions for kind in KINDS]
            tests.append([paired_test(a, b) < 0.05 for a, b in combinations(last, 2)])
        for (name, kind), scores in sorted(found.items()):
            values = np.array([score.value for score in scores])
            truth = target if name == "FAD" else float(values.mean())  # KAD is unbiased
            corrected = f"{np.mean([score.corrected for score in scores]) / truth - 1:+.0%}" if name == "FAD" else "-"
            bias = f"{values.mean() / truth - 1:+.0%}" if name == "FAD" else "-"
            covered = np.mean([score.ci_low <= truth <= score.ci_high for score in scores])
            line = (
                f"| {name} | {dim} | {N_FILES * n_windows} | {kind} | {bias} | {corrected} | {covered:.1%} ({runs}) |"
            )
            print(line, flush=True)
        rejected = np.mean(tests, axis=0)
        pairs = ", ".join(f"{a} and {b} {r:.1%}" for (a, b), r in zip(combinations(KINDS, 2), rejected, strict=True))
        rejections.append(f"FAD, {dim} dimensions, {N_FILES * n_windows} windows, equal population FAD: {pairs}")
    print("\nTests reject:\n\n" + "\n".join(f"- {line}" for line in rejections))


if __name__ == "__main__":
    n_repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    means(n_repetitions)
    equal_systems(n_repetitions)
    distances(n_repetitions)
