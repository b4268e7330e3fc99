"""Mel distance: each definition against the released tool's recorded numbers and an independent implementation."""

from __future__ import annotations

import warnings

import librosa
import numpy as np
import pytest
import torch

from m2l_bench.reconstruction import mel_distance
from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.metrics import METRICS, score_pair
from m2l_bench.reconstruction.pair.mel import DEFINITIONS, mel_filters

NAMES = tuple(DEFINITIONS)
SEVEN = [(32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320)]

# Printed by record_mel.py: descript-audiotools 0.7.2, torchaudio 2.11.0, AudioCodecBench at 91a1a7e; (rate, channel).
RECORDED = {
    "dac-eval": {
        (44100, 0): 3.1993837356567383,
        (44100, 1): 3.210620641708374,
        (24000, 0): 3.683455228805542,
        (24000, 1): 3.6952567100524902,
    },
    "dac-train": {
        (44100, 0): 3.5993642807006836,
        (44100, 1): 3.6008670330047607,
        (24000, 0): 4.592037677764893,
        (24000, 1): 4.581363201141357,
    },
    "audiocodecbench": {
        (44100, 0): 2.9263596534729004,
        (44100, 1): 2.914479970932007,
        (24000, 0): 3.2124156951904297,
        (24000, 1): 3.203507661819458,
    },
}


def librosa_filters(rate: int, n_fft: int, n_mels: int, htk: bool) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of bands that hold no bin
        norm = None if htk else "slaney"
        return librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, htk=htk, norm=norm, dtype=np.float64)


def in_torch(reference: np.ndarray, estimate: np.ndarray, rate: int, definition: str) -> float:
    """The conventions of the tools written down once more, with torch.stft and librosa's filters, in float64."""
    htk = definition == "audiocodecbench"
    total = 0.0
    for n_fft, n_mels in [(2048, 150), (512, 80)] if definition == "dac-eval" else SEVEN:
        filters = torch.tensor(librosa_filters(rate, n_fft, n_mels, htk))
        window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64)
        mel = []
        for signal in (reference, estimate):
            spectrum = torch.stft(
                torch.tensor(signal).double(), n_fft, n_fft // 4, window=window, return_complex=True, pad_mode="reflect"
            )
            mel.append(filters @ (spectrum.abs() ** 2 if htk else spectrum.abs()))
        x, y = (m.clamp(1e-5) for m in mel)
        if definition == "dac-eval":
            total += (x.pow(2).log10() - y.pow(2).log10()).abs().mean() + (mel[0] - mel[1]).abs().mean()
        elif definition == "dac-train":
            total += (x.log10() - y.log10()).abs().mean()
        else:
            total += (x.log() - y.log()).abs().mean() / 7
    return float(total)


@pytest.mark.parametrize("name", NAMES)
def test_gives_the_number_of_the_released_tool(music: np.ndarray, coded: np.ndarray, name: str) -> None:
    for (rate, channel), expected in RECORDED[name].items():
        value = mel_distance(music[channel], coded[channel], rate, definition=name)
        assert value == pytest.approx(expected, rel=3e-7)  # the tools compute in float32


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_samples", [1025, 4410, 30_011])
def test_equals_an_independent_implementation(music: np.ndarray, coded: np.ndarray, name: str, n_samples: int) -> None:
    pair = music[0, :n_samples], coded[0, :n_samples]
    assert mel_distance(*pair, 44_100, definition=name) == pytest.approx(in_torch(*pair, 44_100, name), rel=1e-11)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize(("n_fft", "n_mels"), [*SEVEN, (2048, 150)])
def test_filters_equal_librosa(rate: int, n_fft: int, n_mels: int) -> None:
    for scale in ("slaney", "htk"):
        expected = librosa_filters(rate, n_fft, n_mels, scale == "htk")
        np.testing.assert_allclose(mel_filters(rate, n_fft, n_mels, scale), expected, atol=1e-12)


