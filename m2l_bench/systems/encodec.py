"""EnCodec at 24 and 48 kHz, through transformers: with its quantiser, or as the autoencoder around it.

Conventions
-----------
The 24 kHz model codes each channel alone, in one piece. The 48 kHz model codes channels in pairs, in segments of one
second that overlap by a hundredth and are each brought to the same level; a segment's level (the natural logarithm of
its gain) is the last latent dimension, constant within the segment, because the decoder needs it. Segments follow each
other in the latents, so the overlap makes their rate 151.5 Hz instead of 150.

References
----------
Défossez, Copet, Synnaeve and Adi, "High Fidelity Neural Audio Compression", TMLR 2023.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.systems import bits, pretrained
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

PUBLISHED = {
    variant: hub_files(
        f"facebook/encodec_{variant}", ("config.json", "model.safetensors"), "76 to 93 MB, weights CC BY-NC 4.0"
    )
    for variant in ("24khz", "48khz")
}
DEFAULT_BANDWIDTH = 6.0  # kbit/s
_CONTEXT = 8  # frames; the convolutions around the recurrent layers reach less than three


class ContinuousEncodec(PublishedSystem):
    """EnCodec's encoder and decoder without the quantiser.

    Parameters
    ----------
    variant : {"24khz", "48khz"}
    checkpoint, device, seed
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    """

    def __init__(
        self, *, variant: str = "24khz", checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
    ) -> None:
        if variant not in PUBLISHED:
            raise ValueError(f"variant must be one of {sorted(PUBLISHED)}, got {variant!r}")
        self.name, self.published = f"encodec:{variant}-continuous", PUBLISHED[variant]
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        self.model = pretrained.load("transformers", "EncodecModel", self.paths[0].parent).to(self.device)
        config = self.model.config
        self.hop, self._width = config.hop_length, config.hidden_size
        self.pairs = config.audio_channels == 2
        self._segment, self._step = config.chunk_length, config.chunk_stride
        self.sample_rate = config.sampling_rate
        self.latent_dim = self._width + config.normalize
        self.latent_rate = config.sampling_rate / config.hop_length
        if self._segment:
            self.latent_rate = -(-self._segment // self.hop) * config.sampling_rate / self._step

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, latent_dim, frames); a stream is a channel or, at 48 kHz, a pair."""
        return torch.cat([self._with_gain(*self._encode(wave)) for wave in self._pieces(audio)], -1).cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(streams, latent_dim, frames) -> (streams or 2 * streams, n_samples)."""
        z = self.latents(latents)
        frames = -(-self._segment // self.hop) if self._segment else z.shape[-1]
        waves = []
        for piece in z.split(frames, -1):
            wave = torch.cat([self._decoder(one) for one in piece[:, : self._width].split(1)])
            if self.latent_dim > self._width:
                wave = wave * piece[:, self._width :].mean(-1, keepdim=True).exp()
            waves.append(wave)
        joined = overlap_add(waves, self._step) if self._segment else waves[0]
        return fit_length(joined.flatten(0, 1).cpu().numpy(), n_samples)

    def _pieces(self, audio: np.ndarray) -> list[Tensor]:
        """Segments (streams, model channels, samples), the last one as short as it falls; at 24 kHz a single one."""
        streams = torch.from_numpy(self.streams(audio)).to(self.device)
        length = streams.shape[-1]
        return [streams[..., i : i + (self._segment or length)] for i in range(0, length, self._step or length)]

    def _encode(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """(streams, channels, samples) -> (streams, width, frames) and gains (streams, 1, 1)."""
        gain = wave.new_ones(len(wave), 1, 1)
        if self.model.config.normalize:
            gain = wave.mean(1, keepdim=True).square().mean(-1, keepdim=True).sqrt() + 1e-8
        return torch.cat([self._encoder(one) for one in (wave / gain).split(1)]), gain

    def _with_gain(self, z: Tensor, gain: Tensor) -> Tensor:
        if self.latent_dim == self._width:
            return z
        return torch.cat([z, gain.log().expand(-1, -1, z.shape[-1])], 1)

    def _encoder(self, x: Tensor) -> Tensor:
        before, recurrent, after = _parts(self.model.encoder.layers)
        return after(_in_turn(recurrent, self._in_blocks(before, x, Fraction(1, self.hop))))

    def _decoder(self, z: Tensor) -> Tensor:
        before, recurrent, after = _parts(self.model.decoder.layers)
        return self._in_blocks(after, _in_turn(recurrent, before(z)), Fraction(self.hop))

    def _in_blocks(self, layers: torch.nn.Module, x: Tensor, scale: Fraction) -> Tensor:
        if self._segment:  # short, and normalised over its length: it must stay whole
            return layers(x)
        return pretrained.each_in_blocks(layers, x, _CONTEXT, scale)


class Encodec(ContinuousEncodec):
    """EnCodec with its residual vector quantiser.

    Parameters
    ----------
    variant : {"24khz", "48khz"}
    bandwidth : float, optional
        In kbit/s per stream: 1.5, 3, 6, 12 or 24 (24 kHz; per channel), 3, 6, 12 or 24 (48 kHz; per pair). 6 by default, the
        highest where a checkpoint does not have it.
    checkpoint, device, seed
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    """

    def __init__(
        self,
        *,
        variant: str = "24khz",
        bandwidth: float | None = None,
        checkpoint: Checkpoint = None,
        device: Device = None,
        seed: int = 0,
    ) -> None:
        super().__init__(variant=variant, checkpoint=checkpoint, device=device, seed=seed)
        known = list(self.model.config.target_bandwidths)
        if bandwidth is None:
            bandwidth = DEFAULT_BANDWIDTH if DEFAULT_BANDWIDTH in known else max(known)
        if bandwidth not in known:
            raise ValueError(f"bandwidth must be one of {known} kbit/s, got {bandwidth}")
        self.bandwidth = float(bandwidth)
        name = f"encodec:{variant}" if bandwidth == DEFAULT_BANDWIDTH else f"encodec:{variant}-{bandwidth:g}k"
        self.identify(name, {"bandwidth": self.bandwidth})

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> quantised latents (streams, latent_dim, frames)."""
        pieces = [self._quantise(wave) for wave in self._pieces(audio)]
        return torch.cat([self._dequantise(codes, gain) for codes, gain in pieces], -1).cpu().numpy()

    @torch.inference_mode()
    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> gains of the segments (float32, 48 kHz only), then all codes of 10 bits."""
        pieces = [self._quantise(wave) for wave in self._pieces(audio)]
        gains = np.stack([gain.cpu().numpy() for _, gain in pieces]).astype("<f4")
        codes = np.concatenate([codes.cpu().numpy().reshape(-1) for codes, _ in pieces])
        packed = bits.pack(codes, self.model.config.codebook_nbits)
        return gains.tobytes() + packed if self.model.config.normalize else packed

    @torch.inference_mode()
    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """Output of :meth:`compress` -> (channels, n_samples)."""
        # The segmentation follows from the shape alone.
        pieces = self._pieces(np.zeros((channels, n_samples), np.float32))
        streams = len(pieces[0])
        count = self.model.quantizer.get_num_quantizers_for_bandwidth(self.bandwidth)
        shapes = [(count, streams, -(-piece.shape[-1] // self.hop)) for piece in pieces]
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        head = 4 * streams * len(pieces) if self.model.config.normalize else 0
        codes = bits.unpack(data[head:], self.model.config.codebook_nbits, int(ends[-1]))
        gains = np.ones((len(pieces), streams, 1, 1), np.float32)
        if head:
            gains = np.frombuffer(data[:head], "<f4").reshape(gains.shape).copy()
        latents = [
            self._dequantise(
                torch.from_numpy(part.reshape(shape)).to(self.device), torch.from_numpy(gain).to(self.device)
            )
            for part, shape, gain in zip(np.split(codes, ends[:-1]), shapes, gains, strict=True)
        ]
        return self.as_given(self.decode(torch.cat(latents, -1).cpu().numpy(), n_samples), channels)

    def _quantise(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (codebooks, streams, frames) and gains (streams, 1, 1)."""
        z, gain = self._encode(wave)
        return pretrained.frames_in_blocks(lambda piece: self.model.quantizer.encode(piece, self.bandwidth), z), gain

    def _dequantise(self, codes: Tensor, gain: Tensor) -> Tensor:
        return self._with_gain(self.model.quantizer.decode(codes), gain)


