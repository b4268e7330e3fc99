"""CoDiCodec, a codec of continuous latents or of tokens, through its authors' package (extra ``codicodec``, CC BY-NC 4.0).

Conventions
-----------
44.1 kHz stereo; channels are coded in pairs. A *chunk* is 32 hops of 1,024 samples, from which the encoder makes 128
vectors of 4 values; they are laid out as 8 frames of 64 values, which follow each other in the file, not in time. The input
is padded with a hop of zeros before it, because the package's output fades in over its first hop, and with zeros to whole
chunks. Long inputs are processed in blocks of chunks: encoding gives the same as for the whole; decoding a block includes
as much context as its steps reach, and its noise is drawn block by block.

References
----------
Pasini, Lattner, Fazekas, "CoDiCodec: Unifying Continuous and Discrete Compressed Representations of Audio", 2025
(arXiv 2509.09836).
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.systems import bits, framing
from m2l_bench.systems.packages import EncoderDecoderSystem
from m2l_bench.systems.repository import Checkpoint, Device, hub_files

PUBLISHED = hub_files("SonyCSLParis/codicodec", ("codicodec.pt",), "about 600 MB, CC BY-NC 4.0")
SAMPLE_RATE = 44100  # of the paper; the package itself takes 48 kHz as well
LATENT_DIM = 64
# At its published size decoding takes about 0.3 GB a chunk.
_CHUNKS_AT_ONCE = 16


class CoDiCodec(EncoderDecoderSystem):
    """CoDiCodec with its continuous latents: 8 frames of 64 values a chunk (10.77 Hz for both channels together).

    Parameters
    ----------
    num_steps, checkpoint, device, seed
        As for :class:`~m2l_bench.systems.packages.EncoderDecoderSystem`. The authors' default of `num_steps` is 5;
        all chunks are decoded in parallel.
    """

    name, published, pairs = "codicodec:continuous", PUBLISHED, True
    module, extra = "codicodec.inference", "codicodec"

    def __init__(
        self, *, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0, num_steps: int = 5
    ) -> None:
        super().__init__(num_steps=num_steps, checkpoint=checkpoint, device=device, seed=seed)
        settings = self.package.hparams
        self.codec.bottleneck_channels = self.model.fsq.num_dimensions
        self._bits = int(self.model.fsq.codebook_size - 1).bit_length()
        self.hop: int = settings.hop
        self.chunk: int = settings.hop * settings.spec_length
        self._vectors: int = self.model.latents.shape[1]
        self._frames = self._vectors * self.model.fsq.num_dimensions // LATENT_DIM
        self.sample_rate, self.latent_dim = SAMPLE_RATE, LATENT_DIM
        self.latent_rate = SAMPLE_RATE * self._frames / self.chunk

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (ceil(channels / 2), 64, frames), as the package scales them."""
        return self._as_frames(self._encode(audio, discrete=False))

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(pairs, 64, frames) -> (2 * pairs, n_samples), in [-1, 1]; zeros after the end of the latents."""
        return self._waves(self._as_chunks(latents), n_samples)

    def _encode(self, audio: np.ndarray, *, discrete: bool) -> Tensor:
        """(channels, samples) -> (pairs, chunks, 8, 64), or tokens (pairs, chunks, 128)."""
        pairs = framing.to_pairs(framing.as_audio(audio))
        chunks = self._chunks(pairs.shape[-1])
        padded = framing.slice_with_zeros(pairs, -self.hop, chunks * self.chunk)
        encode = partial(self.codec.encode, discrete=discrete, desired_channels=LATENT_DIM)
        block = _CHUNKS_AT_ONCE * self.chunk
        starts = range(0, chunks * self.chunk, block)
        self.set_precision()
        return torch.stack(
            [
                torch.cat([encode(pair[:, start : start + block + self.hop]) for start in starts])
                for pair in torch.from_numpy(padded)
            ]
        )

    def _waves(self, pairs: Tensor, n_samples: int) -> np.ndarray:
        """Chunks (pairs, chunks, 8, 64) or tokens (pairs, chunks, 128) -> (2 * pairs, n_samples)."""
        return fit_length(np.concatenate([self._decode(pair) for pair in pairs]), n_samples)

    def _decode(self, chunks: Tensor) -> np.ndarray:
        """Chunks of one pair, (chunks, 8, 64) or tokens (chunks, 128) -> (2, samples) without the hop that fades in."""
        self.set_precision()

        def piece(part: Tensor) -> Tensor:
            wave: Tensor = self.codec.decode(part.movedim(-1, 0), denoising_steps=self.num_steps)
            return wave.cpu()

        # Each step mixes a chunk with the next or the one before, by turns: pairs must fall where they would in the whole.
        context = self.num_steps + self.num_steps % 2
        with framing.seeded(self.seed, self.device):
            wave = framing.in_blocks(
                piece, chunks.movedim(0, -1), block=_CHUNKS_AT_ONCE, context=context, scale=Fraction(self.chunk)
            )
        return wave[:, self.hop :].numpy()

    def _chunks(self, n_samples: int) -> int:
        return -(-(n_samples + self.hop) // self.chunk)

    def _as_frames(self, chunks: Tensor) -> np.ndarray:
        """(pairs, chunks, 8, 64) -> (pairs, 64, frames)."""
        return np.ascontiguousarray(chunks.flatten(1, 2).transpose(1, 2).cpu().numpy(), np.float32)

    def _as_chunks(self, latents: np.ndarray) -> Tensor:
        """(pairs, 64, frames) -> (pairs, chunks, 8, 64)."""
        z = self.latents(latents)
        if z.shape[-1] % self._frames:
            raise ValueError(f"latents must be whole chunks of {self._frames} frames, got {z.shape[-1]} frames")
        return z.transpose(1, 2).unflatten(1, (-1, self._frames))


class TokenCoDiCodec(CoDiCodec):
    """CoDiCodec with its tokens: 128 of 13.84 bits a chunk (2.38 kbit/s for both channels together, 14 bits as written).

    Its latents are the values of the tokens, in [-1, 1].
    """

    name = "codicodec:tokens"

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> quantised latents (ceil(channels / 2), 64, frames)."""
        codes = self.model.fsq.indexes_to_codes(self._encode(audio, discrete=True))
        return self._as_frames(self.codec.latents2dim(codes, LATENT_DIM))

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(pairs, 64, frames) -> (2 * pairs, n_samples)."""
        codes = self.codec.dim2latents(self._as_chunks(latents))
        return self._waves(self.model.fsq.codes_to_indexes(codes), n_samples)

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> tokens, pair by pair."""
        return bits.pack(self._encode(audio, discrete=True).cpu().numpy().ravel(), self._bits)

    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """Output of :meth:`compress` -> (channels, n_samples)."""
        pairs = -(-channels // 2)
        shape = (pairs, self._chunks(n_samples), self._vectors)
        tokens = bits.unpack(data, self._bits, int(np.prod(shape))).reshape(shape)
        wave = self._waves(torch.from_numpy(tokens).to(self.device), n_samples)
        return self.as_given(wave, channels)
