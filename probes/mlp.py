"""Perceptron with one hidden layer; its whole grid and all seeds are trained at once.

Conventions
-----------
``outputs = dropout(relu(z W1 + b1)) W2 + b2``, float32; softmax or sigmoid cross-entropy; Adam with decoupled weight
decay on W1 and W2. A model is a pair of seed and grid point; every array has a leading model axis. The models of one
seed start from the same weights and use the same batches and dropout masks. No model depends on the others that are
trained with it. An epoch is one pass over the training items, or several passes where a pass has fewer than 10 steps.
Every model is scored on the validation items after each epoch. Its best epoch is kept, and it stops after `patience`
epochs without a better one.
Memory: one float32 copy of the features, and 20 bytes per parameter and model (weights, gradient, two moments, best weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from m2l_bench.probes.selection import Probe, Scoring, Standardised, Targets, Validator

if TYPE_CHECKING:
    import torch

LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
WEIGHT_DECAYS = (0.0, 1e-1)
_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_EPOCH_STEPS = 10


class MLPProbe(Probe):
    """One hidden layer; learning rate, weight decay and number of epochs are selected on validation items.

    Parameters
    ----------
    learning_rates, weight_decays : sequence of float
        The grid is their product.
    hidden_size : int
    dropout : float
        In [0, 1), of the hidden layer.
    batch_size, max_epochs, patience : int
    most_steps : int or None
        Of one pass over the training items: of very many, a batch is as large as that needs. None: any number.
    race_steps : int or None
        Successive halving: after every `race_steps` steps (rounded up to epochs), the worse half of the grid points
        still in training stops. A small training set ends before the first round. None: all train on.
    scoring : callable, optional
        ``(y, logits, classes) -> float``, higher is better; minus the log loss by default.
    device : str
        torch device.
    random_state : int
        Seed of initial weights, batches and dropout, and of the draw of validation items.

    Attributes
    ----------
    classes_ : np.ndarray
    weights_ : tuple of np.ndarray
        W1 (dim, hidden), b1 (hidden,), W2 (hidden, outputs), b2 (outputs,) of the best epoch of the best grid point.
    learning_rate_, weight_decay_ : float
        The selected grid point.
    scores_ : np.ndarray, (grid,)
        Best validation score of each grid point, in the order of ``product(learning_rates, weight_decays)``.
    n_iter_ : int
        Number of epochs up to and including the best one.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
    Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016, figure 3.
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((60, 4))
    >>> probe = MLPProbe(hidden_size=64, learning_rates=(1e-2,))
    >>> probe.fit(x[:40], x[:40, 0] > 0, validation=(x[40:], x[40:, 0] > 0)).score(x, x[:, 0] > 0) > 0.9
    True
    """

    def __init__(
        self,
        *,
        learning_rates: Sequence[float] = LEARNING_RATES,
        weight_decays: Sequence[float] = WEIGHT_DECAYS,
        hidden_size: int = 512,
        dropout: float = 0.25,
        batch_size: int = 64,
        most_steps: int | None = None,
        max_epochs: int = 100,
        patience: int = 10,
        race_steps: int | None = 400,
        scoring: Scoring | None = None,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.learning_rates = learning_rates
        self.weight_decays = weight_decays
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.batch_size = batch_size
        self.most_steps = most_steps
        self.max_epochs = max_epochs
        self.patience = patience
        self.race_steps = race_steps
        self.scoring = scoring
        self.device = device
        self.random_state = random_state

    def _train(
        self, x: Standardised, targets: Targets, validator: Validator, seeds: Sequence[int]
    ) -> list[dict[str, Any]]:
        self._check_parameters()
        grid = list(product(self.learning_rates, self.weight_decays))
        models = _Models(self, x.x.shape[1], targets, seeds, grid)
        best = [_Best() for _ in range(len(seeds) * len(grid))]
        inputs, labels, held = models.tensors(x.single(), targets.y, validator.x.single())
        steps = math.ceil(len(inputs) / self.items_a_step(len(inputs)))
        passes = math.ceil(_EPOCH_STEPS / steps)
        race_epochs = math.ceil(self.race_steps / (steps * passes)) if self.race_steps else self.max_epochs + 1
        for epoch in range(self.max_epochs):
            for _ in range(passes):
                models.train(inputs, labels)
            outputs = models.predict(held)
            for k, model in enumerate(models.alive):
                score = (validator.loss if validator.slow else validator.score)(outputs[k])
                best[model].update(epoch, score, models.weights_of(k))
            stopped = {model for model in models.alive if epoch - best[model].epoch >= self.patience}
            if (epoch + 1) % race_epochs == 0:
                for seed in range(len(seeds)):
                    rivals = [model for model in models.alive if model // len(grid) == seed]
                    rivals.sort(key=lambda model: best[model].score, reverse=True)
                    stopped.update(rivals[(len(rivals) + 1) // 2 :])
            models.keep([model for model in models.alive if model not in stopped])
            if not models.alive:
                break
        if validator.slow:
            for one in best:
                one.score = validator.score(validator.x.apply(partial(outputs_of, one.weights)))
        return [self._attributes(grid, best[s * len(grid) : (s + 1) * len(grid)]) for s in range(len(seeds))]

    def items_a_step(self, n_items: int) -> int:
        """Size of a batch, of a training set of that size."""
        return max(self.batch_size, math.ceil(n_items / self.most_steps) if self.most_steps else 0)

    def _attributes(self, grid: list[tuple[float, float]], best: list[_Best]) -> dict[str, Any]:
        winner = max(range(len(grid)), key=lambda g: best[g].score)
        return {
            "weights_": best[winner].weights,
            "learning_rate_": float(grid[winner][0]),
            "weight_decay_": float(grid[winner][1]),
            "scores_": np.array([model.score[0] for model in best]),
            "n_iter_": best[winner].epoch + 1,
        }

    def _outputs(self, z: np.ndarray) -> np.ndarray:
        return outputs_of(self.weights_, z)

    def _check_parameters(self) -> None:
        for name in ("hidden_size", "batch_size", "most_steps", "max_epochs", "patience", "race_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not len(self.learning_rates) or min(self.learning_rates) <= 0:
            raise ValueError(f"learning_rates must hold positive numbers, got {self.learning_rates!r}")
        if not len(self.weight_decays) or min(self.weight_decays) < 0:
            raise ValueError(f"weight_decays must hold numbers >= 0, got {self.weight_decays!r}")


def outputs_of(weights: Sequence[np.ndarray], z: np.ndarray) -> np.ndarray:
    """(items, dim) -> float64 (items, outputs), for W1, b1, W2, b2."""
    w1, b1, w2, b2 = (array.astype(np.float64) for array in weights)
    hidden: np.ndarray = np.maximum(z @ w1 + b1, 0.0)
    return hidden @ w2 + b2


@dataclass
class _Best:
    """Best epoch of one model so far."""

    score: tuple[float, float] = (-np.inf, -np.inf)
    epoch: int = 0
    weights: tuple[np.ndarray, ...] = ()

    def update(self, epoch: int, score: tuple[float, float], weights: list[torch.Tensor]) -> None:
        if not self.weights or score > self.score:  # a diverged model scores -inf and keeps its first epoch
            self.score, self.epoch = score, epoch
            self.weights = tuple(weight.cpu().numpy().copy() for weight in weights)


class _Models:
    """Models that are still training: their parameters, optimiser and random streams.

    ``alive`` holds their numbers, seed by seed. The parameters of a model are one row of `flat`, (models, parameters);
    `weights` are views of it.
    """

    def __init__(
        self, probe: MLPProbe, dim: int, targets: Targets, seeds: Sequence[int], grid: list[tuple[float, float]]
    ) -> None:
        import torch

        self.probe, self.softmaxes, self.grid = probe, targets.softmaxes, grid
        self.has_unknown = bool((targets.y < 0).any())
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        hidden, outputs = probe.hidden_size, targets.y.shape[1]
        self.shapes = [(dim, hidden), (1, hidden), (hidden, outputs), (1, outputs)]
        # Uniform in +-1/sqrt(fan in), the initialisation of torch.nn.Linear.
        bounds = [dim**-0.5, dim**-0.5, hidden**-0.5, hidden**-0.5]
        drawn = [
            torch.cat(
                [
                    (2 * torch.rand(m * n, generator=g) - 1) * bound
                    for (m, n), bound in zip(self.shapes, bounds, strict=True)
                ]
            )
            for g in self.generators
        ]
        self._set(list(range(len(seeds) * len(grid))), torch.stack([one for one in drawn for _ in grid]), [])

    def _set(self, alive: list[int], flat: torch.Tensor, known: Sequence[Any]) -> None:
        """Hold these models; `known` are their Adam states, where they have trained before."""
        import torch

        self.alive, self.flat = alive, flat.to(self.probe.device)
        self.gradient = torch.zeros_like(self.flat)
        self.weights, self.gradients = self._views(self.flat), self._views(self.gradient)
        self.seed_of = [model // len(self.grid) for model in alive]
        self.rates = [self.grid[model % len(self.grid)] for model in alive]
        rows = list(self.flat)
        for row, gradient in zip(rows, self.gradient, strict=True):
            row.grad = gradient
        if rows:
            groups = [{"params": [row], "lr": rate} for row, (rate, _) in zip(rows, self.rates, strict=True)]
            # Fused: one pass over the memory.
            self.optimizer = torch.optim.Adam(groups, betas=_BETAS, eps=_EPSILON, fused=True)
            self.optimizer.state.update(zip(rows, known, strict=False))

    def keep(self, alive: list[int]) -> None:
        """Drop all other models."""
        if alive != self.alive:
            places = [self.alive.index(model) for model in alive]
            states = [self.optimizer.state[group["params"][0]] for group in self.optimizer.param_groups]
            self._set(alive, self.flat[places], [states[place] for place in places])

    def _views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        parts = flat.split([m * n for m, n in self.shapes], dim=1)
        return [part.view(len(flat), m, n) for part, (m, n) in zip(parts, self.shapes, strict=True)]

    def tensors(self, *arrays: np.ndarray) -> list[torch.Tensor]:
        """Copy arrays to the device as float32."""
        import torch

        return [torch.as_tensor(array, dtype=torch.float32, device=self.flat.device) for array in arrays]

    def weights_of(self, place: int) -> list[torch.Tensor]:
        """W1, b1, W2, b2 of one model."""
        w1, b1, w2, b2 = (weight[place] for weight in self.weights)
        return [w1, b1[0], w2, b2[0]]

    def predict(self, z: torch.Tensor) -> np.ndarray:
        """(items, dim) -> float64 (models, items, outputs)."""
        import torch

        w1, b1, w2, b2 = self.weights
        hidden = torch.baddbmm(b1, z.expand(len(self.alive), -1, -1), w1).relu_()
        return torch.baddbmm(b2, hidden, w2).double().cpu().numpy()

    def train(self, z: torch.Tensor, y: torch.Tensor) -> None:
        """Make one pass over the training items; the last batch may be smaller."""
        import torch

        seeds = sorted(set(self.seed_of))
        orders = torch.stack([torch.randperm(len(z), generator=self.generators[s]) for s in seeds]).to(z.device)
        place = torch.tensor([seeds.index(s) for s in self.seed_of], device=z.device)
        for batch in orders.split(self.probe.items_a_step(len(z)), dim=1):
            shape = (batch.shape[1], self.probe.hidden_size)
            kept = torch.stack([torch.rand(shape, generator=self.generators[s]) >= self.probe.dropout for s in seeds])
            kept = kept.to(z.device, torch.float32).index_select(0, place)
            items = batch[place].flatten()
            # index_select copies whole rows and is several times faster than z[items].
            inputs, labels = (a.index_select(0, items).unflatten(0, kept.shape[:2]) for a in (z, y))
            self._step(inputs, labels, kept)

    def _step(self, z: torch.Tensor, y: torch.Tensor, kept: torch.Tensor) -> None:
        """Make one step of Adam on batches (models, batch, ...); `kept` is the dropout mask of 0 and 1.

        The gradient of the mean cross-entropy is written out: over items for a softmax, over items and outputs for
        sigmoids, where what is unknown has no loss. The scale of dropout is applied in the products.
        """
        import torch

        scale = 1 / (1 - self.probe.dropout)
        (w1, b1, w2, b2), (to_w1, to_b1, to_w2, to_b2) = self.weights, self.gradients
        hidden = torch.baddbmm(b1, z, w1).relu_().mul_(kept)  # (models, batch, hidden)
        outputs = torch.baddbmm(b2, hidden, w2, alpha=scale)  # (models, batch, outputs)
        if self.softmaxes:
            probabilities = torch.softmax(outputs.unflatten(2, (self.softmaxes, -1)), 3).flatten(2)
        else:
            probabilities = torch.sigmoid(outputs)
        error = (probabilities - y) / (y.shape[1] * (self.softmaxes or y.shape[2]))
        if self.has_unknown:
            error *= y >= 0
        torch.sum(error, 1, keepdim=True, out=to_b2)
        error *= scale
        torch.bmm(hidden.transpose(1, 2), error, out=to_w2)
        back = torch.bmm(error, w2.transpose(1, 2)).mul_(hidden.sign_())
        torch.bmm(z.transpose(1, 2), back, out=to_w1)
        torch.sum(back, 1, keepdim=True, out=to_b1)
        for k, (rate, decay) in enumerate(self.rates):  # decoupled, of the matrices alone
            if decay:
                w1[k].mul_(1 - rate * decay)
                w2[k].mul_(1 - rate * decay)
        self.optimizer.step()
