"""Encoders of the reference rows: protocol, and what their features represent."""

from __future__ import annotations

import numpy as np
import pytest

from m2l_bench.music2latent.config import Config
from m2l_bench.probes import LinearProbe
from m2l_bench.systems.base import Encoder
from m2l_bench.systems.encoders.features import Cqt, Majority, Mel, MfccChroma, RandomInit
from m2l_bench.systems.encoders.musicnn import Musicnn

SMALL = Config(
    width=16, multipliers=(1, 1, 1, 1, 1), heads=2, blocks=(1, 1, 1, 1, 1), encoder_blocks=(1, 1, 1, 1, 1),
    bottleneck_width=32, bottleneck_blocks=1, embedding_width=16,
)  # fmt: skip
MAKE = {
    "cqt": Cqt,
    "majority": Majority,
    "mel": Mel,
    "mfcc-chroma": MfccChroma,
    "musicnn": Musicnn,
    "random-init": lambda: RandomInit(config=SMALL),
    "random-init-features": lambda: RandomInit(config=SMALL, layer="features"),
}


@pytest.fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    return {name: make() for name, make in MAKE.items()}


@pytest.mark.parametrize("name", list(MAKE))
def test_protocol(name: str, encoders: dict[str, Encoder]) -> None:
    encoder = encoders[name]
    assert isinstance(encoder, Encoder) and encoder.name == name and len(encoder.fingerprint) == 16
    rng = np.random.default_rng(0)
    for channels, samples in ((1, 1), (2, 5000), (1, 100_000)):
        audio = 0.1 * rng.standard_normal((channels, samples)).astype(np.float32)
        before = audio.copy()
        latents = encoder.encode(audio)
        assert latents.dtype == np.float32 and latents.shape[:2] == (1, encoder.latent_dim) and latents.shape[2] >= 1
        assert np.isfinite(latents).all() and np.array_equal(audio, before)
        np.testing.assert_array_equal(latents, encoder.encode(audio))
        mono = audio.mean(axis=0, keepdims=True)
        np.testing.assert_allclose(latents, encoder.encode(mono), rtol=1e-4, atol=1e-4)
    if name != "majority":
        assert latents.shape[2] == pytest.approx(100_000 / encoder.sample_rate * encoder.latent_rate, abs=2)
    assert np.isfinite(encoder.encode(np.zeros((1, 30_000), np.float32))).all()


def test_fingerprints_tell_apart() -> None:
    made = [RandomInit(config=SMALL), RandomInit(config=SMALL, seed=1), RandomInit(config=SMALL, layer="features")]
    assert len({one.fingerprint for one in [*made, Majority(), MfccChroma()]}) == 5
    assert made[0].fingerprint == RandomInit(config=SMALL).fingerprint
    with pytest.raises(ValueError, match="layer must be one of latents, features, got 'skips'"):
        RandomInit(config=SMALL, layer="skips")


def test_random_init_does_not_disturb_the_callers_random_numbers() -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    RandomInit(config=SMALL)
    assert torch.equal(torch.rand(1), expected)


def test_chroma_gives_the_pitch_class() -> None:
    time = np.arange(22_050) / 22_050
    chroma = {}
    for name, frequency in (("A", 440.0), ("A octave", 880.0), ("C", 523.25)):
        tone = np.sin(2 * np.pi * frequency * time).astype(np.float32)
        chroma[name] = MfccChroma().encode(tone[None])[0, 20:].mean(axis=1).argmax()
    assert chroma == {"A": 9, "A octave": 9, "C": 0}


def test_a_probe_on_majority_predicts_the_most_frequent_class() -> None:
    y = np.repeat([0, 1, 2], [5, 20, 9])
    x = np.repeat(Majority().encode(np.zeros((1, 10))).mean(axis=2), len(y), axis=0)
    assert LinearProbe().fit(x, y, validation=(x, y)).score(x, y) == 20 / 34


@pytest.mark.parametrize("make", [Mel, Cqt, MfccChroma])
def test_frames_lie_where_the_offset_says(make: type) -> None:
    """A click is loudest in the frame whose centre is nearest."""
    encoder = make()
    for time in (1.0, 1.234, 1.777):
        audio = np.zeros((1, round(3 * encoder.sample_rate)), np.float32)
        audio[0, round(time * encoder.sample_rate)] = 0.9
        latents = encoder.encode(audio)[0]
        latents = (
            latents[:1] if make is MfccChroma else latents[len(latents) // 2 :]
        )  # c0 is the level; high bands are quick
        # Where there is a plateau, its middle counts.
        level = latents.sum(axis=0)
        frame = np.flatnonzero(level > level.max() - 0.01 * np.ptp(level)).mean()
        centre = (frame + 0.5) / encoder.latent_rate + encoder.latent_offset
        assert centre == pytest.approx(time, abs=0.51 / encoder.latent_rate)


def test_cqt_has_a_bin_a_semitone() -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(44_800) / 22_400)[None].astype(np.float32)
    assert set(Cqt().encode(tone)[0, :, 20:80].argmax(axis=0)) == {69 - 24}  # C1 is MIDI 24
