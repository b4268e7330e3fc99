"""Turn musicnn's published TensorFlow 1 checkpoint into a safetensors file, with NumPy alone.

    pip download musicnn==0.1.0 --no-deps          # ISC licence, Pons and Serra, 2019
    unzip musicnn-0.1.0-py3-none-any.whl
    python scripts/convert_musicnn.py musicnn/MTT_musicnn m2l_bench/assets/musicnn/mtt.safetensors

A TensorFlow checkpoint is two files: ``.index``, a LevelDB table from variable names to protocol-buffer records (type,
shape, offset, size), and ``.data-00000-of-00001``, the values as raw little-endian bytes. Nothing is unpickled or run.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

TABLE_MAGIC = 0xDB4775248B80FB57
FLOAT32 = 1  # DT_FLOAT of tensorflow/core/framework/types.proto

# Our layer names in the order in which the original's graph creates them, which numbers its variables.
NORMS = [
    "input_norm",
    *(f"{name}.norm" for name in ("timbral.0", "timbral.1", "temporal.0", "temporal.1", "temporal.2")),
]
NORMS += ["middle.0.norm", "middle.1.norm", "middle.2.norm", "pooled_norm", "hidden_norm"]
CONVOLUTIONS = [name.replace("norm", "conv") for name in NORMS[1:9]]
DENSE = ["hidden", "output"]
PARTS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
    "bias": "bias",
}


def main() -> None:
    """Read the arguments, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder that holds .index and .data-00000-of-00001")
    parser.add_argument("output", type=Path, help="safetensors file to write")
    arguments = parser.parse_args()
    tensors = convert(read_checkpoint(arguments.checkpoint))
    save_file(
        tensors, arguments.output, metadata={"source": f"musicnn 0.1.0, {arguments.checkpoint.name}, ISC licence"}
    )


def convert(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename the original's variables and lay them out as torch does; the optimiser's are left behind."""
    tensors = {}
    for layers, prefix in ((NORMS, "batch_normalization"), (CONVOLUTIONS, "conv2d"), (DENSE, "dense")):
        for i, layer in enumerate(layers):
            source = prefix if i == 0 else f"{prefix}_{i}"
            for part, ours in PARTS.items():
                if f"{source}/{part}" in variables:
                    tensors[f"{layer}.{ours}"] = _torch_layout(layer, variables[f"{source}/{part}"])
    return tensors


def read_checkpoint(folder: Path) -> dict[str, np.ndarray]:
    """Read every float32 variable of a TensorFlow checkpoint: name -> array."""
    data = (folder / ".data-00000-of-00001").read_bytes()
    variables = {}
    for key, record in _table((folder / ".index").read_bytes()):
        fields = _message(record)
        if key and fields.get(1, [0])[0] == FLOAT32:
            shape = [_message(dim).get(1, [0])[0] for dim in _message(fields[2][0]).get(2, [])]
            offset, size = fields.get(4, [0])[0], fields[5][0]
            variables[key.decode()] = np.frombuffer(data[offset : offset + size], "<f4").reshape(shape)
    return variables


def _torch_layout(layer: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:  # (time, frequency, in, out) -> (out, in, time, frequency)
        array = array.transpose(3, 2, 0, 1)
        if layer.startswith("middle"):  # frequency holds all features, one input channel: a convolution over time
            array = array[:, 0].transpose(0, 2, 1)
    elif array.ndim == 2:
        array = array.T
    return np.ascontiguousarray(array)


def _table(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a LevelDB table (uncompressed blocks), through its index block."""
    footer = raw[-48:]
    if struct.unpack("<Q", footer[-8:])[0] != TABLE_MAGIC:
        raise ValueError("index must be a LevelDB table, got another magic number")
    position = _varint(footer, _varint(footer, 0)[1])[1]  # behind the metaindex handle
    for _, handle in _block(raw, footer[position:]):
        yield from _block(raw, handle)


def _block(raw: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset, position = _varint(handle, 0)
    size, _ = _varint(handle, position)
    if raw[offset + size]:
        raise ValueError(f"blocks must be uncompressed, got compression type {raw[offset + size]}")
    block = raw[offset : offset + size]
    end = len(block) - 4 * (1 + struct.unpack("<I", block[-4:])[0])  # the restart points behind are not needed
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


def _message(raw: bytes) -> dict[int, list]:
    """Split a protocol-buffer message: field number -> values (int or bytes)."""
    fields: dict[int, list] = {}
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(raw, position)
        elif kind == 5:  # 32 bits: the checksum
            value, position = struct.unpack_from("<I", raw, position)[0], position + 4
        elif kind == 2:
            length, position = _varint(raw, position)
            value, position = raw[position : position + length], position + length
        else:
            raise ValueError(f"wire type must be 0, 2 or 5, got {kind}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position


if __name__ == "__main__":
    main()
