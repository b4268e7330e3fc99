"""Checkpoints of several files, in the user's folder or on the hub, and the base class of the systems that load them."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from m2l_bench import graphs
from m2l_bench.files.disk import sha256
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.files.hub import CheckpointError, HubFile, fetch_all
from m2l_bench.files.untrusted import parse_json
from m2l_bench.music2latent.device import pick_device
from m2l_bench.systems import framing

Checkpoint: TypeAlias = str | Path | None
Device: TypeAlias = str | torch.device | None


def hub_files(repo: str, files: Sequence[str], about: str, *, revision: str | None = None) -> tuple[HubFile, ...]:
    """Files of one repository on the hub: see :class:`~m2l_bench.files.hub.HubFile`."""
    return tuple(HubFile(repo, file, about, revision) for file in files)


def named(
    system: str, source: str | None, checkpoint: Checkpoint, files: Sequence[str]
) -> tuple[tuple[HubFile, ...], Checkpoint, str]:
    """Find out which repository or folder is meant by ``system:source``, or by `system` and a checkpoint.

    Parameters
    ----------
    system : str
        A name that needs one of the two.
    source : str, optional
        ``OWNER/NAME[/SUBFOLDER]`` on the hub; or a folder, as an absolute path or one that starts with a dot.
    checkpoint : path-like, optional
        A folder, instead of `source`.
    files : sequence of str
        File names.

    Returns
    -------
    published : tuple of HubFile
        The files, of that repository or without one.
    checkpoint : path-like or None
        The folder, if it is one.
    label : str
        The repository, or the folder's name.
    """
    if (source is None) == (checkpoint is None):
        raise ValueError(
            f"{system}: give a folder with {' and '.join(files)} as the checkpoint, or {system}:OWNER/NAME[/SUBFOLDER] for a "
            f"repository on the hub; got {'neither' if source is None else 'both'}"
        )
    if source is None or source.startswith(("/", ".")):
        folder = checkpoint if source is None else source
        return hub_files("", files, ""), folder, Path(str(folder)).resolve().name
    parts = source.split("/")
    if len(parts) < 2 or not all(re.fullmatch(r"[\w-][\w.-]*", part) for part in parts):
        raise ValueError(f"{system}: must be followed by OWNER/NAME[/SUBFOLDER] or a folder's path, got {source!r}")
    below = "".join(f"{part}/" for part in parts[2:])
    about = "size and licence are on the repository's page"
    return hub_files("/".join(parts[:2]), [below + file for file in files], about), None, source


def configured(path: Path, field: str) -> str:
    """A field of text of a ``config.json``, empty if it is not there; CheckpointError if the file is no JSON object."""
    try:
        return str(parse_json(path.read_bytes()).get(field, ""))
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: must be a JSON object, got {error}") from error


class PublishedSystem:
    """Base class of the systems that load a published checkpoint.

    Subclasses define ``encode`` and ``decode`` and set the attributes below; `name`, `published` and `options` must be set
    before this constructor runs, the others after it.

    Parameters
    ----------
    checkpoint : path-like, optional
        Folder with the files of `published` (or the path of the file, if there is only one). By default the published
        files, downloaded once.
    device : str or torch.device, optional
        CUDA where there is one, else the CPU, by default.
    seed : int
        Random seed.
    precision : {"float32", "bfloat16"}
        ``"bfloat16"``, of systems that take it, is compiled by OpenVINO, which the extra ``openvino`` installs, for a CPU with
        bfloat16 instructions.

    Attributes
    ----------
    name : str
    published : sequence of HubFile
        Its files, all of one folder of one repository.
    options : mapping
        Options that change the numbers; they are part of the fingerprint. ``num_steps`` must be at least 1.
    pairs : bool
        Whether channels are coded in pairs.
    sample_rate, latent_dim, latent_rate, seed, fingerprint
        As in :mod:`m2l_bench.systems.base`.

    Raises
    ------
    ImportError
        If the library or the authors' package that the model needs is not installed, or OpenVINO for bfloat16.
    CheckpointError
        If the checkpoint cannot be read or downloaded, or does not fit the model.
    """

    name: str
    published: Sequence[HubFile]
    options: Mapping[str, Any] = {}
    pairs = False
    sample_rate: int
    latent_dim: int
    latent_rate: float

    def __init__(
        self, *, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0, precision: str = "float32"
    ) -> None:
        if self.options.get("num_steps", 1) < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.options['num_steps']}")
        self.seed, self.device = seed, pick_device(device)
        self._precision = graphs.options(precision, self.device)  # empty in float32
        self.paths = find(checkpoint, self.published)
        self._sha256 = hashlib.sha256("".join(sha256(path) for path in self.paths).encode()).hexdigest()
        self.identify(self.name, self.options)

    def identify(self, name: str, options: Mapping[str, Any]) -> None:
        """Set the name, the options with the precision, and the fingerprint of both and the checkpoint."""
        self.options = {**options, **self._precision}
        self.name, self.fingerprint = name, fingerprint(name, self.options, checkpoint_sha256=self._sha256)

    def compiled(
        self, name: str, function: Callable[..., Tensor], *examples: Tensor, code: type
    ) -> Callable[..., Tensor]:
        """In float32 the function itself; in bfloat16 what computes its graph, as :meth:`m2l_bench.graphs.Graphs.compiled`.

        `code` is a class in whose file the network is defined.
        """
        if not self._precision:
            return function
        compiler = graphs.Graphs(
            "bfloat16", {"weights": self._sha256}, [Path(inspect.getfile(each)) for each in (type(self), code)]
        )
        return compiler.compiled(name, function, *examples)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, latent_dim, frames)."""
        raise NotImplementedError

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(streams, latent_dim, frames) -> (channels, n_samples); with pairs (2 * streams, n_samples)."""
        raise NotImplementedError

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, samples)."""
        return self.as_given(self.decode(self.encode(audio), np.shape(audio)[-1]), np.shape(audio)[0])

    def as_given(self, wave: np.ndarray, channels: int) -> np.ndarray:
        """Decoded channels (or pairs of them) -> (channels, samples)."""
        return framing.from_pairs(wave.reshape(-1, 2, wave.shape[-1]), channels) if self.pairs else wave

    def streams(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, 1 or 2, samples), checked."""
        array = framing.as_audio(audio)
        return framing.to_pairs(array) if self.pairs else array[:, None]

    def latents(self, latents: np.ndarray) -> Tensor:
        """Latents, checked, on the system's device."""
        return torch.from_numpy(framing.as_latents(latents, self.latent_dim)).to(self.device)


def find(checkpoint: Checkpoint, published: Sequence[HubFile], *, only_first: bool = False) -> tuple[Path, ...]:
    """Paths of a system's files: in the user's own folder (or the one file), or downloaded from one repository.

    With `only_first` no other file is downloaded: a configuration is read, and may be refused, before the weights are fetched.

    CheckpointError if the folder lacks a file, or if the hub's files cannot be downloaded or have changed.
    """
    if checkpoint is None:
        paths = fetch_all(published, only_first=only_first)
        if len({path.parent for path in paths}) > 1:
            raise CheckpointError(f"checkpoint: {published[0].repo} changed between two of its files; try again")
        return paths
    path, names = Path(checkpoint), [PurePosixPath(source.file).name for source in published]
    if len(names) == 1 and path.is_file():
        return (path,)
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise CheckpointError(f"checkpoint must be a folder with {', '.join(names)}; {path} lacks {', '.join(missing)}")
    return tuple(path / name for name in names)
