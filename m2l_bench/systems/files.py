"""Files of latents: written by ``m2l-bench encode``, read by ``m2l-bench decode``.

Conventions
-----------
A file is safetensors with the tensor ``latents``, float32 ``(streams, dim, frames)``. Its metadata are the system's name and
fingerprint, and the SHA-256, sample rate, length and channels of the audio.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.files.disk import sha256, write_atomic
from m2l_bench.systems.apply import encode
from m2l_bench.systems.base import Autoencoder, Encoder, System


class DoneError(Exception):
    """The target exists and is skipped."""


def file_encoder(system: System) -> Callable[[Path, Path], None]:
    """Make a function that encodes one audio file to a file of latents; ValueError if the system has none.

    It takes the audio's path and the path to write, and raises ValueError if the audio cannot be read or the target exists,
    and DoneError if the target was written by the same system from the same audio.
    """
    if not isinstance(system, Encoder):
        raise ValueError(f"{system.name}: must have latents to encode to, got a system that only reconstructs")

    def encode_file(source: Path, target: Path) -> None:
        from safetensors.numpy import save

        digest = sha256(source) if source.is_file() else ""
        if target.exists():
            if _made_from(target) == (system.fingerprint, digest):
                raise DoneError
            raise ValueError(f"{target}: exists already, from other audio or another system; it is not overwritten")
        signal, rate = audio_io.load(source)
        latents, latent_rate = encode(system, signal, rate)
        metadata = {
            "system": system.name,
            "fingerprint": system.fingerprint,
            "source_sha256": digest,
            "latent_rate": repr(latent_rate),
            "sample_rate": str(rate),
            "n_samples": str(signal.shape[-1]),
            "channels": str(signal.shape[0]),
        }
        write_atomic(target, save({"latents": np.ascontiguousarray(latents, np.float32)}, metadata))

    return encode_file


def _made_from(path: Path) -> tuple[str | None, str | None]:
    """Read the system's fingerprint and the audio's SHA-256 from a file of latents; None where it has none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return None, None
    return metadata.get("fingerprint"), metadata.get("source_sha256")


def file_decoder(system: System, *, skip_existing: bool = False) -> Callable[[Path, Path], None]:
    """Make a function that decodes a file of latents to audio of the original's rate and length; ValueError without a decoder.

    It takes the latents' path and the path to write, and raises ValueError if the file was not written by
    :func:`file_encoder`, if another system encoded it, or if the target exists (with `skip_existing` DoneError then; the
    target's content is not checked).
    """
    if not isinstance(system, Autoencoder):
        raise ValueError(f"{system.name}: must have a decoder, got a system without one")

    def decode_file(source: Path, target: Path) -> None:
        from safetensors import SafetensorError, safe_open

        if target.exists():
            raise DoneError if skip_existing else ValueError(f"{target}: exists already; it is not overwritten")
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
            raise ValueError(f"{source}: latents must decode to finite samples, got NaN or infinity")
        audio_io.write(target, audio_io.resample(decoded, own_rate, rate, n_samples=n_samples), rate)

    return decode_file
