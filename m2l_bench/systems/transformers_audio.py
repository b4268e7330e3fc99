"""Codecs of transformers whose encoder has attention, or is for speech: X-Codec, Higgs Audio's tokeniser, Mimi, VibeVoice.

Conventions
-----------
Every channel is coded alone, and nothing is random. Convolutions and causal attention go through long files in blocks, with
enough context that the result is the same. X-Codec's and Higgs Audio's encoders attend to the whole input and normalise over
it: files of up to 35 s go through whole, longer ones in windows of 30 s with 5 s more on either side. Weights are computed
with in float32, however they are stored.

References
----------
Ye, Sun, Lei, Lin, Tan, Dai, Kong, Chen, Pan, Liu, Guo and Xue, "Codec Does Matter", AAAI 2025 (X-Codec).
Boson AI, "Higgs Audio V2", 2025. Défossez, Mazaré, Orsini, Royer, Pérez, Jégou, Grave and Zeghidour, "Moshi", 2024 (Mimi).
Peng et al., "VibeVoice Technical Report", 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems import bits, framing, pretrained
from m2l_bench.systems.dac import Dac
from m2l_bench.systems.encodec import Encodec
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, configured, find, hub_files, named

FILES = ("config.json", "model.safetensors")  # as transformers saves a model
PUBLISHED = {
    "x-codec": hub_files("hf-audio/xcodec-hubert-general", FILES, "about 710 MB, licence on the repository's page"),
    "higgs-audio": hub_files(
        "bosonai/higgs-audio-v2-tokenizer", FILES, "about 800 MB, Boson Higgs Audio 2 Community License"
    ),
    "mimi": hub_files("kyutai/mimi", FILES, "385 MB, CC BY 4.0"),
    "vibevoice": hub_files(
        "microsoft/VibeVoice-AcousticTokenizer", FILES, "1.4 GB (687 million parameters in bfloat16), MIT"
    ),
}
_CLASSES = {"x-codec": "XcodecModel", "higgs-audio": "HiggsAudioV2TokenizerModel"}
_WINDOW, _AROUND = 30, 5  # seconds: what is kept of a window, and what it has on either side in addition
_ATTENDED = 2_000  # frames of Mimi's transformers at once


class SemanticCodec(bits.FrameCodes, PublishedSystem):
    """X-Codec and Higgs Audio's tokeniser: an acoustic and a semantic (HuBERT) encoder, quantised together.

    Parameters
    ----------
    system : {"x-codec", "higgs-audio"}
    bandwidth : float, optional
        In kbit/s per channel, one of the configuration's; the highest by default.
    checkpoint, device, seed
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    """

    def __init__(
        self,
        *,
        system: str = "x-codec",
        bandwidth: float | None = None,
        checkpoint: Checkpoint = None,
        device: Device = None,
        seed: int = 0,
    ) -> None:
        self.name, self.published = system, PUBLISHED[system]
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        self.model = pretrained.load("transformers", _CLASSES[system], self.paths[0].parent).float().to(self.device)
        config = self.model.config
        known = [float(kbits) for kbits in config.target_bandwidths]
        self.bandwidth = max(known) if bandwidth is None else float(bandwidth)
        if self.bandwidth not in known:
            raise ValueError(f"bandwidth must be one of {known} kbit/s, got {bandwidth}")
        self.identify(f"{system}:{self.bandwidth:g}k", {"bandwidth": self.bandwidth})
        self.hop, self.code_bits = config.hop_length, config.codebook_nbits
        self.codebooks = self.model.quantizer.get_num_quantizers_for_bandwidth(self.bandwidth)
        self.sample_rate, self.latent_dim = config.sample_rate, config.hidden_size
        self.latent_rate = self.sample_rate / self.hop
        self._context = pretrained.span(self.model.acoustic_decoder, 1)

    @torch.inference_mode()
    def quantise(self, audio: np.ndarray) -> Tensor:
        """(channels, samples) -> codes (channels, codebooks, frames)."""
        wave = torch.from_numpy(framing.pad_to_multiple(self.streams(audio), self.hop)).to(self.device)
        block, context = (seconds * self.sample_rate // self.hop * self.hop for seconds in (_WINDOW, _AROUND))
        return torch.cat(
            [
                framing.in_blocks(self._codes, one, block=block, context=context, scale=Fraction(1, self.hop))
                for one in wave.split(1)
            ]
        )

    @torch.inference_mode()
    def dequantise(self, codes: Tensor) -> np.ndarray:
        """Codes -> latents (channels, latent_dim, frames)."""
        return self.model.quantizer.decode(codes.to(self.device).movedim(1, 0)).cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples)."""
        z = self.model.fc2(self.latents(latents).transpose(1, 2)).transpose(1, 2)
        wave = pretrained.each_in_blocks(self.model.acoustic_decoder, z, self._context, Fraction(self.hop))
        return fit_length(wave.flatten(0, 1).cpu().numpy(), n_samples)

    def _codes(self, wave: Tensor) -> Tensor:
        codes: Tensor = self.model.encode(wave, self.bandwidth).audio_codes
        return codes


