"""Shared parts of the probes: targets, validation items, and selection from a grid.

Conventions
-----------
Features are ``(items, dim)``. Single-label targets are ``(items,)`` of any labels, multi-label targets
``(items, tags)`` of 0, 1 and -1: unknown, which has no part in the loss. A probe computes *outputs*,
``(items, outputs)``: one per class (softmax), one per tag (sigmoids), or a single one for two classes. *Logits* always have
one column per class or tag; those of two classes are ``(0, output)``. :func:`fit_outputs` also takes targets between 0 and 1,
and several softmaxes side by side.

Every probe follows one rule. Features are standardised with the statistics of the training items. Each grid point is
fitted on the training items and scored on the validation items, and the best one is kept as it is: nothing is refitted
on training and validation items together. Ties are broken by the validation log loss, then by the order of the grid.

Features are float32 or float64, arrays or memory maps, and are never written to. Up to :data:`LARGE` values they are
standardised at once, in float64. Larger ones are standardised a block of rows at a time, whenever they are read, so that
there is no copy of them. Which of the two holds depends on the shape alone.

Fits and predictions run on one thread, so that no number depends on the number of cores. To use several cores, run
several fits in several processes.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.special
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

LARGE = 2**26  # values of features (512 MB in float64); more are read in blocks
BLOCK = 2**21  # values of a block
VALIDATION_SHARE = 0.2  # of the items, where `fit` is given no validation items

_FLOATS = (np.float64, np.float32)  # of features; all else becomes float64

Scoring = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""``(y, logits, classes) -> score``, higher is better; `y` as given to `fit`, `classes` names the logits' columns."""


@dataclass(frozen=True)
class Targets:
    """Targets in the form that the losses use.

    Attributes
    ----------
    classes : np.ndarray, (classes,) or (tags,)
    multilabel : bool
    y : np.ndarray, float64, (items, outputs)
        0 and 1, or between; -1 for a tag that is unknown.
    known : np.ndarray of bool, (items,)
        False for a validation item whose label no training item has: every prediction for it is wrong.
    softmaxes : int
        How many softmaxes the outputs form, of equally many each, one after the other; 0: each output is a sigmoid.
    """

    classes: np.ndarray
    multilabel: bool
    y: np.ndarray
    known: np.ndarray
    softmaxes: int


@dataclass(frozen=True)
class Standardised:
    """Features that are standardised when they are read.

    Attributes
    ----------
    x : np.ndarray, (items, dim)
        float32 or float64, as they are.
    mean, scale : np.ndarray, float64, (dim,)
    """

    x: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Standardised:
        """Standardise features with their own mean and standard deviation."""
        if is_large(x.shape):
            # Rounded to the features' type: then a block may be standardised in that type with the same result.
            mean, scale = (values.astype(x.dtype).astype(np.float64) for values in _moments(x))
        else:
            wide = np.asarray(x, np.float64)
            mean, scale = wide.mean(axis=0), wide.std(axis=0)
        # A constant feature becomes 0; rounding errors in it must not be scaled up.
        scale[scale <= 1e-10 * np.maximum(1e-30, np.abs(mean))] = 1.0
        return cls(x, mean, scale)

    def rows(self) -> Iterator[slice]:
        """Yield the rows of each block."""
        return _row_blocks(self.x)

    def blocks(self, dtype: type = np.float64) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield rows and their standardised features: all at once, or a block of rows at a time if they are large."""
        kind = np.result_type(self.x, dtype)
        mean, scale = self.mean.astype(kind), self.scale.astype(kind)
        for rows in self.rows():
            z = self.x[rows] - mean
            z /= scale
            yield rows, z.astype(dtype, copy=False)

    def single(self) -> np.ndarray:
        """All standardised features as float32, (items, dim)."""
        z = np.empty_like(self.x, dtype=np.float32)
        for rows, block in self.blocks():
            z[rows] = block
        return z

    def apply(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Concatenate a function of each block's standardised features."""
        return np.concatenate([function(z) for _, z in self.blocks()])


