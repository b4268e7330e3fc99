"""What the probes share: inputs, targets, held-out items, class weights, and how a grid point is chosen.

Conventions
-----------
Features are ``(items, dim)``. Single-label targets are ``(items,)`` of any labels, multi-label targets
``(items, tags)`` of 0 and 1. *Outputs* are what a probe computes, ``(items, outputs)``: one a class (softmax), one a
tag (sigmoids), or one in all for two classes. *Logits* always have one column a class or tag; those of two classes are
``(0, output)``.

The rule, the same for every probe: features are standardised with the training items' statistics; each grid point is
fitted on the training items alone and scored on the validation items; the best one predicts, as it was then. Nothing is
refitted on training and validation together, and no other data is ever seen. Equal scores are told apart by the
validation log loss (with the class weights of training), then by the order of the grid.

Fits and predictions run on one thread, so that no number depends on how many cores there are; to use several, run
several fits in several processes.
"""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

Scoring = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""``(y, logits, classes) -> score``, higher is better; `y` as given to `fit`, `classes` names the logits' columns."""


@dataclass(frozen=True)
class Targets:
    """Targets as the losses want them.

    Attributes
    ----------
    classes : np.ndarray, (classes,) or (tags,)
    multilabel : bool
    y : np.ndarray, float64, (items, outputs)
        0 and 1.
    known : np.ndarray of bool, (items,)
        False for a validation item whose label no training item has: wrong, whatever is predicted.
    """

    classes: np.ndarray
    multilabel: bool
    y: np.ndarray
    known: np.ndarray

    @property
    def exclusive(self) -> bool:
        """Whether the outputs are one softmax, and not a sigmoid each."""
        return not self.multilabel and len(self.classes) > 2


@dataclass(frozen=True)
class Inputs:
    """Standardisation, and a projection where the dimension is to be matched; both from the training items.

    Attributes
    ----------
    mean, scale : np.ndarray, (dim,)
    components : np.ndarray, (dim, n_components), or None
        Principal axes of the standardised features.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray | None

    @classmethod
    def fit(cls, x: np.ndarray, n_components: int | None) -> Inputs:
        """Take the statistics of the training items."""
        mean, scale = x.mean(axis=0), x.std(axis=0)
        # A constant feature stays constant (and becomes 0); its rounding must not be blown up into a feature.
        scale[scale <= 1e-10 * np.maximum(1e-30, np.abs(mean))] = 1.0
        if n_components is None:
            return cls(mean, scale, None)
        if not 1 <= n_components <= min(x.shape):
            raise ValueError(
                f"n_components must be 1 to {min(x.shape)} for {x.shape[0]} items of dimension {x.shape[1]}, "
                f"got {n_components}"
            )
        return cls(mean, scale, principal_axes((x - mean) / scale)[0][:, :n_components])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(items, dim) -> (items, dim or n_components)."""
        z = (x - self.mean) / self.scale
        return z if self.components is None else z @ self.components


@dataclass(frozen=True)
class Judge:
    """Scores outputs on the validation items, which are all it knows.

    Attributes
    ----------
    z : np.ndarray, (items, dim)
        Inputs, transformed.
    y : np.ndarray
        As given by the caller.
    targets : Targets
    weights : np.ndarray, (items, 1 or outputs)
        In the log loss, as in training.
    scoring : callable, optional
        Minus the log loss where it is None.
    """

    z: np.ndarray
    y: np.ndarray
    targets: Targets
    weights: np.ndarray
    scoring: Scoring | None

    def __call__(self, outputs: np.ndarray) -> tuple[float, float]:
        """(items, outputs) -> (score, minus the log loss); the greater pair is the better."""
        targets, known = self.targets, self.targets.known
        loss = log_loss(outputs[known], targets.y[known], self.weights[known], exclusive=targets.exclusive)
        loss = float("inf") if np.isnan(loss) else loss  # nothing undefined may win
        if self.scoring is None:
            return -loss, -loss
        score = float(self.scoring(self.y, as_logits(outputs, targets.multilabel), targets.classes))
        return float("-inf") if np.isnan(score) else score, -loss


