"""Logistic regression with the whole L2 path at the cost of about one fit.

Conventions
-----------
With n training items, the weights of one output minimise ::

    (1/n) sum_i w_i loss(x_i . beta + b, y_i) + (l2/2) |beta|^2

where the intercept b is free; scikit-learn's ``C`` is ``1 / (n l2)``. More than two classes are one softmax, two
classes one sigmoid, tags one sigmoid each.

How it is solved: the features are rotated to their principal axes, which leaves the problem as it is (the penalty is
invariant) and makes its Hessian nearly diagonal. L-BFGS starts from that diagonal, runs over all tags at once with a
history and a step of its own for each, and goes from the strongest penalty to the weakest, each from the last solution.
Memory: two float64 copies of the features, and 24 of the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from m2l_bench.probes.selection import Judge, Probe, Scoring, Targets, principal_axes

if TYPE_CHECKING:
    import torch

L2_GRID = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)
_HISTORY = 10


class LinearProbe(Probe):
    """Logistic regression on standardised features, its L2 penalty selected on validation items.

    Parameters
    ----------
    l2 : sequence of float
        The grid, > 0.
    scoring : callable, optional
        ``(y, logits, classes) -> float``, higher is better; minus the log loss by default.
    class_weight : "balanced" or mapping, optional
        Of the training loss: the same total for each class (of a tag: present, absent), or what the mapping says.
    n_components : int, optional
        Project the features to this many principal axes of the training items first, to compare systems of different
        dimension.
    validation_fraction : float
        Held out of each class where `fit` is given no validation items.
    tol : float
        Stop where the loss is, by estimate, less than tol^2 / 2 above the least.
    max_iter : int
        For each penalty.
    device : str
        Of torch.
    random_state : int
        Draws the held-out items; the fit itself is deterministic.

    Attributes
    ----------
    classes_ : np.ndarray
    coef_ : np.ndarray, (outputs, dim)
        Of the standardised (and projected) features.
    intercept_ : np.ndarray, (outputs,)
    l2_ : float
        The selected penalty.
    scores_ : np.ndarray, (grid,)
        Validation score of each penalty.
    n_iter_ : int
        Iterations over the whole path.
    converged_ : bool
        Whether `tol` was reached at the selected penalty; where it was not, `fit` warns.

    References
    ----------
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
        class_weight: str | Mapping[Any, float] | None = None,
        n_components: int | None = None,
        validation_fraction: float = 0.2,
        tol: float = 2e-6,
        max_iter: int = 10_000,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.l2 = l2
        self.scoring = scoring
        self.class_weight = class_weight
        self.n_components = n_components
        self.validation_fraction = validation_fraction
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def _train(
        self, z: np.ndarray, targets: Targets, weights: np.ndarray, judge: Judge, seeds: Sequence[int]
    ) -> list[dict[str, Any]]:
        if not len(self.l2) or min(self.l2) <= 0:
            raise ValueError(f"l2 must hold positive numbers, got {self.l2!r}")
        axes, variances = principal_axes(z)
        kept = variances > 1e-14 * max(variances[0], 1e-300)  # what has no variance gets no weight
        axes, variances = axes[:, kept], variances[kept]
        problem = _Problem(z @ axes, variances, targets, weights, device=self.device)
        beta = problem.start()
        scores: dict[float, tuple[float, float]] = {}
        solutions: dict[float, np.ndarray] = {}
        n_iter, unfinished = 0, set()
        for l2 in sorted(self.l2, reverse=True):
            beta, used, converged = _minimise(problem, beta, l2, tol=self.tol, max_iter=self.max_iter)
            n_iter += used
            if not converged:
                unfinished.add(l2)
            solution = beta.cpu().numpy().copy()
            if targets.exclusive:  # softmax does not feel a common shift of the intercepts
                solution[-1] -= solution[-1].mean()
            solutions[l2] = np.vstack([axes @ solution[:-1], solution[-1:]])
            scores[l2] = judge(judge.z @ solutions[l2][:-1] + solutions[l2][-1])
        best = max(self.l2, key=lambda l2: scores[l2])
        if best in unfinished:  # elsewhere on the path it costs nothing but time
            warnings.warn(
                f"no convergence in {self.max_iter} iterations at l2={best}", ConvergenceWarning, stacklevel=3
            )
        attributes = {
            "coef_": np.ascontiguousarray(solutions[best][:-1].T),
            "intercept_": solutions[best][-1],
            "l2_": float(best),
            "scores_": np.array([scores[l2][0] for l2 in self.l2]),
            "n_iter_": n_iter,
            "converged_": best not in unfinished,
        }
        return [dict(attributes) for _ in seeds]

    def _outputs(self, z: np.ndarray) -> np.ndarray:
        return z @ self.coef_.T + self.intercept_


