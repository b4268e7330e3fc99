"""Models of transformers and diffusers, loaded from a local folder with safetensors, and applied to long audio in blocks.

Conventions
-----------
Both libraries fill a weight that a checkpoint lacks with random numbers; here a missing weight is an error.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m2l_bench.audio import fit_length
from m2l_bench.systems import framing
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem

BLOCK_SAMPLES = 2**18  # long inputs go through in pieces of this size: 6 s
BLOCK_FRAMES = 512  # the same of frames: 6 s at 86 Hz
EXAMPLE_FRAMES = 4  # what graphs are traced with


def library_class(library: str, name: str) -> Any:
    """A class of a library; ImportError, which says what to install, if the library is not there or too old."""
    try:
        module = importlib.import_module(library)
    except ImportError as error:
        raise ImportError(f"{name} needs {library}: pip install 'm2l-bench[codecs]'") from error
    if not hasattr(module, name):
        raise ImportError(f"{name} needs a newer {library}: pip install -U {library} (here is {module.__version__})")
    return getattr(module, name)


def load(library: str, model_class: str, folder: Path) -> Any:
    """Load ``library.model_class`` from a folder with ``config.json`` and safetensors, for inference.

    ImportError if the library is not installed or too old, ValueError if weights of the model are missing or have another shape.
    """
    found = library_class(library, model_class)
    options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    with warnings.catch_warnings(), _without_progress_bar(library):
        warnings.simplefilter("ignore")  # the libraries still use torch's older weight_norm
        try:
            model, report = found.from_pretrained(str(folder), **options)
        except ImportError as error:  # the library stands in for a class whose own needs are not installed
            raise ImportError(" ".join(str(error).split())) from error
    for problem in ("missing_keys", "mismatched_keys"):
        if report.get(problem):
            names = sorted(map(str, report[problem]))
            raise ValueError(f"checkpoint {folder}: {problem.replace('_', ' ')}: {names[0]} and {len(names) - 1} more")
    return model.eval().requires_grad_(False)


@contextmanager
def _without_progress_bar(library: str) -> Iterator[None]:
    settings = importlib.import_module(f"{library}.utils.logging")
    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()


class ConvolutionalAutoencoder(PublishedSystem):
    """An encoder and a decoder of DAC's layout, applied in blocks. Nothing is random here.

    The audio is padded with zeros to whole frames; blocks have enough context that the result is the same. Parameters are
    those of the base class.

    Attributes
    ----------
    library, model_class : str
        As for :func:`load`.
    width : str
        Field of the model's configuration that holds `latent_dim`.
    """

    library: str
    model_class: str
    width: str

    def __init__(
        self, *, checkpoint: Checkpoint = None, device: Device = None, seed: int = 0, precision: str = "float32"
    ) -> None:
        super().__init__(checkpoint=checkpoint, device=device, seed=seed, precision=precision)
        self.model = load(self.library, self.model_class, self.paths[0].parent).to(self.device)
        config = self.model.config
        self.hop, self._context = prod(config.downsampling_ratios), reach(config.downsampling_ratios)
        self.sample_rate, self.latent_dim = config.sampling_rate, getattr(config, self.width)
        self.latent_rate = self.sample_rate / self.hop
        model, code = self.model, type(self.model)
        wave = torch.zeros(1, 1 + self.pairs, EXAMPLE_FRAMES * self.hop)
        self._encoder = self.compiled("encode", model.encoder, wave, code=code)
        z = torch.zeros(1, self.latent_dim, EXAMPLE_FRAMES)
        self._decoder = self.compiled("decode", model.decoder, z, code=code)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, latent_dim, frames)."""
        return self.encoded(audio)[:, : self.latent_dim].cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        """(streams, latent_dim, frames) -> (channels, n_samples)."""
        wave = each_in_blocks(self._decoder, self.latents(latents), self._context, Fraction(self.hop))
        return fit_length(wave.flatten(0, 1).cpu().numpy(), n_samples)

    @torch.inference_mode()
    def encoded(self, audio: np.ndarray) -> Tensor:
        """(channels, samples) -> the encoder's output (streams, width, frames)."""
        wave = torch.from_numpy(framing.pad_to_multiple(self.streams(audio), self.hop)).to(self.device)
        return each_in_blocks(self._encoder, wave, self._context, Fraction(1, self.hop))


def reach(strides: Sequence[int]) -> int:
    """Context of DAC's and Oobleck's encoders and decoders, in frames on either side.

    Each level has three residual units (kernels of 7, dilations 1, 3, 9: 39 values to a side at that level's rate) and
    a convolution of twice its stride; the first and last kernels have at most 7.

    Parameters
    ----------
    strides : sequence of int
        The encoder's, from the waveform down.

    Examples
    --------
    >>> reach([2, 4, 8, 8])
    10
    """
    rates = [prod(strides[:level]) for level in range(len(strides) + 1)]
    hop = rates[-1]
    inside = sum(39 * rate for rate in rates[:-1]) + sum(rates[1:])
    return -(-(inside + 3 + 3 * hop) // hop)


def span(layers: torch.nn.Module, inputs_per_frame: int) -> int:
    """Frames that one output of a chain of convolutions, such as an encoder or a decoder, can depend on beside its own.

    Convolutions must be registered in the order of the signal; one that lies beside others (a shortcut) is counted as if it
    followed them, so that the number is an upper bound: of the frames before an output where all convolutions are causal, of
    those on either side where none is.

    Parameters
    ----------
    layers : torch.nn.Module
    inputs_per_frame : int
        1 for a decoder.

    Examples
    --------
    >>> span(torch.nn.Sequential(torch.nn.Conv1d(1, 1, 7), torch.nn.Conv1d(1, 1, 8, stride=4)), 4)
    4
    """
    total, step = Fraction(0), Fraction(1)  # in inputs; inputs from one value of this level to the next
    for layer in layers.modules():
        if isinstance(layer, torch.nn.ConvTranspose1d):
            total += -(-(layer.kernel_size[0] - 1) // layer.stride[0]) * step
            step /= layer.stride[0]
        elif isinstance(layer, torch.nn.Conv1d):
            total += (layer.kernel_size[0] - 1) * layer.dilation[0] * step
            step *= layer.stride[0]
    return ceil(total / inputs_per_frame)


def each_in_blocks(
    function: Callable[[Tensor], Tensor], x: Tensor, context: int | tuple[int, int], scale: Fraction
) -> Tensor:
    """Apply an encoder or decoder to each item of `x`, (batch, channels, time), in blocks, so that memory stays flat.

    `context` is the network's reach in frames, or that before and that after an output; `scale` its outputs per input: 1 / hop
    for an encoder, hop for a decoder.
    """
    inputs_per_frame = scale.denominator
    hop = max(scale.numerator, scale.denominator)
    before, after = context if isinstance(context, tuple) else (context, context)
    # At least as many as there are before them, so that most of the work is not for the context.
    block = max(1, BLOCK_SAMPLES // hop, before) * inputs_per_frame
    given = before * inputs_per_frame, after * inputs_per_frame
    return torch.cat([framing.in_blocks(function, one, block=block, context=given, scale=scale) for one in x.split(1)])


def frames_in_blocks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Quantise frames, or look their codes up, in blocks: (batch, width, frames) -> (..., frames).

    A frame's distances to every code of a codebook, or what each codebook adds to it, take far more memory than the frame.
    """
    return framing.in_blocks(function, x, block=BLOCK_FRAMES, context=0, scale=1)
