"""Gain, mixing, shift and noise: exact cases, and decoders with noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from m2l_bench.latent.equivariance import CARDS, GAINS, LEVELS, PEAK, gain, mixing, noise, shift
from m2l_bench.latent.moments import moments
from m2l_bench.latent.sheet import numbers, scale
from m2l_bench.reconstruction import si_sdr
from m2l_bench.reconstruction.checks import Undefined, Unscorable
from m2l_bench.systems.registry import load

RATE = 8000
EXACT = 100.0  # dB: SI-SDR ends there


@pytest.fixture
def sound(music: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return partial(music, 8000, rate=RATE)


class Wrapped:
    """Another system with other latents or another decoding."""

    def __init__(
        self,
        system: Any,
        encode: Callable[[np.ndarray], np.ndarray] = lambda z: z,
        decode: Callable[[np.ndarray], np.ndarray] = lambda x: x,
    ) -> None:
        self.system, self.after_encode, self.after_decode = system, encode, decode
        self.given: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.system, name)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        self.given.append(audio)
        return self.after_encode(self.system.encode(audio))

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        return self.after_decode(self.system.decode(latents, n_samples))

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        return self.decode(self.encode(audio), audio.shape[-1])


@pytest.mark.parametrize("name", ["orthonormal", "truncated"])
def test_a_linear_autoencoder_is_homogeneous_and_additive(
    name: str, sound: Any, request: pytest.FixtureRequest
) -> None:
    system = request.getfixturevalue(name)
    found = gain(system, sound(), RATE)
    for decibels in GAINS:
        assert found[f"gain_si_sdr:{decibels:+d}dB"] == EXACT
        assert found[f"gain_level_error:{decibels:+d}dB"] == pytest.approx(0, abs=1e-5)
    assert found["gain_linearity"] == pytest.approx(1, abs=1e-10)
    mixed = mixing(system, sound(seed=1), sound(seed=2), RATE)
    assert mixed["mixing_si_sdr_decoded"] == EXACT
    both = sound(seed=1) + sound(seed=2)
    expected = min(np.mean(si_sdr(both, system.reconstruct(both))), EXACT)
    assert mixed["mixing_si_sdr"] == pytest.approx(expected, abs=1e-3)


def test_a_linear_autoencoder_of_full_rank_has_its_dimension_as_rank(orthonormal: Any, truncated: Any) -> None:
    white = np.random.default_rng(0).standard_normal((1, 400_000)).astype(np.float32)
    for system, rank in ((orthonormal, 8), (truncated, 4)):
        found = numbers(moments(system.encode(white), system.latent_rate))
        assert found["effective_rank"] == pytest.approx(rank, rel=1e-3)
        assert found["components_95"] == rank


def test_shifts_by_whole_frames_are_exact_and_others_are_not(orthonormal: Any, truncated: Any, sound: Any) -> None:
    # 1, 10 and 100 ms are 1, 10 and 100 blocks of 8 samples.
    for name in ("1ms", "10ms", "100ms"):
        found = shift(truncated, sound(), RATE)
        assert found[f"shift_si_sdr:{name}"] == EXACT
        assert found[f"shift_mel_distance:{name}"] == pytest.approx(0, abs=1e-4)
    assert found["shift_si_sdr:half-frame"] < 10
    assert found["shift_mel_distance:half-frame"] > 0.1
    assert shift(orthonormal, sound(), RATE)["shift_si_sdr:half-frame"] == EXACT  # of full rank: it copies


def test_half_a_frame_is_that_many_samples(orthonormal: Any, sound: Any) -> None:
    system = Wrapped(orthonormal)
    shift(system, sound(), RATE)
    assert [audio.shape[-1] for audio in system.given] == [8000, 8000 - 8, 8000 - 80, 8000 - 800, 8000 - 4]


def test_a_system_that_levels_is_not_homogeneous(orthonormal: Any, sound: Any) -> None:
    levelled = Wrapped(orthonormal, encode=lambda z: (z / np.abs(z).max()).astype(np.float32))
    found = gain(levelled, sound(), RATE)
    for decibels in GAINS:
        assert found[f"gain_si_sdr:{decibels:+d}dB"] == EXACT  # blind to the level
        assert found[f"gain_level_error:{decibels:+d}dB"] == pytest.approx(abs(decibels), abs=1e-4)


def test_linearity_is_the_share_of_a_straight_line(orthonormal: Any, sound: Any) -> None:
    affine = Wrapped(orthonormal, encode=lambda z: z + np.float32(0.1))
    assert gain(affine, sound(), RATE)["gain_linearity"] == pytest.approx(1, abs=1e-8)
    squared = Wrapped(orthonormal, encode=lambda z: z**2)
    factors = 10 ** (np.array([0, *GAINS]) / 20)
    expected = np.corrcoef(factors, factors**2)[0, 1] ** 2
    assert gain(squared, sound(), RATE)["gain_linearity"] == pytest.approx(expected, abs=1e-6)


def test_an_offset_is_added_twice(orthonormal: Any, sound: Any) -> None:
    once = orthonormal.decode(np.full((2, 8, 1000), 0.01, np.float32), 8000)
    offset = Wrapped(orthonormal, encode=lambda z: z + np.float32(0.01), decode=lambda x: x - once)
    first, second = sound(seed=1), sound(seed=2)
    both = first + second
    factor = PEAK / max(np.abs(part).max() for part in (first, second, both))
    expected = np.mean(si_sdr(factor * both, factor * both + once))
    found = mixing(offset, first, second, RATE)
    assert found["mixing_si_sdr"] == pytest.approx(expected, abs=1e-3)
    assert found["mixing_si_sdr_decoded"] == pytest.approx(expected, abs=1e-3)


def test_the_noise_of_a_seeded_decoder_is_on_both_sides(truncated: Any, sound: Any) -> None:
    def noisy(decoded: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng(0).standard_normal(decoded.shape[::-1]).T  # by absolute position
        return (decoded + 0.01 * drawn).astype(np.float32)

    found = mixing(Wrapped(truncated, decode=noisy), sound(seed=1), sound(seed=2), RATE)
    assert found["mixing_si_sdr_decoded"] == EXACT
    unseeded = np.random.default_rng(0)
    fresh = Wrapped(truncated, decode=lambda x: x + 0.01 * unseeded.standard_normal(x.shape).astype(np.float32))
    assert mixing(fresh, sound(seed=1), sound(seed=2), RATE)["mixing_si_sdr_decoded"] < 40
    # In place while the music moves: its own level decides.
    assert shift(Wrapped(truncated, decode=noisy), sound(), RATE)["shift_si_sdr:10ms"] < 40


def test_nothing_louder_than_the_stated_peak_is_encoded(orthonormal: Any, sound: Any) -> None:
    for measure in (
        lambda system: gain(system, 3 * sound(), RATE),
        lambda system: mixing(system, sound(seed=1), 0.1 * sound(seed=2), RATE),
        lambda system: mixing(system, sound(seed=1), -0.9 * sound(seed=1), RATE),
    ):
        system = Wrapped(orthonormal)
        measure(system)
        assert max(np.abs(audio).max() for audio in system.given) == pytest.approx(PEAK, rel=1e-5)


def test_noise_of_an_orthonormal_autoencoder_is_that_of_its_output(orthonormal: Any) -> None:
    audio = (0.1 * np.random.default_rng(1).standard_normal((2, 40_000))).astype(np.float32)
    std = scale(moments(orthonormal.encode(audio), 1000.0)).std
    found = noise(orthonormal, audio, RATE, std)
    for level in LEVELS:
        assert found[f"noise_si_sdr:{level:+d}dB"] == pytest.approx(-level, abs=0.1)
        assert found[f"noise_si_sdr_decoded:{level:+d}dB"] == pytest.approx(-level, abs=0.1)
    mels = [found[f"noise_mel_distance:{level:+d}dB"] for level in LEVELS]
    assert mels == sorted(mels) and mels[0] > 0
    assert noise(orthonormal, audio, RATE, std) == found
    decoded_mels = [found[f"noise_mel_distance_decoded:{level:+d}dB"] for level in LEVELS]
    assert decoded_mels == pytest.approx(mels, abs=1e-3)  # the audio is what is decoded
    assert noise(orthonormal, audio, RATE, std, seed=1) != found
    assert noise(orthonormal, audio, RATE, 0 * std)["noise_si_sdr:+0dB"] == EXACT


def test_noise_is_told_from_what_the_autoencoder_loses(truncated: Any) -> None:
    audio = (0.1 * np.random.default_rng(1).standard_normal((1, 40_000))).astype(np.float32)
    found = noise(truncated, audio, RATE, scale(moments(truncated.encode(audio), 1000.0)).std)
    assert found["noise_si_sdr:-40dB"] == pytest.approx(0, abs=0.2)  # half of the energy is lost
    assert found["noise_si_sdr_decoded:-40dB"] == pytest.approx(40, abs=0.1)


def test_a_constant_autoencoder_has_no_scores_but_reasons(constant: Any, sound: Any) -> None:
    found = gain(constant, sound(), RATE)
    assert isinstance(found["gain_linearity"], Undefined)
    assert isinstance(found["gain_si_sdr:+6dB"], Unscorable) and isinstance(found["gain_level_error:+6dB"], Unscorable)
    assert isinstance(shift(constant, sound(), RATE)["shift_si_sdr:1ms"], Unscorable)
    assert numbers(moments(constant.encode(sound()), 1000.0))["effective_rank"] == 0


def test_silence_and_short_files_have_reasons(orthonormal: Any) -> None:
    silence = np.zeros((1, 8000), np.float32)
    for found in (gain(orthonormal, silence, RATE), mixing(orthonormal, silence, silence, RATE)):
        assert all(isinstance(score, Unscorable) for score in found.values())
    short = shift(orthonormal, np.random.default_rng(0).standard_normal((1, 700)), RATE)
    assert str(short["shift_si_sdr:100ms"]) == "needs more than 800 samples, got 700"
    assert short["shift_si_sdr:1ms"] == EXACT and isinstance(short["shift_mel_distance:1ms"], Unscorable)


@pytest.mark.parametrize("name", ["pca", "music2latent:small"])
def test_systems_have_every_number(name: str, music: Callable[..., np.ndarray]) -> None:
    system: Any = load(name)
    first, second = music(44100, seed=1), music(44100, seed=2)
    std = scale(moments(system.encode(first), system.latent_rate)).std
    found = gain(system, first, 44100) | mixing(system, first, second, 44100)
    found |= shift(system, first, 44100) | noise(system, first, 44100, std)
    assert found.keys() == CARDS.keys()
    assert all(isinstance(score, float) and np.isfinite(score) for score in found.values())
    ratios = [found[f"noise_si_sdr_decoded:{level:+d}dB"] for level in LEVELS]
    assert ratios == sorted(ratios, reverse=True)


def test_cards_are_in_the_unit_and_direction_of_their_metric() -> None:
    assert len({card.hash for card in CARDS.values()}) == len(CARDS)
    for name, card in CARDS.items():
        metric = card.constants.get("metric")
        assert card.unit == ("" if metric == "mel_distance" or name == "gain_linearity" else "dB")
        assert card.higher_is_better is not (metric == "mel_distance" or "level_error" in name)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s, x: gain(s, x, 44100), ValueError, "sample_rate must be the system's 8000 Hz, got 44100"),
        (lambda s, x: gain(s, x[0], RATE), ValueError, r"audio must be finite and have shape .* got float32 \(8000,\)"),
        (lambda s, x: shift(s, x * np.nan, RATE), ValueError, "audio must be finite"),
        (lambda s, x: mixing(s, x, x[:1], RATE), ValueError, r"second must have .* \(2, 8000\), got \(1, 8000\)"),
        (lambda s, x: noise(s, x, RATE, np.ones(3)), ValueError, r"std must have 8 finite values .* got shape \(3,\)"),
        (lambda s, x: noise(s, x, RATE, -np.ones(8)), ValueError, "std must have 8 finite values of at least 0"),
        (lambda s, x: gain(load("opus:32k"), x, 48000), TypeError, r"system must have encode\(\).* got 'opus:32k'"),
        (
            lambda s, x: gain(Wrapped(s, decode=lambda y: y[:, 1:]), x, RATE),
            ValueError,
            r"decoded audio must be finite and have shape \(2, 8000\), got \(2, 7999\)",
        ),
    ],
)
def test_bad_input_is_named(
    call: Any, error: type[Exception], message: str, orthonormal: Any, sound: Callable[..., np.ndarray]
) -> None:
    with pytest.raises(error, match=message):
        call(orthonormal, sound())
