"""Waveform to amplitude-compressed complex spectrogram, and back.

Conventions
-----------
Audio is ``(..., samples)`` in [-1, 1]; a spectrogram is real, ``(..., 2, F, T)``: real and imaginary parts, F frequency
bins without the Nyquist bin, T frames. Frames are not centred: frame t starts at sample ``hop * t``.

Where `padded`, the audio is taken to be silent on either side: ``window - hop`` zeros stand before it, so that its
first sample lies under as many frames as any other, and enough after it that T is a multiple of
``config.time_downsampling``. Without, as in the authors' framing, the end is cut so that T is such a multiple, and the
way back is shorter and fades at its edges.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from m2l_bench.music2latent.config import Config, require

# Squared magnitude below which compression goes on as a straight line: the power law's slope is infinite at 0, and
# a gradient through digital silence must be finite. (1e-12)^2 is far below any coefficient of float32 audio.
_TINY = 1e-24


def n_latents(n_samples: int, config: Config) -> int:
    """Latent frames that padded audio of `n_samples` needs.

    Examples
    --------
    >>> n_latents(1, Config()), n_latents(44100, Config())
    (1, 12)
    """
    frames = (n_samples + config.window - config.hop - 1) // config.hop + 1
    return -(-frames // config.time_downsampling)


def max_samples(n_latents: int, config: Config) -> int:
    """Longest padded audio that fits in `n_latents` latent frames; at least 1."""
    return max(1, config.samples_per_latent * n_latents - (config.window - config.hop))


def to_spectrogram(audio: Tensor, config: Config, *, padded: bool = True) -> Tensor:
    """Compressed complex spectrogram of audio.

    Parameters
    ----------
    audio : Tensor, float, (..., samples), in [-1, 1]
    config : Config
    padded : bool
        See the module's conventions.

    Returns
    -------
    Tensor, (..., 2, F, T)
        ``beta |c|^alpha exp(i angle(c))`` of the STFT c, T a multiple of ``config.time_downsampling``.

    Raises
    ------
    ValueError
        If there are no samples, or, without padding, fewer than one latent frame's.

    Examples
    --------
    >>> to_spectrogram(torch.zeros(2, 1000), Config()).shape
    torch.Size([2, 2, 1024, 8])
    """
    n_samples = audio.shape[-1]
    margin, step = config.window - config.hop, config.samples_per_latent
    if padded:
        audio = pad(audio, config)
    elif n_samples < margin + step:
        raise ValueError(f"audio without padding must have at least {margin + step} samples, got {n_samples}")
    frames = (audio.shape[-1] - margin) // step * config.time_downsampling
    return stft(audio[..., : margin + frames * config.hop], config)


def pad(audio: Tensor, config: Config) -> Tensor:
    """Audio (..., samples) with the silence on either side that the module's conventions describe."""
    n_samples = audio.shape[-1]
    if n_samples < 1:
        raise ValueError(f"audio must have at least 1 sample, got {n_samples}")
    after = n_latents(n_samples, config) * config.samples_per_latent - n_samples
    return functional.pad(audio, (config.window - config.hop, after))


def stft(audio: Tensor, config: Config) -> Tensor:
    """Compressed spectrogram of every frame that fits into audio (..., samples) -> (..., 2, F, T)."""
    window = torch.hann_window(config.window, dtype=audio.dtype, device=audio.device)
    frames = audio.unfold(-1, config.window, config.hop) * window  # (..., T, window)
    spectrum = torch.view_as_real(torch.fft.rfft(frames)[..., : config.bins])  # (..., T, F, 2)
    return _compress(spectrum, config).movedim(-1, -3).transpose(-1, -2)


def from_spectrogram(
    spectrogram: Tensor, config: Config, *, n_samples: int | None = None, padded: bool = True
) -> Tensor:
    """Audio of a compressed complex spectrogram.

    Parameters
    ----------
    spectrogram : Tensor, (..., 2, F, T)
    config : Config
    n_samples : int, optional
        Length of the result; by default all samples that lie under a full set of frames (`padded`), or under any.
    padded : bool
        Whether the spectrogram was made with padding, which is then trimmed.

    Returns
    -------
    Tensor, (..., n_samples), clamped to [-1, 1]

    Raises
    ------
    ValueError
        If `n_samples` is more than the spectrogram holds.
    """
    audio = istft(spectrogram, config)
    margin = config.window - config.hop if padded else 0
    length = max(1, audio.shape[-1] - 2 * margin) if n_samples is None else n_samples
    longest = max(1, audio.shape[-1] - margin)
    require(1 <= length <= longest, "n_samples", f"be between 1 and {longest} here", length)
    return audio[..., margin : margin + length].clamp(-1, 1)


def istft(spectrogram: Tensor, config: Config) -> Tensor:
    """Overlap-add of every frame: (..., 2, F, T) -> (..., window + hop (T - 1)), neither trimmed nor clamped."""
    frames = spectrogram.transpose(-1, -2).movedim(-3, -1)  # (..., T, F, 2)
    spectrum = torch.view_as_complex(_expand(frames, config).contiguous())
    blocks = torch.fft.irfft(functional.pad(spectrum, (0, 1)), n=config.window)  # (..., T, window)
    return _overlap_add(blocks * _synthesis_window(config, blocks), config.hop)


def _compress(spectrum: Tensor, config: Config) -> Tensor:
    power = spectrum.square().sum(-1, keepdim=True).clamp_min(_TINY)
    return spectrum * (config.beta * power ** ((config.alpha - 1) / 2))


def _expand(spectrum: Tensor, config: Config) -> Tensor:
    spectrum = spectrum / config.beta
    power = spectrum.square().sum(-1, keepdim=True).clamp_min(_TINY)
    return spectrum * power ** ((1 / config.alpha - 1) / 2)


def _synthesis_window(config: Config, like: Tensor) -> Tensor:
    """Hann over the sum of the squared Hann windows that overlap at that position in a hop."""
    window = torch.hann_window(config.window, dtype=like.dtype, device=like.device)
    return window / window.square().view(-1, config.hop).sum(0).repeat(config.window // config.hop)


def _overlap_add(blocks: Tensor, hop: int) -> Tensor:
    """(..., T, window) -> (..., window + hop (T - 1))."""
    *leading, frames, window = blocks.shape
    parts = blocks.reshape(*leading, frames, window // hop, hop)
    rows = parts.new_zeros(*leading, frames + window // hop - 1, hop)
    for part in range(window // hop):
        rows[..., part : part + frames, :] += parts[..., part, :]
    return rows.flatten(-2)
