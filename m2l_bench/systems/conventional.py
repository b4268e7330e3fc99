"""Reference points for neural codecs: identity, low-pass anchors, and the lossy codecs of libsndfile.

Conventions
-----------
Opus, Vorbis and MP3 are encoded and decoded in memory by libsndfile; their bit rate is measured from the encoded bytes,
container included, never taken from the setting. A decoded stream is cut or padded to the input's length; where an MP3
frame is too small for the header that states the encoder's delay, the delay (1105 samples) is removed here.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soundfile

from m2l_bench.audio import AudioError, fit_length
from m2l_bench.files.fingerprint import fingerprint

# LAME's delay plus the decoder's: 576 + 529 samples (LAME technical FAQ), which decoders drop if the header names it.
_MP3_DELAY = 1105
_EDGES = {"3.5k": (3500.0, 4500.0), "7k": (7000.0, 8500.0)}  # Hz: pass band edge, and where 60 dB are reached
# libsndfile flushes nothing usable for inputs shorter than a frame or two of these codecs.
_SHORTEST = 4608
_MAX_CHANNELS = 2
_BLOCK = 2**16  # samples a write: libvorbis extrapolates from all of the first one, on the stack, which 50 s overflow


class Identity:
    """Return the input: the upper end of every scale."""

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


@dataclass(frozen=True)
class _Format:
    """A lossy codec under libsndfile's names."""

    container: str
    subtype: str
    variants: dict[str, float]  # registry variant -> setting
    described: str  # the variants, in words
    level: Callable[[float, int], float]  # (setting, channels) -> compression level, then clipped to [0, 1]
    sample_rate: int = 44100
    bitrate_mode: str | None = None


_MP3_RATES = (40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # of MPEG-1 layer III, kbit/s
_FORMATS = {
    "opus": _Format(
        "OGG",
        "OPUS",
        {f"{rate}k": rate for rate in range(12, 513)},
        "a bit rate from 12k to 512k",
        # libsndfile spreads its levels linearly over 6...256 kbit/s a channel.
        lambda kbps, channels: (256.0 - kbps / channels) / 250.0,
        sample_rate=48000,
    ),
    "vorbis": _Format(
        "OGG", "VORBIS", {f"q{q}": q / 10 for q in range(11)}, "q0 to q10", lambda quality, channels: 1.0 - quality
    ),
    "mp3": _Format(
        "MP3",
        "MPEG_LAYER_III",
        {f"{rate}k": rate for rate in _MP3_RATES},
        f"one of {', '.join(f'{rate}k' for rate in _MP3_RATES)}",
        lambda kbps, channels: (320.0 - kbps) / 288.0,
        bitrate_mode="CONSTANT",
    ),
}


class LossyCodec:
    """Opus, Ogg Vorbis or MP3 (LAME), for one or two channels.

    Parameters
    ----------
    family : {"opus", "vorbis", "mp3"}
    variant : str
        Opus: nominal bit rate of all channels together, ``"12k"`` to ``"512k"``. Vorbis: the encoder's quality, ``"q0"`` to
        ``"q10"``. MP3: constant bit rate, ``"40k"`` to ``"320k"``.
    """

    def __init__(self, *, family: str, variant: str, seed: int = 0) -> None:
        self.format = _FORMATS[family]
        if variant not in self.format.variants:
            raise ValueError(f"{family} variant must be {self.format.described}, got {variant!r}")
        self.family, self.name, self.seed = family, f"{family}:{variant}", seed
        self.setting = self.format.variants[variant]
        self.sample_rate: int | None = self.format.sample_rate
        blocks = {"block": _BLOCK} if family == "vorbis" else {}  # the others' bytes do not depend on it
        self.fingerprint = fingerprint(self.name, {"libsndfile": soundfile.__libsndfile_version__, **blocks})

    def compress(self, audio: np.ndarray) -> bytes:
        """(channels, samples) -> the encoded file's bytes."""
        channels, n_samples = audio.shape
        if channels > _MAX_CHANNELS:
            raise AudioError(f"{self.family} codes at most {_MAX_CHANNELS} channels, got {channels}")
        samples = fit_length(np.asarray(audio, np.float32), max(n_samples, _SHORTEST)).T
        buffer = io.BytesIO()
        with soundfile.SoundFile(
            buffer,
            "w",
            self.format.sample_rate,
            channels,
            format=self.format.container,
            subtype=self.format.subtype,
            compression_level=min(1.0, max(0.0, self.format.level(self.setting, channels))),
            bitrate_mode=self.format.bitrate_mode,
        ) as file:
            for start in range(0, len(samples), _BLOCK):
                file.write(samples[start : start + _BLOCK])
        return buffer.getvalue()

    def decompress(self, data: bytes, channels: int, n_samples: int) -> np.ndarray:
        """Encoded bytes -> (channels, n_samples)."""
        decoded, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        decoded = np.ascontiguousarray(decoded.T)
        if self.family == "mp3" and decoded.shape[-1] > max(n_samples, _SHORTEST):
            decoded = decoded[:, _MP3_DELAY:]
        return fit_length(decoded, n_samples)

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> the same shape."""
        return self.decompress(self.compress(audio), *audio.shape)
