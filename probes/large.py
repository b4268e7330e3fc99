"""Logistic regression on large features, which are read a block of rows at a time and never copied.

The weights are rotated, so that their first coordinates lie along the leading principal axes of the features; the other axes
share one variance. L-BFGS starts from an estimate of the Hessian's diagonal along these axes, renewed in each iteration.

The outputs of all items are kept. A step along a direction changes them by the step times the outputs of the direction, so that
the length of the step is found without the features: Newton's method on the derivative, which rises because the loss is convex.
An iteration reads the features twice, once for the outputs of its direction and once for the gradient. Products with the features
are in float32; all else is in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from m2l_bench.probes.logistic import HISTORY, Losses, pair, two_loops
from m2l_bench.probes.selection import Standardised, Targets

if TYPE_CHECKING:
    import torch

    from m2l_bench.probes.logistic import Pair

_AXES = 256  # leading principal axes
_PASSES = 3  # of the subspace iteration that finds them
_TRIALS = 40  # of the length of a step
_FLAT = 0.1  # a step ends where the slope is this share of that at its start, or less
_LEAST_CURVATURE = 1e-6  # of a loss that is nearly 0, where tags are separable


class InBlocks:
    """Large features and the losses of their outputs.

    The axes are an orthonormal basis of all dimensions, held as Householder reflections.

    Parameters
    ----------
    x : Standardised
    targets : Targets
    device : str
        torch device.

    Attributes
    ----------
    beta : torch.Tensor, float64, (dim + 1, outputs)
        The last solution: weights along the axes, and intercepts.
    outputs : torch.Tensor, float64, (items, outputs)
        Outputs of the items with it.
    """

    def __init__(self, x: Standardised, targets: Targets, *, device: str) -> None:
        import torch

        self.x, self.device = x, device
        n, dim = x.x.shape
        axes, variances = self._leading(min(_AXES, n, dim))
        self.reflections = torch.geqrf(axes)
        # The variances of standardised features are 1.
        rest = ((dim - variances.sum()) / max(1, dim - len(variances))).clamp(min=0)
        self.variances = torch.cat([variances, rest.expand(dim - len(variances))])
        self.losses = Losses(targets, device=device)
        self.beta = self.losses.start(dim)
        self.outputs = self.beta[-1].repeat(n, 1)

    def coef(self) -> np.ndarray:
        """Weights of the standardised features, (dim, outputs)."""
        import torch

        return torch.ormqr(*self.reflections, self.beta[:-1]).cpu().numpy()

    def minimise(self, l2: float, *, tol: float, max_iter: int) -> tuple[int, bool]:
        """Go from the last solution to that of another penalty; return the number of iterations and whether all converged."""
        import torch

        losses = self.losses
        columns = torch.nonzero(~losses.constant)[:, 0]  # of the outputs that are not yet solved
        gradient, inverse = self._gradient(columns, l2)
        history: list[Pair] = []
        stuck = torch.zeros_like(columns, dtype=torch.bool)
        converged = True
        for iteration in range(max_iter + 1):
            left = losses.total(gradient.square() * inverse)[0] > tol**2
            converged &= not (left & stuck).any()
            left &= ~stuck
            if not left.all():
                columns, inverse, gradient = columns[left], inverse[:, left], gradient[:, left]
                history = [(moved[:, left], change[:, left], factor[:, left]) for moved, change, factor in history]
            if not len(columns):
                return iteration, converged
            if iteration == max_iter:
                break
            direction = -two_loops(gradient, history, inverse, losses)
            moves = self._outputs(direction)
            step, stuck = self._step(direction, moves, losses.total(direction * gradient), columns, l2)
            moved = step * direction
            self.beta[:, columns] += moved
            for rows in self.x.rows():
                self.outputs[rows][:, columns] += step * moves[rows]
            last = gradient
            gradient, inverse = self._gradient(columns, l2)
            history = [*history[1 - HISTORY :], pair(moved, gradient - last, losses)]
        return max_iter, False

    def _step(
        self, direction: torch.Tensor, moves: torch.Tensor, slope: torch.Tensor, columns: torch.Tensor, l2: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Length of each group's step, (1, columns), 0 where none is found; and whether none is found, (columns,).

        `slope`, (1, columns), is that at the start.
        """
        import torch

        losses = self.losses
        penalty_slope = l2 * losses.total(self.beta[:-1, columns] * direction[:-1])
        penalty_curvature = l2 * losses.total(direction[:-1].square())
        step, low, high = torch.ones_like(slope), torch.zeros_like(slope), torch.full_like(slope, torch.inf)
        for _ in range(_TRIALS):
            first, second = penalty_slope + step * penalty_curvature, penalty_curvature
            for rows in self.x.rows():
                y, share = losses.part(rows, columns)
                move = moves[rows].double()
                along = losses.along(self.outputs[rows][:, columns] + step * move, move, y, share)
                first, second = first + along[0], second + along[1]
            waiting = first.abs() > _FLAT * slope.abs()
            if not waiting.any():
                break
            low, high = torch.where(first < 0, step, low), torch.where(first > 0, step, high)
            newton, middle = step - first / second, torch.where(high.isinf(), 2 * step, (low + high) / 2)
            inside = (newton > low) & (newton < high)
            step = torch.where(waiting, torch.where(inside, newton, middle), step)
        return torch.where(waiting, 0.0, step), waiting[0]

    def _blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows and their features in float32."""
        import torch

        for rows, z in self.x.blocks(np.float32):
            yield rows, torch.as_tensor(z, device=self.device)

    def _outputs(self, beta: torch.Tensor) -> torch.Tensor:
        """(dim + 1, columns) -> float32, (items, columns)."""
        import torch

        weights, intercepts = torch.ormqr(*self.reflections, beta[:-1]).float(), beta[-1].float()
        return torch.cat([torch.addmm(intercepts, z, weights) for _, z in self._blocks()])

    def _gradient(self, columns: torch.Tensor, l2: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient of some outputs' losses and penalties, and 1 / the Hessian's diagonal; both (dim + 1, columns)."""
        import torch

        losses, beta = self.losses, self.beta[:, columns]
        slopes, shifts, curvature = (
            torch.zeros_like(beta[:-1].T),
            torch.zeros_like(beta[-1]),
            torch.zeros_like(beta[-1]),
        )
        for rows, z in self._blocks():
            y, share = losses.part(rows, columns)
            probabilities = losses.probabilities(self.outputs[rows][:, columns])
            errors = share * (probabilities - y)
            slopes += errors.T.to(z.dtype) @ z
            shifts += errors.sum(0)
            curvature += (share * probabilities * (1 - probabilities)).sum(0)
        along_axes = torch.ormqr(*self.reflections, slopes.T.contiguous(), transpose=True)
        diagonal = losses.diagonal(self.variances, curvature.clamp(min=_LEAST_CURVATURE), l2)
        return torch.cat([along_axes + l2 * beta[:-1], shifts[None]]), 1 / diagonal

    def _leading(self, n_axes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Leading principal axes, (dim, n_axes), and the variances along them, both rising."""
        import torch

        drawn = np.random.default_rng(0).standard_normal((self.x.x.shape[1], n_axes))
        product = torch.as_tensor(drawn, device=self.device)
        for _ in range(_PASSES):
            basis = torch.linalg.qr(product)[0]
            single = basis.float()
            product = torch.zeros_like(basis)
            for _, z in self._blocks():
                product += z.T @ (z @ single)
            product /= len(self.x.x)
        within = basis.T @ product
        variances, turned = torch.linalg.eigh((within + within.T) / 2)
        return basis @ turned, variances.clamp(min=0)
