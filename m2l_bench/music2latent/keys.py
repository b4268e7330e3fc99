"""The table between our parameter names and those of the authors' checkpoint.

Conventions
-----------
The authors number their layers in the order in which data passes through them, blocks, cross connections and changes of
resolution in one list; ours name each by its kind and level. Their maps are (B, C, F, T) inside, ours (B, C, T, F), so
the last two axes of every 2-D kernel swap; their frequency gain is (1, 1, F, 1), ours (F,). Nothing else differs, and
the table is one to one: no tensor is left out, on either side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from torch import Tensor

from m2l_bench.music2latent.config import Config

_GAIN = "encoder.gain"
_TOP = {
    "encoder.conv_in": "encoder.conv_inp",
    "encoder.norm_features": "encoder.prenorm_1d_to_2d",
    "encoder.project": "encoder.bottleneck_layers.0",
    "encoder.norm_out": "encoder.norm_out",
    "encoder.conv_out": "encoder.conv_out",
    "decoder.conv_in": "decoder.conv_inp",
    "decoder.project": "decoder.conv_out_bottleneck",
    "unet.embed.0": "emb_proj.0",
    "unet.embed.2": "emb_proj.2",
    **{f"unet.scale_in.{i}": f"scale_inp.{i}" for i in (0, 2, 4)},
    **{f"unet.scale_out.{i}": f"scale_out.{i}" for i in (0, 2, 4)},
    "unet.conv_in": "conv_inp",
    "unet.cross_out": "conv_decoded",
    "unet.norm_out": "norm_out",
    "unet.conv_out": "conv_out",
}


def published_names(config: Config) -> dict[str, str]:
    """Our name -> the authors' name, for every tensor of a model.

    Parameters
    ----------
    config : Config

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> names = published_names(Config())
    >>> len(names), names["unet.ups.3.conv.weight"]
    (583, 'up_layers.4.c.weight')
    """
    names = {_GAIN: "encoder.gain.scale"}
    for ours, theirs in _modules(config):
        joint = "_" if theirs.endswith("in_proj") else "."
        for kind in ("weight", "bias"):
            names[f"{ours}.{kind}"] = f"{theirs}{joint}{kind}"
    return names


def from_published(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The authors' tensors under our names and in our layout.

    Raises
    ------
    ValueError
        If a tensor is missing or one is left over; both are named.
    """
    names = published_names(config)
    missing = sorted(set(names.values()) - set(state))
    unknown = sorted(set(state) - set(names.values()))
    if missing or unknown:
        raise ValueError(
            f"checkpoint must hold exactly the model's tensors, missing {_few(missing)}, unknown {_few(unknown)}"
        )
    return {ours: _swap(ours, state[theirs]) for ours, theirs in names.items()}


def _swap(ours: str, tensor: Tensor) -> Tensor:
    if ours == _GAIN:
        return tensor.flatten()
    return tensor.transpose(2, 3).contiguous() if tensor.ndim == 4 else tensor


def _modules(config: Config) -> Iterator[tuple[str, str]]:
    yield from _TOP.items()
    for i in range(config.bottleneck_blocks):
        yield from _block(f"encoder.bottleneck.{i}", f"encoder.bottleneck_layers.{i + 1}")
        yield from _block(f"decoder.bottleneck.{i}", f"decoder.bottleneck_layers.{i}")
        if config.unused_embedding:
            yield f"decoder.bottleneck.{i}.embedding", f"decoder.bottleneck_layers.{i}.proj_emb"
    for part, blocks in (("encoder", config.encoder_blocks), ("unet", config.blocks)):
        yield from _way(config, part, "down", blocks)
    for part, blocks in (("decoder", config.encoder_blocks), ("unet", config.blocks)):
        yield from _way(config, part, "up", blocks)


def _way(config: Config, part: str, way: str, blocks: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """All levels of a part, down or up."""
    in_unet, levels = part == "unet", range(len(blocks))
    names, layers = (f"unet.{way}_levels", f"{way}_layers") if in_unet else (f"{part}.levels", f"{part}.{way}_layers")
    position = itertools.count()
    for level in levels if way == "down" else reversed(levels):
        for i in range(blocks[level]):
            if in_unet:
                yield f"unet.{way}_cross.{level}.{i}", f"{layers}.{next(position)}"
            ours, theirs = f"{names}.{level}.{i}", f"{layers}.{next(position)}"
            yield from _block(ours, theirs, attention=config.attention[level])
            if in_unet:
                yield f"{ours}.embedding", f"{theirs}.proj_emb"
            if part == "encoder" and i == 0 < level and config.widths[level - 1] != config.widths[level]:
                yield f"{ours}.residual", f"{theirs}.res_conv"
        change = level if way == "down" else level - 1
        if 0 <= change < len(config.frequency_only):
            ours, theirs = f"{part}.{way}s.{change}", f"{layers}.{next(position)}"
            yield f"{ours}.conv", f"{theirs}.c"
            if part == "encoder":
                yield f"{ours}.norm", f"{theirs}.norm"


def _block(ours: str, theirs: str, *, attention: bool = False) -> Iterator[tuple[str, str]]:
    for name in ("norm1", "conv1", "norm2", "conv2"):
        yield f"{ours}.{name}", f"{theirs}.{name}"
    if attention:
        yield f"{ours}.attention.norm", f"{theirs}.att.norm"
        yield f"{ours}.attention.qkv", f"{theirs}.att.mha.in_proj"
        yield f"{ours}.attention.out", f"{theirs}.att.mha.out_proj"


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} ({shown})" if names else "none"
