"""Whole numbers packed into as few bytes as they need, so that the bit rate of codes is measured and not claimed."""

from __future__ import annotations

import numpy as np


def pack(values: np.ndarray, bits: int) -> bytes:
    """Write each value in ``bits`` bits, most significant first, in C order; the last byte is filled with zeros.

    Parameters
    ----------
    values : ndarray of int
        Each in [0, 2**bits).
    bits : int

    Examples
    --------
    >>> pack(np.array([1, 2, 3]), 2).hex()
    '6c'
    """
    shifts = np.arange(bits - 1, -1, -1)
    digits = (np.asarray(values).reshape(-1, 1) >> shifts) & 1
    return np.packbits(digits.astype(np.uint8).reshape(-1)).tobytes()


def unpack(data: bytes, bits: int, count: int) -> np.ndarray:
    """Read ``count`` values back, (count,) int64; ValueError where the data is not as long as that many values make it."""
    expected = -(-bits * count // 8)
    if len(data) != expected:
        raise ValueError(f"data must hold {count} values of {bits} bits in {expected} bytes, got {len(data)} bytes")
    digits = np.unpackbits(np.frombuffer(data, np.uint8), count=bits * count).reshape(count, bits)
    return digits.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1))
