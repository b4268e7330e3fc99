"""How often the intervals of a latent space's numbers cover: ``python tests/benchmarks/bench_coverage_latents.py [REPETITIONS]``.

A population is 4,000 files of 16 dimensions. Those of a file are a rotation of independent components of known variance, each
the file's mean plus the file's level times a first-order autoregressive process whose half-life is 0.3 s. Means are normal and
have 30 % of the variance; levels are log-normal. A repetition draws files of the population with replacement, so that its
truth is the number of all its files, without error. docs/statistics.md has the table.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.signal import lfilter

from m2l_bench.latent.moments import Moments, moments
from m2l_bench.latent.sheet import intervals, numbers
from m2l_bench.statistics import contributions, mean_interval

DIM, N_FILES, HALF_LIFE, OF_FILES = 16, 4000, 0.3, 0.3
PROPERTIES = ("latent_dim", "latent_rate")
WITHOUT = ("latent_kurtosis", "dead_dimensions", "components_95")  # an interval


@dataclass(frozen=True)
class Population:
    """Files of one latent space.

    Attributes
    ----------
    name : str
    latent_rate, seconds : float
    level_spread : float
        Standard deviation of the logarithm of the files' levels.
    falling : bool
        Whether the variances of the components fall as 1/k, and the mean is as large as the deviations, or all are 1 and the
        mean is 0.
    """

    name: str
    latent_rate: float = 10.0
    seconds: float = 10.0
    level_spread: float = 0.3
    falling: bool = True

    def files(self) -> list[Moments]:
        """Draw the files, which are the same in every call."""
        rng = np.random.default_rng(0)
        frames, phi = int(self.seconds * self.latent_rate), 0.5 ** (1 / (HALF_LIFE * self.latent_rate))
        stds = np.arange(1, DIM + 1) ** (-0.5 if self.falling else 0.0)
        mixing = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0] * stds
        mean = self.falling * np.sqrt(np.mean(stds**2)) * rng.standard_normal((DIM, 1))
        found = []
        for _ in range(N_FILES):
            noise = rng.standard_normal((DIM, frames))
            noise[:, 1:] *= np.sqrt(1 - phi**2)  # variance 1 from the first frame on
            course = lfilter([1.0], [1.0, -phi], noise, axis=-1)
            level = np.exp(self.level_spread * rng.standard_normal() - self.level_spread**2)  # mean square 1
            file = np.sqrt(OF_FILES) * rng.standard_normal((DIM, 1)) + np.sqrt(1 - OF_FILES) * level * course
            found.append(moments((mean + mixing @ file)[None], self.latent_rate))
        return found


POPULATIONS = (
    Population("10 s at 10 Hz"),
    Population("30 s at 50 Hz", latent_rate=50.0, seconds=30.0),
    Population("levels differ more", level_spread=0.5),
    Population("mean 0, equal variances", falling=False),
)


def simulate(bank: list[Moments], truth: dict[str, float], n: int, repetitions: int) -> dict[str, tuple[str, str]]:
    """Median of each number over the repetitions, and how often its interval covers (ends below, begins above the truth)."""
    rng = np.random.default_rng(n)
    values: dict[str, list[float]] = {name: [] for name in truth}
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in truth}
    for _ in range(repetitions):
        files = [bank[place] for place in rng.integers(N_FILES, size=n)]
        total = reduce(Moments.__add__, files)
        of_set, left_out = numbers(total), [numbers(total - file) for file in files]
        found_ends = intervals(files)
        for name in truth:
            values[name].append(of_set[name])
            if name in WITHOUT:
                found_ends[name] = mean_interval(contributions(of_set[name], [each[name] for each in left_out]))
            ends[name].append(found_ends[name])
    found = {}
    for name, true in truth.items():
        low, high = np.transpose(ends[name])
        below, above = np.mean(high < true), np.mean(low > true)
        covered = np.mean((low <= true) & (true <= high))
        found[name] = f"{np.median(values[name]):.3g}", f"{covered:.1%} ({below:.1%}, {above:.1%})"
    return found


def main(repetitions: int) -> None:
    """Print the table; for numbers without an interval, it has that of the mean of their contributions."""
    print(
        "| latents | number | truth | median, 25 files | covers (below, above) | median, 100 files | covers (below, above) |"
    )
    print("|---|---|--:|--:|--:|--:|--:|")
    for population in POPULATIONS:
        bank = population.files()
        truth = {name: true for name, true in numbers(reduce(Moments.__add__, bank)).items() if name not in PROPERTIES}
        few, many = (simulate(bank, truth, n, repetitions) for n in (25, 100))
        for name, true in truth.items():
            cells = [population.name, name + " *" * (name in WITHOUT), f"{true:.3g}", *few[name], *many[name]]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
