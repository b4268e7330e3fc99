"""The registry: names, cards, pairs that cannot be scored, and several metrics of one pair."""

from __future__ import annotations

import json

import numpy as np
import pytest

from m2l_bench.reconstruction import mel_distance, metrics, pair_metrics, si_sdr, stft_distance
from m2l_bench.reconstruction.checks import SILENT_RULE, Unscorable, silent_channels
from m2l_bench.reconstruction.metrics import METRICS, PairMetric, card_of_rows, get_metric, score_pair
from m2l_bench.reconstruction.pair import spectra

PAIR_METRICS = [name for name, metric in METRICS.items() if isinstance(metric, PairMetric) and name != "visqol"]
STEREO = ["si_sdr_mid", "si_sdr_side", "width_error", "width_change", "panning_error", "interchannel_coherence_error"]
LEVEL = ["loudness_error", "loudness_change", "true_peak_error", "true_peak_change"]
EACH_CHANNEL = [name for name in PAIR_METRICS if name not in STEREO]
DISTANCES = ["mel_distance", "mel_distance:dac-train", "mel_distance:audiocodecbench", "stft_distance"]
RATE = 44_100


def score(name: str, reference: np.ndarray, estimate: np.ndarray) -> float:
    value = score_pair(reference, estimate, RATE, [name])[name]
    if isinstance(value, Unscorable):
        raise value
    return value


def test_names() -> None:
    assert [
        *["si_sdr", "si_sdr_aligned", "mel_distance", "mel_distance:dac-train", "mel_distance:audiocodecbench"],
        *["stft_distance", "lag", "gain", "polarity", *STEREO, "phase_coherence", *LEVEL],
    ] == PAIR_METRICS


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown metric 'sisdr'; did you mean si_sdr"):
        get_metric("sisdr")


@pytest.mark.parametrize("name", list(METRICS))
def test_card_is_named_as_its_entry_and_serialises(name: str) -> None:
    card = METRICS[name].card
    assert card.name == name and card.title and card.formula and card.source
    json.dumps(dict(card.constants))
    assert len(card.hash) == 12


@pytest.mark.parametrize("name", [*PAIR_METRICS, "visqol"])
def test_cards_of_pair_metrics_state_the_channel_rule_and_the_least_length(name: str) -> None:
    card = METRICS[name].card
    assert card.channel_rule.startswith(SILENT_RULE)
    assert {"min_samples", "min_seconds"} & set(card.constants)


def test_no_two_cards_share_a_hash() -> None:
    assert len({metric.card.hash for metric in METRICS.values()}) == len(METRICS)


def test_identity_is_exact(music: np.ndarray) -> None:
    scores = score_pair(music, music.copy(), RATE, PAIR_METRICS)
    assert {name: scores[name] for name in DISTANCES} == dict.fromkeys(DISTANCES, 0.0)
    assert scores["si_sdr"] == scores["si_sdr_aligned"] == 100.0
    assert (scores["lag"], scores["gain"], scores["polarity"]) == (0.0, 0.0, 1.0)
    assert scores["si_sdr_mid"] == scores["si_sdr_side"] == 100.0
    assert scores["phase_coherence"] == pytest.approx(1.0, abs=1e-12)
    assert [scores[name] for name in (*STEREO[2:], *LEVEL)] == [0.0] * 8


def test_mean_over_channels_of_the_functions(music: np.ndarray, coded: np.ndarray) -> None:
    assert score("si_sdr", music, coded) == np.mean(si_sdr(music, coded))
    assert score("stft_distance", music, coded) == np.mean(stft_distance(music, coded, RATE))
    for definition in ("dac-train", "audiocodecbench"):
        expected = np.mean(mel_distance(music, coded, RATE, definition=definition))
        assert score(f"mel_distance:{definition}", music, coded) == expected
    assert score("mel_distance", music, coded) == np.mean(mel_distance(music, coded, RATE))


def test_together_equals_alone_in_any_order(music: np.ndarray, coded: np.ndarray) -> None:
    names = PAIR_METRICS[::-1]
    scores = score_pair(music, coded, RATE, names)
    assert list(scores) == names
    assert scores == {name: score(name, music, coded) for name in names}


def test_asked_for_twice_is_given_once(music: np.ndarray, coded: np.ndarray) -> None:
    assert list(score_pair(music, coded, RATE, ["lag", "si_sdr", "lag"])) == ["lag", "si_sdr"]


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_order_of_channels_does_not_matter(name: str, music: np.ndarray, coded: np.ndarray) -> None:
    swapped = score(name, music[::-1].copy(), coded[::-1].copy())
    assert swapped == pytest.approx(score(name, music, coded), rel=1e-12)


