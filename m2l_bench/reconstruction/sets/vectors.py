"""What a set metric compares: the vectors over time of any encoder.

Conventions
-----------
An encoder is spelled as a system is, with options if need be: ``musicnn``, ``music2latent:small``,
``path/to/file.py:Encoder(layer=3)``. Each frame of each of its streams is a vector. Of an encoder whose frames are long windows
(:mod:`m2l_bench.systems.encoders.windowed`), only the windows that lie wholly inside the file count.

With ``@side`` at its end (``musicnn@side``), an encoder takes the side signal ``(L - R) / 2`` of a file, as one channel, in place
of the file: most encoders take the mean of the channels, and notice nothing of the stereo image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from m2l_bench import plugins
from m2l_bench.audio import AudioError, resample
from m2l_bench.cards import Card
from m2l_bench.reconstruction.checks import SILENT_DB, Unscorable
from m2l_bench.reconstruction.pair.stereo import mid_side, require_side
from m2l_bench.systems.apply import encode
from m2l_bench.systems.base import Encoder, System, WindowedEncoder
from m2l_bench.systems.registry import load

TAIL_RULE = "whole windows only; the rest of the file is ignored"
SIDE = "@side"
SIDE_RULE = f"a file without two channels, or whose side is more than {SILENT_DB:.0f} dB below its mid, is left out on both sides"


@dataclass
class SideEncoder:
    """An encoder that takes the side signal of a file; with the attributes of a system."""

    encoder: System
    name: str
    sample_rate: int | None
    seed: int
    fingerprint: str


@lru_cache(maxsize=8)
def load_encoder(spelling: str, device: str | None = None) -> System:
    """Load an encoder, once a process; a :class:`SideEncoder` for a spelling that ends in ``@side``.

    Raises
    ------
    ValueError, ImportError, OSError
        If there is no such system, it has no latents, or it cannot be loaded.

    Examples
    --------
    >>> load_encoder("musicnn").latent_dim
    200
    """
    if spelling.endswith(SIDE):
        encoder = load_encoder(spelling.removesuffix(SIDE), device)
        return SideEncoder(encoder, encoder.name + SIDE, encoder.sample_rate, encoder.seed, encoder.fingerprint + SIDE)
    name, options = plugins.split_options(spelling)
    system = load(name, device=device, **options)
    if not isinstance(system, Encoder):
        raise ValueError(f"{plugins.label(spelling)}: an encoder must have encode(), latent_dim and latent_rate")
    return system


def vectors(encoder: System, audio: np.ndarray, rate: int) -> np.ndarray:
    """Encode one file.

    Parameters
    ----------
    encoder : System
        From :func:`load_encoder`, or any with latents.
    audio : np.ndarray of float32, shape (channels, samples)
    rate : int
        Hz.

    Returns
    -------
    np.ndarray of float32, shape (frames * streams, latent_dim)
        Frame by frame, so that two files of unequal length agree as far as the shorter one goes.

    Raises
    ------
    Unscorable
        If the audio is silent, not finite, or shorter than a window, the encoder fails, or there is no side for one that
        takes it.
    """
    if isinstance(encoder, SideEncoder):
        require_side(audio, "audio")
        return vectors(encoder.encoder, mid_side(audio)[1][None], rate)
    own_rate = encoder.sample_rate or rate
    given = resample(audio, rate, own_rate)
    window = encoder.window if isinstance(encoder, WindowedEncoder) else 0
    if not np.isfinite(given).all():
        raise Unscorable(f"not finite: {int((~np.isfinite(given)).sum())} samples are NaN or infinite")
    if given.shape[-1] < window:
        seconds = given.shape[-1] / own_rate, window / own_rate
        raise Unscorable(f"too short for {encoder.name}: must last {seconds[1]:.2f} s, lasts {seconds[0]:.2f} s")
    if not given.any():
        raise Unscorable("silent: every sample is 0")
    try:
        latents, _ = encode(encoder, given, own_rate, whole_windows=True)
    except AudioError as error:
        raise Unscorable(f"{encoder.name}: {error}") from error
    except Exception as error:  # a user's code may raise anything
        raise Unscorable(f"{encoder.name} raised {plugins.one_line(error)}") from error
    return latents.transpose(2, 0, 1).reshape(-1, latents.shape[1]).astype(np.float32, copy=False)


def with_encoder(card: Card, encoder: System) -> Card:
    """Return a set metric's card with what is known of its loaded encoder, as in the rows of a run."""
    own = {}
    windowed = encoder.encoder if isinstance(encoder, SideEncoder) else encoder
    if isinstance(windowed, WindowedEncoder):
        own = {"window": windowed.window, "hop": windowed.hop, "tail": TAIL_RULE}
    rule = f"both resampled to {encoder.sample_rate} Hz (soxr VHQ)" if encoder.sample_rate else card.rate_rule
    model = f"{card.model}; {encoder.name} {encoder.fingerprint}"
    return replace(card, rate_rule=rule, constants={**card.constants, **own}, model=model)
