"""Musika as a system: published weights, whole recordings, exact lengths.

Conventions
-----------
Every channel is coded alone. A latent stands for 16 frames of 256 samples, independent of the frames around them; four latents
(64 frames) are decoded together, and only the overlap of frames crosses the borders between such windows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from m2l_bench.systems import framing
from m2l_bench.systems.musika import network
from m2l_bench.systems.musika.keras_weights import Layers, assign, read_layers
from m2l_bench.systems.musika.network import (
    FRAMES_PER_LATENT,
    FRAMES_PER_WINDOW,
    LATENTS_PER_WINDOW,
    OVERLAP,
    by_windows,
    log_spectrogram,
    waveform,
)
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

PUBLISHED = hub_files("marcop/musika_ae", ("enc.h5", "enc2.h5", "dec.h5", "dec2.h5"), "112 MB, MIT")
_CHUNK = 128  # frames; the original codes whole ones only
_WINDOWS_AT_ONCE = 16


class Musika(PublishedSystem):
    """The autoencoder of Musika, 44.1 kHz version: 64 values per 4,096 samples (10.77 Hz).

    Parameters
    ----------
    checkpoint, device, precision
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`. The layer widths are read from the files.
    compatible : bool
        Frame as the original does: start at the first sample, so that the first 768 fade in, and leave out what does
        not fill a chunk of 128 frames (reconstructions are silent there). An input shorter than one chunk is filled
        up with zeros. By default every sample is covered by four frames and nothing is left out.
    seed : int
        Seed of the noise that the decoders' noise layers add. The noise depends on the window and the layer, not on the channel.

    References
    ----------
    Pasini and Schlüter, "Musika! Fast Infinite Waveform Music Generation", ISMIR 2022.
    """

    name, published, sample_rate = "musika", PUBLISHED, 44100

    def __init__(
        self,
        *,
        checkpoint: Checkpoint = None,
        compatible: bool = False,
        device: Device = None,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        self.compatible = compatible
        self.options = {"compatible": compatible, "seed": seed}
        super().__init__(checkpoint=checkpoint, device=device, seed=seed, precision=precision)
        layers = [read_layers(path) for path in self.paths]
        self._hop, self.latent_dim = _sizes(layers[0], layers[1])
        hop, dim = self._hop, self.latent_dim
        self._lead = 0 if compatible else (OVERLAP - 1) * hop  # zeros before the first sample
        self.encoder = network.Encoder(hop, hop)
        self.latent_encoder = network.LatentEncoder(hop, dim)
        self.decoder = network.Decoder(hop, hop)
        self.latent_decoder = network.LatentDecoder(hop, dim)
        networks = (self.encoder, self.latent_encoder, self.decoder, self.latent_decoder)
        for net, weights, path in zip(networks, layers, self.paths, strict=True):
            assign(net, weights, file=path.name)
            net.to(self.device).eval().requires_grad_(False)
        self.latent_rate = self.sample_rate / (hop * FRAMES_PER_LATENT)
        windows = 3  # in the examples
        spectrogram = torch.zeros(1, 2 * hop + 1, windows * FRAMES_PER_LATENT)
        z, noise = torch.zeros(1, dim, windows * LATENTS_PER_WINDOW), self._noise(range(windows))
        self._latents = self._by_stream(self.compiled("encode", self._to_latents, spectrogram, code=network.Encoder))
        self._heads = self._by_stream(self.compiled("decode", self._to_heads, z, *noise, code=network.Encoder))

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, latent_dim, frames), values in (-1, 1)."""
        audio = framing.as_audio(audio)
        n_latents, hop = self._n_latents(audio.shape[-1]), self._hop
        block = _WINDOWS_AT_ONCE * LATENTS_PER_WINDOW
        out = np.empty((audio.shape[0], self.latent_dim, n_latents), np.float32)
        for start in range(0, n_latents, block):
            stop = min(start + block, n_latents)
            first = start * FRAMES_PER_LATENT * hop - self._lead
            length = ((stop - start) * FRAMES_PER_LATENT + OVERLAP - 1) * hop
            piece = torch.from_numpy(framing.slice_with_zeros(audio, first, first + length)).to(self.device)
            out[..., start:stop] = self._encode_block(log_spectrogram(piece, hop)).cpu().numpy()
        return out

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples), in [-1, 1]."""
        latents = framing.as_latents(latents, self.latent_dim)
        streams, _, n_latents = latents.shape
        hop, lead = self._hop, self._lead
        n_windows = -(-n_latents // LATENTS_PER_WINDOW)
        total = (n_windows * FRAMES_PER_WINDOW + OVERLAP - 1) * hop
        out = np.zeros((streams, max(total, lead + n_samples)), np.float32)
        for start in range(0, n_windows, _WINDOWS_AT_ONCE):
            stop = min(start + _WINDOWS_AT_ONCE, n_windows)
            block = torch.from_numpy(latents[..., start * LATENTS_PER_WINDOW : stop * LATENTS_PER_WINDOW])
            wave = self._decode_block(block.to(self.device), range(start, stop)).cpu().numpy()
            first = start * FRAMES_PER_WINDOW * hop
            out[:, first : first + wave.shape[-1]] += wave
        return np.clip(out[:, lead : lead + n_samples], -1, 1)

    def _n_latents(self, n_samples: int) -> int:
        if self.compatible:
            n_frames = n_samples // self._hop - (OVERLAP - 1)
            return max(1, n_frames // _CHUNK) * _CHUNK // FRAMES_PER_LATENT
        return -(-(n_samples + self._lead) // (self._hop * FRAMES_PER_LATENT))

    @torch.inference_mode()
    def _encode_block(self, spectrogram: Tensor) -> Tensor:
        """(streams, bins, 16 n) -> (streams, latent_dim, n)."""
        return self._latents(spectrogram)

    @torch.inference_mode()
    def _decode_block(self, latents: Tensor, windows: range) -> Tensor:
        """(streams, dim, at most 4 * windows) -> (streams, (64 * windows + 3) * hop)."""
        x, streams = latents, len(latents)
        missing = len(windows) * LATENTS_PER_WINDOW - x.shape[-1]
        if missing:  # recordings are padded with latents of digital silence
            nothing = torch.zeros(1, (FRAMES_PER_LATENT + OVERLAP - 1) * self._hop, device=self.device)
            silence = self._encode_block(log_spectrogram(nothing, self._hop))  # (1, dim, 1)
            x = torch.cat([x, silence.expand(streams, -1, missing)], -1)
        return waveform(*self._heads(x, *self._noise(windows)).chunk(2, 1))

    def _to_latents(self, spectrogram: Tensor) -> Tensor:
        return by_windows(self.latent_encoder, self.encoder(spectrogram), FRAMES_PER_LATENT)

    def _to_heads(self, latents: Tensor, *noise: Tensor) -> Tensor:
        """(streams, dim, 4 n), and each layer's noise (length, n) -> (streams, 2 bins, 64 n)."""
        every = [each.T[:, None].repeat(len(latents), 1, 1) for each in noise]  # the same for each stream
        first, second = every[: len(self.latent_decoder.noise_lengths)], every[len(self.latent_decoder.noise_lengths) :]
        decode = partial(self.latent_decoder, noise=lambda layer, length: first[layer])
        frames = by_windows(decode, latents, LATENTS_PER_WINDOW)
        return by_windows(partial(self.decoder, noise=lambda layer, length: second[layer]), frames, FRAMES_PER_WINDOW)

    def _by_stream(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """In bfloat16, where graphs are of one stream, a function of all streams that computes one after the other."""
        if not self._precision:
            return function
        return lambda x, *noise: torch.cat([function(row, *noise) for row in x.split(1)])

    def _noise(self, windows: range) -> list[Tensor]:
        """Noise of each layer of both decoders, each (length, windows)."""
        return [
            torch.from_numpy(
                np.stack([draw_noise((self.seed, decoder, layer, window), length) for window in windows], 1)
            ).to(self.device)
            for decoder, lengths in enumerate((self.latent_decoder.noise_lengths, self.decoder.noise_lengths))
            for layer, length in enumerate(lengths)
        ]


def draw_noise(key: tuple[int, ...], length: int) -> np.ndarray:
    """Normal numbers that depend on the key alone. (length,) float32."""
    return np.random.default_rng(key).standard_normal(length, dtype=np.float32)


def _sizes(encoder: Layers, latent_encoder: Layers) -> tuple[int, int]:
    """Hop and latent dimension, read off the first encoder's first and the second encoder's last layer."""
    try:
        first, last = encoder["convs"][0][1][0], latent_encoder["convs"][-1][1][0]
        return first.shape[-1] // 4, last.shape[-1]
    except IndexError as error:
        raise ValueError("checkpoint: enc.h5 and enc2.h5 must hold convolutions, got none") from error