@pytest.mark.parametrize("name", EACH_CHANNEL)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_number_of_channels(name: str, channels: int, music: np.ndarray, coded: np.ndarray) -> None:
    pair = (np.tile(x, (3, 1))[:channels] for x in (music, coded))
    assert np.isfinite(score(name, *pair))


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silent_reference_is_counted_not_imputed(level: float, music: np.ndarray) -> None:
    names = [*PAIR_METRICS, "visqol"]
    scores = score_pair(np.full_like(music, level), music, RATE, names)
    assert {name: str(scores[name]) for name in names} == dict.fromkeys(names, "reference is silent")


def empty_channels(n_samples: int) -> list[np.ndarray]:
    """Channels without music: zeros, an offset, one least significant bit of 16-bit noise."""
    lsb = np.random.default_rng(3).integers(-1, 2, n_samples) / 2**15
    return [channel.astype(np.float32) for channel in (np.zeros(n_samples), np.full(n_samples, 0.1), lsb)]


@pytest.mark.parametrize("name", [*EACH_CHANNEL, "visqol"])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_channel_silent_in_the_reference_is_left_out(
    name: str, kind: int, music: np.ndarray, coded: np.ndarray
) -> None:
    empty = empty_channels(music.shape[-1])[kind]
    expected = pytest.approx(score(name, music[:1], coded[:1]), rel=1e-9)
    for estimate in (coded[1], empty, np.zeros_like(empty)):
        assert score(name, np.stack([music[0], empty]), np.stack([coded[0], estimate])) == expected
        assert score(name, np.stack([empty, music[0]]), np.stack([estimate, coded[0]])) == expected


def test_the_functions_give_nan_where_score_pair_leaves_out(music: np.ndarray, coded: np.ndarray) -> None:
    reference = np.stack([music[0], *empty_channels(music.shape[-1]), music[1]])
    estimate = np.stack([coded[0], *coded, coded[0], coded[1]])
    assert silent_channels(reference).tolist() == [False, True, True, True, False]
    for function in (si_sdr, mel_distance, stft_distance):
        values = function(reference, estimate, RATE)
        assert np.isnan(values).tolist() == [False, True, True, True, False]  # type: ignore[union-attr]
        assert score(function.__name__, reference, estimate) == np.nanmean(values)
        batch = function(np.stack([reference, 1e-4 * reference]), np.stack([estimate, estimate]), RATE)
        assert np.isnan(batch[1]).tolist() == [False, True, True, True, False]  # type: ignore[index]


@pytest.mark.parametrize(("decibels", "silent"), [(-59.9, False), (-60.1, True)])
def test_silent_is_60_db_below_the_loudest_about_the_mean(decibels: float, silent: bool, music: np.ndarray) -> None:
    quiet = 10 ** (decibels / 20) * music[0].astype(np.float64)
    for reference in ([music[0], quiet + 0.25], [quiet - 0.25, music[0]]):
        assert silent_channels(np.stack(reference)).sum() == silent
    assert not silent_channels(quiet) and not silent_channels(quiet[None])[0]
    assert silent_channels(np.zeros(10)) and silent_channels(np.full((2, 10), 0.1, np.float32)).all()


def test_silent_estimate(music: np.ndarray) -> None:
    scores = score_pair(music, np.zeros_like(music), RATE, PAIR_METRICS)
    assert scores["si_sdr"] == scores["si_sdr_aligned"] == -100.0
    assert all(np.isfinite(scores[name]) for name in DISTANCES)
    assert {str(scores[name]) for name in ("lag", "gain", "polarity")} == {
        "estimate is silent: no lag, gain or polarity"
    }
    assert scores["si_sdr_mid"] == scores["si_sdr_side"] == -100.0 and scores["phase_coherence"] == 0.0
    assert {name: str(scores[name]) for name in (*STEREO[2:], *LEVEL)} == {
        **dict.fromkeys(STEREO[2:4], "estimate is silent: no width"),
        **dict.fromkeys(STEREO[4:], "estimate is silent: no stereo image"),
        **dict.fromkeys(LEVEL[:2], "estimate has no loudness: no block of 0.4 s is above -70 LUFS"),
        **dict.fromkeys(LEVEL[2:], "estimate is silent: no true peak"),
    }