def is_large(shape: tuple[int, ...]) -> bool:
    """Whether features of this shape are read in blocks."""
    return math.prod(shape) > LARGE


def _row_blocks(x: np.ndarray) -> Iterator[slice]:
    step = max(1, BLOCK // x.shape[1]) if is_large(x.shape) else max(1, len(x))
    for start in range(0, len(x), step):
        yield slice(start, start + step)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, summed in float64 a block of rows at a time."""
    mean = sum(x[rows].sum(axis=0, dtype=np.float64) for rows in _row_blocks(x)) / len(x)
    squares = sum(np.square(x[rows] - mean).sum(axis=0) for rows in _row_blocks(x))
    return mean, np.sqrt(squares / len(x))


@dataclass(frozen=True)
class Validator:
    """Scores outputs on the validation items.

    Attributes
    ----------
    x : Standardised
    y : np.ndarray
        Targets as given to `fit`.
    targets : Targets
    scoring : callable or None
        None: minus the log loss.
    slow : bool
        Whether `scoring` takes long: it then compares the points of a grid, but not the epochs of one.
    """

    x: Standardised
    y: np.ndarray
    targets: Targets
    scoring: Scoring | None
    slow: bool = False

    def loss(self, outputs: np.ndarray) -> tuple[float, float]:
        """(items, outputs) -> minus the log loss, twice."""
        targets, known = self.targets, self.targets.known
        loss = -log_loss(outputs[known], targets.y[known], softmaxes=targets.softmaxes)
        return (-np.inf, -np.inf) if np.isnan(loss) else (loss, loss)

    def score(self, outputs: np.ndarray) -> tuple[float, float]:
        """(items, outputs) -> (score, minus the log loss); the larger pair is better, and NaN becomes -inf."""
        targets = self.targets
        score = loss = self.loss(outputs)[0]
        if self.scoring is not None:
            score = float(self.scoring(self.y, as_logits(outputs, targets.multilabel), targets.classes))
        return (-np.inf if np.isnan(score) else score), loss


class Probe(ClassifierMixin, BaseEstimator, ABC):
    """Base class: a classifier whose grid point is selected on validation items.

    A subclass has the parameters below and implements :meth:`_train` and :meth:`_outputs`.

    Attributes
    ----------
    mean_, scale_ : np.ndarray, (dim,)
        Standardisation of the features.
    converged_ : bool
        Whether training converged at the selected grid point; True for a probe without such a criterion.
    edge_ : str
        The selected penalty, if a better one may lie beyond the grid; else empty.
    """

    scoring: Scoring | None
    random_state: int

    def fit(self, X: Any, y: Any, *, validation: tuple[Any, Any] | None = None) -> Probe:
        """Fit every grid point on `X` and keep the best one on the validation items.

        Parameters
        ----------
        X : array-like, (items, dim)
            float32 and float64 arrays and memory maps are taken as they are; they are never written to.
        y : array-like, (items,) or (items, tags)
        validation : (X, y), optional
            By default a fifth of each class is held out of `X`, drawn with `random_state`; this copies `X`.

        Returns
        -------
        self
        """
        _fit_together([self], X, y, validation)
        return self

    def logits(self, X: Any) -> np.ndarray:
        """Scores before softmax or sigmoid.

        Returns
        -------
        np.ndarray, float64, (items, classes) or (items, tags)
        """
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=_FLOATS)
        with single_thread():
            return as_logits(Standardised(x, self.mean_, self.scale_).apply(self._outputs), self.multilabel_)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, (items, classes) or (items, tags)."""
        logits = self.logits(X)
        return scipy.special.expit(logits) if self.multilabel_ else scipy.special.softmax(logits, axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class, (items,); or the tags of probability above 0.5, (items, tags)."""
        logits = self.logits(X)
        return (logits > 0).astype(int) if self.multilabel_ else self.classes_[logits.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _check(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        x, y = validate_data(self, X, y, reset=reset, dtype=_FLOATS, multi_output=True, ensure_min_samples=1 + reset)
        with warnings.catch_warnings():  # few items of many classes are still classes
            warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
            check_classification_targets(y)
        tags = type_of_target(y) == "multilabel-indicator" or (y.ndim == 2 and y.shape[1] > 1 and _are_tags(y))
        return x, y if tags else column_or_1d(y, warn=True)

    @abstractmethod
    def _train(
        self, x: Standardised, targets: Targets, validator: Validator, seeds: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Fit the grid for each seed; return the fitted attributes of each."""

    @abstractmethod
    def _outputs(self, z: np.ndarray) -> np.ndarray:
        """(items, dim) -> (items, outputs)."""


def fit_seeds(probe: Probe, X: Any, y: Any, *, validation: tuple[Any, Any], seeds: Sequence[int]) -> list[Probe]:
    """Fit clones of a probe that differ in `random_state` alone, together.

    Parameters
    ----------
    probe : Probe
        Not changed.
    X, y, validation
        As in :meth:`Probe.fit`.
    seeds : sequence of int

    Returns
    -------
    list of Probe
        One per seed, each equal to one that is fitted alone.
    """
    models = [clone(probe).set_params(random_state=seed) for seed in seeds]
    _fit_together(models, X, y, validation)
    return models


def _fit_together(models: Sequence[Probe], X: Any, y: Any, validation: tuple[Any, Any] | None) -> None:
    """Fit probes that differ in `random_state` alone."""
    first = models[0]
    x, y = first._check(X, y, reset=True)
    if validation is None:
        train, held = hold_out(y, first.random_state)
        x, y, validation = x[train], y[train], (x[held], y[held])
    held_x, held_y = first._check(*validation, reset=False)
    targets = encode(y)
    validate = partial(Validator, y=held_y, targets=encode(held_y, like=targets), scoring=first.scoring)
    _train_together(models, x, targets, held_x, validate)


def fit_outputs(
    probe: Probe,
    x: np.ndarray,
    y: np.ndarray,
    *,
    validation: tuple[np.ndarray, np.ndarray],
    scoring: Callable[[np.ndarray], float],
    softmaxes: int,
    seeds: Sequence[int],
) -> list[Probe]:
    """Fit clones of a probe to targets of any shape, such as those of frames.

    Parameters
    ----------
    probe : Probe
        Not changed.
    x : np.ndarray, (items, dim)
    y : np.ndarray, (items, outputs)
        0 to 1.
    validation : (x, y)
    scoring : callable
        Outputs of the validation items -> score of a grid point.
    softmaxes : int
        As in :class:`Targets`.
    seeds : sequence of int

    Returns
    -------
    list of Probe
        One per seed; their logits are the outputs.
    """
    models = [clone(probe).set_params(random_state=seed) for seed in seeds]

    def of(y: np.ndarray) -> Targets:
        return Targets(np.arange(y.shape[1]), True, np.asarray(y, np.float64), np.ones(len(y), bool), softmaxes)

    held_x, held_y = validation
    held_y = np.asarray(held_y, np.float64)
    validate = partial(
        Validator, y=held_y, targets=of(held_y), scoring=lambda _, outputs, __: scoring(outputs), slow=True
    )
    _train_together(models, x, of(y), held_x, validate)
    return models


def _train_together(
    models: Sequence[Probe],
    x: np.ndarray,
    targets: Targets,
    held_x: np.ndarray,
    validate: Callable[[Standardised], Validator],
) -> None:
    """Standardise and train; `held_x` are the features of the validation items."""
    first = models[0]
    with single_thread():
        train = Standardised.of(x)
        mean, scale = train.mean, train.scale
        validator = validate(Standardised(held_x, mean, scale))
        fitted = first._train(train, targets, validator, [model.random_state for model in models])
    for model, attributes in zip(models, fitted, strict=True):
        model.classes_, model.multilabel_, model.n_features_in_ = targets.classes, targets.multilabel, x.shape[1]
        model.mean_, model.scale_, model.converged_, model.edge_ = mean, scale, True, ""
        model.__dict__.update(attributes)


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Compute on one thread, in NumPy and in torch."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    before = torch.get_num_threads()
    try:
        with threadpool_limits(limits=1):
            torch.set_num_threads(1)
            yield
    finally:
        torch.set_num_threads(before)


def encode(y: np.ndarray, like: Targets | None = None) -> Targets:
    """Turn labels into 0 and 1; with the classes of `like` where it is given.

    Raises
    ------
    ValueError
        If there is only one class, or `like` is of another kind or has another number of tags.
    """
    if like is not None and (like.multilabel != (y.ndim == 2) or y.shape[1:] not in ((), (len(like.classes),))):
        kind = "tags" if like.multilabel else "classes"
        raise ValueError(f"validation targets must have the {len(like.classes)} {kind} of y, got shape {y.shape}")
    if y.ndim == 2:
        return Targets(np.arange(y.shape[1]), True, y.astype(np.float64), np.ones(len(y), bool), 0)
    classes = np.unique(y) if like is None else like.classes
    if len(classes) < 2:
        raise ValueError(f"y must hold at least 2 classes, got 1 class: {classes[0]}")
    one_hot = (y[:, None] == classes).astype(np.float64)
    softmaxes = int(len(classes) > 2)
    return Targets(classes, False, one_hot if softmaxes else one_hot[:, 1:], np.isin(y, classes), softmaxes)


def _are_tags(y: np.ndarray) -> bool:
    """Whether targets are tags of which some are unknown."""
    return y.dtype.kind in "iuf" and bool(np.isin(y, (-1, 0, 1)).all())


def as_logits(outputs: np.ndarray, multilabel: bool) -> np.ndarray:
    """(items, outputs) -> (items, classes or tags)."""
    if multilabel or outputs.shape[1] > 1:
        return outputs
    return np.concatenate([np.zeros_like(outputs), outputs], axis=1)


def log_loss(outputs: np.ndarray, y: np.ndarray, *, softmaxes: int) -> float:
    """Mean log loss over items and softmaxes, or items and outputs (sigmoids: 0 softmaxes) that are known; infinite without."""
    if not len(y):
        return np.inf
    if softmaxes:
        outputs, y = (part.reshape(len(y), softmaxes, -1) for part in (outputs, y))
        top = outputs.max(axis=2, keepdims=True)
        sums = np.log(np.exp(outputs - top).sum(axis=2, keepdims=True)) + top
        return float(np.mean(sums - (outputs * y).sum(axis=2, keepdims=True)))
    losses = np.logaddexp(0.0, outputs) - y * outputs
    if (unknown := y < 0).any():
        losses = losses[~unknown]
    return float(np.mean(losses)) if losses.size else np.inf


def hold_out(y: np.ndarray, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw validation items: a fifth of each class (of tags: of all items).

    Returns
    -------
    train, held : np.ndarray of int
        Positions, ascending.

    Raises
    ------
    ValueError
        If no class has three items or more.
    """
    groups = [np.arange(len(y))] if y.ndim == 2 else [np.flatnonzero(y == label) for label in np.unique(y)]
    rng = check_random_state(random_state)
    drawn = [rng.permutation(group)[: round(len(group) * VALIDATION_SHARE)] for group in groups]
    held = np.sort(np.concatenate(drawn))
    if not len(held):
        raise ValueError(f"y must have a class of at least 3 items to hold some out, got {len(y)} items in all")
    return np.setdiff1d(np.arange(len(y)), held), held
