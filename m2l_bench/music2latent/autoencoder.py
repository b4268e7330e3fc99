"""Music2Latent as a system: audio to latents, features and back, for audio of any length.

Conventions
-----------
Audio is ``(..., samples)`` in [-1, 1] at the model's sample rate, usually ``(channels, samples)``. Each channel is
coded alone: latents are ``(..., latent_dim, frames)`` with the same leading axes. NumPy arrays give NumPy arrays,
tensors give tensors on their own device; results are float32.

Gradients: a tensor that requires one, while gradients are enabled, gets one through `encode`, `features`, `decode` and
`reconstruct`, so that the model can be part of a loss; everything else runs in inference mode. The weights are frozen.

Length: audio is framed with silence on either side and what comes back is cut to the same length, from 1 sample up.
Audio longer than a window is computed in overlapping windows (:mod:`m2l_bench.music2latent.windows`). The decoder's
noise depends on the seed, the channel and the absolute position alone. So a file gives the same result alone or in a
batch, and however many windows are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from m2l_bench import audio as files
from m2l_bench.audio import AudioError
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.music2latent.checkpoint import load_checkpoint
from m2l_bench.music2latent.compiled import CompiledNetwork
from m2l_bench.music2latent.config import require
from m2l_bench.music2latent.consistency import sampling_levels
from m2l_bench.music2latent.device import pick_device
from m2l_bench.music2latent.inference import Draft, Engine, Network

Array = TypeVar("Array", np.ndarray, Tensor)
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# How many windows of one channel to compute at once; a CPU gains nothing from more than one.
_BATCH_SIZES = {"cuda": 8, "mps": 2}
_MIN_WINDOW = 16  # latent frames


class Music2Latent:
    """The autoencoder with one set of weights.

    Parameters
    ----------
    checkpoint : str or Path, optional
        ``"published"`` (the default, downloaded when first asked for), ``"small"``, or a path to the authors' ``.pt``
        or to our ``.safetensors``.
    variant : str, optional
        The same, as it stands after the colon of a system's name; give one of the two.
    device : str or torch.device, optional
        CUDA, MPS or CPU, the first there is, by default.
    seed : int
        Of the decoder's noise, which picks what the latents leave open; at least 0.
    num_steps : int
        Steps of the decoder's sampler; at least 1.
    compatible : bool
        Frame as the authors' package does: at least 5,632 samples (of the published model) are then needed, and what
        comes back is shorter and fades at its edges.
    window_seconds : float
        What the network sees at once. It changes numbers, as the normalisation takes statistics over it.
    batch_size : int, optional
        Windows of one channel computed at once: for speed and memory alone.
    precision : str
        ``"float32"``, or ``"bfloat16"`` or ``"float16"``: autocast on a GPU. On a CPU ``"bfloat16"`` is compiled by OpenVINO,
        which the extra ``openvino`` installs, and needs a processor with bfloat16 instructions; no gradient flows.

    Attributes
    ----------
    name, sample_rate, latent_dim, latent_rate, seed, fingerprint
        As every system's.
    features_dim : int
        Dimension of :meth:`features`.
    config : Config
    network : Music2LatentNetwork

    Raises
    ------
    ValueError
        If an option is out of range.
    CheckpointError
        If the checkpoint cannot be had.
    ImportError
        For bfloat16 on a CPU without OpenVINO.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        variant: str | None = None,
        device: str | torch.device | None = None,
        seed: int = 0,
        num_steps: int = 1,
        compatible: bool = False,
        window_seconds: float = 12.0,
        batch_size: int | None = None,
        precision: str = "float32",
    ) -> None:
        require(checkpoint is None or variant is None, "checkpoint", "not be given with variant", checkpoint)
        require(seed >= 0, "seed", "be at least 0", seed)
        require(num_steps >= 1, "num_steps", "be at least 1", num_steps)
        require(batch_size is None or batch_size >= 1, "batch_size", "be at least 1", batch_size)
        require(precision in _PRECISIONS, "precision", f"be one of {', '.join(_PRECISIONS)}", precision)
        loaded = load_checkpoint(checkpoint or variant or "published")
        self.config = config = loaded.config
        window, shortest = round(window_seconds * config.latent_rate), _MIN_WINDOW / config.latent_rate
        require(window >= _MIN_WINDOW, "window_seconds", f"be at least {shortest:.2f} here", window_seconds)
        self.name = f"music2latent:{loaded.name}"
        self.sample_rate, self.latent_rate = config.sample_rate, config.latent_rate
        self.latent_dim, self.features_dim = config.latent_dim, config.features_dim
        self.seed, self.num_steps, self.compatible = seed, num_steps, compatible
        self.device = pick_device(device)
        self.network = loaded.network().eval().requires_grad_(False).to(self.device)
        batch = batch_size or _BATCH_SIZES.get(self.device.type, 1)
        if self.device.type != "cpu":  # a processor does not work faster on larger batches
            self.encode_batch, self.reconstruct_batch = self.encode, self.reconstruct
        options = {"seed": seed, "num_steps": num_steps, "compatible": compatible, "precision": precision}
        network: Network = self.network
        if self.device.type == "cpu" and precision == "bfloat16":
            network = compiled = CompiledNetwork(self.network, loaded.sha256)
            options, precision = {**options, "openvino": compiled.version}, "float32"  # no autocast around it
        self._engine = Engine(network, self.device, window, batch, _PRECISIONS[precision], seed)
        self.fingerprint = fingerprint(self.name, {**options, "window": window}, checkpoint_sha256=loaded.sha256)

    def encode(self, audio: Array, *, sample_rate: int | None = None) -> Array:
        """Latents of audio.

        Parameters
        ----------
        audio : np.ndarray or Tensor, floating point, (..., samples), in [-1, 1]
        sample_rate : int, optional
            Of `audio`, in Hz; where it is not the model's, the audio is resampled first.

        Returns
        -------
        np.ndarray or Tensor, float32, (..., latent_dim, frames)
            Of about unit variance.

        Raises
        ------
        AudioError
            If `audio` is not such an array, is empty, or holds NaN or infinite samples.
        """
        return self._analyse(audio, sample_rate, self._engine.latents)

    def features(self, audio: Array, *, sample_rate: int | None = None) -> Array:
        """Features to probe, (..., features_dim, frames): the encoder's map before its bottleneck. Else as `encode`."""
        return self._analyse(audio, sample_rate, self._engine.features)

    def decode(self, latents: Array, n_samples: int | None = None, *, noise: Tensor | None = None) -> Array:
        """Audio of latents.

        Parameters
        ----------
        latents : np.ndarray or Tensor, (..., latent_dim, frames)
        n_samples : int, optional
            Length of what was encoded; by default the most that `frames` can hold.
        noise : Tensor, optional, (..., 2, F, frames * config.time_downsampling)
            Standard-normal start of the sampler in place of the seeded one.

        Returns
        -------
        np.ndarray or Tensor, float32, (..., n_samples), in [-1, 1]

        Raises
        ------
        ValueError
            If a shape or `n_samples` does not fit, or a value is not finite.
        """
        draft = self._draft(latents, noise)
        synthesise = self._engine.synthesise_as_authors if self.compatible else self._engine.synthesise
        audio = synthesise(draft, n_samples)
        return _like(audio.reshape(*latents.shape[:-2], -1), latents)

    def reconstruct(self, audio: Array, *, sample_rate: int | None = None) -> Array:
        """Encode and decode: the same shape back at the same sample rate (shorter where `compatible`)."""
        rate = self.sample_rate if sample_rate is None else sample_rate
        latents = self.encode(audio, sample_rate=rate)
        n_samples = max(1, round(audio.shape[-1] * self.sample_rate / rate))  # as files.resample rounds
        decoded = self.decode(latents, None if self.compatible else n_samples)
        if rate == self.sample_rate:
            return decoded
        back = files.resample(
            _numpy(decoded), self.sample_rate, rate, n_samples=None if self.compatible else audio.shape[-1]
        )
        return _like(torch.from_numpy(back), audio)

    def _analyse(self, audio: Array, sample_rate: int | None, compute: Callable[[Tensor], Tensor]) -> Array:
        tensor = _checked_audio(audio)
        if sample_rate is not None and sample_rate != self.sample_rate:
            if tensor.requires_grad:
                raise AudioError(f"sample_rate must be {self.sample_rate} for a gradient to flow, got {sample_rate}")
            tensor = torch.from_numpy(files.resample(_numpy(tensor), sample_rate, self.sample_rate))
        rows = tensor.reshape(-1, tensor.shape[-1])
        analyse = self._engine.analyse_as_authors if self.compatible else self._engine.analyse
        whole = analyse(rows, compute)
        return _like(whole.reshape(*tensor.shape[:-1], *whole.shape[-2:]), audio)

    def _draft(self, latents: Array, noise: Tensor | None) -> Draft:
        config, tensor = self.config, _tensor(latents)
        shape: tuple[int, ...] = tuple(tensor.shape)
        if len(shape) < 2 or shape[-2] != config.latent_dim or tensor.numel() == 0:
            raise ValueError(f"latents must be (..., {config.latent_dim}, frames), got shape {shape}")
        require(bool(torch.isfinite(tensor).all()), "latents", "be finite", "NaN or infinite values")
        rows = tensor.reshape(-1, *shape[-2:])
        channels = shape[-3] if len(shape) > 2 else 1
        if noise is not None:
            expected = (*shape[:-2], 2, config.bins, shape[-1] * config.time_downsampling)
            require(tuple(noise.shape) == expected, "noise", f"have shape {expected}", tuple(noise.shape))
            noise = noise.reshape(-1, *expected[-3:])
        levels = sampling_levels(self.num_steps, config)
        return Draft(rows, tuple(row % channels for row in range(len(rows))), tuple(levels), noise)


