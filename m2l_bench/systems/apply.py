"""Apply a system to audio of any sample rate: resample, compute, resample back, check the result."""

from __future__ import annotations

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
    channels, n_samples = reference.shape
    kbps = None
    if isinstance(system, ReadyMade):
        estimate, estimate_rate = system.find(stem)
        estimate = _match_length(estimate, estimate_rate, rate, n_samples, max_length_difference, stem)
    elif isinstance(system, Codec):
        given, own_rate = at_own_rate(system, reference, rate)
        if isinstance(system, BitstreamCodec):
            data = system.compress(given)
            kbps = 8 * len(data) / (n_samples / rate) / 1000
            back = system.decompress(data, channels, given.shape[-1])
        else:
            back = system.reconstruct(given)
        if back.shape != given.shape:
            raise AudioError(f"{stem}: a reconstruction must have its input's shape {given.shape}, got {back.shape}")
        estimate = audio_io.resample(back, own_rate, rate, n_samples=n_samples)
    else:
        raise TypeError(f"{system.name} has no reconstruct(): it can only be probed")
    if estimate.shape[0] != channels:
        raise AudioError(
            f"{stem}: a reconstruction must have the reference's {channels} channels, got {estimate.shape[0]}"
        )
    if not np.isfinite(estimate).all():
        raise AudioError(f"{stem}: a reconstruction must be finite, got NaN or infinite samples")
    return estimate, kbps


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
    if latents.ndim != 3 or latents.shape[1] != system.latent_dim or 0 in latents.shape:
        raise AudioError(f"latents must have shape (streams, {system.latent_dim}, frames), got {latents.shape}")
    if not np.isfinite(latents).all():
        raise AudioError("latents must be finite, got NaN or infinite values")
    return latents, system.latent_rate


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
