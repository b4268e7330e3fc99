"""Translate the published state dict to ours: every key is used, and repeated weights must be equal.

Conventions
-----------
The published file holds the U-Net three times (for the model, its training loss and its sampler), and its time layer
twice in each, because one module is used at several places; all copies must agree. That layout is inferred from the
public classes that the checkpoint was saved from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from m2l_bench.systems.mousai.network import Config, Network

_UNET_ROOT = re.compile(r"^model\.(diffusion\.|sampler\.)?net\.")
# Patterns of our names -> the published ones, applied in turn; the U-Net's levels follow in _in_level().
_RENAMED = (
    (r"^encoder\.first\.project", "encoder.to_in.block.to_out"),
    (r"^encoder\.first", "encoder.to_in.block"),
    (r"^encoder\.downs\.(\d+)", r"encoder.downsamples.\1.downsample"),
    (r"^encoder\.blocks\.(\d+)\.(\d+)", r"encoder.downsamples.\1.blocks.\2"),
    (r"^(encoder\..*)\.norm_(\d)", r"\1.block\2.groupnorm"),
    (r"^(encoder\..*)\.conv_(\d)", r"\1.block\2.project"),
    (r"^encoder\.last", "encoder.to_out"),
    (r"^encoder\.spectrum\.bands", "encoder.mel.to_mel_scale.fb"),
    (r"^unet\.analysis", "unet.blocks.0"),
    (r"^unet\.synthesis", "unet.blocks.1"),
    (r"^unet\.frequencies", "unet.blocks.2.blocks.0.weights"),
    (r"^unet\.embed", "unet.blocks.2.blocks.0.to_out"),
    (r"^unet\.mix", "unet.blocks.2.blocks.1.blocks.0.0"),
)


def translate(published: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Rename a published state dict to the names of :class:`~m2l_bench.systems.mousai.network.Network`.

    Raises
    ------
    ValueError
        Where a key is missing or unknown, or where copies of one weight differ.
    """
    with torch.device("meta"):
        known = {_published_name(name, config): name for name in Network(config).state_dict()}
    ours: dict[str, Tensor] = {}
    for key, value in published.items():
        once = _UNET_ROOT.sub("unet.", key).removeprefix("model.")
        name = known.get(once.replace("unet.blocks.2.blocks.1.blocks.1.", "unet.blocks.2.blocks.1.blocks.0."))
        if name is None:
            raise ValueError(f"checkpoint holds an unknown weight {key!r}")
        if name in ours and not torch.equal(ours[name], value):
            raise ValueError(f"checkpoint holds two versions of one weight; the second is {key!r}")
        ours[name] = value
    missing = sorted(set(known.values()) - set(ours))
    if missing:
        raise ValueError(f"checkpoint lacks {len(missing)} weights, the first {missing[0]!r}")
    return ours


def _published_name(name: str, config: Config) -> str:
    if name.startswith("unet.top."):
        return f"unet.blocks.2.blocks.2.net.{_in_level(name.removeprefix('unet.top.'), config, 0)}"
    if name == "encoder.spectrum.window":
        return "encoder.stft.window" if config.mel_bands is None else "encoder.mel.to_spectrogram.window"
    for pattern, theirs in _RENAMED:
        name = re.sub(pattern, theirs, name)
    return name


def _in_level(name: str, config: Config, depth: int) -> str:
    """Published name of a weight within a level, a flat list of down, blocks, the level below (if any), blocks, up."""
    part, _, rest = name.partition(".")
    places = 3 if depth == config.latent_level else 2  # of a block: residual, modulate, and at one level inject
    inner = 1 + places * config.blocks[depth]
    second = inner + (depth + 1 < len(config.channels))  # first of the blocks on the way up
    if part == "gate":
        return f"skip.blocks.0.1.{rest}"
    if part == "down":
        return f"block.blocks.0.block.{rest}"
    if part == "up":
        return f"block.blocks.{second + inner - 1}.block.1.{rest}"
    if part == "inner":
        return f"block.blocks.{inner}.{_in_level(rest, config, depth + 1)}"
    block, layer, rest = rest.split(".", 2)
    place = (1 if part == "blocks_down" else second) + places * int(block)
    if layer == "modulate":
        return f"block.blocks.{place + 1}.blocks.0.block.blocks.0.1.{rest}"
    if layer == "inject":
        return f"block.blocks.{place + 2}.block.blocks.0.{rest}"
    kind, number, value = re.split(r"[_.]", rest)  # such as norm_1.weight
    return f"block.blocks.{place}.block.blocks.0.blocks.{int(number) - 1}.{0 if kind == 'norm' else 2}.{value}"