@pytest.mark.parametrize("name", PAIR_METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_samples_are_unscorable(name: str, bad: float, music: np.ndarray) -> None:
    broken = music.copy()
    broken[0, 100] = bad
    with pytest.raises(Unscorable, match="estimate has 1 NaN or infinite samples"):
        score(name, music, broken)
    with pytest.raises(Unscorable, match="reference has 1 NaN or infinite samples"):
        score(name, broken, music)


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_too_short_is_unscorable_and_says_the_least(name: str, music: np.ndarray) -> None:
    with pytest.raises(Unscorable, match=r"needs at least \d+ samples, got 1"):
        score(name, music[:, :1], music[:, :1])


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_different_length_is_an_error_not_a_trim(name: str, music: np.ndarray) -> None:
    with pytest.raises(ValueError, match="nothing is trimmed") as error:
        score(name, music, music[:, :-1])
    assert not isinstance(error.value, Unscorable)


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_one_dimension_is_an_error_as_channels_are_told_by_the_first(name: str, music: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(channels, samples\) arrays, got shape \(44100,\)"):
        score(name, music[0], music[0])


def test_each_metric_gives_its_own_reason_and_the_others_their_numbers(music: np.ndarray) -> None:
    scores = score_pair(music[:, :2000], music[:, :2000], RATE, PAIR_METRICS)
    assert scores["si_sdr"] == 100.0 and scores["mel_distance"] == 0.0
    assert str(scores["lag"]) == "needs at least 4539 samples, got 2000"
    assert isinstance(scores["si_sdr_aligned"], Unscorable)


def test_a_pair_that_is_not_finite_has_one_reason_for_all(music: np.ndarray) -> None:
    broken = np.where(np.arange(music.shape[-1]) < 3, np.float32(np.nan), music)
    scores = score_pair(music, broken, RATE, PAIR_METRICS)
    assert {str(reason) for reason in scores.values()} == {"estimate has 6 NaN or infinite samples"}


def test_score_pair_raises_what_is_the_callers_fault(music: np.ndarray) -> None:
    with pytest.raises(ValueError, match="unknown metric 'nope'"):
        score_pair(music, music, RATE, ["si_sdr", "nope"])
    with pytest.raises(ValueError, match="nothing is trimmed"):
        score_pair(music, music[:, 1:], RATE, ["si_sdr"])
    with pytest.raises(ValueError, match="sample_rate must be positive"):
        score_pair(music, music, 0, ["si_sdr"])


def test_metrics_asked_for_together_take_each_stft_once(
    music: np.ndarray, coded: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    original = spectra.spectra

    def counted(signals: tuple[np.ndarray, ...], *, n_fft: int, hop_length: int):  # type: ignore[no-untyped-def]
        taken.append(n_fft)
        return original(signals, n_fft=n_fft, hop_length=hop_length)

    monkeypatch.setattr(spectra, "spectra", counted)
    score_pair(music, coded, RATE, [name for name in PAIR_METRICS if name != "stft_distance"])
    assert taken == [32, 64, 128, 256, 512, 1024, 2048]


@pytest.mark.parametrize("n_samples", [1025, 1500, 30_011])
@pytest.mark.parametrize(("n_fft", "hop", "width"), [(2048, 512, 2048), (2048, 240, 1200), (512, 50, 240), (32, 8, 32)])
def test_spectra_are_those_of_the_reflected_signal(
    n_samples: int, n_fft: int, hop: int, width: int, rng: np.random.Generator
) -> None:
    signals = rng.standard_normal((2, n_samples))
    blocks = list(spectra.spectra(signals, n_fft=n_fft, hop_length=hop, window_length=width))
    window = np.sin(np.pi * np.arange(width) / width) ** 2
    inset = (n_fft - width) // 2
    for channel, signal in enumerate(signals):
        padded = np.pad(signal, n_fft // 2, mode="reflect")
        starts = inset + hop * np.arange(1 + n_samples // hop)
        expected = np.fft.rfft([window * padded[start : start + width] for start in starts], n_fft)
        found = [block[channel] for block in blocks]
        np.testing.assert_allclose(np.concatenate([x.bins for x in found]), expected, atol=1e-11)
        np.testing.assert_allclose(np.concatenate([x.magnitude for x in found]), np.abs(expected), atol=1e-11)
        np.testing.assert_allclose(np.concatenate([x.power for x in found]), np.abs(expected) ** 2, atol=1e-9)


def test_a_pair_is_checked_once(music: np.ndarray, coded: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = metrics.check_pair

    def counted(*pair: np.ndarray, **options: int):  # type: ignore[no-untyped-def]
        calls.append(1)
        return original(*pair, **options)

    for module in (metrics, pair_metrics.si_sdr, pair_metrics.mel, pair_metrics.stft):
        monkeypatch.setattr(module, "check_pair", counted)
    score_pair(music, coded, RATE, PAIR_METRICS)
    assert len(calls) == 1


def test_the_card_of_rows_names_the_loaded_encoder() -> None:
    from m2l_bench.systems.registry import load

    card = card_of_rows("fad:musicnn")
    assert card is not None and card.model.endswith(load("musicnn").fingerprint)
    assert card_of_rows("si_sdr") == METRICS["si_sdr"].card


def test_the_card_of_rows_of_an_encoder_that_is_not_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise OSError("not in the cache")

    monkeypatch.setattr(metrics, "load_encoder", absent)
    assert card_of_rows("fad:vggish") is None
