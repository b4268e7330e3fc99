"""Logistic losses of many outputs, and the direction of L-BFGS for all of them at once.

Conventions
-----------
The parameters ``beta`` are (axes + 1, outputs): weights along the axes of the features, and the intercepts in the last row. The
outputs of a softmax form one group; each sigmoid is a group of its own. `rows` and `columns` choose items and outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m2l_bench.probes.selection import Targets

if TYPE_CHECKING:
    import torch

    Pair = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """A step, the change of the gradient along it, both (axes + 1, outputs), and 1 / their product, 0 if that is negative."""

HISTORY = 10  # steps that L-BFGS remembers


class Losses:
    """Losses of all outputs, and their derivatives by the outputs.

    Parameters
    ----------
    targets : Targets
    device : str
        torch device.
    """

    def __init__(self, targets: Targets, *, device: str) -> None:
        import torch

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

    def start(self, n_axes: int) -> torch.Tensor:
        """Zero weights, and the intercepts that give the training rates."""
        import torch

        beta = torch.zeros((n_axes + 1, self.y.shape[1]), dtype=self.y.dtype, device=self.y.device)
        beta[-1] = self.rates.log() if self.classes else self.rates.logit()
        return beta

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over rows, and over the outputs of a group: (rows, outputs) -> (1, outputs)."""
        sums = values.sum(0, keepdim=True)
        if not self.classes:
            return sums
        each = sums.view(-1, self.classes)
        return each.sum(1, keepdim=True).expand_as(each).reshape(sums.shape)

    def diagonal(self, variances: torch.Tensor, curvature: torch.Tensor, l2: float) -> torch.Tensor:
        """Estimate of the Hessian's diagonal, (axes + 1, outputs).

        `variances` are those of the features along the axes; `curvature`, (outputs,), is the mean second derivative of an
        item's loss by its output.
        """
        import torch

        return torch.cat([variances[:, None] * curvature + l2, curvature[None]])

    def part(self, rows: slice, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets and their weights, both (rows, columns)."""
        y = self.y[rows][:, columns]
        share = self.share if len(self.share) == 1 else self.share[rows]
        return y, share[:, columns].expand_as(y)

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        import torch

        if self.classes:
            return torch.softmax(outputs.unflatten(1, (-1, self.classes)), 2).reshape(outputs.shape)
        return torch.sigmoid(outputs)

    def values(self, outputs: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Weighed losses, all (items, columns)."""
        import torch

        if self.classes:
            each = outputs.unflatten(1, (-1, self.classes))
            sums = torch.logsumexp(each, 2, keepdim=True).expand_as(each).reshape(y.shape)
            return share * (sums * y - outputs * y)
        return share * (torch.nn.functional.softplus(outputs) - y * outputs)

    def along(
        self, outputs: torch.Tensor, moves: torch.Tensor, y: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """First and second derivative of the losses along `moves` of the outputs; (items, columns) -> (1, columns) each."""
        probabilities = self.probabilities(outputs)
        first = self.total(share * (probabilities - y) * moves)
        if self.classes:
            each = (probabilities * moves).unflatten(1, (-1, self.classes))
            deviations = moves - each.sum(2, keepdim=True).expand_as(each).reshape(moves.shape)
        else:
            deviations = moves * (1 - probabilities)
        return first, self.total(share * probabilities * moves * deviations)


def two_loops(gradient: torch.Tensor, history: list[Pair], inverse: torch.Tensor, losses: Losses) -> torch.Tensor:
    """Estimate of the inverse Hessian, times the gradient (Liu and Nocedal 1989).

    `inverse` is the diagonal of the first estimate.
    """
    import torch

    product = gradient
    factors = []
    for moved, change, reciprocal in reversed(history):
        factors.append(reciprocal * losses.total(moved * product))
        product = product - factors[-1] * change
    if history:  # scale the initial diagonal to the last curvature
        _, change, reciprocal = history[-1]
        scale = 1 / (reciprocal * losses.total(inverse * change.square()))
        inverse = torch.where(reciprocal > 0, scale, 1.0) * inverse
    product = inverse * product
    for (moved, change, reciprocal), factor in zip(history, reversed(factors), strict=True):
        product = product + (factor - reciprocal * losses.total(change * product)) * moved
    return product


def pair(moved: torch.Tensor, change: torch.Tensor, losses: Losses) -> Pair:
    """A step for the history of :func:`two_loops`."""
    import torch

    curvature = losses.total(moved * change)
    return moved, change, torch.where(curvature > 0, 1 / curvature, 0.0)
