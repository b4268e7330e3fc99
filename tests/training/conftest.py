"""Music to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_training import RATE, chord

from m2l_bench import audio as audio_io


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """A folder of two short pieces."""
    folder = tmp_path / "pieces"
    audio_io.write(folder / "one.wav", chord(2.0, 1), RATE)
    audio_io.write(folder / "two.flac", np.concatenate([chord(3.0, 2), chord(3.0, 3)]), RATE)
    return folder
