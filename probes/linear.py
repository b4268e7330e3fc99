"""Logistic regression with the whole L2 path at the cost of about one fit.

Conventions
-----------
With n training items, the weights of one output minimise ::

    (1/n) sum_i loss(x_i . beta + b, y_i) + (l2/2) |beta|^2

where the intercept b is not penalised; scikit-learn's ``C`` is ``1 / (n l2)``. More than two classes use one softmax,
two classes one sigmoid, tags one sigmoid each. Of a tag, the sum is over the n items of which it is known.

The features are rotated to their principal axes. This does not change the problem (the penalty is invariant) and makes
its Hessian nearly diagonal. L-BFGS starts from that diagonal and runs over all tags at once, with a separate history
and step for each. It goes from the strongest penalty to the weakest and starts each from the last solution.
Memory: two float64 copies of the features, and 24 of the weights.

Large features (:data:`m2l_bench.probes.selection.LARGE`) are neither copied nor rotated as a whole. The weights are rotated
instead, so that their first coordinates lie along the leading principal axes, which randomised subspace iteration finds; the
others share one curvature. Every evaluation of the loss reads the features once: each block is standardised and multiplied in
float32, and its losses and gradients are added in float64. Rounding then limits how near the minimum can be found, so that
`tol` is at least 1e-4 (the loss is within 5e-9 of its minimum). See docs/performance.md for what that changes.
Memory: a few blocks, and 24 float64 copies of the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from m2l_bench.probes.selection import Probe, Scoring, Standardised, Targets, Validator, is_large

if TYPE_CHECKING:
    import torch

_AXES = 256  # leading principal axes of large features
_PASSES = 3  # of the subspace iteration
_SINGLE_TOL = 1e-4  # where products are in float32
L2_GRID = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)
_HISTORY = 10


class LinearProbe(Probe):
    """Logistic regression on standardised features; the L2 penalty is selected on validation items.

    Parameters
    ----------
    l2 : sequence of float
        Grid of penalties, > 0.
    scoring : callable, optional
        ``(y, logits, classes) -> float``, higher is better; minus the log loss by default.
    tol : float
        Stop when the loss is estimated to be less than tol^2 / 2 above its minimum. At least 1e-4 for large features.
    max_iter : int
        Iterations for each penalty.
    device : str
        torch device.
    random_state : int
        Seed of the draw of validation items where `fit` is given none; the fit itself is deterministic.

    Attributes
    ----------
    classes_ : np.ndarray
    coef_ : np.ndarray, (outputs, dim)
        Weights of the standardised features.
    intercept_ : np.ndarray, (outputs,)
    l2_ : float
        The selected penalty.
    scores_ : np.ndarray, (grid,)
        Validation score of each penalty.
    n_iter_ : int
        Iterations over the whole path.
    converged_ : bool
        Whether `tol` was reached at the selected penalty; otherwise `fit` warns.
    edge_ : str
        The selected penalty, such as ``"1e-4"``, if it is the smallest or the largest of three or more and better than the
        next one; else empty.

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", 2011, algorithm 4.4.
    Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989, algorithm 2.1.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((60, 4))
    >>> probe = LinearProbe(l2=(1e-3, 1e-1)).fit(x[:40], x[:40, 0] > 0, validation=(x[40:], x[40:, 0] > 0))
    >>> probe.score(x, x[:, 0] > 0) > 0.9
    True
    """

    def __init__(
        self,
        *,
        l2: Sequence[float] = L2_GRID,
        scoring: Scoring | None = None,
        tol: float = 2e-6,
        max_iter: int = 10_000,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.l2 = l2
        self.scoring = scoring
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def _train(
        self, x: Standardised, targets: Targets, validator: Validator, seeds: Sequence[int]
    ) -> list[dict[str, Any]]:
        if not len(self.l2) or min(self.l2) <= 0:
            raise ValueError(f"l2 must hold positive numbers, got {self.l2!r}")
        large = is_large(x.x.shape)
        features = _InBlocks(x, device=self.device) if large else _Rotated(x, device=self.device)
        problem = _Problem(features, targets, device=self.device)
        tol = max(self.tol, _SINGLE_TOL) if large else self.tol
        beta, n_iter = problem.start(), 0
        path: dict[float, tuple[tuple[float, float], np.ndarray, np.ndarray, bool]] = {}
        for l2 in sorted(self.l2, reverse=True):
            beta, used, converged = _minimise(problem, beta, l2, tol=tol, max_iter=self.max_iter)
            n_iter += used
            coef, intercept = features.coef(beta[:-1]), beta[-1].cpu().numpy().copy()
            if targets.softmaxes:  # a softmax does not depend on a common shift of its intercepts
                each = intercept.reshape(targets.softmaxes, -1)
                intercept = (each - each.mean(axis=1, keepdims=True)).ravel()
            outputs = validator.x.apply(partial(_affine, coef=coef, intercept=intercept))
            path[l2] = validator.score(outputs), coef, intercept, converged
        best = max(self.l2, key=lambda l2: path[l2][0])
        _, coef, intercept, converged = path[best]
        if not converged:  # at other penalties it only costs time
            warnings.warn(
                f"no convergence in {self.max_iter} iterations at l2={best}", ConvergenceWarning, stacklevel=4
            )
        attributes = {
            "coef_": np.ascontiguousarray(coef.T),
            "intercept_": intercept,
            "l2_": float(best),
            "scores_": np.array([path[l2][0][0] for l2 in self.l2]),
            "n_iter_": n_iter,
            "converged_": converged,
            "edge_": _edge({l2: score for l2, (score, *_) in path.items()}, best),
        }
        return [dict(attributes) for _ in seeds]

    def _outputs(self, z: np.ndarray) -> np.ndarray:
        return _affine(z, self.coef_.T, self.intercept_)


def _affine(z: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    return z @ coef + intercept


def _edge(scores: dict[float, tuple[float, float]], best: float) -> str:
    """The best penalty, if the scores still rise at its end of the grid; empty if not, or if no point lies inside it."""
    grid = sorted(scores)
    if len(grid) < 3 or best not in (grid[0], grid[-1]):
        return ""
    inner = grid[1] if best == grid[0] else grid[-2]
    rises = scores[best] > scores[inner]  # equal where the features are constant
    return np.format_float_scientific(best, trim="-", exp_digits=1).replace("+", "") if rises else ""


class _Rotated:
    """Features rotated to their principal axes, in float64."""

    def __init__(self, x: Standardised, *, device: str) -> None:
        import torch

        ((_, z),) = x.blocks()
        axes, variances = principal_axes(z)
        kept = variances > 1e-14 * max(variances[0], 1e-300)  # an axis without variance gets no weight
        self.axes = axes[:, kept]
        self.z = torch.as_tensor(z @ self.axes, device=device)
        self.variances = torch.as_tensor(variances[kept], device=device)

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows and their features."""
        yield slice(None), self.z

    def weights(self, beta: torch.Tensor) -> torch.Tensor:
        """Weights of the blocks' features for those along the axes; both (axes, outputs)."""
        return beta

    def gradient(self, slopes: torch.Tensor) -> torch.Tensor:
        """Gradient along the axes for that by the blocks' weights."""
        return slopes

    def coef(self, beta: torch.Tensor) -> np.ndarray:
        """Weights of the standardised features, (dim, outputs), for those along the axes."""
        coef: np.ndarray = self.axes @ beta.cpu().numpy()
        return coef


