"""Find, check, convert and save the weights of a Music2Latent model.

Conventions
-----------
A checkpoint is named by a registry name (``"published"``, ``"small"``) or by a path: to the authors' ``.pt`` or to our
``.safetensors``, whose metadata holds the configuration.

A ``.pt`` is a pickle. It is read without executing what is pickled, converted once into the user's cache, and known by
the SHA-256 of its bytes. Nothing is downloaded unless a hub checkpoint is asked for by its name; what the
first download brought, its revision and SHA-256, is recorded and every later load must match it (trust on first use).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from safetensors.torch import save
from torch import Tensor

from m2l_bench.files.disk import sha256, write_atomic
from m2l_bench.files.hub import CheckpointError, HubFile, fetch
from m2l_bench.files.untrusted import parse_json
from m2l_bench.files.weights import read_safetensors, read_weights, tensors_of
from m2l_bench.music2latent.config import PUBLISHED, Config
from m2l_bench.music2latent.keys import from_published
from m2l_bench.music2latent.network import Music2LatentNetwork

_KEY = "gen_state_dict"  # where the authors' file keeps the weights

CHECKPOINTS: dict[str, HubFile | Path] = {
    "published": HubFile("SonyCSLParis/music2latent", "music2latent.pt", "233 MB, CC BY-NC 4.0"),
    "small": Path(__file__).parents[1] / "assets" / "music2latent-small" / "weights.safetensors",
}


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and what they are weights of.

    Attributes
    ----------
    name : str
        Registry name, or the file's stem.
    config : Config
    state : dict of str to Tensor
        Under our parameter names.
    sha256 : str
        Hash of the file it came from (of the ``.pt`` where it was one).
    """

    name: str
    config: Config
    state: dict[str, Tensor]
    sha256: str

    def network(self) -> Music2LatentNetwork:
        """The network with these weights.

        Raises
        ------
        CheckpointError
            If a tensor is missing, left over, or of another shape than the configuration says.
        """
        with torch.device("meta"):  # no time is spent on weights that are replaced at once
            network = Music2LatentNetwork(self.config)
        try:
            network.load_state_dict(self.state, assign=True)
        except RuntimeError as error:
            reason = str(error).split("\n\t")[1] if "\n\t" in str(error) else str(error)
            raise CheckpointError(f"checkpoint {self.name!r} does not fit its config: {reason.strip()}") from error
        network.arrange()
        return network


def load_checkpoint(checkpoint: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    checkpoint : str or Path
        A registry name or a path: see the module's conventions.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointError
        If it does not exist, cannot be downloaded, has changed since it was first downloaded, is damaged, or does not
        hold exactly the model's tensors.
    """
    source = CHECKPOINTS.get(checkpoint) if isinstance(checkpoint, str) else None
    if isinstance(source, HubFile):
        return _load_path(fetch(source), str(checkpoint))
    path = source or Path(checkpoint)
    if not path.is_file():
        names = ", ".join(CHECKPOINTS)
        raise CheckpointError(f"checkpoint must be one of {names}, or a .pt or .safetensors file; nothing at {path}")
    return _load_path(path, str(checkpoint) if source else path.stem)


def save_checkpoint(
    path: str | Path, state: Mapping[str, Tensor], config: Config, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write weights as safetensors, with the configuration in the metadata; atomically.

    Parameters
    ----------
    path : path-like, ``.safetensors``
    state : mapping of str to Tensor
        Under our parameter names: a network's ``state_dict()``.
    config : Config
    metadata : mapping of str to str, optional
        More to write into the file's metadata, such as the sources of the training data.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_atomic(path, save(tensors, {**(metadata or {}), "config": json.dumps(config.to_dict())}))


def read_published(path: Path) -> dict[str, Tensor]:
    """The weights in a ``.pt`` of the authors' trainers (Music2Latent's, CoDiCodec's), under their names.

    Raises
    ------
    CheckpointError
        If it is no such file, is damaged, or cannot be read without executing what is pickled.
    """
    content = read_weights(path, allow=_harmless())
    if not isinstance(content, dict) or not isinstance(content.get(_KEY), dict):
        raise CheckpointError(f"{path}: must be a dictionary holding {_KEY!r}, as the authors' trainer writes it")
    return tensors_of(path, content[_KEY])


def _load_path(path: Path, name: str) -> Checkpoint:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        config, state = _read_safetensors(path)
        return Checkpoint(name, config, state, sha256(path))
    if suffix not in (".pt", ".pth", ".ckpt"):
        raise CheckpointError(f"{path}: checkpoint must be a .pt or .safetensors file, got {suffix or 'no suffix'}")
    digest = sha256(path)
    converted = platformdirs.user_cache_path("m2l-bench") / "checkpoints" / f"{digest}.safetensors"
    with suppress(CheckpointError, FileNotFoundError):  # a damaged copy is replaced
        config, state = _read_safetensors(converted)
        return Checkpoint(name, config, state, digest)
    published = read_published(path)
    try:
        state = from_published(published, PUBLISHED)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    with suppress(OSError):  # the copy only saves time: a read-only cache must not stand in the way
        save_checkpoint(converted, state, PUBLISHED, metadata={"converted_from_sha256": digest})
    return Checkpoint(name, PUBLISHED, state, digest)


def _read_safetensors(path: Path) -> tuple[Config, dict[str, Tensor]]:
    state, metadata = read_safetensors(path)
    if "config" not in metadata:
        raise CheckpointError(f"{path}: must hold its config in its metadata, got none")
    try:
        return Config.from_dict(parse_json(metadata["config"])), state
    except (TypeError, ValueError) as error:  # JSON's errors are ValueErrors
        raise CheckpointError(f"{path}: config: {error}") from error


def _harmless() -> list[Any]:
    """Callables that a NumPy number in a pickle needs: its constructor under NumPy 1's and 2's names, and the types."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{module}.multiarray.scalar" for module in ("core", "_core")]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    return [*((scalar, name) for name in names), np.dtype, *sorted(kinds, key=repr)]
