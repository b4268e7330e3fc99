"""Latents in files: what ``m2l-bench encode`` writes and ``m2l-bench decode`` reads.

A file is safetensors with the tensor ``latents``, float32 ``(streams, dim, frames)``, and as metadata the system's name and
fingerprint, the sample rate and the length of the audio it came from, so that decoding needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.files.disk import write_atomic
from m2l_bench.systems.apply import encode
from m2l_bench.systems.base import Autoencoder, Encoder, System


def file_encoder(system: System) -> Callable[[Path, Path], None]:
    """What encodes one audio file to one of latents.

    Parameters
    ----------
    system : System

    Returns
    -------
    callable
        Of the audio's path and of the path to write; ValueError if the audio cannot be read.

    Raises
    ------
    ValueError
        If the system has no latents.
    """
    if not isinstance(system, Encoder):
        raise ValueError(f"{system.name}: must have latents to encode to, got a system that only reconstructs")

    def encode_file(source: Path, target: Path) -> None:
        from safetensors.numpy import save

        signal, rate = audio_io.load(source)
        latents, latent_rate = encode(system, signal, rate)
        metadata = {
            "system": system.name,
            "fingerprint": system.fingerprint,
            "latent_rate": repr(latent_rate),
            "sample_rate": str(rate),
            "n_samples": str(signal.shape[-1]),
            "channels": str(signal.shape[0]),
        }
        write_atomic(target, save({"latents": np.ascontiguousarray(latents, np.float32)}, metadata))

    return encode_file


def file_decoder(system: System) -> Callable[[Path, Path], None]:
    """What decodes one file of latents to the rate and length of the audio that it came from.

    Parameters
    ----------
    system : System

    Returns
    -------
    callable
        Of the latents' path and of the path to write; ValueError if the file is not what :func:`file_encoder` writes, or
        another system made it.

    Raises
    ------
    ValueError
        If the system has no decoder.
    """
    if not isinstance(system, Autoencoder):
        raise ValueError(f"{system.name}: must have a decoder, got a system without one")

    def decode_file(source: Path, target: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(source, framework="numpy") as file:
                metadata = dict(file.metadata() or {})
                latents = file.get_tensor("latents")
            rate, n_samples = int(metadata["sample_rate"]), int(metadata["n_samples"])
            if not audio_io.MIN_SAMPLE_RATE <= rate <= audio_io.MAX_SAMPLE_RATE or n_samples < 1:
                raise ValueError(f"got {n_samples} samples at {rate} Hz")
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ValueError(f"{source}: must be latents that m2l-bench encode wrote ({error})") from error
        if metadata.get("fingerprint") != system.fingerprint:
            raise ValueError(
                f"{source}: must be decoded by the system that encoded it, {metadata.get('system')} "
                f"({metadata.get('fingerprint')}), got {system.name} ({system.fingerprint})"
            )
        if latents.ndim != 3 or 0 in latents.shape or not np.isfinite(latents).all():
            raise ValueError(f"{source}: latents must be finite, (streams, dim, frames), got shape {latents.shape}")
        own_rate = system.sample_rate or rate
        n_decoded = max(1, round(n_samples * own_rate / rate))
        for length in (n_samples, n_decoded):
            audio_io.refuse_oversize(str(source), len(latents), length)
        with np.errstate(over="ignore", invalid="ignore"):
            decoded = system.decode(latents, n_decoded)
        if not np.isfinite(decoded).all():
            raise ValueError(
                f"{source}: latents must decode to finite samples, got some of {np.abs(latents).max():.3g}"
            )
        audio_io.write(target, audio_io.resample(decoded, own_rate, rate, n_samples=n_samples), rate)

    return decode_file
