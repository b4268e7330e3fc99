"""Validation during training: the objective's numbers and scores of reconstructions, on held-out audio.

Conventions
-----------
Excerpts are mono, at the model's sample rate: the middle channel-0 seconds of files spread evenly over the held-out ones.
Two validations differ by the weights alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from m2l_bench import audio as audio_io
from m2l_bench.files.disk import write_atomic
from m2l_bench.training.crops import scan
from m2l_bench.training.objective import Objective
from m2l_bench.training.optimization import AveragedWeights
from m2l_bench.training.recipe import ValidationSection

Score = Callable[[Sequence[np.ndarray], Sequence[np.ndarray], int], Mapping[str, float]]
_N_FFT = 1024  # of a picture


@dataclass
class Validation:
    """Measures of held-out excerpts.

    Attributes
    ----------
    excerpts : Tensor, (clips, samples)
    """

    objective: Objective
    section: ValidationSection
    sample_rate: int
    score: Score | None

    def __post_init__(self) -> None:
        self.excerpts = held_out(self.section, self.sample_rate)

    def measure(self, average: AveragedWeights, folder: Path, step: int) -> dict[str, float]:
        """All numbers of the averaged weights; writes samples into `folder`."""
        with using(average, self.objective.network), torch.no_grad():
            row = self.objective.measure(self.excerpts)
            estimates = [self.objective.reconstruct(excerpt) for excerpt in self.excerpts]
        references = list(self.excerpts.numpy())
        for number in range(min(self.section.samples, len(references))):
            self._write_sample(folder, number, step, references[number], estimates[number])
        return {**row, **(self.score(references, estimates, self.sample_rate) if self.score else {})}

    def _write_sample(self, folder: Path, number: int, step: int, reference: np.ndarray, estimate: np.ndarray) -> None:
        rate, stem = self.sample_rate, f"clip-{number}"
        if not (folder / f"{stem}-reference.wav").exists():
            audio_io.write(folder / f"{stem}-reference.wav", reference, rate, subtype="PCM_16")
        audio_io.write(folder / f"{stem}-step-{step:08d}.wav", estimate, rate, subtype="PCM_16")
        picture(folder / f"{stem}-step-{step:08d}.png", {"reference": reference, f"step {step}": estimate}, rate)


def held_out(section: ValidationSection, sample_rate: int) -> Tensor:
    """Excerpts (clips, samples): evenly spread positions of all files laid end to end."""
    library = scan(section.folders)
    n_samples = round(section.seconds * sample_rate)
    excerpts = []
    for clip in range(section.clips):
        position = (clip + 0.5) / section.clips
        track = int(np.searchsorted(library.cumulative, position, side="right"))
        low = library.cumulative[track - 1] if track else 0.0
        header = library.headers[track]
        length = min(header.n_samples, round(section.seconds * header.sample_rate))
        inside = (position - low) / (library.cumulative[track] - low)
        start = int(inside * (header.n_samples - length))
        audio, _ = audio_io.load(library.paths[track], start=start, n_samples=length, sample_rate=sample_rate)
        excerpts.append(audio_io.fit_length(audio[0], n_samples))
    return torch.from_numpy(np.stack(excerpts))


@contextmanager
def using(average: AveragedWeights, network: nn.Module) -> Iterator[None]:
    """Put the averaged weights into a network for the duration of a context."""
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(average.tensors)
    try:
        yield
    finally:
        network.load_state_dict(own)


def picture(path: Path, signals: Mapping[str, np.ndarray], sample_rate: int) -> None:
    """Draw spectrograms of (samples,) signals above one another into a PNG.

    Colours reach from -80 to 0 dB of a full-scale sinusoid, whose magnitude is 0.5 (-6 dB) there.
    """
    import matplotlib

    # 75% overlap; without pyplot there is no global state and no display.
    options = {"NFFT": _N_FFT, "Fs": sample_rate, "noverlap": _N_FFT * 3 // 4, "mode": "magnitude"}
    with matplotlib.rc_context({"savefig.dpi": 80}), np.errstate(divide="ignore"):  # silence has no level
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 2.2 * len(signals)), layout="constrained")
        axes = figure.subplots(len(signals), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (name, signal) in zip(axes, signals.items(), strict=True):
            padded = audio_io.fit_length(signal, max(2 * _N_FFT, len(signal)))
            axis.specgram(padded, **options, vmin=-86, vmax=-6, cmap="magma")
            axis.set(title=name, ylabel="Hz", facecolor="black")
        axes[-1].set_xlabel("seconds")
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    write_atomic(path, buffer.getvalue())
