"""Whole numbers packed into as few bytes as they need, so that the bit rate of codes is measured and not claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


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


class FrameCodes:
    """What codecs share whose bit stream is one code a frame from each of some codebooks of equal size.

    Attributes
    ----------
    codebooks, code_bits, hop : int
        Codebooks used, bits of a code, samples of a frame.
    """

    codebooks: int
    code_bits: int
    hop: int

    def quantise(self, audio: np.ndarray) -> Tensor:
        """(channels, samples) -> codes (streams, codebooks, frames)."""
        raise NotImplementedError

    def dequantise(self, codes: Tensor) -> np.ndarray:
        """Codes -> latents (streams, latent_dim, frames).

        Latents are made from the codes alone, so that reconstructions equal the decoded bit stream exactly.
        """
        raise NotImplementedError

    if TYPE_CHECKING:  # a class beside this one in the order of bases has it

        def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray: ...

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> quantised latents (streams, latent_dim, frames)."""
        return self.dequantise(self.quantise(audio))

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> codes: channel by channel, codebook by codebook, frame by frame."""
        return pack(self.quantise(audio).cpu().numpy(), self.code_bits)

    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """Output of :meth:`compress` -> (channels, n_samples); every channel is a stream."""
        import torch

        shape = channels, self.codebooks, -(-n_samples // self.hop)
        codes = unpack(data, self.code_bits, int(np.prod(shape))).reshape(shape)
        return self.decode(self.dequantise(torch.from_numpy(codes)), n_samples)