class _InBlocks:
    """Large features, read and standardised in float32 a block of rows at a time; has the methods of :class:`_Rotated`.

    The axes are an orthonormal basis of all dimensions, held as Householder reflections: first the leading principal axes,
    then any others, which share the mean of the variances that are left.
    """

    def __init__(self, x: Standardised, *, device: str) -> None:
        import torch

        self.x, self.device = x, device
        n, dim = x.x.shape
        axes, variances = self._leading(min(_AXES, n, dim))
        self.reflections = torch.geqrf(axes)
        # The variances of standardised features are 1.
        rest = ((dim - variances.sum()) / max(1, dim - len(variances))).clamp(min=0)
        self.variances = torch.cat([variances, rest.expand(dim - len(variances))])

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        import torch

        for rows, z in self.x.blocks(np.float32):
            yield rows, torch.as_tensor(z, device=self.device)

    def weights(self, beta: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.ormqr(*self.reflections, beta).float()

    def gradient(self, slopes: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.ormqr(*self.reflections, slopes, transpose=True)

    def coef(self, beta: torch.Tensor) -> np.ndarray:
        import torch

        return torch.ormqr(*self.reflections, beta).cpu().numpy()

    def _leading(self, n_axes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Leading principal axes, (dim, n_axes), and the variances along them, both rising."""
        import torch

        drawn = np.random.default_rng(0).standard_normal((self.x.x.shape[1], n_axes))
        product = torch.as_tensor(drawn, device=self.device)
        for _ in range(_PASSES):
            basis = torch.linalg.qr(product)[0]
            single = basis.float()
            product = torch.zeros_like(basis)
            for _, z in self.blocks():
                product += z.T @ (z @ single)
            product /= len(self.x.x)
        within = basis.T @ product
        variances, turned = torch.linalg.eigh((within + within.T) / 2)
        return basis @ turned, variances.clamp(min=0)


class _Problem:
    """Loss of all outputs, its gradient, and the diagonal that L-BFGS starts from.

    The parameters ``beta`` are (axes + 1, outputs); the last row holds the intercepts. The outputs of a softmax form one
    group; each sigmoid is a group of its own.
    """

    def __init__(self, features: _Rotated | _InBlocks, targets: Targets, *, device: str) -> None:
        import torch

        self.features = features
        self.variances = features.variances[:, None]
        known = targets.y >= 0
        n_known = known.sum(axis=0)
        y, weighed = (targets.y, known[:1]) if known.all() else (np.where(known, targets.y, 0.0), known)
        self.y = torch.as_tensor(y, device=device)
        # Weight of each target in its output's loss, (1 or items, outputs): unknown targets weigh nothing.
        self.share = torch.as_tensor(weighed / np.maximum(n_known, 1), device=device)
        n = torch.as_tensor(n_known, dtype=self.y.dtype, device=device)
        # Outputs of a softmax, 0 for sigmoids.
        self.classes = targets.y.shape[1] // targets.softmaxes if targets.softmaxes else 0
        # Rates of the training items, kept away from 0 and 1 by one item in all.
        self.rates = ((self.share * self.y).sum(0) * n + 0.5) / (n + 1)
        present = self.y.sum(0)
        # The intercept of a tag that all or no items have would diverge: it stays at its rate.
        self.constant = ((present == 0) | (present == n)) & (not targets.softmaxes)

    def start(self) -> torch.Tensor:
        """Zero weights, and the intercepts that give the training rates."""
        import torch

        beta = torch.zeros((len(self.variances) + 1, self.y.shape[1]), dtype=self.y.dtype, device=self.y.device)
        beta[-1] = self.rates.log() if self.classes else self.rates.logit()
        return beta

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over rows, and over the outputs of a group: (rows, outputs) -> (1, outputs)."""
        sums = values.sum(0, keepdim=True)
        if not self.classes:
            return sums
        each = sums.view(-1, self.classes)
        return each.sum(1, keepdim=True).expand_as(each).reshape(sums.shape)

    def diagonal(self, l2: float) -> torch.Tensor:
        """Estimate of the Hessian's diagonal, (axes + 1, outputs)."""
        import torch

        curvature = self.rates * (1 - self.rates)
        return torch.cat([self.variances * curvature + l2, curvature[None]])

    def loss(self, beta: torch.Tensor, l2: float, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of each group, (1, columns), and its gradient, (axes + 1, columns), for some outputs."""
        import torch

        beta = beta[:, columns]
        y, share = self.y[:, columns], self.share[:, columns]
        share = share.expand_as(y)
        weights = self.features.weights(beta[:-1])
        losses, slopes, shifts = (
            beta.new_zeros((1, len(columns))),
            torch.zeros_like(beta[:-1]),
            torch.zeros_like(beta[-1:]),
        )
        for rows, z in self.features.blocks():
            outputs = torch.addmm(beta[-1].to(z.dtype), z, weights).double()  # (items, columns)
            each, errors = self._of_items(outputs, y[rows], share[rows])
            losses += each.sum(0, keepdim=True)
            slopes += z.T @ errors.to(z.dtype)
            shifts += errors.sum(0, keepdim=True)
        gradient = torch.cat([self.features.gradient(slopes) + l2 * beta[:-1], shifts])
        penalty = 0.5 * l2 * beta[:-1].square().sum(0, keepdim=True)
        return self.total(losses) + (self.total(penalty) if self.classes else penalty), gradient

    def _of_items(
        self, outputs: torch.Tensor, y: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighed losses of some items, (items, columns), and their derivatives by the outputs."""
        import torch

        if self.classes:
            each = outputs.unflatten(1, (-1, self.classes))
            sums = torch.logsumexp(each, 2, keepdim=True).expand_as(each).reshape(y.shape)
            probabilities = torch.softmax(each, 2).reshape(y.shape)
            return share * (sums * y - outputs * y), share * (probabilities - y)
        losses = share * (torch.nn.functional.softplus(outputs) - y * outputs)
        return losses, share * (torch.sigmoid(outputs) - y)


def _minimise(
    problem: _Problem, beta: torch.Tensor, l2: float, *, tol: float, max_iter: int
) -> tuple[torch.Tensor, int, bool]:
    """Run L-BFGS on all groups at once; return the solution, the number of iterations and whether it converged."""
    import torch

    inverse = 1 / problem.diagonal(l2)
    beta = beta.clone()
    active = ~problem.constant
    every = torch.arange(beta.shape[1], device=beta.device)
    value, gradient = problem.loss(beta, l2, every)
    history: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for iteration in range(max_iter + 1):
        active &= problem.total(gradient.square() * inverse)[0] > tol**2
        if not active.any():
            return beta, iteration, True
        direction = -_two_loops(gradient, history, inverse, problem) * active
        slope = problem.total(direction * gradient)
        step = torch.ones_like(slope)
        waiting = active.clone()  # groups without a step that lowers their loss enough
        new_value, new_gradient = value.clone(), gradient.clone()
        for _ in range(30):
            columns = every[waiting]
            trial = beta + step * direction
            new_value[:, columns], new_gradient[:, columns] = problem.loss(trial, l2, columns)
            # Near the solution the loss changes by less than its rounding, but the slope still changes.
            lower = new_value <= value + 1e-4 * step * slope
            flat = problem.total(new_gradient * direction).abs() <= 0.9 * slope.abs()
            waiting &= ~(lower | (flat & (new_value <= value + 1e-12 * value.abs())))[0]
            if not waiting.any():
                break
            step = torch.where(waiting, 0.5 * step, step)
        step = torch.where(waiting, torch.zeros_like(step), step)  # no step found: the limit of rounding is reached
        active &= ~waiting
        new_gradient = torch.where(waiting, gradient, new_gradient)
        moved, change = step * direction, new_gradient - gradient
        curvature = problem.total(moved * change)
        history = [*history[1 - _HISTORY :], (moved, change, torch.where(curvature > 0, 1 / curvature, 0.0))]
        beta, value, gradient = beta + moved, torch.where(waiting, value, new_value), new_gradient
    return beta, max_iter, False


def _two_loops(
    gradient: torch.Tensor,
    history: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    inverse: torch.Tensor,
    problem: _Problem,
) -> torch.Tensor:
    """Estimate of the inverse Hessian, times the gradient (Liu and Nocedal 1989)."""
    import torch

    product = gradient
    factors = []
    for moved, change, reciprocal in reversed(history):
        factors.append(reciprocal * problem.total(moved * product))
        product = product - factors[-1] * change
    if history:  # scale the initial diagonal to the last curvature
        _, change, reciprocal = history[-1]
        scale = 1 / (reciprocal * problem.total(inverse * change.square()))
        inverse = torch.where(reciprocal > 0, scale, 1.0) * inverse
    product = inverse * product
    for (moved, change, reciprocal), factor in zip(history, reversed(factors), strict=True):
        product = product + (factor - reciprocal * problem.total(change * product)) * moved
    return product


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
