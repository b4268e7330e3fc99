"""Safe reading of other people's weights; the one place that calls ``torch.load``.

Conventions
-----------
Pickled files go through PyTorch's restricted reader, which calls only what is on its list. Refused besides: the one listed
call that allocates memory (``bytearray``), TorchScript, which is code, compressed archives, archives that claim more bytes
than the file has, tensors that are not plain, and tensors that would take more than 1 GiB beyond the storage that they view.
"""

from __future__ import annotations

import mmap as memory_map
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from m2l_bench.files.hub import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_GROWTH = 1 << 30  # bytes


def read_weights(path: Path, *, allow: Sequence[Any] = (), mmap: bool = False) -> Any:
    """Read a ``.pt``, ``.pth`` or ``.ckpt`` file.

    Parameters
    ----------
    path : Path
    allow : sequence
        What else than tensors and plain values may be in it, as :func:`torch.serialization.safe_globals` takes it.
    mmap : bool
        Map the tensors instead of reading them; files of torch >= 1.6 only.

    Raises
    ------
    CheckpointError
        If it cannot be read without running code that it holds, claims more than it holds, or is damaged.
    """
    import torch

    check_pickle(path)
    try:
        with torch.serialization.safe_globals(list(allow)):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises whatever its unpickler met: UnpicklingError, EOFError, RuntimeError, ...
        raise _refusal(path, error) from error
    _check_tensors(path, content)
    return content


def tensors_of(path: Path, content: Any) -> dict[str, Tensor]:
    """`content` as a dictionary of named tensors; CheckpointError where it is something else."""
    import torch

    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise CheckpointError(f"{path}: must be a dictionary of tensors, got something else")
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a safetensors file, as float32, and its metadata; CheckpointError where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: must be a readable safetensors file ({error})") from error


def fill(
    network: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, names: Mapping[str, str] | None = None
) -> None:
    """Load a state dict in which every weight is used.

    Parameters
    ----------
    network : nn.Module
    tensors : mapping
    path : Path
        The file that they came from.
    names : mapping of str to str, optional
        The network's names -> the file's; by default they are equal.

    Raises
    ------
    CheckpointError
        If a weight is missing, unknown or of another shape; the message names the first one as the file does.
    """
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    theirs = {name: name for name in tensors} if names is None else dict(names)
    ours = {key: name for name, key in theirs.items()}
    taken = sorted(tensors.keys() & ours.keys())
    for key in taken:
        wanted, found = shapes.get(ours[key]), tuple(tensors[key].shape)
        if wanted not in (None, found):
            raise CheckpointError(f"{path}: {key!r} must have the shape {wanted}, got {found}")
    # PyTorch says what is missing: it does without the counters of batch normalisation, for one.
    report = network.load_state_dict({ours[key]: tensors[key] for key in taken}, strict=False)
    lacking = [theirs.get(name, name) for name in report.missing_keys]
    unknown = [*report.unexpected_keys, *(tensors.keys() - ours.keys())]
    for problem, keys in (("lacks", lacking), ("holds unknown", unknown)):
        if keys:
            raise CheckpointError(f"{path}: {problem} weights: {min(keys)!r} and {len(keys) - 1} more")


def check_pickle(path: Path) -> None:
    """Refuse a file of ``torch.save`` that may ask for unbounded memory, by CheckpointError; nothing in it is run."""
    try:
        with path.open("rb") as file, memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ) as content:
            # The restricted reader takes names of callables only in this form.
            if content.find(b"\nbytearray\n") >= 0:
                raise CheckpointError(f"{path}: cannot be read without executing code it holds (bytearray)")
            members = zipfile.ZipFile(file).infolist() if content[:2] == b"PK" or zipfile.is_zipfile(file) else []
    except CheckpointError:
        raise
    except Exception as error:  # zipfile raises whatever damaged bytes lead it to: ValueError, struct.error, ...
        raise _refusal(path, error) from error
    if any(PurePosixPath(member.filename).parts[1:2] == ("code",) for member in members):
        raise CheckpointError(f"{path}: must hold weights alone, got a TorchScript archive, which is code")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"{path}: must be stored uncompressed, as torch.save writes it, got a compressed archive")
    size, claimed = path.stat().st_size, sum(member.file_size for member in members)
    if claimed > size:
        raise CheckpointError(f"{path}: must hold no more than its {size} bytes, claims {claimed}")


def _check_tensors(path: Path, content: Any) -> None:
    """Check tensors at any depth of dictionaries: a view that repeats its storage would grow when it is copied."""
    import torch

    waiting, seen, grown = [content], set(), 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values())
        elif isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_meta or value.is_quantized:
                raise CheckpointError(f"{path}: tensors must be plain, got {value.layout} on {value.device}")
            grown += max(0, value.numel() * value.element_size() - value.untyped_storage().nbytes())
            if grown > _MOST_GROWTH:
                raise CheckpointError(f"{path}: tensors must lie in their storage, got shape {tuple(value.shape)}")


def _refusal(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return CheckpointError(f"{path}: cannot be read without executing code it holds, or is damaged ({reason})")
