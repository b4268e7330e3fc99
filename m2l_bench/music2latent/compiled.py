"""The network in bfloat16 on a CPU, compiled by OpenVINO, an optional package.

Conventions
-----------
:class:`CompiledNetwork` takes the place of a :class:`~m2l_bench.music2latent.network.Music2LatentNetwork` in inference: the
same methods, float32 tensors in and out. Weights and maps in between are bfloat16; sums are float32.

A graph is made from the network's own methods when it is first asked for, for any number of frames, and kept in the
user's cache. Its file name depends on all that it was made from. OpenVINO's own ``convert_model`` is not used, as it
reports its use to Intel over the network.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from m2l_bench.files.disk import write_atomic
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.music2latent.network import COMPLEX, Music2LatentNetwork

_EXAMPLE_FRAMES = 4  # latent frames of what a graph is traced with; one frame or two might be taken for constants


class CompiledNetwork:
    """A network whose methods run in bfloat16.

    Parameters
    ----------
    network : Music2LatentNetwork
        On the CPU, without gradients.
    checkpoint_sha256 : str
        Hash of its weights, under which graphs are cached.

    Attributes
    ----------
    config : Config
    version : str
        OpenVINO's, which changes numbers.

    Raises
    ------
    ImportError
        Without OpenVINO: ``pip install 'm2l-bench[openvino]'``.
    ValueError
        If the processor has no bfloat16 instructions, without which nothing is gained.
    """

    def __init__(self, network: Music2LatentNetwork, checkpoint_sha256: str) -> None:
        try:
            from openvino import Core
        except ImportError as error:
            raise ImportError("bfloat16 on a CPU needs OpenVINO: pip install 'm2l-bench[openvino]'") from error
        self._core = Core()
        if "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
            raise ValueError(
                "precision must be float32 on a processor without bfloat16 instructions (AVX512_BF16 or AMX), "
                f"got 'bfloat16' on {processor}"
            )
        self._network, self._sha256 = network, checkpoint_sha256
        self.config, self.version = network.config, version("openvino")
        self._requests: dict[str, Any] = {}

    def encode(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 2, F, T) -> code (B, latent_dim, L)."""
        return self._run("encode", self._network.encode, x)

    def features(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 2, F, T) -> features (B, features_dim, L)."""
        return self._run("features", self._network.features, x)

    def pyramid(self, latents: Tensor) -> list[Tensor]:
        """Code (B, latent_dim, L) -> what :meth:`denoise` takes: the code itself, whose maps never leave the graph."""
        return [latents]

    def denoise(self, x: Tensor, sigma: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        """Noisy spectrogram (B, 2, F, T), noise levels (B,) -> estimate of the clean one."""
        network = self._network
        (code,) = pyramid
        return self._run(
            "decode", lambda x, sigma, code: network.denoise(x, sigma, network.pyramid(code)), x, sigma, code
        )

    def _run(self, name: str, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Compute a graph, one element of the batch at a time, which on a CPU is as fast as all at once."""
        if torch.is_grad_enabled() and any(each.requires_grad for each in inputs):
            raise ValueError("precision must be float32 for a gradient to flow on a CPU, got 'bfloat16'")
        if name not in self._requests:
            self._requests[name] = self._load(name, function).create_infer_request()
        request = self._requests[name]
        results = [
            torch.from_numpy(request.infer([row.contiguous().numpy() for row in rows], share_inputs=True)[0])
            for rows in zip(*(each.split(1) for each in inputs), strict=True)
        ]
        return torch.cat(results)

    def _load(self, name: str, function: Callable[..., Tensor]) -> Any:
        """The compiled graph of a function: from the cache, else made and kept there."""
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        kept = platformdirs.user_cache_path("m2l-bench") / "openvino" / f"{self._key(name)}.blob"
        with suppress(OSError, RuntimeError):  # none, or one that OpenVINO refuses and that is replaced
            return self._core.import_model(kept.read_bytes(), "CPU", settings)
        compiled = self._core.compile_model(_graph(function, self._examples(name)), "CPU", settings)
        with suppress(OSError):  # the copy only saves time: a read-only cache must not stand in the way
            write_atomic(kept, compiled.export_model().getbuffer())
        return compiled

    def _key(self, name: str) -> str:
        """Identifier of a compiled graph: of the weights, of the code that it was traced from, and of what compiled it."""
        code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
        processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        capabilities = sorted(self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        made_by = {"openvino": self.version, "torch": torch.__version__, "processor": [processor, capabilities]}
        config = {"code": code.hexdigest(), "config": self.config.to_dict(), **made_by}
        return f"{name}-{fingerprint(name, config, checkpoint_sha256=self._sha256)}"

    def _examples(self, name: str) -> tuple[Tensor, ...]:
        config, frames = self.config, _EXAMPLE_FRAMES
        spectrogram = torch.zeros(1, COMPLEX, config.bins, frames * config.time_downsampling)
        if name != "decode":
            return (spectrogram,)
        return spectrogram, torch.full((1,), config.sigma_max), torch.zeros(1, config.latent_dim, frames)


class _Traced(nn.Module):
    """A function as a module, which is what PyTorch exports."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def _graph(function: Callable[..., Tensor], examples: tuple[Tensor, ...]) -> Any:
    """OpenVINO's graph of a function, for any length of the last axis of inputs that have more than one."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
    from torch.export import Dim, default_decompositions, export

    free = tuple({each.ndim - 1: Dim.AUTO} if each.ndim > 1 else None for each in examples)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch about its own names
        program = export(_Traced(function), examples, dynamic_shapes=(free,))
        kept_whole, table = set(ops_to_not_decompose()), default_decompositions()
        for operation in [each for each in table if each in kept_whole]:
            table.pop(operation)
        decoder = TorchFXPythonDecoder(program.run_decompositions(table).module(), dynamic_shapes=True)
    frontend = FrontEndManager().load_by_framework("pytorch")
    graph = frontend.convert(frontend.load(decoder))
    # All but the lengths is fixed: with shapes that are known the graph is faster.
    shapes = [[*each.shape[:-1], -1] if each.ndim > 1 else list(each.shape) for each in examples]
    graph.reshape(dict(enumerate(shapes)))
    return graph