def overlap_add(waves: list[Tensor], step: int) -> Tensor:
    """Join segments (streams, channels, samples) that start ``step`` samples apart; the last may be shorter.

    Each is weighted by a triangle of the first one's length.
    """
    size = waves[0].shape[-1]
    places = torch.arange(1, size + 1, device=waves[0].device)
    triangle = torch.minimum(places, size + 1 - places) / (size + 1)
    length = max(step * i + wave.shape[-1] for i, wave in enumerate(waves))
    out, total = waves[0].new_zeros(*waves[0].shape[:-1], length), waves[0].new_zeros(length)
    for i, wave in enumerate(waves):
        weights = triangle[: wave.shape[-1]]
        place = slice(step * i, step * i + wave.shape[-1])
        out[..., place] += weights * wave
        total[place] += weights
    return out / total


def _parts(layers: torch.nn.ModuleList) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    """Layers before the recurrent one, its LSTM, and the layers after it."""
    place = next(i for i, layer in enumerate(layers) if hasattr(layer, "lstm"))
    lstm = layers[place].get_submodule("lstm")
    return torch.nn.Sequential(*layers[:place]), lstm, torch.nn.Sequential(*layers[place + 1 :])


def _in_turn(lstm: torch.nn.Module, x: Tensor) -> Tensor:
    """Input (batch, width, frames) plus the output of the LSTM, in blocks, each from the state after the last."""
    outputs, state = [], None
    for piece in x.split(pretrained.BLOCK_FRAMES, -1):
        output, state = lstm(piece.permute(2, 0, 1), state)
        outputs.append(piece + output.permute(1, 2, 0))
    return torch.cat(outputs, -1)
