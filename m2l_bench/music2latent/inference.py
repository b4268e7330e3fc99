"""Run a network over audio of any length, window by window: the machinery between audio and latents.

Conventions
-----------
Rows are channels of audio, each coded alone: audio is ``(rows, samples)``, latents are ``(rows, D, L)``. Results
lie on the engine's device. The network computes a few windows at a time.

The authors' framing is kept beside ours, so that latents made with their package stay usable and both can be compared
number for number: no padding, pieces of 60 s without overlap, the last piece filled up with the file's own beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from m2l_bench.music2latent.compiled import CompiledNetwork
from m2l_bench.music2latent.config import Config, require
from m2l_bench.music2latent.consistency import sample
from m2l_bench.music2latent.device import moved
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.music2latent.noise import positional_noise
from m2l_bench.music2latent.representation import (
    from_spectrogram,
    istft,
    max_samples,
    n_latents,
    pad,
    stft,
    to_spectrogram,
)
from m2l_bench.music2latent.windows import Windows, join, plan

AUTHORS_SECONDS = 60  # length of the authors' pieces
Network = Music2LatentNetwork | CompiledNetwork


@dataclass(frozen=True)
class Draft:
    """Latents to decode.

    Attributes
    ----------
    latents : Tensor, (rows, D, L)
    streams : tuple of int
        Which stream's noise each row gets.
    levels : tuple of float
        Noise levels of the sampler.
    noise : Tensor or None, (rows, 2, F, T)
        Standard-normal start in place of the seeded one.
    """

    latents: Tensor
    streams: tuple[int, ...]
    levels: tuple[float, ...]
    noise: Tensor | None = None


@dataclass(frozen=True)
class Engine:
    """A network and how to run it.

    Attributes
    ----------
    network : Music2LatentNetwork or CompiledNetwork
    device : torch.device
    window : int
        Latent frames that the network sees at once.
    batch_size : int
        Windows of one row computed at once.
    precision : torch.dtype
        float32, or what to autocast to.
    seed : int
    """

    network: Network
    device: torch.device
    window: int
    batch_size: int
    precision: torch.dtype
    seed: int

    @property
    def config(self) -> Config:
        """The network's."""
        return self.network.config

    def latents(self, spectrogram: Tensor) -> Tensor:
        """(rows, 2, F, T) -> latents (rows, D, L) of about unit variance."""
        with self._autocast():
            code = self.network.encode(spectrogram)
        return self._finite(code.float()) / self.config.latent_scale

    def features(self, spectrogram: Tensor) -> Tensor:
        """(rows, 2, F, T) -> features (rows, D, L)."""
        with self._autocast():
            return self._finite(self.network.features(spectrogram).float())

    def analyse(self, audio: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Audio (rows, samples) -> (rows, D, L); `compute` is `latents` or `features`."""
        config = self.config
        windows = plan(n_latents(audio.shape[-1], config), self.window)
        margin, step = config.window - config.hop, config.samples_per_latent
        padded = pad(audio, config)

        def pieces() -> Iterator[Tensor]:
            starts = iter(windows.starts)
            while group := list(islice(starts, self.batch_size)):
                parts = [padded[:, start * step : (start + windows.length) * step + margin] for start in group]
                yield from self._batched(lambda part: compute(stft(part, config)), torch.cat(parts)).chunk(len(group))

        return join(pieces(), windows, 1)

    def analyse_as_authors(self, audio: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Audio (rows, samples) -> (rows, D, L), in the authors' framing."""
        spectrogram = to_spectrogram(audio, self.config, padded=False)
        frames, step = spectrogram.shape[-1], self.config.time_downsampling
        pieces = _filled(spectrogram, self._authors_latents * step).split(self._authors_latents * step, -1)
        whole = torch.cat([self._batched(compute, piece) for piece in pieces], -1)
        return whole[..., : frames // step]

    def synthesise(self, draft: Draft, n_samples: int | None) -> Tensor:
        """Audio (rows, n_samples); by default all samples that the latents fully cover."""
        config = self.config
        frames, margin = draft.latents.shape[-1], config.window - config.hop
        longest = max_samples(frames, config)
        length = longest if n_samples is None else n_samples
        require(1 <= length <= longest, "n_samples", f"be between 1 and {longest} for {frames} frames", length)
        windows = plan(frames, self.window)

        def audio(picks: Sequence[tuple[int, int]]) -> Tensor:
            return istft(self._spectrogram(draft, picks, windows.length), config)[..., margin:].clamp(-1, 1)

        whole = join(self._pieces(draft, windows, audio), windows, config.samples_per_latent)
        return whole[..., :length].contiguous()  # the end fades

    def synthesise_as_authors(self, draft: Draft, n_samples: int | None) -> Tensor:
        """Audio (rows, n_samples), in the authors' framing."""
        length, step = draft.latents.shape[-1], self.config.time_downsampling
        limit = self._authors_latents
        filled = _filled(draft.latents, limit)
        noise = draft.noise
        if noise is not None and filled.shape[-1] > length:
            rest = [self._noise(0, stream, length, filled.shape[-1] - length) for stream in draft.streams]
            noise = torch.cat([noise, torch.stack(rest).to(noise.device)], -1)
        longer = Draft(filled, draft.streams, draft.levels, noise)
        size = min(limit, filled.shape[-1])
        windows = Windows(tuple(range(0, filled.shape[-1], size)), size, ())
        pieces = self._pieces(longer, windows, lambda picks: self._spectrogram(longer, picks, size))
        spectrogram = torch.cat(list(pieces), -1)[..., : length * step]
        return from_spectrogram(spectrogram, self.config, n_samples=n_samples, padded=False)

    def _pieces(
        self, draft: Draft, windows: Windows, compute: Callable[[Sequence[tuple[int, int]]], Tensor]
    ) -> Iterator[Tensor]:
        """One (rows, ...) for each window; `compute` takes picks, each (row, first latent frame)."""
        rows, starts = len(draft.latents), iter(windows.starts)
        while group := list(islice(starts, self.batch_size)):
            picks = [(row, start) for start in group for row in range(rows)]
            with _mode(draft.latents):
                parts = [compute(picks[i : i + self.batch_size]) for i in range(0, len(picks), self.batch_size)]
            yield from torch.cat(parts).chunk(len(group))

    def _spectrogram(self, draft: Draft, picks: Sequence[tuple[int, int]], length: int) -> Tensor:
        code = torch.stack([draft.latents[row, :, start : start + length] for row, start in picks])
        step = self.config.time_downsampling

        def noise(index: int) -> Tensor:
            if index == 0 and draft.noise is not None:
                parts = [draft.noise[row, ..., start * step : (start + length) * step] for row, start in picks]
            else:
                parts = [self._noise(index, draft.streams[row], start, length) for row, start in picks]
            return moved(torch.stack(parts), self.device)

        with self._autocast():
            pyramid = self.network.pyramid(moved(code, self.device) * self.config.latent_scale)

            def denoise(x: Tensor, sigma: float) -> Tensor:
                return self.network.denoise(x, x.new_full((len(x),), sigma), pyramid)

            estimate = sample(denoise, noise, draft.levels, sigma_min=self.config.sigma_min)
        return self._finite(estimate.float())

    def _noise(self, step: int, stream: int, start: int, length: int) -> Tensor:
        return positional_noise(self.config, seed=self.seed, step=step, stream=stream, start=start, n_latents=length)

    def _batched(self, compute: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        with _mode(rows):
            return torch.cat([compute(part) for part in moved(rows, self.device).split(self.batch_size)])

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)

    def _finite(self, x: Tensor) -> Tensor:
        if self.precision is not torch.float32 and not bool(torch.isfinite(x).all()):
            raise ValueError(
                f"precision must hold this model's values, got an overflow in {self.precision}: use bfloat16"
            )
        return x

    @property
    def _authors_latents(self) -> int:
        config = self.config
        return AUTHORS_SECONDS * config.sample_rate // config.hop // config.time_downsampling


def _mode(x: Tensor) -> AbstractContextManager[object]:
    """Gradients where they are asked for, inference mode otherwise."""
    return nullcontext() if x.requires_grad and torch.is_grad_enabled() else torch.inference_mode()


def _filled(x: Tensor, limit: int) -> Tensor:
    """Fill up to a whole number of `limit` values along the last axis with x's own beginning, where it is longer."""
    length = x.shape[-1]
    if length <= limit:
        return x
    return x[..., torch.arange(-(-length // limit) * limit, device=x.device) % length]
