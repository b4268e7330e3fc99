"""Render notes with FluidSynth's C library, one stem at a time, straight into an array.

Conventions
-----------
Notes are (start, length, pitch, velocity): seconds, seconds, MIDI number, 1 to 127. A stem is mono float32. Reverb and
chorus are off, and the synthesizer is reset before each stem; some of its counters run on all the same, so equal bytes
need equal order.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from pathlib import Path

import numpy as np

Note = tuple[float, float, int, int]

_DRUM_CHANNEL = 9


def load_library() -> ctypes.CDLL:
    """Load libfluidsynth (Debian: libfluidsynth3, installed with fluidsynth) and declare what is called."""
    library = ctypes.CDLL(ctypes.util.find_library("fluidsynth") or "libfluidsynth.so.3")
    for name in ("new_fluid_settings", "new_fluid_synth"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


class Renderer:
    """A synthesizer with a soundfont.

    Parameters
    ----------
    soundfont : Path
    sample_rate : int
        Hz.
    """

    def __init__(self, soundfont: Path, sample_rate: int) -> None:
        self._library = load_library()
        self.sample_rate = sample_rate
        self._settings = ctypes.c_void_p(self._library.new_fluid_settings())
        set_number = self._library.fluid_settings_setnum
        set_number(self._settings, b"synth.sample-rate", ctypes.c_double(sample_rate))
        set_number(self._settings, b"synth.gain", ctypes.c_double(0.5))
        for effect in (b"synth.reverb.active", b"synth.chorus.active"):
            self._library.fluid_settings_setint(self._settings, effect, 0)
        self._synth = ctypes.c_void_p(self._library.new_fluid_synth(self._settings))
        if self._library.fluid_synth_sfload(self._synth, str(soundfont).encode(), 1) < 0:
            raise RuntimeError(f"{soundfont}: not a soundfont that FluidSynth reads")

    def stem(self, program: int | None, notes: list[Note], seconds: float) -> np.ndarray:
        """Render one General MIDI program (0 to 127; None for the drum kit); float32, (seconds * sample_rate,)."""
        self._library.fluid_synth_system_reset(self._synth)
        channel = _DRUM_CHANNEL if program is None else 0
        self._library.fluid_synth_program_change(self._synth, channel, program or 0)
        events = [(round(start * self.sample_rate), 1, pitch, velocity) for start, _, pitch, velocity in notes]
        events += [(round((start + length) * self.sample_rate), 0, pitch, 0) for start, length, pitch, _ in notes]
        n_samples = round(seconds * self.sample_rate)
        pieces, position = [], 0
        for time, on, pitch, velocity in sorted(events):
            if time >= n_samples:
                break
            pieces.append(self._write(time - position))
            position = time
            if on:
                self._library.fluid_synth_noteon(self._synth, channel, pitch, velocity)
            else:
                self._library.fluid_synth_noteoff(self._synth, channel, pitch)
        return np.concatenate([*pieces, self._write(n_samples - position)])

    def _write(self, n_samples: int) -> np.ndarray:
        channels = np.zeros((2, n_samples), np.float32)
        if n_samples:
            left, right = (c.ctypes.data_as(ctypes.c_void_p) for c in channels)
            self._library.fluid_synth_write_float(self._synth, n_samples, left, 0, 1, right, 0, 1)
        return channels.mean(axis=0)
