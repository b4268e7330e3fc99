"""The system that is checked, and the signals that it is given.

Conventions
-----------
Signals are float32 ``(channels, samples)`` at the system's rate (44.1 kHz where it takes any), from the embedded excerpts of
music. A system gets a copy each time, so that one that changes its input spoils no other check.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from m2l_bench import assets
from m2l_bench import audio as audio_io
from m2l_bench.suite.suite import SystemSpec
from m2l_bench.systems.base import Codec, Encoder, ReadyMade
from m2l_bench.systems.registry import load

SHORT = 4.0  # seconds of an excerpt
LONG = 30.0  # seconds of a long file
ANY_RATE = 44100
_SET = "reconstruction/wesnoth"


class Subject:
    """A loaded system, and how to load it again.

    Parameters
    ----------
    system : System
    spec : SystemSpec, optional
        What it was loaded from; without it the system cannot be loaded again, and some checks are left out.

    Raises
    ------
    ValueError
        If the system only finds existing files, or has neither ``reconstruct`` nor ``encode``.
    """

    def __init__(self, system: Any, spec: SystemSpec | None = None) -> None:
        self.system, self.spec = system, spec
        self.name = str(getattr(system, "name", type(system).__name__))
        if isinstance(system, ReadyMade):
            raise ValueError(f"{self.name}: must compute something to be checked, got a folder of existing files")
        self.is_codec, self.is_encoder = isinstance(system, Codec), isinstance(system, Encoder)
        if not (self.is_codec or self.is_encoder):
            raise ValueError(f"{self.name}: must have the method reconstruct() or encode(), got an object without them")
        self.rate: int = getattr(system, "sample_rate", None) or ANY_RATE

    def reload(self, *, further: int = 0) -> Any:
        """The system loaded afresh, with its own seed or one further on; None where that is not possible."""
        if self.spec is None:
            return None
        return load_spec(self.spec.model_copy(update={"seed": self.spec.seed + further}))

    def run(self, audio: np.ndarray, system: Any = None) -> np.ndarray:
        """Reconstruction of a copy of `audio`, or its latents if the system is an encoder alone."""
        system = self.system if system is None else system
        return np.asarray(system.reconstruct(audio.copy()) if self.is_codec else system.encode(audio.copy()))

    def music(self, seconds: float) -> np.ndarray:
        """Stereo music of any length: embedded excerpts, one behind the other."""
        return music(seconds, self.rate)

    @cached_property
    def excerpts(self) -> tuple[Excerpt, Excerpt]:
        """Two pieces of stereo music."""
        both = np.split(self.music(20.0), 2, axis=1)
        first, second = (Excerpt(self, part[:, : round(SHORT * self.rate)]) for part in both)
        return first, second


@dataclass
class Excerpt:
    """A piece of music, and what the system makes of it; that is computed once."""

    subject: Subject
    audio: np.ndarray

    @cached_property
    def output(self) -> np.ndarray:
        """See :meth:`Subject.run`."""
        return self.subject.run(self.audio)


def load_spec(spec: SystemSpec) -> Any:
    """Load a system anew; ``SystemSpec.load`` would give the one that is loaded already."""
    return load(spec.system, spec.checkpoint, device=spec.device, seed=spec.seed, **spec.options)


def music(seconds: float, rate: int) -> np.ndarray:
    """Embedded excerpts one behind the other, (2, samples)."""
    wanted, parts, found = round(seconds * rate), [], 0
    while found < wanted:
        for row in assets.manifest(_SET):
            parts.append(audio_io.load(assets.folder(_SET) / row["path"], sample_rate=rate)[0])
            found += parts[-1].shape[-1]
            if found >= wanted:
                break
    return np.concatenate(parts, axis=1)[:, :wanted]
