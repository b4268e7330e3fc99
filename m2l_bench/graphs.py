"""Functions of a network, compiled by OpenVINO for this processor; an optional package.

Conventions
-----------
A graph takes and gives float32 tensors on the CPU. In bfloat16, weights and maps in between are bfloat16 and sums are float32.

A graph is made when its function is first called, for any length of one axis, and kept in the user's cache. Its file name
depends on all that it was made from. OpenVINO's own ``convert_model`` is not used, as it reports its use to Intel over the
network.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from m2l_bench.files.disk import write_atomic
from m2l_bench.files.fingerprint import fingerprint

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class Graphs:
    """Graphs of one network.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
    made_from : mapping
        What the functions depend on, JSON-serialisable: hash of the weights, sizes, versions of libraries.
    sources : sequence of Path
        Files with the code of the functions.

    Attributes
    ----------
    version : str
        OpenVINO's, which changes numbers.

    Raises
    ------
    ImportError
        Without OpenVINO: ``pip install 'm2l-bench[openvino]'``.
    ValueError
        For bfloat16, if the processor has no such instructions, without which nothing is gained.
    """

    def __init__(self, precision: str, made_from: Mapping[str, Any], sources: Sequence[Path] = ()) -> None:
        self._core = _core(precision)
        self.precision, self.version = precision, version("openvino")
        self._made_from, self._sources = made_from, sources

    def compiled(
        self, name: str, function: Callable[..., Tensor], *examples: Tensor, axis: int | None = -1
    ) -> Callable[..., Tensor]:
        """Function that computes the graph of a function, in place of it.

        Parameters
        ----------
        name : str
            Of the function, one of its own for each network.
        function : callable
            Tensors -> Tensor, without gradients.
        *examples : Tensor
            Inputs that the graph is traced with. A length of 1 or 2 might be taken for a constant.
        axis : int, optional
            The axis whose length is free, of examples with more than one; None where all lengths are fixed.

        Returns
        -------
        callable
            Inputs of the examples' shapes, but for `axis`, -> Tensor.
        """
        request: Any = None

        def compute(*inputs: Tensor) -> Tensor:
            nonlocal request
            if request is None:
                request = self._load(name, function, examples, axis).create_infer_request()
            arrays = [each.contiguous().numpy() for each in inputs]
            return torch.from_numpy(request.infer(arrays, share_inputs=True)[0])

        return compute

    def _load(self, name: str, function: Callable[..., Tensor], examples: tuple[Tensor, ...], axis: int | None) -> Any:
        """The compiled graph of a function: from the cache, else made and kept there."""
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        kept = platformdirs.user_cache_path("m2l-bench") / "openvino" / f"{self._key(name, examples, axis)}.blob"
        with suppress(OSError, RuntimeError):  # none, or one that OpenVINO refuses and that is replaced
            return self._core.import_model(kept.read_bytes(), "CPU", settings)
        compiled = self._core.compile_model(_graph(function, examples, axis), "CPU", settings)
        with suppress(OSError):  # the copy only saves time: a read-only cache must not stand in the way
            write_atomic(kept, compiled.export_model().getbuffer())
        return compiled

    def _key(self, name: str, examples: tuple[Tensor, ...], axis: int | None) -> str:
        """Identifier of a compiled graph: of what it was traced from, and of what compiled it."""
        code = hashlib.sha256(b"".join(path.read_bytes() for path in (Path(__file__), *self._sources)))
        made_from = {
            **self._made_from,
            "code": code.hexdigest(),
            "examples": [list(each.shape) for each in examples],
            "axis": axis,
            "precision": self.precision,
            "openvino": self.version,
            "torch": torch.__version__,
            "processor": self._core.get_property("CPU", "FULL_DEVICE_NAME"),
            "capabilities": sorted(self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        }
        return f"{name}-{fingerprint(name, made_from)}"


def options(precision: str, device: torch.device) -> dict[str, str]:
    """What the choice of a precision adds to the options that identify a system: nothing for float32.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
    device : torch.device

    Raises
    ------
    ImportError, ValueError
        As :class:`Graphs`; ValueError also for another precision, and for bfloat16 on another device than a CPU.
    """
    if precision not in _HINTS:
        raise ValueError(f"precision must be one of {', '.join(_HINTS)}, got {precision!r}")
    if precision == "float32":
        return {}
    if device.type != "cpu":
        raise ValueError(f"precision must be float32 on {device.type}, got {precision!r}")
    _core(precision)
    return {"precision": precision, "openvino": version("openvino")}


def _core(precision: str) -> Any:
    """OpenVINO's interface to this processor, which must compute in that precision."""
    try:
        from openvino import Core
    except ImportError as error:
        raise ImportError(
            f"{precision} compiled for a CPU needs OpenVINO: pip install 'm2l-bench[openvino]'"
        ) from error
    core = Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        processor = core.get_property("CPU", "FULL_DEVICE_NAME")
        raise ValueError(
            "precision must be float32 on a processor without bfloat16 instructions (AVX512_BF16 or AMX), "
            f"got 'bfloat16' on {processor}"
        )
    return core


class _Traced(nn.Module):
    """A function as a module, which is what PyTorch exports."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def _graph(function: Callable[..., Tensor], examples: tuple[Tensor, ...], axis: int | None) -> Any:
    """OpenVINO's graph of a function."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
    from torch.export import Dim, default_decompositions, export

    # For each input the axis that is free, if any.
    free = [None if axis is None or each.ndim == 1 else axis % each.ndim for each in examples]
    dimensions = tuple(None if place is None else {place: Dim.AUTO} for place in free)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch about its own names
        program = export(_Traced(function), examples, dynamic_shapes=(dimensions,))
        kept_whole, table = set(ops_to_not_decompose()), default_decompositions()
        for operation in [each for each in table if each in kept_whole]:
            table.pop(operation)
        decoder = TorchFXPythonDecoder(program.run_decompositions(table).module(), dynamic_shapes=True)
    frontend = FrontEndManager().load_by_framework("pytorch")
    graph = frontend.convert(frontend.load(decoder))
    # All but the free lengths is fixed: with shapes that are known the graph is faster.
    shapes = [
        [-1 if index == place else size for index, size in enumerate(each.shape)]
        for each, place in zip(examples, free, strict=True)
    ]
    graph.reshape(dict(enumerate(shapes)))
    return graph
