"""What every neural codec is placed between: identity, low-pass anchors, and the lossy codecs of libsndfile.

Conventions
-----------
Opus, Vorbis and MP3 are encoded and decoded in memory by libsndfile; their bit rate is measured from the encoded bytes,
container included, never taken from the setting. A decoded stream is cut or padded to the input's length; where an MP3
frame is too small for the header that announces the encoder's delay, the delay (1105 samples) is removed here.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from functools import lru_cache

import numpy as np
import soundfile

from m2l_bench.audio import AudioError, fit_length
from m2l_bench.files.fingerprint import fingerprint

# LAME's delay plus the decoder's: 576 + 529 samples (LAME technical FAQ), what decoders drop when the header names it.
_MP3_DELAY = 1105
_EDGES = {"3.5k": (3500.0, 4500.0), "7k": (7000.0, 8500.0)}  # Hz: the pass band ends, 60 dB are reached
# libsndfile flushes nothing usable for inputs shorter than a frame or two of these codecs.
_SHORTEST = 4608


class Identity:
    """Returns its input: the upper end of every scale."""

    sample_rate: int | None = None

    def __init__(self, *, seed: int = 0) -> None:
        self.name = "identity"
        self.seed = seed
        self.fingerprint = fingerprint(self.name, {})

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> the same samples, copied."""
        return np.array(audio, dtype=np.float32)


class LowPass:
    """Linear-phase low-pass: the hidden anchors of listening tests (ITU-R BS.1534-3, 2015, section 5.1).

    Parameters
    ----------
    cutoff : {"3.5k", "7k"}
        Pass band edge.
    """

    sample_rate: int | None = 44100

    def __init__(self, *, cutoff: str, seed: int = 0) -> None:
        if cutoff not in _EDGES:
            raise ValueError(f"cutoff must be one of {', '.join(_EDGES)}, got {cutoff!r}")
        self.name = f"lowpass-{cutoff}"
        self.seed = seed
        self.cutoff = cutoff
        self.fingerprint = fingerprint(self.name, {"taps": len(_lowpass_taps(*_EDGES[cutoff], 44100)), "rate": 44100})

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) at 44.1 kHz -> the same shape, content above the edge removed, no delay."""
        from scipy.signal import oaconvolve

        taps = _lowpass_taps(*_EDGES[self.cutoff], 44100)
        full = oaconvolve(np.asarray(audio, np.float64), taps[None, :], mode="full", axes=-1)
        delay = len(taps) // 2
        return full[..., delay : delay + audio.shape[-1]].astype(np.float32)


@lru_cache(maxsize=4)
def _lowpass_taps(pass_edge: float, stop_edge: float, rate: int) -> np.ndarray:
    """Kaiser-windowed FIR, at least 60 dB down at the stop edge, odd length."""
    from scipy.signal import firwin, kaiserord

    n_taps, beta = kaiserord(60.0, (stop_edge - pass_edge) / (rate / 2))
    return firwin(n_taps | 1, (pass_edge + stop_edge) / 2, window=("kaiser", beta), fs=rate)


class _Sndfile(ABC):
    """A codec of libsndfile; subclasses say which and how a setting becomes libsndfile's compression level."""

    sample_rate: int | None = 44100
    container = subtype = family = ""
    constant_bit_rate = False
    max_channels = 2

    def __init__(self, *, variant: str, seed: int = 0) -> None:
        self.setting = self.parse(variant)
        self.name = f"{self.family}:{variant}"
        self.seed = seed
        self.fingerprint = fingerprint(self.name, {"libsndfile": soundfile.__libsndfile_version__})

    @abstractmethod
    def parse(self, variant: str) -> float:
        """Registry variant -> setting; ValueError where it is not one."""

    @abstractmethod
    def level(self, channels: int) -> float:
        """The setting as libsndfile's compression level in [0, 1]."""

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> the encoded file's bytes."""
        channels, n_samples = audio.shape
        if channels > self.max_channels:
            raise AudioError(f"{self.family} codes at most {self.max_channels} channels, got {channels}")
        buffer = io.BytesIO()
        with soundfile.SoundFile(
            buffer,
            "w",
            samplerate=self.sample_rate,
            channels=channels,
            format=self.container,
            subtype=self.subtype,
            compression_level=self.level(channels),
            bitrate_mode="CONSTANT" if self.constant_bit_rate else None,
        ) as file:
            file.write(fit_length(np.asarray(audio, np.float32), max(n_samples, _SHORTEST)).T)
        return buffer.getvalue()

    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """Encoded bytes -> (channels, n_samples)."""
        decoded, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        decoded = np.ascontiguousarray(decoded.T)
        if self.subtype == "MPEG_LAYER_III" and decoded.shape[-1] > max(n_samples, _SHORTEST):
            decoded = decoded[:, _MP3_DELAY:]
        return fit_length(decoded, n_samples)

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> the same shape."""
        return self.decompress(self.compress(audio), *audio.shape)


class Opus(_Sndfile):
    """Opus at 48 kHz; `variant` is the nominal bit rate of all channels together, ``"12k"`` to ``"512k"``."""

    sample_rate: int | None = 48000
    container, subtype, family = "OGG", "OPUS", "opus"

    def parse(self, variant: str) -> float:
        return _kbps(variant, self.family, 12, 512)

    def level(self, channels: int) -> float:
        # libsndfile spreads its levels linearly over 6...256 kbit/s a channel.
        return min(1.0, max(0.0, (256.0 - self.setting / channels) / 250.0))


class Vorbis(_Sndfile):
    """Ogg Vorbis at 44.1 kHz; `variant` is the encoder's quality, ``"q0"`` to ``"q10"``."""

    container, subtype, family = "OGG", "VORBIS", "vorbis"

    def parse(self, variant: str) -> float:
        if not (variant[:1] == "q" and variant[1:].isdigit() and int(variant[1:]) <= 10):
            raise ValueError(f"vorbis variant must be q0 to q10, got {variant!r}")
        return int(variant[1:]) / 10

    def level(self, channels: int) -> float:
        return 1.0 - self.setting


class Mp3(_Sndfile):
    """MP3 (LAME) at 44.1 kHz, constant bit rate; `variant` is the bit rate, ``"40k"`` to ``"320k"``."""

    container, subtype, family = "MP3", "MPEG_LAYER_III", "mp3"
    constant_bit_rate = True
    _RATES = (40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # of MPEG-1 layer III, kbit/s

    def parse(self, variant: str) -> float:
        kbps = _kbps(variant, self.family, 40, 320)
        if kbps not in self._RATES:
            raise ValueError(
                f"mp3 variant must be one of {', '.join(f'{rate}k' for rate in self._RATES)}, got {variant!r}"
            )
        return kbps

    def level(self, channels: int) -> float:
        return (320.0 - self.setting) / 288.0


def _kbps(variant: str, family: str, low: int, high: int) -> int:
    if variant[-1:] == "k" and variant[:-1].isdigit() and low <= int(variant[:-1]) <= high:
        return int(variant[:-1])
    raise ValueError(f"{family} variant must be a bit rate from {low}k to {high}k, got {variant!r}")