class Mimi(bits.FrameCodes, PublishedSystem):
    """Mimi: causal convolutions and transformers with a sliding window, quantised.

    Parameters
    ----------
    codebooks : int, optional
        Number of codebooks used, all by default: of 32 with 11 bits a frame each, 32 make 4.4 kbit/s, 8 make 1.1 kbit/s.
    checkpoint, device, seed
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    """

    name, published = "mimi", PUBLISHED["mimi"]

    def __init__(
        self, *, codebooks: int | None = None, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
    ) -> None:
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        self.model = pretrained.load("transformers", "MimiModel", self.paths[0].parent).float().to(self.device)
        if not hasattr(self.model.encoder, "encoder_seanet"):
            raise ImportError("MimiModel needs a newer transformers: pip install -U transformers")
        config = self.model.config
        least, most = config.num_semantic_quantizers, config.num_quantizers
        self.codebooks = most if codebooks is None else codebooks
        if not least <= self.codebooks <= most:
            raise ValueError(f"codebooks must be in [{least}, {most}], got {codebooks}")
        self.identify(f"mimi:{self.codebooks}", {"codebooks": self.codebooks})
        self.hop, self.code_bits = config.frame_size, self.model.bits_per_codebook
        self.sample_rate, self.latent_dim = config.sampling_rate, config.hidden_size
        self.latent_rate = self.sample_rate / self.hop
        # The transformers stand between the convolutions and a last step to the frames' own rate.
        self._inner = self.hop // config.latent_stride
        self._causal: bool = config.use_causal_conv
        # A layer sees a frame and the window - 1 before it.
        self._attention = config.num_hidden_layers * (config.sliding_window - 1)

    @torch.inference_mode()
    def quantise(self, audio: np.ndarray) -> Tensor:
        """(channels, samples) -> codes (channels, codebooks, frames)."""
        # Its convolutions fill up the last frame themselves, each its own input.
        return torch.cat([self._codes(one) for one in torch.from_numpy(self.streams(audio)).to(self.device).split(1)])

    @torch.inference_mode()
    def dequantise(self, codes: Tensor) -> np.ndarray:
        """Codes -> latents (channels, latent_dim, frames)."""
        return pretrained.frames_in_blocks(self.model.quantizer.decode, codes.to(self.device)).cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples)."""
        decoder = self.model.decoder
        waves = []
        for one in self.latents(latents).split(1):
            inner = self._attend(decoder.decoder_transformer, decoder.upsample(one))
            context = self._reach(pretrained.span(decoder.decoder_seanet, 1))
            waves.append(pretrained.each_in_blocks(decoder.decoder_seanet, inner, context, Fraction(self._inner)))
        return fit_length(torch.cat(waves).flatten(0, 1).cpu().numpy(), n_samples)

    def _codes(self, wave: Tensor) -> Tensor:
        encoder = self.model.encoder
        context = self._reach(pretrained.span(encoder.encoder_seanet, self._inner))
        inner = pretrained.each_in_blocks(encoder.encoder_seanet, wave, context, Fraction(1, self._inner))
        z = encoder.downsample(self._attend(encoder.encoder_transformer, inner))
        return pretrained.frames_in_blocks(
            lambda piece: self.model.quantizer.encode(piece, self.codebooks).transpose(0, 1), z
        )

    def _reach(self, frames: int) -> tuple[int, int]:
        return frames, 0 if self._causal else frames

    def _attend(self, transformer: torch.nn.Module, x: Tensor) -> Tensor:
        return framing.in_blocks(
            lambda piece: transformer(piece.transpose(1, 2)).last_hidden_state.transpose(1, 2),
            x,
            block=_ATTENDED,
            context=(self._attention, 0),
            scale=1,
        )


class VibeVoice(PublishedSystem):
    """VibeVoice's acoustic tokeniser: a causal convolutional variational autoencoder with continuous latents.

    Its input has a level of -25 dBFS, as the library's feature extractor makes it. The natural logarithm of the gain is the
    last latent dimension, constant over the file, so that decoding gives the file's own level. Latents are the encoder's
    output; the noise of training is not added.

    Parameters
    ----------
    checkpoint, device, seed
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.
    """

    name, published = "vibevoice", PUBLISHED["vibevoice"]

    def __init__(self, *, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0) -> None:
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        model = pretrained.load("transformers", "VibeVoiceAcousticTokenizerModel", self.paths[0].parent)
        self.model = model.float().to(self.device)
        config = self.model.config
        if config.channels != 1:
            raise CheckpointError(f"{self.paths[0]}: channels must be 1, got {config.channels}")
        self.hop, self.sample_rate = config.hop_length, 24_000  # the configuration has no sample rate
        self.latent_dim, self.latent_rate = config.hidden_size + 1, self.sample_rate / self.hop
        self._before = [pretrained.span(self.model.encoder, self.hop), pretrained.span(self.model.decoder, 1)]

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (channels, latent_dim, frames)."""
        wave = torch.from_numpy(self.streams(audio)).to(self.device)
        gain = _gain(wave)
        padded = torch.nn.functional.pad(wave * gain, (0, -wave.shape[-1] % self.hop))
        z = pretrained.each_in_blocks(
            lambda piece: self.model.encode(piece, sample=False).latents.transpose(1, 2),
            padded,
            (self._before[0], 0),
            Fraction(1, self.hop),
        )
        return torch.cat([z, gain.log().expand(-1, 1, z.shape[-1])], 1).cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(channels, latent_dim, frames) -> (channels, n_samples)."""
        z = self.latents(latents)
        wave = pretrained.each_in_blocks(
            lambda piece: self.model.decode(piece.transpose(1, 2)).audio,
            z[:, :-1],
            (self._before[1], 0),
            Fraction(self.hop),
        )
        wave = wave / z[:, -1:].mean(-1, keepdim=True).exp()
        return fit_length(wave.flatten(0, 1).cpu().numpy(), n_samples)


def _gain(wave: Tensor) -> Tensor:
    """Gain that brings each stream to -25 dBFS, or its peak to 1 where it would be above: (streams, 1, 1)."""
    eps = 1e-6
    gain = 10 ** (-25 / 20) / (wave.square().mean((1, 2), keepdim=True).sqrt() + eps)
    peak = (wave * gain).abs().amax((1, 2), keepdim=True)
    return torch.where(peak > 1, gain / (peak + eps), gain)


# By the configuration's model_type; the class that reads its folder.
ADAPTERS: Mapping[str, Callable[..., PublishedSystem]] = {
    "dac": Dac,
    "encodec": Encodec,
    "higgs_audio_v2_tokenizer": partial(SemanticCodec, system="higgs-audio"),
    "mimi": Mimi,
    "vibevoice_acoustic_tokenizer": VibeVoice,
    "xcodec": SemanticCodec,
}


def from_repository(
    *, source: str | None = None, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
) -> PublishedSystem:
    """Load a codec in transformers' layout from any repository or folder.

    Parameters
    ----------
    source, checkpoint
        As for :func:`~m2l_bench.systems.repository.named`.
    device, seed
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`.

    Returns
    -------
    PublishedSystem
        With the default options of its class, by the configuration's ``model_type``, which is one of :data:`ADAPTERS`.
    """
    published, checkpoint, label = named("transformers", source, checkpoint, FILES)
    config = find(checkpoint, published, only_first=True)[0]
    kind = configured(config, "model_type")
    if kind not in ADAPTERS:
        raise CheckpointError(
            f"transformers:{label}: {config.name} has the model_type {kind!r}, which is not supported; known are "
            + ", ".join(ADAPTERS)
        )
    folder: Path = find(checkpoint, published)[0].parent
    system = ADAPTERS[kind](checkpoint=folder, device=device, seed=seed)
    system.identify(f"transformers:{label}", system.options)
    return system
