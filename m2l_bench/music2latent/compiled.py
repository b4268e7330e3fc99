"""The network in bfloat16 on a CPU, compiled by OpenVINO (:mod:`m2l_bench.graphs`).

Conventions
-----------
:class:`CompiledNetwork` takes the place of a :class:`~m2l_bench.music2latent.network.Music2LatentNetwork` in inference: the
same methods, float32 tensors in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from m2l_bench.graphs import Graphs
from m2l_bench.music2latent.network import COMPLEX, Music2LatentNetwork

_EXAMPLE_FRAMES = 4  # latent frames of what a graph is traced with


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
    ImportError, ValueError
        As :class:`~m2l_bench.graphs.Graphs`.
    """

    def __init__(self, network: Music2LatentNetwork, checkpoint_sha256: str) -> None:
        config, frames = network.config, _EXAMPLE_FRAMES
        made_from = {"weights": checkpoint_sha256, "config": config.to_dict()}
        graphs = Graphs("bfloat16", made_from, sorted(Path(__file__).parent.glob("*.py")))
        self.config, self.version = config, graphs.version
        spectrogram = torch.zeros(1, COMPLEX, config.bins, frames * config.time_downsampling)
        sigma, code = torch.full((1,), config.sigma_max), torch.zeros(1, config.latent_dim, frames)
        self._encode = graphs.compiled("encode", network.encode, spectrogram)
        self._features = graphs.compiled("features", network.features, spectrogram)
        self._decode = graphs.compiled(
            "decode", lambda x, sigma, code: network.denoise(x, sigma, network.pyramid(code)), spectrogram, sigma, code
        )

    def encode(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 2, F, T) -> code (B, latent_dim, L)."""
        return _each(self._encode, x)

    def features(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 2, F, T) -> features (B, features_dim, L)."""
        return _each(self._features, x)

    def pyramid(self, latents: Tensor) -> list[Tensor]:
        """Code (B, latent_dim, L) -> what :meth:`denoise` takes: the code itself, whose maps never leave the graph."""
        return [latents]

    def denoise(self, x: Tensor, sigma: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        """Noisy spectrogram (B, 2, F, T), noise levels (B,) -> estimate of the clean one."""
        (code,) = pyramid
        return _each(self._decode, x, sigma, code)


def _each(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Compute a graph, one element of the batch at a time, which on a CPU is as fast as all at once."""
    if torch.is_grad_enabled() and any(each.requires_grad for each in inputs):
        raise ValueError("precision must be float32 for a gradient to flow on a CPU, got 'bfloat16'")
    return torch.cat([function(*rows) for rows in zip(*(each.split(1) for each in inputs), strict=True)])
