"""Low-pass edges, delays, and bit rates that are measured."""

from __future__ import annotations

import numpy as np
import pytest

from m2l_bench.audio import AudioError
from m2l_bench.systems.apply import reconstruct
from m2l_bench.systems.registry import load


def _tone(frequency: float, rate: int = 44100, n_samples: int = 44100) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(n_samples) / rate)).astype(np.float32)[None]


def _db(signal: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(signal[..., 8000:-8000] ** 2)) / np.sqrt(0.125)))


@pytest.mark.parametrize(("name", "inside", "outside"), [("lowpass-3.5k", 3400, 4500), ("lowpass-7k", 6900, 8500)])
def test_anchors_pass_and_stop_where_they_say(name: str, inside: float, outside: float) -> None:
    anchor = load(name)
    assert _db(anchor.reconstruct(_tone(inside))) == pytest.approx(0, abs=0.1)
    assert _db(anchor.reconstruct(_tone(outside))) < -59
    # No delay: what passes stays in phase.
    np.testing.assert_allclose(
        anchor.reconstruct(_tone(1000))[..., 8000:-8000], _tone(1000)[..., 8000:-8000], atol=1e-3
    )


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", ["opus:32k", "opus:96k", "mp3:48k", "mp3:128k", "vorbis:q4"])
def test_codecs_have_no_delay(name: str, channels: int, music) -> None:
    system = load(name)
    given = music(3 * 44100, channels)
    back = system.reconstruct(given)
    lags = np.arange(-1500, 1501)
    products = [np.dot(given[0, 40000:60000], back[0, 40000 + lag : 60000 + lag]) for lag in lags]
    assert abs(lags[int(np.argmax(products))]) <= 2


@pytest.mark.parametrize("name", ["opus:32k", "mp3:64k", "vorbis:q4"])
def test_a_long_file_begins_as_a_short_one(name: str, music) -> None:
    """One write of a minute overflowed libvorbis's stack, and the first samples depended on all of it."""
    system = load(name)
    rate = system.sample_rate
    given = np.tile(music(10 * rate, 1, rate), (1, 7))
    whole = system.reconstruct(given)
    assert whole.shape == given.shape
    np.testing.assert_array_equal(system.reconstruct(given[:, : 20 * rate])[:, : 19 * rate], whole[:, : 19 * rate])


def test_measured_bit_rate_follows_the_setting(music) -> None:
    given = music(5 * 48000, 2, 48000)
    measured = [reconstruct(load(f"opus:{rate}k"), given, 48000, "x")[1] for rate in (16, 32, 64, 128)]
    assert measured == sorted(measured)
    constant = reconstruct(load("mp3:128k"), given, 48000, "x")[1]
    assert constant == pytest.approx(128, rel=0.02)


def test_only_a_bit_stream_has_a_bit_rate(music) -> None:
    assert reconstruct(load("lowpass-7k"), music(), 44100, "x")[1] is None


def test_too_many_channels_are_named(music) -> None:
    with pytest.raises(AudioError, match="mp3 codes at most 2 channels, got 6"):
        load("mp3:128k").reconstruct(music(5000, 6))
