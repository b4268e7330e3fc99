"""A perceptron with one hidden layer, its whole grid and all seeds trained at once.

Conventions
-----------
``outputs = dropout(relu(z W1 + b1)) W2 + b2``, float32; softmax or sigmoid cross-entropy; Adam with decoupled weight
decay on W1 and W2. Models are the pairs (seed, grid point); every array of theirs has a leading model axis. The models
of one seed start from the same weights and see the same batches and dropout masks, and no model feels which others are
trained beside it. An epoch is a pass over the training items, or as many passes as make 10 steps of a small set. After
each epoch every model is scored on the validation items; its best epoch is what counts, and it stops when `patience`
epochs brought no better one.
Memory: 20 bytes a parameter and model (weights, gradient, two moments, best weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from m2l_bench.probes.selection import Judge, Probe, Scoring, Targets

if TYPE_CHECKING:
    import torch

LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
WEIGHT_DECAYS = (0.0, 1e-1)
_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_EPOCH_STEPS = 10


class MLPProbe(Probe):
    """One hidden layer; learning rate and weight decay selected, and training stopped, on validation items.

    Parameters
    ----------
    learning_rates, weight_decays : sequence of float
        The grid is their product.
    hidden_size : int
    dropout : float
        In [0, 1), of the hidden layer.
    batch_size, max_epochs, patience : int
    race_steps : int, optional
        Successive halving: whenever so many steps (rounded up to epochs) have been made, the worse half of the grid
        points that still train stops. A small training set ends before the first round. None lets all train on.
    scoring : callable, optional
        ``(y, logits, classes) -> float``, higher is better; minus the log loss by default.
    class_weight : "balanced" or mapping, optional
        Of the training loss: the same total for each class (of a tag: present, absent), or what the mapping says.
    n_components : int, optional
        Project the features to this many principal axes of the training items first, to compare systems of different
        dimension.
    validation_fraction : float
        Held out of each class where `fit` is given no validation items.
    device : str
        Of torch.
    random_state : int
        Seeds initial weights, batches and dropout, and draws the held-out items.

    Attributes
    ----------
    classes_ : np.ndarray
    weights_ : tuple of np.ndarray
        W1 (dim, hidden), b1 (hidden,), W2 (hidden, outputs), b2 (outputs,) of the best epoch of the best grid point.
    learning_rate_, weight_decay_ : float
        The selected grid point.
    scores_ : np.ndarray, (grid,)
        Best validation score of each grid point, weight decays running fastest.
    curve_ : np.ndarray, (epochs, 3)
        Of the selected grid point: training loss (with dropout), validation loss, validation score.
    n_iter_ : int
        Epochs up to the best one, itself included.

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
        max_epochs: int = 100,
        patience: int = 10,
        race_steps: int | None = 400,
        scoring: Scoring | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        n_components: int | None = None,
        validation_fraction: float = 0.2,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.learning_rates = learning_rates
        self.weight_decays = weight_decays
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.race_steps = race_steps
        self.scoring = scoring
        self.class_weight = class_weight
        self.n_components = n_components
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state

    def _train(
        self, z: np.ndarray, targets: Targets, weights: np.ndarray, judge: Judge, seeds: Sequence[int]
    ) -> list[dict[str, Any]]:
        self._check_parameters()
        grid = list(product(self.learning_rates, self.weight_decays))
        models = _Models(self, z.shape[1], targets, seeds, grid)
        best: list[_Best] = [_Best() for _ in range(len(seeds) * len(grid))]
        data = models.tensors(z, targets.y, weights)
        held = models.tensors(judge.z)[0]
        for epoch in range(self.max_epochs):
            losses = models.epoch(*data)
            outputs = models.predict(held)
            for place, model in enumerate(models.alive):
                best[model].see(epoch, losses[place], judge(outputs[place]), models.weights_of(place))
            out = self._beaten(models, best, epoch + 1, len(z))
            models.keep(
                [p for p, m in enumerate(models.alive) if m not in out and epoch - best[m].epoch < self.patience]
            )
            if not models.alive:
                break
        return [self._attributes(grid, best[s * len(grid) : (s + 1) * len(grid)]) for s in range(len(seeds))]

    def _passes(self, n_items: int) -> int:
        return -(-_EPOCH_STEPS // -(-n_items // self.batch_size))

    def _beaten(self, models: _Models, best: list[_Best], epochs: int, n_items: int) -> set[int]:
        """The worse half of each seed's grid points still training, where a round of the race ends here."""
        steps = self._passes(n_items) * -(-n_items // self.batch_size)  # of an epoch
        if self.race_steps is None or epochs % -(-self.race_steps // steps):
            return set()
        out: set[int] = set()
        for seed in set(models.seed_of):
            rivals = [m for m, s in zip(models.alive, models.seed_of, strict=True) if s == seed]
            out.update(sorted(rivals, key=lambda m: best[m].score, reverse=True)[(len(rivals) + 1) // 2 :])
        return out

    def _attributes(self, grid: list[tuple[float, float]], best: list[_Best]) -> dict[str, Any]:
        winner = max(range(len(grid)), key=lambda g: best[g].score)
        return {
            "weights_": best[winner].weights,
            "learning_rate_": float(grid[winner][0]),
            "weight_decay_": float(grid[winner][1]),
            "scores_": np.array([model.score[0] for model in best]),
            "curve_": np.array(best[winner].curve),
            "n_iter_": best[winner].epoch + 1,
        }

    def _outputs(self, z: np.ndarray) -> np.ndarray:
        w1, b1, w2, b2 = (array.astype(np.float64) for array in self.weights_)
        return np.maximum(z @ w1 + b1, 0.0) @ w2 + b2

    def _check_parameters(self) -> None:
        for name in ("hidden_size", "batch_size", "max_epochs", "patience", "race_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not len(self.learning_rates) or min(self.learning_rates) <= 0:
            raise ValueError(f"learning_rates must hold positive numbers, got {self.learning_rates!r}")
        if not len(self.weight_decays) or min(self.weight_decays) < 0:
            raise ValueError(f"weight_decays must hold numbers >= 0, got {self.weight_decays!r}")


class _Best:
    """One model's best epoch so far, and its curve."""

    def __init__(self) -> None:
        self.score = (-np.inf, -np.inf)
        self.epoch = 0
        self.weights: tuple[np.ndarray, ...] = ()
        self.curve: list[tuple[float, float, float]] = []

    def see(self, epoch: int, train_loss: float, score: tuple[float, float], weights: list[torch.Tensor]) -> None:
        self.curve.append((train_loss, -score[1], score[0]))
        if not self.weights or score > self.score:  # a diverged model has NaN scores, and keeps its first epoch
            self.score, self.epoch = score, epoch
            self.weights = tuple(weight.cpu().numpy().copy() for weight in weights)


class _Models:
    """The models that are still training: their parameters, optimiser and random streams.

    The parameters of a model are one row of `flat`, (models, parameters); `weights` are views of it.
    """

    def __init__(
        self, probe: MLPProbe, dim: int, targets: Targets, seeds: Sequence[int], grid: list[tuple[float, float]]
    ) -> None:
        import torch

        self.probe, self.exclusive = probe, targets.exclusive
        self.alive = list(range(len(seeds) * len(grid)))
        self.seed_of = [s for s in range(len(seeds)) for _ in grid]
        self.rates = grid * len(seeds)
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        hidden, outputs = probe.hidden_size, targets.y.shape[1]
        self.shapes = [(dim, hidden), (1, hidden), (hidden, outputs), (1, outputs)]
        # Uniform in +-1/sqrt(fan in), as torch.nn.Linear starts.
        fans = [dim, dim, hidden, hidden]
        drawn = [
            torch.cat(
                [
                    (2 * torch.rand(m * n, generator=g) - 1) * f**-0.5
                    for (m, n), f in zip(self.shapes, fans, strict=True)
                ]
            )
            for g in self.generators
        ]
        self.flat = torch.stack([drawn[s] for s in self.seed_of]).to(probe.device)
        self.gradient = torch.zeros_like(self.flat)
        self.weights, self.gradients = self._views(self.flat), self._views(self.gradient)
        self.optimizer = self._adam([])

    def _views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        views, start = [], 0
        for m, n in self.shapes:
            views.append(flat[:, start : start + m * n].view(len(flat), m, n))
            start += m * n
        return views

    def tensors(self, *arrays: np.ndarray) -> list[torch.Tensor]:
        """float32, on the device."""
        import torch

        return [torch.as_tensor(array, dtype=torch.float32, device=self.flat.device) for array in arrays]

    def weights_of(self, place: int) -> list[torch.Tensor]:
        """W1, b1, W2, b2 of one model."""
        w1, b1, w2, b2 = (weight[place] for weight in self.weights)
        return [w1, b1[0], w2, b2[0]]

    def keep(self, places: list[int]) -> None:
        """Drop the models that have stopped."""
        if len(places) == len(self.alive):
            return
        self.alive, self.seed_of = [self.alive[p] for p in places], [self.seed_of[p] for p in places]
        self.rates = [self.rates[p] for p in places]
        known = [self.optimizer.state[group["params"][0]] for group in self.optimizer.param_groups]
        self.flat, self.gradient = self.flat[places], self.gradient[places]
        self.weights, self.gradients = self._views(self.flat), self._views(self.gradient)
        if places:
            self.optimizer = self._adam([known[p] for p in places])

    def _adam(self, known: Sequence[Any]) -> torch.optim.Adam:
        """Adam in one pass over the memory, each model at its own rate; `known` is its state of models that go on."""
        import torch

        models = [self.flat[k] for k in range(len(self.flat))]
        for model, gradient in zip(models, self.gradient, strict=True):
            model.grad = gradient
        groups = [{"params": [model], "lr": rate} for model, (rate, _) in zip(models, self.rates, strict=True)]
        adam = torch.optim.Adam(groups, betas=_BETAS, eps=_EPSILON, fused=True)
        adam.state.update(zip(models, known, strict=False))
        return adam

    def predict(self, z: torch.Tensor) -> np.ndarray:
        """(items, dim) -> float64 (models, items, outputs)."""
        import torch

        w1, b1, w2, b2 = self.weights
        hidden = torch.baddbmm(b1, z.expand(len(self.alive), -1, -1), w1).relu_()
        return torch.baddbmm(b2, hidden, w2).double().cpu().numpy()

    def epoch(self, z: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> list[float]:
        """Passes over the training items that make up an epoch; returns each model's mean loss."""
        passes = [self._pass(z, y, weights) for _ in range(self.probe._passes(len(z)))]
        return np.mean(passes, axis=0).tolist()

    def _pass(self, z: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> list[float]:
        """One pass; the last batch may be smaller."""
        import torch

        seeds = sorted(set(self.seed_of))
        device = self.flat.device
        orders = torch.stack([torch.randperm(len(z), generator=self.generators[s]) for s in seeds]).to(device)
        place = torch.tensor([seeds.index(s) for s in self.seed_of], device=device)
        total = torch.zeros(len(self.alive), device=device)
        for batch in orders.split(self.probe.batch_size, dim=1):
            shape = (batch.shape[1], self.probe.hidden_size)
            kept = torch.stack([torch.rand(shape, generator=self.generators[s]) >= self.probe.dropout for s in seeds])
            kept = kept.to(device, torch.float32).index_select(0, place)
            items = batch[place].flatten()
            # index_select copies whole rows, several times faster than z[items] does.
            inputs, targets, factors = (a.index_select(0, items).unflatten(0, kept.shape[:2]) for a in (z, y, weights))
            total += self._step(inputs, targets, factors, kept) * batch.shape[1]
        return (total / len(z)).tolist()

    def _step(self, z: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Forward, backward (written out) and one step of Adam; returns the losses, (models,).

        `kept` is 0 or 1; what dropout scales is scaled in the products.
        """
        import torch

        scale = 1 / (1 - self.probe.dropout)

        w1, b1, w2, b2 = self.weights
        to_w1, to_b1, to_w2, to_b2 = self.gradients
        hidden = torch.baddbmm(b1, z, w1).relu_().mul_(kept)  # (models, batch, hidden)
        outputs = torch.baddbmm(b2, hidden, w2, alpha=scale)  # (models, batch, outputs)
        loss, error = _cross_entropy(outputs, y, weights, exclusive=self.exclusive)
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
        return loss


def _cross_entropy(
    outputs: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, *, exclusive: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean loss of each model, (models,), and its gradient by the outputs, (models, batch, outputs).

    The mean is over items for a softmax, over items and outputs for sigmoids.
    """
    import torch

    if exclusive:
        losses = weights * (torch.logsumexp(outputs, 2, keepdim=True) * y - outputs * y)
        return losses.sum(2).mean(1), weights * (torch.softmax(outputs, 2) - y) / outputs.shape[1]
    losses = weights * (torch.nn.functional.softplus(outputs) - y * outputs)
    count = outputs.shape[1] * outputs.shape[2]
    return losses.mean((1, 2)), weights * (torch.sigmoid(outputs) - y) / count
