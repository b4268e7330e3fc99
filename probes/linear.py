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

Large features (:data:`m2l_bench.probes.selection.LARGE`) are neither copied nor rotated: see :mod:`m2l_bench.probes.large`.
Their products are in float32 and `tol` is at least 1e-4.
Memory: a few blocks, two copies of the outputs, and 24 float64 copies of the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from m2l_bench.probes.large import InBlocks
from m2l_bench.probes.logistic import HISTORY, Losses, pair, two_loops
from m2l_bench.probes.selection import Probe, Scoring, Standardised, Targets, Validator, is_large

if TYPE_CHECKING:
    import torch

    from m2l_bench.probes.logistic import Pair

_SINGLE_TOL = 1e-4  # where products are in float32
L2_GRID = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)


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
        problem = (InBlocks if large else _Rotated)(x, targets, device=self.device)
        tol = max(self.tol, _SINGLE_TOL) if large else self.tol
        n_iter = 0
        path: dict[float, tuple[tuple[float, float], np.ndarray, np.ndarray, int, bool]] = {}
        for l2 in sorted(self.l2, reverse=True):
            used, converged = problem.minimise(l2, tol=tol, max_iter=self.max_iter)
            n_iter += used
            coef, intercept = problem.coef(), problem.beta[-1].cpu().numpy().copy()
            if targets.softmaxes:  # a softmax does not depend on a common shift of its intercepts
                each = intercept.reshape(targets.softmaxes, -1)
                intercept = (each - each.mean(axis=1, keepdims=True)).ravel()
            outputs = validator.x.apply(partial(_affine, coef=coef, intercept=intercept))
            path[l2] = validator.score(outputs), coef, intercept, used, converged
        best = max(self.l2, key=lambda l2: path[l2][0])
        _, coef, intercept, used, converged = path[best]
        if not converged:  # at other penalties it only costs time
            warnings.warn(f"no convergence in {used} iterations at l2={best}", ConvergenceWarning, stacklevel=4)
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
    """Features rotated to their principal axes, in float64, and the losses of their outputs; has the methods of InBlocks."""

    def __init__(self, x: Standardised, targets: Targets, *, device: str) -> None:
        import torch

        ((_, z),) = x.blocks()
        axes, variances = principal_axes(z)
        kept = variances > 1e-14 * max(variances[0], 1e-300)  # an axis without variance gets no weight
        self.axes = axes[:, kept]
        self.z = torch.as_tensor(z @ self.axes, device=device)
        self.variances = torch.as_tensor(variances[kept], device=device)
        self.losses = Losses(targets, device=device)
        self.beta = self.losses.start(len(self.variances))

    def coef(self) -> np.ndarray:
        """Weights of the standardised features, (dim, outputs)."""
        coef: np.ndarray = self.axes @ self.beta[:-1].cpu().numpy()
        return coef

    def minimise(self, l2: float, *, tol: float, max_iter: int) -> tuple[int, bool]:
        """Go from the last solution to that of another penalty; return the number of iterations and whether all converged."""
        import torch

        losses, beta = self.losses, self.beta
        inverse = 1 / losses.diagonal(self.variances, losses.rates * (1 - losses.rates), l2)
        active = ~losses.constant
        every = torch.arange(beta.shape[1], device=beta.device)
        value, gradient = self.loss(beta, l2, every)
        history: list[Pair] = []
        for iteration in range(max_iter + 1):
            active &= losses.total(gradient.square() * inverse)[0] > tol**2
            if not active.any():
                self.beta = beta
                return iteration, True
            direction = -two_loops(gradient, history, inverse, losses) * active
            slope = losses.total(direction * gradient)
            step = torch.ones_like(slope)
            waiting = active.clone()  # groups without a step that lowers their loss enough
            new_value, new_gradient = value.clone(), gradient.clone()
            for _ in range(30):
                columns = every[waiting]
                trial = beta + step * direction
                new_value[:, columns], new_gradient[:, columns] = self.loss(trial, l2, columns)
                # Near the solution the loss changes by less than its rounding, but the slope still changes.
                lower = new_value <= value + 1e-4 * step * slope
                flat = losses.total(new_gradient * direction).abs() <= 0.9 * slope.abs()
                waiting &= ~(lower | (flat & (new_value <= value + 1e-12 * value.abs())))[0]
                if not waiting.any():
                    break
                step = torch.where(waiting, 0.5 * step, step)
            step = torch.where(waiting, torch.zeros_like(step), step)  # no step found: the limit of rounding is reached
            active &= ~waiting
            new_gradient = torch.where(waiting, gradient, new_gradient)
            moved = step * direction
            history = [*history[1 - HISTORY :], pair(moved, new_gradient - gradient, losses)]
            beta, value, gradient = beta + moved, torch.where(waiting, value, new_value), new_gradient
        self.beta = beta
        return max_iter, False

    def loss(self, beta: torch.Tensor, l2: float, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of each group, (1, columns), and its gradient, (axes + 1, columns), for some outputs."""
        import torch

        losses, beta = self.losses, beta[:, columns]
        y, share = losses.part(slice(None), columns)
        outputs = torch.addmm(beta[-1], self.z, beta[:-1])  # (items, columns)
        errors = share * (losses.probabilities(outputs) - y)
        gradient = torch.cat([self.z.T @ errors + l2 * beta[:-1], errors.sum(0, keepdim=True)])
        penalty = 0.5 * l2 * beta[:-1].square().sum(0, keepdim=True)
        value = losses.values(outputs, y, share).sum(0, keepdim=True)
        return losses.total(value) + (losses.total(penalty) if losses.classes else penalty), gradient


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
