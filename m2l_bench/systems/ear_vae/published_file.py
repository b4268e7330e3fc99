"""The published files of EAR-VAE and EAR-VAE2: every entry is used, or known not to be weights of the autoencoder.

Conventions
-----------
EAR-VAE's file is a plain state dict, and its authors load it strictly. EAR-VAE2's authors take the weights from the first
of :data:`WEIGHTS` in the file, or from the file as a whole; what else a file of their training holds beside these is known
by its name alone (:data:`TRAINING`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.weights import fill, read_weights, tensors_of

# Where the weights are -> prefix of their names there.
WEIGHTS = {"gen_ema": "ema_model.", "gen": "", "state_dict": ""}
# Beside them: copies of the weights, discriminators, optimisers and the progress of the training.
TRAINING = re.compile(
    r"(gen|ema|state_dict|disc\w*|opt\w*|sched\w*|lr_sched\w*|scaler|epoch|(global_)?steps?|iteration|config)(_\w+)?"
)
# Beside a running average: the weights that it is taken of, and its progress.
AVERAGED = re.compile(r"online_model\..+|initted|step")
UNUSED = ("refiner_window",)  # a second copy of `window`, of which no code makes use


def load(network: nn.Module, names: Mapping[str, str], path: Path) -> None:
    """Fill a network from a published file.

    Parameters
    ----------
    network : nn.Module
    names : mapping of str to str
        The network's names -> the file's.
    path : Path

    Raises
    ------
    CheckpointError
        If the file cannot be read without executing code (TorchScript is code), or an entry is missing, unknown or of
        another shape.
    """
    tensors = _weights(path, read_weights(path))
    for name in UNUSED:
        tensors.pop(name, None)
    for ours, theirs in names.items():
        if ours.endswith((".alpha", ".beta")) and ours.startswith("convolutions.") and theirs in tensors:
            tensors[theirs] = tensors[theirs][None, :, None]  # diffusers gives them the axes of a sequence
    fill(network, tensors, path, names=names)


def _weights(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict in a file, under the names that the authors' loader gives it."""
    where = next((key for key in WEIGHTS if isinstance(content, dict) and key in content), None)
    if where is None:
        return dict(tensors_of(path, content))
    unknown = [key for key in content if not TRAINING.fullmatch(str(key))]
    state, prefix = content[where], WEIGHTS[where]
    if prefix and isinstance(state, dict):
        unknown += [key for key in state if not key.startswith(prefix) and not AVERAGED.fullmatch(key)]
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if unknown:
        raise CheckpointError(f"{path}: holds an unknown entry beside the weights: {unknown[0]!r}")
    return dict(tensors_of(path, state))
