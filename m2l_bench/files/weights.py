"""Weights that others saved, read without running what is pickled: the one place that calls ``torch.load``.

A pickle is a program. PyTorch's restricted unpickler runs only a short list of calls, yet some of those can ask for any
amount of memory, and an archive may be compressed a thousandfold. So the program is first looked through, unrun.

Conventions
-----------
Refused are: calls that allocate (``bytearray``), compressed archives, archives that claim more bytes than the file has,
and tensors that would take more than 1 GiB beyond the storage that they view.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickletools import genops
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from m2l_bench.files.hub import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_PROGRAM = 64 << 20  # bytes of pickle without the tensors; published checkpoints have less than 1 MB
_MOST_GROWTH = 1 << 30
_LEGACY_PICKLES = 5  # magic number, protocol, system, content, storage keys: what torch < 1.6 wrote one after the other


def read_weights(path: Path, *, allow: Sequence[Any] = (), mmap: bool = False) -> Any:
    """Read a ``.pt``, ``.pth`` or ``.ckpt`` file.

    Parameters
    ----------
    path : Path
    allow : sequence
        What else than tensors and plain values may be in it, as :func:`torch.serialization.safe_globals` takes it.
    mmap : bool
        Map the tensors instead of reading them; files of torch >= 1.6 only.

    Returns
    -------
    object
        What was saved: of a checkpoint, a dictionary.

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
    _check_tensors(path, content, torch.Tensor)
    return content


def tensors_of(path: Path, content: Any) -> dict[str, Tensor]:
    """`content` as a dictionary of named tensors; CheckpointError where it is something else."""
    import torch

    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise CheckpointError(f"{path}: must be a dictionary of tensors, got something else")
    return content


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; CheckpointError names the file where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict; CheckpointError names the file that it came from where names or shapes do not fit."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from error


def check_pickle(path: Path) -> None:
    """Look a file of ``torch.save`` through without running it.

    Raises
    ------
    CheckpointError
    """
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        else:
            with path.open("rb") as file:
                for _ in range(_LEGACY_PICKLES):
                    _check_program(path, file)
    except CheckpointError:
        raise
    # pickletools and zipfile raise whatever damaged bytes lead them to: ValueError, BadZipFile, struct.error, ...
    except Exception as error:
        raise _refusal(path, error) from error


def _check_archive(path: Path) -> None:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise CheckpointError(
                f"{path}: must be stored uncompressed, as torch.save writes it, got a compressed archive"
            )
        claimed = sum(member.file_size for member in members)
        if claimed > size:
            raise CheckpointError(f"{path}: must hold no more than its {size} bytes, claims {claimed}")
        for member in members:
            if member.filename.endswith(".pkl"):
                if member.file_size > _MOST_PROGRAM:
                    raise CheckpointError(
                        f"{path}: pickle must have at most {_MOST_PROGRAM} bytes, got {member.file_size}"
                    )
                with archive.open(member) as file:
                    _check_program(path, file)


def _check_program(path: Path, file: Any) -> None:
    for opcode, argument, _ in genops(cast(Any, _Bounded(file, _MOST_PROGRAM))):
        if opcode.name in ("GLOBAL", "INST") and str(argument).endswith(" bytearray"):
            raise CheckpointError(f"{path}: cannot be read without executing code it holds (bytearray)")


class _Bounded:
    """The first bytes of a file, so that a length in a damaged pickle cannot read without end."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.file, self.left = file, limit

    def read(self, n: int) -> bytes:
        return self._take(self.file.read(min(n, self.left)))

    def readline(self) -> bytes:
        return self._take(self.file.readline(self.left))

    def tell(self) -> int:
        return self.file.tell()

    def _take(self, data: bytes) -> bytes:
        self.left -= len(data)
        return data


def _check_tensors(path: Path, content: Any, tensor_type: type) -> None:
    """Tensors at any depth of dictionaries: a view that repeats its storage would grow when it is copied."""
    waiting, seen, grown = [content], set(), 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values())
        elif isinstance(value, tensor_type):
            tensor: Any = value
            if tensor.layout != _strided() or tensor.is_meta or tensor.is_quantized:
                raise CheckpointError(f"{path}: tensors must be plain, got {tensor.layout} on {tensor.device}")
            grown += max(0, tensor.numel() * tensor.element_size() - tensor.untyped_storage().nbytes())
            if grown > _MOST_GROWTH:
                raise CheckpointError(f"{path}: tensors must lie in their storage, got shape {tuple(tensor.shape)}")


def _strided() -> Any:
    import torch

    return torch.strided


def _refusal(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return CheckpointError(f"{path}: cannot be read without executing code it holds, or is damaged ({reason})")