class _Problem:
    """The loss of all outputs, its gradient, and the diagonal that L-BFGS starts from.

    Parameters ``beta`` are (dim + 1, outputs), the last row the intercepts. Outputs that a softmax ties together form
    one group, sigmoids one group each; ``total`` sums over what a group shares.
    """

    def __init__(
        self, z: np.ndarray, variances: np.ndarray, targets: Targets, weights: np.ndarray, *, device: str
    ) -> None:
        import torch

        self.z = torch.as_tensor(z, device=device)
        self.variances = torch.as_tensor(variances, device=device)[:, None]
        self.y = torch.as_tensor(targets.y, device=device)
        self.weights = torch.as_tensor(weights / len(z), device=device)
        self.exclusive = targets.exclusive
        # Rates as training shows them, kept off 0 and 1 by one item in all.
        self.rates = ((self.weights * self.y).sum(0) * len(z) + 0.5) / (len(z) + 1)
        present = self.y.sum(0)
        # A tag that all or no items have would send its intercept to infinity: it stays at its rate.
        self.constant = torch.zeros_like(self.rates, dtype=torch.bool)
        if not targets.exclusive:
            self.constant = (present == 0) | (present == len(z))

    def start(self) -> torch.Tensor:
        """No weights, and the intercepts that give the training rates."""
        import torch

        beta = torch.zeros((self.z.shape[1] + 1, self.y.shape[1]), dtype=self.z.dtype, device=self.z.device)
        beta[-1] = self.rates.log() if self.exclusive else self.rates.logit()
        return beta

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """(rows, outputs) -> (1, outputs): the sum over rows, and over outputs where they are one group."""
        sums = values.sum(0, keepdim=True)
        return sums.sum(1, keepdim=True).expand_as(sums) if self.exclusive else sums

    def diagonal(self, l2: float) -> torch.Tensor:
        """An estimate of the Hessian's diagonal, (dim + 1, outputs)."""
        import torch

        curvature = self.rates * (1 - self.rates)
        return torch.cat([self.variances * curvature + l2, curvature[None]])

    def loss(self, beta: torch.Tensor, l2: float, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of each group, (1, columns), and gradient, (dim + 1, columns), of some outputs."""
        import torch

        beta = beta[:, columns]
        y, weights = self.y[:, columns], self.weights if self.weights.shape[1] == 1 else self.weights[:, columns]
        outputs = torch.addmm(beta[-1], self.z, beta[:-1])  # (items, columns)
        if self.exclusive:
            losses = weights * (torch.logsumexp(outputs, 1, keepdim=True) * y - outputs * y)
            errors = weights * (torch.softmax(outputs, 1) - y)
        else:
            losses = weights * (torch.nn.functional.softplus(outputs) - y * outputs)
            errors = weights * (torch.sigmoid(outputs) - y)
        gradient = torch.cat([self.z.T @ errors + l2 * beta[:-1], errors.sum(0, keepdim=True)])
        penalty = 0.5 * l2 * beta[:-1].square().sum(0, keepdim=True)
        return self.total(losses) + (self.total(penalty) if self.exclusive else penalty), gradient


def _minimise(
    problem: _Problem, beta: torch.Tensor, l2: float, *, tol: float, max_iter: int
) -> tuple[torch.Tensor, int, bool]:
    """L-BFGS over all groups at once; returns the solution, how many iterations it took, and whether it converged."""
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
        waiting = active.clone()  # groups that have not yet found a step that lowers their loss enough
        new_value, new_gradient = value.clone(), gradient.clone()
        for _ in range(30):
            columns = every[waiting]
            trial = beta + step * direction
            new_value[:, columns], new_gradient[:, columns] = problem.loss(trial, l2, columns)
            # Near the solution the loss cannot tell any more, but the slope still can.
            lower = new_value <= value + 1e-4 * step * slope
            flat = problem.total(new_gradient * direction).abs() <= 0.9 * slope.abs()
            waiting &= ~(lower | (flat & (new_value <= value + 1e-12 * value.abs())))[0]
            if not waiting.any():
                break
            step = torch.where(waiting, 0.5 * step, step)
        step = torch.where(waiting, torch.zeros_like(step), step)  # no step found: at the limit of rounding
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
    """The inverse Hessian's estimate times the gradient (Liu and Nocedal 1989)."""
    import torch

    product = gradient
    factors = []
    for moved, change, reciprocal in reversed(history):
        factors.append(reciprocal * problem.total(moved * product))
        product = product - factors[-1] * change
    if history:  # the diagonal is as it was at the start: scale it to the curvature last seen
        _, change, reciprocal = history[-1]
        scale = 1 / (reciprocal * problem.total(inverse * change.square()))
        inverse = torch.where(reciprocal > 0, scale, 1.0) * inverse
    product = inverse * product
    for (moved, change, reciprocal), factor in zip(history, reversed(factors), strict=True):
        product = product + (factor - reciprocal * problem.total(change * product)) * moved
    return product
