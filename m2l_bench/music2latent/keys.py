"""The table between our parameter names and those of the authors' checkpoint.

Conventions
-----------
The authors number their layers in the order in which data passes through them, blocks, cross connections and changes of
resolution in one list; ours name each by its kind and level. Their maps are (B, C, F, T) inside, ours (B, C, T, F), so
the last two axes of every 2-D kernel swap; their frequency gain is (1, 1, F, 1), ours (F,). Nothing else differs, and
the table is one to one: no tensor is left out, on either side.
"""

from __future__ import annotations

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


def to_published(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Our tensors under the authors' names and in their layout: the inverse of :func:`from_published`."""
    published = {}
    for ours, theirs in published_names(config).items():
        tensor = _swap(ours, state[ours])
        published[theirs] = tensor.reshape(1, 1, -1, 1) if ours == _GAIN else tensor
    return published


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
    yield from _encoder(config)
    yield from _decoder(config)
    yield from _unet(config, "down", list(range(len(config.widths))))
    yield from _unet(config, "up", list(reversed(range(len(config.widths)))))


def _encoder(config: Config) -> Iterator[tuple[str, str]]:
    position, widths = 0, (config.widths[0], *config.widths)
    for level, count in enumerate(config.encoder_blocks):
        for i in range(count):
            ours, theirs = f"encoder.levels.{level}.{i}", f"encoder.down_layers.{position}"
            yield from _block(ours, theirs, attention=config.attention[level])
            if i == 0 and widths[level] != widths[level + 1]:
                yield f"{ours}.residual", f"{theirs}.res_conv"
            position += 1
        if level < len(config.frequency_only):
            yield f"encoder.downs.{level}.norm", f"encoder.down_layers.{position}.norm"
            yield f"encoder.downs.{level}.conv", f"encoder.down_layers.{position}.c"
            position += 1


def _decoder(config: Config) -> Iterator[tuple[str, str]]:
    position = 0
    for level in reversed(range(len(config.encoder_blocks))):
        for i in range(config.encoder_blocks[level]):
            ours, theirs = f"decoder.levels.{level}.{i}", f"decoder.up_layers.{position}"
            yield from _block(ours, theirs, attention=config.attention[level])
            position += 1
        if level:
            yield f"decoder.ups.{level - 1}.conv", f"decoder.up_layers.{position}.c"
            position += 1


def _unet(config: Config, way: str, levels: list[int]) -> Iterator[tuple[str, str]]:
    position = 0
    for level in levels:
        for i in range(config.blocks[level]):
            yield f"unet.{way}_cross.{level}.{i}", f"{way}_layers.{position}"
            ours, theirs = f"unet.{way}_levels.{level}.{i}", f"{way}_layers.{position + 1}"
            yield from _block(ours, theirs, attention=config.attention[level])
            yield f"{ours}.embedding", f"{theirs}.proj_emb"
            position += 2
        if level != levels[-1]:
            change = level if way == "down" else level - 1
            yield f"unet.{way}s.{change}.conv", f"{way}_layers.{position}.c"
            position += 1


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
