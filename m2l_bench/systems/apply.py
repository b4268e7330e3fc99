"""Apply a system to audio of any sample rate: resample, compute, resample back, check the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.audio import AudioError
from m2l_bench.systems.base import BitstreamCodec, Codec, Encoder, ReadyMade, System, WindowedEncoder


def reconstruct(
    system: System, reference: np.ndarray, rate: int, stem: str, *, max_length_difference: float = 0.0
) -> tuple[np.ndarray, float | None]:
    """Pass one file through a system, at the system's rate and back.

    Parameters
    ----------
    system : System
        Codec or ready-made reconstructions.
    reference : np.ndarray, float32, (channels, samples)
    rate : int
        Hz.
    stem : str
        The reference's relative path without suffix.
    max_length_difference : float
        Seconds; for ready-made reconstructions only.

    Returns
    -------
    estimate : np.ndarray, float32, (channels, samples)
        At `rate`, of the reference's shape (or cut to the shorter, where a difference is allowed).
    kbps : float or None
        Measured bit rate in kbit/s, if the system has a bit stream.

    Raises
    ------
    AudioError, TypeError
        If the shapes differ or the estimate is not finite; if the system cannot reconstruct.
    """
    kbps = None
    if isinstance(system, ReadyMade):
        estimate, estimate_rate = system.find(stem)
        n_samples = reference.shape[1]
        estimate = _match_length(estimate, estimate_rate, rate, n_samples, max_length_difference, stem)
        return _checked(estimate, reference, stem), None
    if not isinstance(system, Codec):
        raise TypeError(f"{system.name} has no reconstruct(): it can only be probed")
    given, own_rate = at_own_rate(system, reference, rate)
    if isinstance(system, BitstreamCodec):
        data = system.compress(given)
        kbps = 8 * len(data) / (reference.shape[1] / rate) / 1000
        back = system.decompress(data, len(reference), given.shape[-1])
    else:
        back = system.reconstruct(given)
    return _at_rate_of(reference, rate, given, back, own_rate, stem), kbps


def reconstruct_batch(
    system: Any, references: Sequence[np.ndarray], rate: int, stems: Sequence[str]
) -> list[np.ndarray]:
    """As :func:`reconstruct`, of files of one shape and rate, by the system's own ``reconstruct_batch``."""
    own = [at_own_rate(system, reference, rate) for reference in references]
    given = np.stack([audio for audio, _ in own])
    back = system.reconstruct_batch(given)
    if back.shape != given.shape:
        raise AudioError(f"reconstruct_batch must return its input's shape {given.shape}, got {back.shape}")
    return [
        _at_rate_of(reference, rate, audio, estimate, own_rate, stem)
        for reference, (audio, own_rate), estimate, stem in zip(references, own, back, stems, strict=True)
    ]


def _at_rate_of(
    reference: np.ndarray, rate: int, given: np.ndarray, back: np.ndarray, own_rate: int, stem: str
) -> np.ndarray:
    """What a system gave back of a reference, at the reference's rate."""
    if back.shape != given.shape:
        raise AudioError(f"{stem}: a reconstruction must have its input's shape {given.shape}, got {back.shape}")
    return _checked(audio_io.resample(back, own_rate, rate, n_samples=reference.shape[1]), reference, stem)


def _checked(estimate: np.ndarray, reference: np.ndarray, stem: str) -> np.ndarray:
    if len(estimate) != len(reference):
        raise AudioError(
            f"{stem}: a reconstruction must have the reference's {len(reference)} channels, got {len(estimate)}"
        )
    if not np.isfinite(estimate).all():
        raise AudioError(f"{stem}: a reconstruction must be finite, got NaN or infinite samples")
    return estimate


def at_own_rate(system: System, audio: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """Audio resampled to the system's sample rate, and that rate in Hz: the given one of a system that takes any."""
    own = system.sample_rate or rate
    return audio_io.resample(audio, rate, own), own


def latent_offset(system: System) -> float:
    """Seconds by which frame k is later than (k + 0.5) / latent_rate: the system's ``latent_offset``, 0 where it has none."""
    return float(getattr(system, "latent_offset", 0.0))


def encode(system: System, audio: np.ndarray, rate: int, *, whole_windows: bool = False) -> tuple[np.ndarray, float]:
    """Latents of one file, resampled to the system's rate first.

    Parameters
    ----------
    system : System
        Encoder or autoencoder.
    audio : np.ndarray, float32, (channels, samples)
    rate : int
        Hz.
    whole_windows : bool
        Leave out windows that an encoder fills up with silence.

    Returns
    -------
    latents : np.ndarray, float32, (streams, latent_dim, frames)
    latent_rate : float
        Frames a second.

    Raises
    ------
    AudioError, TypeError
        If the latents have another shape or are not finite; if the system has none.
    """
    if not isinstance(system, Encoder):
        raise TypeError(f"{system.name} has no encode(): it cannot be probed")
    given, _ = at_own_rate(system, audio, rate)
    if whole_windows and isinstance(system, WindowedEncoder):
        latents = np.asarray(system.whole_windows(given))
    else:
        latents = np.asarray(system.encode(given))
    return _checked_latents(system, latents), system.latent_rate


def encode_batch(system: Any, signals: Sequence[np.ndarray], rate: int) -> list[tuple[np.ndarray, float]]:
    """As :func:`encode`, of files of one shape and rate, by the system's own ``encode_batch``."""
    given = np.stack([at_own_rate(system, signal, rate)[0] for signal in signals])
    latents = np.asarray(system.encode_batch(given))
    if len(latents) != len(given):
        raise AudioError(f"encode_batch must return latents of {len(given)} files, got {len(latents)}")
    return [(_checked_latents(system, of_file), system.latent_rate) for of_file in latents]


def _checked_latents(system: Encoder, latents: np.ndarray) -> np.ndarray:
    if latents.ndim != 3 or latents.shape[1] != system.latent_dim or 0 in latents.shape:
        raise AudioError(f"latents must have shape (streams, {system.latent_dim}, frames), got {latents.shape}")
    if not np.isfinite(latents).all():
        raise AudioError("latents must be finite, got NaN or infinite values")
    return latents


def _match_length(
    estimate: np.ndarray, estimate_rate: int, rate: int, n_samples: int, allowed: float, stem: str
) -> np.ndarray:
    """Resample a ready-made reconstruction to the reference's rate; refuse, or cut, where the lengths differ."""
    estimate = audio_io.resample(estimate, estimate_rate, rate)
    rounding = 0 if estimate_rate == rate else -(-rate // estimate_rate)  # one sample at the other rate
    difference = abs(estimate.shape[-1] - n_samples)
    if difference <= rounding:
        return audio_io.fit_length(estimate, n_samples)
    if difference > allowed * rate:
        raise AudioError(
            f"{stem}: a reconstruction must have its reference's {n_samples} samples at {rate} Hz, "
            f"got {estimate.shape[-1]} (--max-length-difference cuts both to the shorter)"
        )
    return estimate[:, : min(n_samples, estimate.shape[-1])]
