"""Any scikit-learn classifier as a probe.

Conventions
-----------
The classifier gets the features as they are (put a scaler into a pipeline) and is fitted on the training items; validation
items are scored, but nothing is selected on them. It needs ``fit`` and one of ``predict_proba``, ``decision_function`` and
``predict``. With ``predict`` alone the clips of an item vote, and tags cannot be ranked: tasks of tags are refused.
In tasks in time a clone is fitted for each output of a frame, or for each softmax (:class:`FittedOutputs`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone

from m2l_bench.probes.selection import single_thread

_SMALLEST = 1e-12  # probabilities are kept this far from 0 and 1


class FittedEstimator:
    """A fitted classifier that gives logits, as the probes of this package do.

    Parameters
    ----------
    estimator : classifier
        Not changed: a clone is fitted.
    x : np.ndarray, (items, dim)
    y : np.ndarray of int, (items,) or (items, tags)
        Where tags are unknown (-1), a clone is fitted for each tag, to the items of which it is known.
    seed : int
        For every ``random_state`` among the parameters, nested ones included.
    score : callable, optional
        ``(FittedEstimator) -> float``: the score on the validation items.

    Attributes
    ----------
    classes_ : np.ndarray
        Labels (or tags) of the logits' columns.
    scores_ : np.ndarray, (1,)
        Empty without `score`.
    converged_ : bool
    edge_ : str
        Empty: there is no grid.

    Raises
    ------
    ValueError
        If the classifier cannot be fitted, or has only ``predict`` and the targets are tags.
    """

    converged_ = True
    edge_ = ""

    def __init__(
        self,
        estimator: Any,
        x: np.ndarray,
        y: np.ndarray,
        seed: int,
        score: Callable[[FittedEstimator], float] | None = None,
    ) -> None:
        name = type(estimator).__name__
        self.multilabel = y.ndim == 2
        self.model = clone(estimator)
        seeded = [key for key in self.model.get_params() if key.rpartition("__")[2] == "random_state"]
        self.model.set_params(**dict.fromkeys(seeded, seed))
        methods = ("predict_proba", "decision_function", *(() if self.multilabel else ("predict",)))
        self.method = next((method for method in methods if hasattr(self.model, method)), "")
        if not self.method:
            raise ValueError(f"{name}: must have {' or '.join(methods)}, got none of them")
        self.parts = FittedOutputs(estimator, x, y, seed, 0) if self.multilabel and (y < 0).any() else None
        if self.parts is None:
            with single_thread():
                try:
                    self.model.fit(x, y)
                except Exception as error:  # anybody's code
                    raise ValueError(f"{name}: fit raised {type(error).__name__}: {error}") from error
        self.classes_ = np.arange(y.shape[1]) if self.multilabel else np.unique(y)
        self.scores_ = np.array([score(self)] if score else [])

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(clips, dim) -> (clips, classes or tags): log probabilities, decisions, or 1 for the predicted class and 0."""
        if self.parts is not None:
            return self.parts.logits(x)
        with single_thread():
            found = getattr(self.model, self.method)(x)
        if self.method == "predict":
            return (np.asarray(found)[:, None] == self.classes_).astype(np.float64)
        if isinstance(found, list):  # of tags: one array (clips, 2) for each
            found = np.stack([p[:, 1] if p.shape[1] == 2 else np.zeros(len(p)) for p in found], axis=1)
        found = np.asarray(found, dtype=np.float64)
        if self.method == "predict_proba":
            found = np.clip(found, _SMALLEST, 1 - _SMALLEST)
            return np.log(found) - np.log1p(-found) if self.multilabel else np.log(found)
        return np.stack([np.zeros(len(found)), found], axis=1) if found.ndim == 1 else found


class FittedOutputs:
    """A classifier fitted to outputs of any shape, such as those of frames: a clone for each sigmoid or softmax.

    Parameters
    ----------
    estimator : classifier
        Not changed.
    x : np.ndarray, (items, dim)
    y : np.ndarray, (items, outputs)
        0 to 1. For a sigmoid, what is below 1 (the half targets beside a beat) is 0: a classifier knows classes only. It is
        fitted to the items of which its output is known (not -1).
    seed : int
    softmaxes : int
        How many softmaxes the outputs form; 0: each is a sigmoid.

    Attributes
    ----------
    converged_, edge_
        As of :class:`FittedEstimator`.
    """

    converged_ = True
    edge_ = ""

    def __init__(self, estimator: Any, x: np.ndarray, y: np.ndarray, seed: int, softmaxes: int) -> None:
        blocks = y.reshape(len(y), softmaxes or y.shape[1], -1)
        self.size = blocks.shape[2]
        self.parts: list[FittedEstimator | int] = []  # a class, where there is only one
        for block in np.moveaxis(blocks, 1, 0):
            labels, inputs = block.argmax(axis=1) if softmaxes else (block[:, 0] >= 1).astype(int), x
            if not (known := block.min(axis=1) >= 0).all():
                labels, inputs = labels[known], x[known]
            there = np.unique(labels)
            constant = len(there) < 2  # without a known item: never so
            self.parts.append(
                int(there.max(initial=0)) if constant else FittedEstimator(estimator, inputs, labels, seed)
            )

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(items, dim) -> (items, outputs); minus infinity for what was never so in training."""
        outputs = []
        for part in self.parts:
            wide = np.full((len(x), max(2, self.size)), -np.inf)
            if isinstance(part, int):
                wide[:, part] = 0.0
            else:
                wide[:, part.classes_] = part.logits(x)
            outputs.append(wide if self.size > 1 else wide[:, 1:] - wide[:, :1])
        return np.concatenate(outputs, axis=1)


def is_classifier(thing: Any) -> bool:
    """Whether an object can be cloned, fitted and asked as a scikit-learn classifier."""
    return all(hasattr(thing, name) for name in ("fit", "predict", "get_params", "set_params"))