class Probe(ClassifierMixin, BaseEstimator, ABC):
    """What the probes are: classifiers with a grid that is selected on validation items.

    A subclass has the parameters below and implements :meth:`_train` and :meth:`_outputs`.

    Attributes
    ----------
    converged_ : bool
        Whether training came to its own end at the selected grid point; True where a probe has no such criterion.
    """

    scoring: Scoring | None
    class_weight: str | Mapping[Any, float] | None
    n_components: int | None
    validation_fraction: float
    random_state: int

    def fit(self, X: Any, y: Any, *, validation: tuple[Any, Any] | None = None) -> Probe:
        """Fit every grid point on `X`, keep the one that is best on the validation items.

        Parameters
        ----------
        X : array-like, (items, dim)
        y : array-like, (items,) or (items, tags)
        validation : (X, y), optional
            By default `validation_fraction` of each class is held out of `X`, drawn with `random_state`.

        Returns
        -------
        self
        """
        x, y = self._check(X, y, reset=True)
        if validation is None:
            train, held = hold_out(y, self.validation_fraction, self.random_state)
            x, y, validation = x[train], y[train], (x[held], y[held])
        self._fit_checked([self], x, y, self._check(*validation, reset=False))
        return self

    def logits(self, X: Any) -> np.ndarray:
        """Scores before softmax or sigmoid.

        Returns
        -------
        np.ndarray, float64, (items, classes) or (items, tags)
        """
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float64)
        with single_thread():
            return as_logits(self._outputs(self.inputs_(x)), self.multilabel_)

    def decision_function(self, X: Any) -> np.ndarray:
        """The logits in scikit-learn's form: (items,) for two classes."""
        logits = self.logits(X)
        return logits[:, 1] if not self.multilabel_ and logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, (items, classes) or (items, tags)."""
        logits = self.logits(X)
        if self.multilabel_:
            return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class, (items,); or the tags more probable than not, (items, tags)."""
        logits = self.logits(X)
        return (logits > 0).astype(int) if self.multilabel_ else self.classes_[logits.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _check(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        x, y = validate_data(self, X, y, reset=reset, dtype=np.float64, multi_output=True, ensure_min_samples=1 + reset)
        with warnings.catch_warnings():  # few items of many classes are still classes
            warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
            check_classification_targets(y)
        return x, y if type_of_target(y) == "multilabel-indicator" else column_or_1d(y, warn=True)

    def _fit_checked(
        self, models: Sequence[Probe], x: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray]
    ) -> None:
        targets = encode(y)
        with single_thread():
            inputs = Inputs.fit(x, self.n_components)
            held = encode(validation[1], like=targets)
            table = weight_table(targets, self.class_weight)
            weights, held_weights = (item_weights(t.y, table, exclusive=targets.exclusive) for t in (targets, held))
            judge = Judge(inputs(validation[0]), validation[1], held, held_weights, self.scoring)
            fitted = self._train(inputs(x), targets, weights, judge, [model.random_state for model in models])
        for model, attributes in zip(models, fitted, strict=True):
            shared = {
                "classes_": targets.classes,
                "multilabel_": targets.multilabel,
                "inputs_": inputs,
                "converged_": True,
            }
            for name, value in {**shared, "n_features_in_": self.n_features_in_, **attributes}.items():
                setattr(model, name, value)

    @abstractmethod
    def _train(
        self, z: np.ndarray, targets: Targets, weights: np.ndarray, judge: Judge, seeds: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Fit the grid for each seed; the fitted attributes of each."""

    @abstractmethod
    def _outputs(self, z: np.ndarray) -> np.ndarray:
        """(items, dim) -> (items, outputs)."""


def fit_seeds(probe: Probe, X: Any, y: Any, *, validation: tuple[Any, Any], seeds: Sequence[int]) -> list[Probe]:
    """Fit clones of a probe that differ in `random_state` alone, together.

    Parameters
    ----------
    probe : Probe
        Left as it is.
    X, y, validation
        As in :meth:`Probe.fit`.
    seeds : sequence of int

    Returns
    -------
    list of Probe
        One a seed, each equal to what it would be fitted alone.
    """
    models = [clone(probe).set_params(random_state=seed) for seed in seeds]
    first = models[0]
    x, y = first._check(X, y, reset=True)
    first._fit_checked(models, x, y, first._check(*validation, reset=False))
    return models


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
    """Turn labels into 0 and 1; in the classes of `like` where it is given.

    Raises
    ------
    ValueError
        If there is only one class, or `like` has another kind or number of tags.
    """
    if y.ndim == 2:
        if like is not None and (not like.multilabel or len(like.classes) != y.shape[1]):
            raise ValueError(f"validation targets must have {len(like.classes)} classes or tags, got shape {y.shape}")
        return Targets(np.arange(y.shape[1]), True, y.astype(np.float64), np.ones(len(y), bool))
    if like is not None and like.multilabel:
        raise ValueError(f"validation targets must have {len(like.classes)} tags, got shape {y.shape}")
    classes = np.unique(y) if like is None else like.classes
    if len(classes) < 2:
        raise ValueError(f"y must hold at least 2 classes, got 1 class: {classes[0]!r}")
    one_hot = (y[:, None] == classes).astype(np.float64)
    return Targets(classes, False, one_hot if len(classes) > 2 else one_hot[:, 1:], np.isin(y, classes))


def as_logits(outputs: np.ndarray, multilabel: bool) -> np.ndarray:
    """(items, outputs) -> (items, classes or tags)."""
    if multilabel or outputs.shape[1] > 1:
        return outputs
    return np.concatenate([np.zeros_like(outputs), outputs], axis=1)


def log_loss(outputs: np.ndarray, y: np.ndarray, weights: np.ndarray, *, exclusive: bool) -> float:
    """Mean weighted log loss over items (of a softmax), or over items and outputs (of sigmoids)."""
    if not len(y):
        return float("inf")
    if exclusive:
        top = outputs.max(axis=1, keepdims=True)
        losses = (
            np.log(np.exp(outputs - top).sum(axis=1, keepdims=True)) + top - (outputs * y).sum(axis=1, keepdims=True)
        )
        return float(np.mean(weights * losses))
    return float(np.mean(weights * (np.logaddexp(0.0, outputs) - y * outputs)))


def weight_table(targets: Targets, class_weight: str | Mapping[Any, float] | None) -> np.ndarray:
    """Weight of an item that lacks and that has an output, (2, outputs), with mean 1 over the training items.

    ``"balanced"`` gives every class (of a tag: present and absent) the same total weight; a mapping gives the weight of
    each class, 1 where it names none.
    """
    y = targets.y
    if class_weight is None:
        return np.ones((2, y.shape[1]))
    if isinstance(class_weight, Mapping) and not targets.multilabel:
        of_class = np.array([class_weight.get(label, 1.0) for label in targets.classes.tolist()])
        table = np.stack([np.zeros_like(of_class), of_class]) if targets.exclusive else of_class[:, None]
        return table / item_weights(y, table, exclusive=targets.exclusive).mean()
    if class_weight != "balanced":
        raise ValueError(
            f"class_weight must be None, 'balanced' or (not for tags) a mapping of classes, got {class_weight!r}"
        )
    present = y.sum(axis=0)
    if targets.exclusive:
        return np.stack([np.zeros_like(present), len(y) / (len(present) * present)])
    counts = np.stack([len(y) - present, present])
    return np.where((counts == 0).any(axis=0), 1.0, len(y) / (2 * np.maximum(counts, 1)))


def item_weights(y: np.ndarray, table: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """Look up each item's weights: (items, 1) of a softmax, (items, outputs) of sigmoids."""
    return (y @ table[1])[:, None] if exclusive else np.where(y == 1, table[1], table[0])


def hold_out(y: np.ndarray, fraction: float, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw validation items, the same share of each class (of tags: of all items).

    Returns
    -------
    train, held : np.ndarray of int
        Positions, ascending.

    Raises
    ------
    ValueError
        If no class has enough items to spare one.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction must be between 0 and 1, got {fraction}")
    groups = [np.arange(len(y))] if y.ndim == 2 else [np.flatnonzero(y == label) for label in np.unique(y)]
    rng = check_random_state(random_state)
    drawn = [rng.permutation(group)[: min(round(len(group) * fraction), len(group) - 1)] for group in groups]
    held = np.sort(np.concatenate(drawn))
    if not len(held):
        raise ValueError(f"y must have a class of at least {int(0.5 / fraction) + 1} items to hold some out of it")
    return np.setdiff1d(np.arange(len(y)), held), held


def principal_axes(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes of centred data.

    Parameters
    ----------
    z : np.ndarray, float64, (items, dim)

    Returns
    -------
    axes : np.ndarray, (dim, min(items, dim))
        Orthonormal columns, by falling variance; the largest entry of each is positive.
    variances : np.ndarray, (min(items, dim),)
    """
    n, dim = z.shape
    if dim <= n:
        variances, axes = np.linalg.eigh(z.T @ z / n)
    else:
        variances, left = np.linalg.eigh(z @ z.T / n)
        axes = np.linalg.qr(z.T @ left[:, ::-1])[0][:, ::-1]
    axes, variances = axes[:, ::-1], np.maximum(variances[::-1], 0.0)
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return axes * signs, variances
