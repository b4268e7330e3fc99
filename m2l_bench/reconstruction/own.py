"""A user's own pair metric: a function in a file, or of an installed package.

Conventions
-----------
The function takes ``(reference, estimate, sample_rate)``: float32 arrays ``(channels, samples)`` of one shape and a rate in
Hz; channels that are silent in the reference are left out. It gives one number, or one for each channel, of which the mean
counts. It has a docstring, whose first paragraph is the formula of its card; it may have the attributes ``title``, ``unit``
and ``higher_is_better``, or ``card``, a :class:`~m2l_bench.cards.Card`. The SHA-256 of its source is in the card. Whatever
it raises is the reason why a file has no score.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from m2l_bench import plugins
from m2l_bench.cards import Card
from m2l_bench.reconstruction.checks import SILENT_RULE, Unscorable


def own_metric(name: str, known: Iterable[str]) -> tuple[Card, Callable[[np.ndarray, np.ndarray, int], float]]:
    """Find a user's metric.

    Parameters
    ----------
    name : str
        ``"path/to/file.py:NAME"``, or the name of an entry point (``m2l_bench.metrics``).
    known : iterable of str
        Registry names, for the error.

    Returns
    -------
    card : Card
    score : callable
        ``(reference, estimate, sample_rate) -> float``; raises :class:`~m2l_bench.reconstruction.checks.Unscorable`.

    Raises
    ------
    ValueError
        If there is no such metric, or the function cannot be used.
    """
    function, sources = plugins.find("metric", name, known)
    summary = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    if not callable(function) or isinstance(function, type) or not summary:
        raise ValueError(f"{name}: must be a function (reference, estimate, sample_rate) with a docstring")
    try:
        inspect.signature(function).bind(None, None, 1)
    except TypeError as error:
        raise ValueError(f"{name}: must take (reference, estimate, sample_rate), got {error}") from error
    label = plugins.label(name)
    card = getattr(function, "card", None) or Card(
        name=label,
        title=getattr(function, "title", function.__name__),
        unit=getattr(function, "unit", ""),
        higher_is_better=getattr(function, "higher_is_better", None),
        formula=summary,
        source=label,
    )
    constants = {**card.constants, "sources": dict(sorted(sources.items()))}
    rule = f"{SILENT_RULE}; {card.channel_rule}"
    return replace(card, name=label, channel_rule=rule, constants=constants), partial(_score, label, function)


def _score(label: str, function: Callable[..., Any], reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    try:
        values = np.asarray(function(reference, estimate, rate), dtype=np.float64)
    except Exception as error:  # a user's code may raise anything
        raise Unscorable(f"{label} raised {plugins.one_line(error)}") from error
    if values.shape not in ((), (1,), (len(reference),)) or not np.isfinite(values).all():
        raise Unscorable(f"{label} must give a finite number, or one for each channel, got {values}")
    return float(values.mean())
