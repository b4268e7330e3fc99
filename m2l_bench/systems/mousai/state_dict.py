"""Translate the published state dict to ours: every key is used, and repeated weights must be equal.

Conventions
-----------
The published file holds the U-Net three times (for the model, its training loss and its sampler), and its time layer
twice in each, because one module is used at several places; all copies must agree. That layout is inferred from the
public classes that the checkpoint was saved from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from m2l_bench.systems.mousai.network import Config

_UNET_ROOTS = ("model.net.", "model.diffusion.net.", "model.sampler.net.")


def translate(published: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Rename a published state dict to the names of :class:`~m2l_bench.systems.mousai.network.Network`.

    Raises
    ------
    ValueError
        Where a key is missing or unknown, or where copies of one weight differ.
    """
    known = {**_encoder_names(config), **_unet_names(config)}
    ours: dict[str, Tensor] = {}
    for key, value in published.items():
        name = known.get(_without_root(key))
        if name is None:
            raise ValueError(f"checkpoint holds an unknown weight {key!r}")
        if name in ours and not torch.equal(ours[name], value):
            raise ValueError(f"checkpoint holds two versions of one weight; the second is {key!r}")
        ours[name] = value
    missing = sorted(set(known.values()) - set(ours))
    if missing:
        raise ValueError(f"checkpoint lacks {len(missing)} weights, the first {missing[0]!r}")
    return ours


def _without_root(key: str) -> str:
    for root in _UNET_ROOTS:
        if key.startswith(root):
            return "unet." + key.removeprefix(root)
    return key.removeprefix("model.")


def _both(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for kind in ("weight", "bias"):
        yield f"{theirs}.{kind}", f"{ours}.{kind}"


def _encoder_names(config: Config) -> dict[str, str]:
    """Published name -> ours, for the encoder."""
    pairs: list[tuple[str, str]] = []

    def residual(theirs: str, ours: str) -> None:
        for i in (1, 2):
            pairs.extend(_both(f"{theirs}.block{i}.groupnorm", f"{ours}.norm_{i}"))
            pairs.extend(_both(f"{theirs}.block{i}.project", f"{ours}.conv_{i}"))

    residual("encoder.to_in.block", "encoder.first")
    bins = config.fft_size // 2 + 1 if config.mel_bands is None else config.mel_bands
    if 2 * bins != config.encoder_channels:
        pairs.extend(_both("encoder.to_in.block.to_out", "encoder.first.project"))
    for i, count in enumerate(config.encoder_blocks):
        pairs.extend(_both(f"encoder.downsamples.{i}.downsample", f"encoder.downs.{i}"))
        for j in range(count):
            residual(f"encoder.downsamples.{i}.blocks.{j}", f"encoder.blocks.{i}.{j}")
    pairs.extend(_both("encoder.to_out", "encoder.last"))
    if config.mel_bands is None:
        pairs.append(("encoder.stft.window", "encoder.spectrum.window"))
    else:
        pairs.append(("encoder.mel.to_spectrogram.window", "encoder.spectrum.window"))
        pairs.append(("encoder.mel.to_mel_scale.fb", "encoder.spectrum.bands"))
    return dict(pairs)


def _unet_names(config: Config) -> dict[str, str]:
    """Published name -> ours, for the U-Net; two of theirs may lead to one of ours."""
    time = "unet.blocks.2.blocks"
    pairs = [("unet.blocks.0.weight", "unet.analysis.weight"), ("unet.blocks.1.weight", "unet.synthesis.weight")]
    pairs.append((f"{time}.0.weights", "unet.frequencies"))
    pairs.extend(_both(f"{time}.0.to_out", "unet.embed"))
    for i in (0, 1):
        pairs.extend(_both(f"{time}.1.blocks.{i}.0", "unet.mix"))
    theirs, ours = f"{time}.2.net", "unet.top"
    for depth in range(len(config.channels)):
        pairs.extend(_level_names(config, depth, theirs, ours))
        inner = 1 + config.blocks[depth] * _items(config, depth)
        theirs, ours = f"{theirs}.block.blocks.{inner}", f"{ours}.inner"
    return dict(pairs)


def _items(config: Config, depth: int) -> int:
    """How many places one of our conditioned blocks takes up in the published list."""
    return 3 if depth == config.latent_level else 2


def _level_names(config: Config, depth: int, theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """Names of one level, without the levels below it.

    The published level is one flat list: down, blocks, the level below (if any), blocks, up.
    """
    count, items = config.blocks[depth], _items(config, depth)
    deepest = depth + 1 == len(config.channels)
    up_start = 1 + count * items + (0 if deepest else 1)
    yield from _both(f"{theirs}.block.blocks.0.block", f"{ours}.down")
    for side, start in (("blocks_down", 1), ("blocks_up", up_start)):
        for i in range(count):
            yield from _block_names(f"{theirs}.block.blocks", start + i * items, f"{ours}.{side}.{i}", items == 3)
    yield from _both(f"{theirs}.block.blocks.{up_start + count * items}.block.1", f"{ours}.up")
    yield from _both(f"{theirs}.skip.blocks.0.1", f"{ours}.gate")


def _block_names(theirs: str, place: int, ours: str, inject: bool) -> Iterator[tuple[str, str]]:
    for i in (0, 1):
        residual = f"{theirs}.{place}.block.blocks.0.blocks.{i}"
        yield from _both(f"{residual}.0", f"{ours}.residual.norm_{i + 1}")
        yield from _both(f"{residual}.2", f"{ours}.residual.conv_{i + 1}")
    yield from _both(f"{theirs}.{place + 1}.blocks.0.block.blocks.0.1", f"{ours}.modulate")
    if inject:
        yield from _both(f"{theirs}.{place + 2}.block.blocks.0", f"{ours}.inject")
