"""Read weights of Keras's HDF5 files, without TensorFlow and without pickle.

Conventions
-----------
A file holds one group per layer; a layer's name says its kind and, by the number behind it, when it was created
(``conv2d``, ``conv2d_1``, ...). The order of the groups is another one: topological. In the decoder the two disagree,
and layers of equal shape would be swapped silently, so layers are found by name. Numbers need not start at 0 nor be
consecutive: other networks may have been created before, and layers without a use are not stored.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

from m2l_bench.systems.musika.hdf5 import read_arrays

_KINDS = {
    "conv2d": "convs",
    "cbottle": "convs",  # the last convolution of the latent encoder, named by hand
    "cout": "convs",  # ... and of the latent decoder
    "conv2d_transpose": "ups",
    "add_noise": "noise_scales",
}
Layers = dict[str, list[tuple[str, list[np.ndarray]]]]


def read_layers(path: Path) -> Layers:
    """Read a file of ``Model.save_weights`` or ``Model.save``, sorted by the order in which the layers were created.

    Gives (layer name, weights) for each of the ``"convs"``, ``"ups"`` and ``"noise_scales"``; ValueError where it is no such
    file, or holds a layer of another kind.
    """
    if importlib.util.find_spec("h5py") is None:
        raise ImportError("reading Musika's weights needs h5py: pip install 'm2l-bench[codecs]'")
    found: Layers = {"convs": [], "ups": [], "noise_scales": []}
    for layer, weights in read_arrays(path).items():
        kind = _KINDS.get(re.sub(r"_\d+$", "", layer))
        if kind is None:
            raise ValueError(f"checkpoint file {path} has a layer {layer!r}, expected one of {sorted(_KINDS)}")
        found[kind].append((layer, weights))
    return {kind: sorted(layers, key=lambda item: _created(item[0])) for kind, layers in found.items()}


def assign(network: nn.Module, layers: Layers, *, file: str) -> None:
    """Fill a network's layers in order; ValueError where one is missing, left over or of another shape."""
    for kind in ("convs", "ups"):
        modules = list(getattr(network, kind, []))
        _check(len(layers[kind]) == len(modules), file, kind, len(modules), len(layers[kind]))
        for module, (layer, weights) in zip(modules, layers[kind], strict=True):
            _check([w.ndim for w in weights] == [4, 1], file, layer, "a kernel and a bias", [w.shape for w in weights])
            # (1, time, in, out) -> (out, in, time); transposed: (1, time, out, in) -> (in, out, time)
            kernel = weights[0][0].transpose(2, 1, 0)
            shapes = kernel.shape, weights[1].shape
            expected = tuple(module.weight.shape), tuple(module.bias.shape)
            _check(shapes == expected, file, layer, expected, shapes)
            _copy(module.weight, kernel)
            _copy(module.bias, weights[1])
    scales = np.array([weights[0].item() for _, weights in layers["noise_scales"]], np.float32)
    parameter = getattr(network, "noise_scales", torch.empty(0))
    _check(scales.shape == tuple(parameter.shape), file, "noise_scales", tuple(parameter.shape), scales.shape)
    _copy(parameter, scales)


def _created(layer: str) -> tuple[bool, int]:
    """Sort key: the number behind the name; layers named by hand come last."""
    number = re.search(r"_(\d+)$", layer)
    return layer.startswith(("cbottle", "cout")), int(number[1]) if number else 0


def _check(fine: bool, file: str, what: str, expected: object, found: object) -> None:
    if not fine:
        raise ValueError(f"checkpoint file {file}: {what} expected {expected}, got {found}")


@torch.no_grad()
def _copy(target: torch.Tensor, values: np.ndarray) -> None:
    target.copy_(torch.from_numpy(np.array(values, np.float32)))