def test_three_tools_mean_three_things_by_the_name(music: np.ndarray, coded: np.ndarray) -> None:
    values = [mel_distance(music[0], coded[0], 44_100, definition=name) for name in NAMES]
    assert min(abs(a - b) for i, a in enumerate(values) for b in values[:i]) > 0.2
    assert mel_distance(music[0], coded[0], 44_100) == values[NAMES.index("dac-eval")]


@pytest.mark.parametrize("name", NAMES)
def test_exact_copy_is_0_exactly(music: np.ndarray, name: str) -> None:
    assert mel_distance(music, music.copy(), 44_100, definition=name).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_symmetric_so_swapped_arguments_do_no_harm(music: np.ndarray, coded: np.ndarray, name: str) -> None:
    there = mel_distance(music, coded, 44_100, definition=name)
    np.testing.assert_allclose(mel_distance(coded, music, 44_100, definition=name), there, rtol=1e-12)


def test_a_gain_alone_has_the_value_written_in_its_formula(rng: np.random.Generator) -> None:
    noise = 1e6 * rng.standard_normal(20_000)  # loud in every band that holds a bin: nothing is clamped
    value = mel_distance(noise, 0.5 * noise, 44_100, definition="dac-train")
    held = sum((mel_filters(44_100, w, m, "slaney").any(axis=1)).mean() for w, m in SEVEN)
    assert value == pytest.approx(held * np.log10(2.0), rel=1e-9)


def test_polarity_changes_nothing(music: np.ndarray) -> None:
    assert mel_distance(music, -music, 44_100).tolist() == [0.0, 0.0]


def test_batch_equals_single_and_channels_keep_their_order(music: np.ndarray, coded: np.ndarray) -> None:
    batch = mel_distance(np.stack([music, coded]), np.stack([coded, coded]), 44_100)
    assert batch.shape == (2, 2) and batch.dtype == np.float64
    assert batch[0].tolist() == [mel_distance(r, e, 44_100) for r, e in zip(music, coded, strict=True)]
    assert batch[1].tolist() == [0.0, 0.0]
    assert isinstance(mel_distance(music[0], coded[0], 44_100), float)


def test_definitions_taken_together_equal_definitions_taken_alone(music: np.ndarray, coded: np.ndarray) -> None:
    definitions = {name: name.partition(":")[2] or "dac-eval" for name in METRICS if name.startswith("mel_distance")}
    together = score_pair(music[:1], coded[:1], 44_100, list(definitions))
    assert sorted(definitions.values()) == sorted(NAMES)
    assert together == {name: mel_distance(music[0], coded[0], 44_100, definition=d) for name, d in definitions.items()}


def test_a_silent_reference_is_nan_and_a_silent_estimate_a_number(music: np.ndarray) -> None:
    assert np.isnan(mel_distance(np.zeros_like(music), music, 44_100)).all()
    assert np.isfinite(mel_distance(music, np.zeros_like(music), 44_100)).all()


def test_unknown_definition_is_named(music: np.ndarray) -> None:
    with pytest.raises(ValueError, match="definition must be one of dac-eval, dac-train, audiocodecbench, got 'dac'"):
        mel_distance(music, music, 44_100, definition="dac")


@pytest.mark.parametrize("rate", [0, -44_100, float("nan")])
def test_sample_rate_must_be_positive(music: np.ndarray, rate: float) -> None:
    with pytest.raises(ValueError, match="sample_rate must be positive"):
        mel_distance(music, music, rate)


def test_shorter_than_the_reflection_is_unscorable(music: np.ndarray) -> None:
    with pytest.raises(Unscorable, match="at least 1025 samples, got 1024"):
        mel_distance(music[0, :1024], music[0, :1024], 44_100)


def test_different_length_is_an_error_not_a_trim(music: np.ndarray) -> None:
    with pytest.raises(ValueError, match="nothing is trimmed"):
        mel_distance(music, music[:, 1:], 44_100)
