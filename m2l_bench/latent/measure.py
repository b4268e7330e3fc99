"""Measure the latent space of one system over some files, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.latent import equivariance, sheet
from m2l_bench.latent.equivariance import AutoencoderSystem
from m2l_bench.latent.moments import Moments, moments
from m2l_bench.reconstruction.metrics import Scores
from m2l_bench.statistics import mean_interval
from m2l_bench.systems.apply import at_own_rate, encode
from m2l_bench.systems.base import Autoencoder, System
from m2l_bench.systems.registry import load

if TYPE_CHECKING:
    import pandas as pd


def latents(system: System | str, audio: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Measure a latent space without labels; ``m2l-bench latents`` keeps its results, and adds quality against bit rate.

    Parameters
    ----------
    system : System or str
        An encoder or autoencoder, or its registry name. An encoder has the numbers of the sheet alone.
    audio : path or sequence of path
        Folder of music, or files. Each is mixed with the one that is half the list away.

    Returns
    -------
    pandas.DataFrame
        One row for each number, by the name of its card (``m2l-bench list latents``): ``value``, ``ci_low``, ``ci_high``
        (95 % interval over files; NaN where there is none), float64; ``n``, the files that it was measured on.

    Raises
    ------
    ValueError
        If the system is unknown, or there is no file.
    TypeError
        If the system has no latents.
    AudioError
        If a file cannot be read or encoded.
    """
    import pandas as pd

    if isinstance(system, str):
        system = load(system)
    paths = audio_io.list_audio(audio) if isinstance(audio, (str, Path)) else [Path(path) for path in audio]
    if not paths:
        raise ValueError("audio must hold at least one file, got none")
    files: list[Moments] = []
    scores: list[Scores] = []
    for place, path in enumerate(paths):
        signal, rate = at_own_rate(system, *audio_io.load(path))
        files.append(moments(*encode(system, signal, rate)))
        if isinstance(system, Autoencoder):
            whole = cast(AutoencoderSystem, system)
            scores.append(equivariance.gain(whole, signal, rate) | equivariance.shift(whole, signal, rate))
            if len(paths) > 1:
                other, _ = at_own_rate(system, *audio_io.load(paths[(place + len(paths) // 2) % len(paths)]))
                scores[-1] |= equivariance.mixing(whole, *equivariance.same_shape(signal, other), rate)
    total = reduce(Moments.__add__, files)
    if isinstance(system, Autoencoder):
        std = sheet.scale(total).std
        for path, found in zip(paths, scores, strict=True):
            found |= equivariance.noise(
                cast(AutoencoderSystem, system), *at_own_rate(system, *audio_io.load(path)), std
            )
    numbers, intervals = sheet.numbers(total), sheet.intervals(files) if len(files) > 1 else {}
    rows = [(name, value, *intervals.get(name, (np.nan, np.nan)), len(files)) for name, value in numbers.items()]
    for name in scores[0] if scores else ():
        measured = np.array([score for found in scores if isinstance(score := found[name], float)])
        interval = (float(measured.mean()), *mean_interval(measured)) if measured.size else (np.nan, np.nan, np.nan)
        rows.append((name, *interval, measured.size))
    return pd.DataFrame(rows, columns=["number", "value", "ci_low", "ci_high", "n"]).set_index("number")
