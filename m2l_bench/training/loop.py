"""Training from a recipe: one loop for all families, on any number of processes, safe against being killed.

Conventions
-----------
A run's folder holds ``recipe.json``, ``log.csv`` (one row every `log_every` steps), ``checkpoints/``, ``validation.csv``
and ``validation/``, and ``weights.safetensors``: the averaged weights, the model that one uses.
Step k (counted from 0) takes crops ``k batch`` to ``(k + 1) batch - 1``, whatever the number of processes.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from m2l_bench.files.disk import write_atomic
from m2l_bench.memory import keep_freed_memory
from m2l_bench.music2latent.device import pick_device
from m2l_bench.training.crops import Crops, Examples, batches, scan
from m2l_bench.training.log import append_row, cut_log, progress_bar
from m2l_bench.training.objective import Objective
from m2l_bench.training.optimization import AveragedWeights, learning_rate
from m2l_bench.training.recipe import Recipe, require_same
from m2l_bench.training.state import Totals, checkpoints, load_state, load_weights, read_json, save_state
from m2l_bench.training.validation import Score, Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

WEIGHTS = "weights.safetensors"


class NonFiniteError(ValueError):
    """A loss or gradient that is NaN or infinite; the message says at which step, noise level and parameter."""


class Interrupted(KeyboardInterrupt):
    """The training was asked to stop (Ctrl-C or SIGTERM) and did, after saving."""


def train(
    recipe: Recipe,
    objective: Callable[[Recipe], Objective],
    out: str | Path,
    *,
    resume: bool = False,
    score: Score | None = None,
    progress: bool = True,
) -> Path:
    """Train a model, or go on with a training.

    Parameters
    ----------
    recipe : Recipe
    objective : callable
        Makes the network of the recipe, with random weights, and its losses.
    out : path-like
        Folder of the run; must hold no checkpoints unless `resume`.
    resume : bool
        Go on from the last checkpoint in `out`; from the start if there is none. The recipe may differ in the number of
        steps, the folders' paths, the loading workers, `validation` and `run` only.
    score : callable, optional
        ``score(references, estimates, sample_rate)`` -> numbers by name of lists of ``(samples,)`` arrays: what validation
        measures of its excerpts and their reconstructions.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Path
        The averaged weights.

    Raises
    ------
    ValueError
        If the recipe is faulty, `out` holds another training, or a checkpoint is damaged.
    AudioError
        If there is no usable music.
    NonFiniteError
        After saving the state before the faulty step.
    Interrupted
        After saving, when told to stop.
    """
    keep_freed_memory()
    trainer = Trainer(recipe, objective, Path(out), score=score)
    trainer.start(resume=resume)
    trainer.run(progress=progress)
    return trainer.out / WEIGHTS


class Trainer:
    """The state of a training: network, average, optimiser, totals.

    Parameters
    ----------
    recipe : Recipe
    objective : callable
    out : Path
    score : callable or None
    """

    def __init__(
        self, recipe: Recipe, objective: Callable[[Recipe], Objective], out: Path, *, score: Score | None
    ) -> None:
        if recipe.run.threads:
            torch.set_num_threads(recipe.run.threads)
        self.recipe, self.out = recipe, out
        torch.manual_seed(recipe.seed)
        self.objective = objective(recipe)
        self.accelerator = _accelerator(recipe, has_stages=self.objective.has_stages)
        self.batch = _share(recipe.optimization.batch, self.accelerator.num_processes)
        self.crops = make_crops(recipe)
        self.network = self.objective.network.to(self.accelerator.device)
        self.average = AveragedWeights(self.network, limit=recipe.optimization.ema)
        self.loss: nn.Module = self.accelerator.prepare_model(self.objective.loss)
        optimizer = torch.optim.RAdam(
            _groups(self.objective.loss, recipe.optimization.encoder_rate),
            lr=recipe.optimization.learning_rate,
            betas=recipe.optimization.betas,
            foreach=True,
        )
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.totals = Totals()
        self.clocks = (time.process_time(), time.monotonic())
        section = recipe.validation
        self.validation = Validation(self.objective, section, recipe.sample_rate, score) if section else None
        self.stop = threading.Event()
        self.recent: list[tuple[float, float]] = []  # loss and norm of the steps since the last row of the log

    def start(self, *, resume: bool) -> None:
        """Read the last checkpoint, or start from the beginning; check that the folder holds this training."""
        saved = checkpoints(self.out / "checkpoints")
        if saved and not resume:
            raise ValueError(f"{self.out}: must hold no checkpoints unless resuming, got {saved[-1].name}")
        if saved:
            require_same(saved[-1], read_json(saved[-1])["recipe"], self.recipe)
            self.totals = load_state(
                saved[-1], trained=self.objective.loss, average=self.average, optimizer=self.optimizer.optimizer
            )
        else:
            if self.recipe.weights:
                load_weights(self.recipe.weights, self.network)
            else:
                used = self.objective.begin(self.crops)
                self.totals.audio_seconds += used * self.recipe.crop_samples / self.recipe.sample_rate
            self.average = AveragedWeights(self.network, limit=self.recipe.optimization.ema)
        if self.accelerator.is_main_process:
            for name in ("log.csv", "validation.csv"):
                cut_log(self.out / name, self.totals.step)
            write_atomic(self.out / "recipe.json", json.dumps(self.recipe.to_dict(), indent=1).encode())

    def run(self, *, progress: bool = True) -> None:
        """Train to the last step."""
        steps = self.recipe.optimization.steps
        loader = batches(
            self.crops,
            first=self.totals.step,
            last=steps,
            batch=self.batch,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            workers=self.recipe.data.workers,
        )
        with (
            _signals(self.stop),
            progress_bar(steps, self.totals.step, progress and self.accelerator.is_main_process) as show,
        ):
            for examples in loader:
                loss, norm = self.step(examples)
                self.recent.append((loss, norm))
                show(self.totals.step, loss)
                self._after()
        if self.totals.step % self.recipe.run.checkpoint_every:
            self.save()

    def step(self, examples: Examples) -> tuple[float, float]:
        """One update of the weights; returns loss and norm of the gradient, over all processes."""
        optimization, step = self.recipe.optimization, self.totals.step
        rate = learning_rate(
            step,
            steps=optimization.steps,
            peak=optimization.learning_rate,
            final=optimization.final_learning_rate,
            warm_up=optimization.warm_up,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        here = Examples(*(part.to(self.accelerator.device) for part in examples))
        inputs = self.objective.inputs(here, step / optimization.steps)
        with self.accelerator.autocast():
            loss, sigma = self.loss(*inputs)
        self.accelerator.backward(loss.mean())
        # Processes must agree on when to stop: one that leaves alone lets the others wait for ever.
        asked = loss.new_tensor(float(self.stop.is_set()))
        total, stop = self.accelerator.reduce(torch.stack([loss.detach().mean(), asked]), reduction="mean")
        if stop > 0:
            self.stop.set()
        norm = self._finite(loss, total, sigma)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.network)
        self.totals.step += 1
        self.totals.audio_seconds += optimization.batch * self.recipe.crop_samples / self.recipe.sample_rate
        return float(total), norm

    def _finite(self, loss: Tensor, total: Tensor, sigma: Tensor) -> float:
        """Norm of the gradient; saves and raises where it or the loss is not finite."""
        gradients = {name: p.grad for name, p in self.objective.loss.named_parameters() if p.grad is not None}
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        # Half precision scales the loss by trial: a gradient may overflow, and that step is then left out by design.
        if torch.isfinite(total) and (torch.isfinite(norm) or self.recipe.run.precision == "fp16"):
            return float(norm)
        self.save()
        faulty = next((name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()), "none")
        worst = int(torch.where(loss.isfinite(), loss, torch.inf).argmax())
        raise NonFiniteError(
            f"loss and gradient must be finite, got loss {float(total)} and gradient norm {float(norm)} at step"
            f" {self.totals.step}, sigma {float(sigma[worst]):.4g} (largest loss of the batch), first faulty gradient:"
            f" {faulty}; the state before this step is saved in {self.out / 'checkpoints'}"
        )

    def _after(self) -> None:
        run, step, last = self.recipe.run, self.totals.step, self.totals.step == self.recipe.optimization.steps
        if step % run.log_every == 0 or last:
            self._write_log()
        if step % run.checkpoint_every == 0:
            self.save()
        if self.validation and (step % self.validation.section.every == 0 or last):
            self.validate()
        if self.stop.is_set():
            self.save()
            raise Interrupted(f"stopped at step {step}; go on with resume")

    def _write_log(self) -> None:
        """Append means over the steps since the last row to ``log.csv``."""
        self.read_clocks()
        losses, norms = zip(*self.recent, strict=True)
        self.recent = []
        means = {"loss": float(np.mean(losses)), "gradient_norm": float(np.mean(norms))}
        row = {**vars(self.totals), **means, "learning_rate": self.optimizer.param_groups[-1]["lr"]}
        if self.accelerator.is_main_process:
            append_row(self.out / "log.csv", row)

    def read_clocks(self) -> None:
        """Add the time since the last call to the totals, CPU time of all processes."""
        now = (time.process_time(), time.monotonic())
        spent = torch.tensor(now[0] - self.clocks[0], dtype=torch.float32)
        self.totals.cpu_seconds += float(self.accelerator.reduce(spent.to(self.accelerator.device), reduction="sum"))
        self.totals.wall_seconds += now[1] - self.clocks[1]
        self.clocks = now

    def save(self) -> None:
        """Write a checkpoint, and the averaged weights."""
        self.read_clocks()
        if self.accelerator.is_main_process:
            save_state(
                self.out / "checkpoints",
                trained=self.objective.loss,
                average=self.average,
                optimizer=self.optimizer.optimizer,
                totals=self.totals,
                recipe=self.recipe.to_dict(),
                keep=self.recipe.run.keep,
            )
            self._export()
        self.accelerator.wait_for_everyone()

    def _export(self) -> None:
        """Write the averaged weights as safetensors, with family and sizes of the model in its metadata."""
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.average.tensors.items()}
        config, totals = json.dumps(self.recipe.model), json.dumps(vars(self.totals))
        metadata = {"family": self.recipe.family, "config": config, "training": totals}
        write_atomic(self.out / WEIGHTS, save(tensors, metadata=metadata))

    def validate(self) -> None:
        """Measure the averaged weights on held-out audio."""
        if self.validation and self.accelerator.is_main_process:
            row = self.validation.measure(self.average, self.out / "validation", self.totals.step)
            append_row(self.out / "validation.csv", {"step": self.totals.step, **row})
        self.accelerator.wait_for_everyone()


def _groups(trained: nn.Module, encoder_rate: float) -> list[dict[str, Any]]:
    encoder: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            (encoder if any(part.endswith("encoder") for part in name.split(".")) else rest).append(parameter)
    return [{"params": encoder, "factor": encoder_rate}, {"params": rest, "factor": 1.0}]


def make_crops(recipe: Recipe) -> Crops:
    """The crops that a recipe trains on."""
    return Crops(
        library=scan(recipe.data.folders),
        n_samples=recipe.crop_samples,
        noise_shape=recipe.noise_shape,
        sample_rate=recipe.sample_rate,
        seed=recipe.seed,
        min_rms=recipe.data.min_rms,
    )


def _share(batch: int, processes: int) -> int:
    if batch % processes:
        raise ValueError(f"batch must be a multiple of the number of processes ({processes}), got {batch}")
    return batch // processes


def _accelerator(recipe: Recipe, *, has_stages: bool) -> Accelerator:
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError as error:
        raise ImportError("training needs accelerate: pip install 'm2l-bench[train]'") from error
    run = recipe.run
    device = None if run.device == "auto" else pick_device(run.device)
    if device is not None and device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    accelerator = Accelerator(
        cpu=device is not None and device.type == "cpu",
        mixed_precision=run.precision,
        # Processes wait for every weight's gradient, unless told to look which there are.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)] if has_stages else None,
    )
    used = accelerator.device
    if device is not None and (used.type != device.type or device.index not in (None, used.index or device.index)):
        raise ValueError(f"device must be one that accelerate trains on here ({used}), got {run.device!r}")
    return accelerator


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM finish the step and save."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
