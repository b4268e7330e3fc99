"""Table of the reconstruction metrics, each with its card.

Conventions
-----------
A pair metric takes float32 ``(channels, samples)`` arrays of one shape at the reference's sample rate and gives one
number: the mean over channels, unless the card says otherwise. Channels that are silent in the reference
(:func:`~m2l_bench.reconstruction.checks.silent_channels`) are left out before any pair metric sees them. Where a metric is
not defined (a silent reference, a clip too short, NaN, no alignment) it raises
:class:`~m2l_bench.reconstruction.checks.Unscorable`: the pair is counted as not scored, with that reason, and no mean
includes it. :func:`score_pair` computes several metrics of one pair, each shared transform once. A set metric compares two
sets of files through the vectors of an encoder. Their cards stand in :mod:`m2l_bench.reconstruction.pair_metrics` and
:mod:`m2l_bench.reconstruction.set_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from m2l_bench import plugins
from m2l_bench.cards import Card
from m2l_bench.files.hub import CheckpointError, offline
from m2l_bench.reconstruction.checks import Unscorable, check_pair, check_sample_rate, scored_channels
from m2l_bench.reconstruction.own import own_metric
from m2l_bench.reconstruction.pair_metrics import PAIR_METRICS, PairMetric, Scores, with_interval
from m2l_bench.reconstruction.set_metrics import KINDS, SET_METRICS, SetMetric, set_metric
from m2l_bench.reconstruction.sets.vectors import SIDE, load_encoder, with_encoder
from m2l_bench.systems.registry import check_encoder

_METRICS: tuple[PairMetric | SetMetric, ...] = (*PAIR_METRICS, *SET_METRICS)
METRICS = {metric.card.name: metric for metric in _METRICS}
"""Every metric by name, in the order of tables."""
HEADLINE_METRICS = ("bit_rate", "si_sdr", "mel_distance", "stft_distance", "fad:musicnn", "kad:musicnn")
"""Columns of the table that a run prints."""
SPARE_METRICS = ("fad:musicnn", "stft_distance", "bit_rate")
"""Those that it leaves to the report, in this order, where there is no room."""


def get_metric(name: str) -> PairMetric | SetMetric:
    """Return a metric by its name, a set metric of any encoder, or a user's own pair metric.

    Parameters
    ----------
    name : str
        A key of :data:`METRICS`; ``"KIND:ENCODER"``, KIND one of ``fad``, ``fad_inf``, ``kad``, ``embedding_distance`` and the
        encoder as in :mod:`m2l_bench.reconstruction.sets.vectors`, also ``"fad:ENCODER@side"``; or ``"path/to/file.py:NAME"`` or
        the name of an entry point, see :mod:`m2l_bench.reconstruction.own`.

    Raises
    ------
    ValueError
        If there is no such metric or encoder, or the function cannot be used.

    Examples
    --------
    >>> get_metric("kad:music2latent:small").card.title
    'KAD-music2latent:small'
    """
    if name in METRICS:
        return METRICS[name]
    kind, _, encoder = name.partition(":")
    if kind in KINDS and encoder:
        check_encoder(plugins.split_options(encoder.removesuffix(SIDE))[0])
        return set_metric(kind, encoder)
    card, score = own_metric(name, METRICS)
    return PairMetric(card=with_interval(card), score=score)


def card_of_rows(name: str) -> Card | None:
    """Return the card that the rows of a metric have; None if its encoder must be downloaded or installed first.

    Examples
    --------
    >>> card_of_rows("fad:musicnn").model
    'musicnn 0.1.0 MTT_musicnn, SHA-256 c278acc460e4..., penultimate layer; musicnn ...'
    """
    metric = get_metric(name)
    if isinstance(metric, PairMetric):
        return metric.card
    try:
        with offline():
            return with_encoder(metric.card, load_encoder(metric.encoder))
    except (CheckpointError, ImportError, OSError):
        return None


def score_pair(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> Scores:
    """Compute several metrics of one pair.

    Parameters
    ----------
    reference, estimate : np.ndarray of float32, shape (channels, samples)
        Channels that are silent in the reference are left out of both.
    sample_rate : int
        Hz.
    names : sequence of str
        Pair metrics in :data:`METRICS`.

    Returns
    -------
    dict
        For each name, in the given order, its score, or the :class:`Unscorable` with the reason why there is none.

    Raises
    ------
    ValueError
        If a name is unknown or belongs to a set metric, the shapes differ, or a signal is not floating point.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal((1, 8000)).astype(np.float32)
    >>> score_pair(noise, noise, 44100, ["si_sdr", "mel_distance", "lag"])
    {'si_sdr': 100.0, 'mel_distance': 0.0, 'lag': 0.0}
    """
    groups: dict[Callable[..., Scores | float] | None, list[PairMetric]] = {}
    for name in dict.fromkeys(names):
        metric = get_metric(name)
        if not isinstance(metric, PairMetric):
            raise ValueError(f"{name!r} is a metric of sets, not of pairs")
        groups.setdefault(metric.scores or metric.score, []).append(metric)
    check_sample_rate(sample_rate)
    try:
        # A single sample is constant, but too short is the better reason.
        reference, estimate = check_pair(reference, estimate, min_samples=2)
        if reference.ndim != 2:
            raise ValueError(f"a metric takes (channels, samples) arrays, got shape {reference.shape}")
        reference, estimate = scored_channels(reference, estimate)
    except Unscorable as reason:
        return dict.fromkeys(names, reason)
    scores: Scores = {}
    for metrics in groups.values():
        together = [metric.card.name for metric in metrics]
        try:
            if metrics[0].scores:
                scores |= metrics[0].scores(reference, estimate, sample_rate, together)
            elif metrics[0].score:
                scores[together[0]] = metrics[0].score(reference, estimate, sample_rate)
        except Unscorable as reason:
            scores |= dict.fromkeys(together, reason)
    return {name: scores[plugins.label(name)] for name in names}
