"""Checkpoints of a training: everything that its next step depends on, in safetensors and JSON.

A checkpoint is a folder ``step-00001000`` with ``state.safetensors`` (weights under ``network.`` and under whatever else the
loss names, the network's average under ``average.``, the optimiser's moments under ``optimizer.``) and ``state.json`` (step,
recipe, totals). It is written under another name and renamed, so it is complete or absent. Since every crop and its noise is
a function of seed and number, the step is the data's position and the random state.

Conventions
-----------
``step`` counts finished updates. Totals are sums over all resumed runs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from m2l_bench.files.disk import write_atomic
from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.untrusted import parse_json
from m2l_bench.files.weights import read_safetensors
from m2l_bench.training.optimization import AveragedWeights

_PREFIX = "step-"
FORMAT = 2


@dataclass
class Totals:
    """Resources that a training has used so far.

    Attributes
    ----------
    step : int
    cpu_seconds, wall_seconds : float
        Of training steps and loading; of the whole process, validation included.
    audio_seconds : float
        Crops seen, repeats included.
    """

    step: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    audio_seconds: float = 0.0


def save_state(
    folder: Path,
    *,
    trained: nn.Module,
    average: AveragedWeights,
    optimizer: torch.optim.Optimizer,
    totals: Totals,
    recipe: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint into `folder` and delete all but the last `keep`.

    Returns
    -------
    Path
        The checkpoint's folder.
    """
    tensors = dict(trained.state_dict())
    tensors |= {f"average.{name}": tensor for name, tensor in average.tensors.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in _optimizer_tensors(trained, optimizer).items()}
    final = folder / f"{_PREFIX}{totals.step:08d}"
    partial = folder / f".{final.name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(partial / "state.safetensors", save(contiguous))
    state = {"format": FORMAT, "updates": average.updates, "totals": vars(totals), "recipe": recipe}
    write_atomic(partial / "state.json", json.dumps(state, indent=1).encode())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def load_weights(path: Path, network: nn.Module) -> None:
    """Put the weights of a ``.safetensors`` file into a network; half precision is widened.

    Raises
    ------
    ValueError
        If it cannot be read, or does not hold exactly the network's tensors.
    """
    try:
        network.load_state_dict(read_safetensors(path)[0])
    except (CheckpointError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[-1].strip()
        raise ValueError(f"{path}: must hold the weights of this network as safetensors ({reason})") from error


def load_state(
    checkpoint: Path, *, trained: nn.Module, average: AveragedWeights, optimizer: torch.optim.Optimizer
) -> Totals:
    """Read a checkpoint into what is trained, average and optimiser, in place.

    Raises
    ------
    ValueError
        If the checkpoint is damaged, of another format, or of another model.
    """
    state = read_json(checkpoint)
    try:
        tensors = load_file(checkpoint / "state.safetensors")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{checkpoint}: must hold a whole state.safetensors, got {error}") from error
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(("average.", "optimizer."))}
    expected = {name: tensor.shape for name, tensor in trained.state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != expected:
        raise ValueError(f"{checkpoint}: must hold the recipe's model, got tensors of other names or shapes")
    trained.load_state_dict(weights)
    average.load(_below(tensors, "average."), state["updates"])
    _load_optimizer(trained, optimizer, _below(tensors, "optimizer."))
    return Totals(**state["totals"])


def read_json(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's ``state.json``; ValueError where it is damaged or of another format."""
    try:
        state = parse_json((checkpoint / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{checkpoint}: must hold a readable state.json, got {error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{checkpoint}: state.json must hold an object, got {type(state).__name__}")
    if state.get("format") != FORMAT:
        raise ValueError(f"{checkpoint}: format must be {FORMAT}, got {state.get('format')}")
    return state


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first."""
    return sorted(folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []


def _optimizer_tensors(trained: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, parameter in trained.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(trained: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put moments back, each in its parameter's memory format, in which the same sums round the same way."""
    for name, parameter in trained.named_parameters():
        moments = {
            key: tensors[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"{name}.{key}" in tensors
        }
        if moments:
            optimizer.state[parameter] = {
                key: value if key == "step" else torch.empty_like(parameter).copy_(value)
                for key, value in moments.items()
            }


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
