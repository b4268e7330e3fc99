"""Random crops of folders of music, each a pure function of a seed and its index.

Because crop number i never depends on crop number i - 1, the order is the same with any number of workers or processes,
and a training that goes on at step k needs no state but k.

Conventions
-----------
A crop is one channel, ``(samples,)`` float32 at the model's sample rate. Lengths of tracks are in samples at their own
rate. Probabilities are of drawing, a crop at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from m2l_bench import audio as audio_io
from m2l_bench.audio import AudioError
from m2l_bench.training.recipe import MusicFolder

DRAWS = 100  # attempts at a crop that is loud enough and decodes, before giving up
WORKER_TIMEOUT = 300.0  # seconds without a batch after which a stalled worker is an error
_MARGIN = 256  # samples at a file's own rate around an excerpt, cut off after resampling: its filter starts clean


@dataclass(frozen=True)
class Library:
    """The tracks of some folders and the probability of each."""

    paths: list[Path]
    headers: list[audio_io.AudioInfo]
    cumulative: np.ndarray


def scan(folders: Sequence[MusicFolder]) -> Library:
    """Read the headers of all tracks; a file that cannot be read is left out with a warning.

    Raises
    ------
    AudioError
        If a folder holds no readable audio.
    ValueError
        If only some of the folders have a weight.
    """
    weights = [folder.weight for folder in folders]
    if any(weight is None for weight in weights) and any(weight is not None for weight in weights):
        raise ValueError(f"weight must be given for all folders or for none, got {weights}")
    paths: list[Path] = []
    headers: list[audio_io.AudioInfo] = []
    shares: list[float] = []
    for folder in folders:
        durations = []
        for path in folder.files():
            try:
                headers.append(audio_io.info(path))
            except AudioError as error:
                warnings.warn(f"left out of training: {error}", stacklevel=2)
                continue
            paths.append(path)
            durations.append(headers[-1].duration)
        if not durations:
            raise AudioError(f"{folder.path}: must hold at least one readable audio file, got none")
        scale = 1.0 if folder.weight is None else folder.weight / sum(durations)
        shares += [duration * scale for duration in durations]
    cumulative = np.cumsum(shares) / np.sum(shares)
    return Library(paths, headers, cumulative)


class Examples(NamedTuple):
    """A batch: crops (B, samples), uniform numbers (B, 2) for the noise levels, normal noise (B, 2, F, T)."""

    audio: Tensor
    uniforms: Tensor
    noise: Tensor


@dataclass(eq=False, kw_only=True)
class Crops(Dataset[Examples]):
    """Crop number i of a library, with the random numbers that training on it takes.

    Parameters
    ----------
    library : Library
    n_samples : int
        Length of a crop at `sample_rate`; a shorter track is padded with silence.
    noise_shape : tuple of int
        Shape of the crop's noise.
    sample_rate : int
        Hz.
    seed : int
    min_rms : float
        A quieter crop is drawn again.
    """

    library: Library
    n_samples: int
    noise_shape: tuple[int, ...]
    sample_rate: int
    seed: int
    min_rms: float

    def __getitem__(self, index: int) -> Examples:
        random = np.random.default_rng((self.seed, index))
        uniforms = torch.from_numpy(random.random(2))
        noise = torch.from_numpy(random.standard_normal(self.noise_shape, dtype=np.float32))
        return Examples(torch.from_numpy(self.crop(random)), uniforms, noise)

    def crop(self, random: np.random.Generator) -> np.ndarray:
        """Draw until a crop is loud enough.

        Raises
        ------
        AudioError
            After 100 draws.
        """
        reason = ""
        for _ in range(DRAWS):
            try:
                crop = self._draw(random)
            except AudioError as error:  # damaged somewhere in the middle: the rest of the music goes on
                reason = str(error)
                continue
            rms = float(np.sqrt(np.mean(np.square(crop, dtype=np.float64))))
            if rms >= self.min_rms:
                return crop
            reason = f"RMS must be at least {self.min_rms}, got {rms:.2g}"
        raise AudioError(f"no usable crop in {DRAWS} draws; the last: {reason}")

    def _draw(self, random: np.random.Generator) -> np.ndarray:
        track = int(np.searchsorted(self.library.cumulative, random.random(), side="right"))
        track = min(track, len(self.library.paths) - 1)
        path, header = self.library.paths[track], self.library.headers[track]
        length = -(-self.n_samples * header.sample_rate // self.sample_rate)
        start = int(random.integers(max(1, header.n_samples - length + 1)))
        channel = int(random.integers(header.channels))
        margin = 0 if header.sample_rate == self.sample_rate else _MARGIN
        first, last = max(0, start - margin), min(header.n_samples, start + length + margin)
        audio, _ = audio_io.load(path, start=first, n_samples=last - first)
        mono = audio_io.resample(audio[channel], header.sample_rate, self.sample_rate)
        skip = round((start - first) * self.sample_rate / header.sample_rate)
        return audio_io.fit_length(mono[skip:], self.n_samples)


def batches(
    crops: Crops, *, first: int, last: int, batch: int, process: int = 0, processes: int = 1, workers: int = 0
) -> DataLoader[Examples]:
    """Batches of steps `first` to `last` - 1 for one of several processes.

    Parameters
    ----------
    crops : Crops
    first, last : int
    batch : int
        Crops a step *of this process*; step k of all takes crops ``k batch processes`` and following.
    process, processes : int
    workers : int
        Loading processes; 0 loads in this one. They are spawned, since a forked copy of a process with threads can
        stall, and one that gives nothing for 5 minutes is an error.
    """
    share = [
        range((step * processes + process) * batch, (step * processes + process + 1) * batch)
        for step in range(first, last)
    ]
    return DataLoader(
        crops,
        batch_sampler=share,  # type: ignore[arg-type]
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        timeout=WORKER_TIMEOUT if workers else 0,
    )