def _checked_audio(audio: Array) -> Tensor:
    tensor = _tensor(audio)
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point():
        raise AudioError(f"audio must be floating point in [-1, 1], got {tensor.dtype}")
    if not shape or 0 in shape:
        raise AudioError(f"audio must be (..., channels, samples) with at least 1 sample, got shape {shape}")
    if len(shape) > 1 and shape[-2] > files.MAX_CHANNELS:
        raise AudioError(
            f"audio must be (..., channels, samples) with at most {files.MAX_CHANNELS} channels, got {shape}"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise AudioError("audio must be finite, got NaN or infinite samples")
    return tensor.float()


def _tensor(array: Array) -> Tensor:
    if isinstance(array, Tensor):
        return array
    contiguous = np.ascontiguousarray(array)
    # torch takes neither read-only memory nor a negative stride, which an axis of length 1 may keep.
    usable = contiguous.flags.writeable and min(contiguous.strides) >= 0
    return torch.from_numpy(contiguous if usable else contiguous.copy())


def _numpy(array: np.ndarray | Tensor) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array


def _like(tensor: Tensor, array: Array) -> Array:
    """A tensor where the user gave one, on the same device; else an array."""
    return tensor.to(array.device) if isinstance(array, Tensor) else tensor.detach().cpu().numpy()
