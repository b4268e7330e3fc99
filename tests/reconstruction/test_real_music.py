"""On the embedded excerpts: the fewer bits an MP3 has, the larger FAD and KAD, the smaller ViSQOL."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

import m2l_bench
from m2l_bench import audio as audio_io
from m2l_bench.reconstruction.pair.visqol import visqol
from m2l_bench.reconstruction.sets.distribution import fad, kad
from m2l_bench.reconstruction.sets.vectors import load_encoder, vectors

EXCERPTS = Path(m2l_bench.__file__).parent / "assets" / "reconstruction" / "wesnoth"
LEVELS = (0.6, 0.9, 0.99)  # of libsndfile: about 160, 56 and 32 kbit/s


def coded(audio, level):
    buffer = io.BytesIO()
    soundfile.write(
        buffer, audio.T, 44100, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=level
    )
    buffer.seek(0)
    return audio_io.fit_length(soundfile.read(buffer, dtype="float32", always_2d=True)[0].T, audio.shape[1])


@pytest.fixture(scope="module")
def excerpts():
    """Ten excerpts of 5 s: two windows of musicnn each."""
    paths = sorted(EXCERPTS.glob("*.ogg"))[:10]
    return [audio_io.load(path, start=44100, n_samples=5 * 44100)[0] for path in paths]


def test_fad_and_kad_rise_as_bit_rates_fall(excerpts):
    encoder = load_encoder("musicnn")
    references = [vectors(encoder, audio, 44100) for audio in excerpts]
    estimates = [[vectors(encoder, coded(audio, level), 44100) for audio in excerpts] for level in LEVELS]
    for score in (fad, kad):
        values = [score(references, files, 0).value for files in estimates]
        assert 0 < values[0] < values[1] < values[2]


def test_visqol_falls_as_bit_rates_fall(excerpts):
    excerpt = excerpts[0][:, : 2 * 44100]
    scores = [visqol(excerpt, coded(excerpt, level), 44100) for level in LEVELS]
    assert np.all(np.diff(scores) < 0)
