"""The set metrics as a run calls them: faults counted, intervals that hold the value, refusals, cards."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest

from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.metrics import METRICS, SetMetric, get_metric
from m2l_bench.reconstruction.sets.distribution import embedding_distance, fad, fad_inf, kad
from m2l_bench.reconstruction.sets.frechet import frechet_distance
from m2l_bench.reconstruction.sets.vectors import SideEncoder, load_encoder, vectors, with_encoder

SCORES = [fad, fad_inf, kad, embedding_distance]
SET_METRICS = {name: metric for name, metric in METRICS.items() if isinstance(metric, SetMetric)}


class Bands:
    """A quick encoder: log energies of eight bands, half a second a window."""

    name, sample_rate, window, hop, seed, fingerprint = "bands", 8000, 4000, 2000, 0, "beef"
    latent_dim, latent_rate = 8, 4.0

    def encode(self, audio):
        return self.whole_windows(np.pad(audio, [(0, 0), (0, self.window)]))

    def whole_windows(self, audio):
        windows = np.lib.stride_tricks.sliding_window_view(audio.mean(axis=0), self.window)[:: self.hop]
        power = np.abs(np.fft.rfft(windows)[:, 1:]) ** 2
        return np.log(power.reshape(len(windows), 8, -1).mean(axis=2) + 1e-6).astype(np.float32).T[None]


def heard(audios):
    """Vectors of each file, and why it has none."""
    found, reasons = [], []
    for audio in audios:
        try:
            found.append(vectors(Bands(), audio, 8000))
            reasons.append("")
        except Unscorable as reason:
            found.append(np.empty((0, 8), np.float32))
            reasons.append(str(reason))
    return found, reasons


def song(rng):
    pitch, decay = rng.uniform(100, 2000), rng.uniform(0.1, 3)
    time = np.arange(16000) / 8000
    tone = np.sin(2 * np.pi * pitch * time) * np.exp(-decay * time) + 0.3 * np.sin(2 * np.pi * 1.5 * pitch * time)
    return (0.2 * tone + 0.01 * rng.standard_normal((1, 16000))).astype(np.float32)


def dataset(n_files=50, noise=0.05):
    rng = np.random.default_rng(0)
    references = [song(rng) for _ in range(n_files)]
    return references, [x + noise * rng.standard_normal(x.shape).astype(np.float32) for x in references]


def embedded(n_files=50, noise=0.05):
    return [heard(side)[0] for side in dataset(n_files, noise)]


def test_broken_silent_and_short_files_are_counted_and_change_no_other():
    references, estimates = dataset()
    whole = [x for i, x in enumerate(references) if i not in (7, 20, 33)]
    whole_estimates = [x for i, x in enumerate(estimates) if i not in (7, 20, 33)]
    references[7], estimates[7] = np.full_like(references[7], np.nan), np.full_like(estimates[7], np.nan)
    estimates[20] = references[20] = np.zeros_like(references[20])
    references[33], estimates[33] = references[33][:, :1600], estimates[33][:, :1600]  # 0.2 s
    (left, reasons), (right, _) = heard(references), heard(estimates)
    assert {i: reason.split(":")[0] for i, reason in enumerate(reasons) if reason} == {
        7: "not finite",
        20: "silent",
        33: "too short for bands",
    }
    for score in SCORES:
        with_faults = score(left, right, 3)
        without = score(heard(whole)[0], heard(whole_estimates)[0], 3)
        assert (with_faults.value, with_faults.ci_low, with_faults.ci_high) == (
            without.value,
            without.ci_low,
            without.ci_high,
        )


def test_a_pair_with_one_faulty_side_is_left_out_on_both():
    left, right = embedded(20)
    damaged = [*right[:5], np.empty((0, 8), np.float32), *right[6:]]
    assert fad(left, damaged, 0).value == fad(left[:5] + left[6:], right[:5] + right[6:], 0).value


@pytest.mark.parametrize("score", SCORES)
def test_worse_systems_score_worse_and_lie_in_their_interval(score):
    results = [score(*embedded(noise=noise), 0) for noise in (0.01, 0.05, 0.2)]
    assert results[0].value < results[1].value < results[2].value
    for result in results:
        value = result.value if np.isnan(result.corrected) else result.corrected
        if score is fad_inf:
            assert np.isnan([result.ci_low, result.ci_high, result.corrected]).all()
        else:
            assert result.ci_low < value < result.ci_high


@pytest.mark.parametrize("score", SCORES)
def test_an_identical_copy_is_zero_with_an_interval_of_zero(score):
    left, _ = embedded()
    result = score(left, left, 0)
    assert result.value == pytest.approx(0, abs=1e-9)
    if score is not fad_inf:
        assert (result.ci_low, result.ci_high) == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_seeded_and_do_not_depend_on_the_order_of_files(score):
    left, right = embedded(30)
    first, again = score(left, right, 1), score(left, right, 1)
    assert first == again
    if score is not fad_inf:  # whose subsets are drawn by position
        assert score(left[::-1], right[::-1], 1).value == pytest.approx(first.value, rel=1e-9)


def test_fad_is_the_distance_of_the_pooled_windows_and_reports_its_health():
    left, right = embedded()
    result = fad(left, right, 0)
    assert result.value == frechet_distance(np.concatenate(left), np.concatenate(right))
    assert result.health == {"n": 350, "dim": 8, "rank_reference": 8}


@pytest.mark.parametrize(
    ("score", "n_files", "reason"),
    [
        (fad, 9, "too few files: needs 10 with at least one window, got 9"),
        (kad, 9, "too few files: needs 10"),
        (fad_inf, 19, "too few files: needs 20"),
        (embedding_distance, 9, "too few files: needs 10"),
    ],
)
def test_too_few_files_are_refused(score, n_files, reason):
    with pytest.raises(Unscorable, match=reason):
        score(*embedded(n_files), 0)


def test_too_few_windows_are_refused():
    left, right = ([x[:1] for x in side] for side in embedded(19))
    with pytest.raises(Unscorable, match="too few windows: needs 20 in all, got 19"):
        fad(left, right, 0)


@pytest.mark.parametrize("score", SCORES)
def test_a_reconstruction_short_of_its_last_window_is_compared_where_both_are(score):
    left, right = embedded(20)
    result = score(left, [right[0][:-1], *right[1:]], 0)
    assert result.value == score([left[0][:-1], *left[1:]], [right[0][:-1], *right[1:]], 0).value


def test_sides_of_another_dimension_are_refused():
    left, right = embedded(20)
    with pytest.raises(ValueError, match=r"windows must have one dimension, got \[7, 8\]"):
        fad(left, [x[:, :-1] for x in right], 0)


def test_compatible_metrics_score_or_say_why_not():
    left, right = embedded(80)
    for name in ("fad:vggish:fadtk", "fad:vggish:frechet-audio-distance", "fad_inf:vggish:fadtk"):
        assert np.isfinite(SET_METRICS[name].score(left, right, 0).value)
    with pytest.raises(Unscorable, match="too few windows: fadtk's smallest subset has 500, got 350"):
        SET_METRICS["fad_inf:vggish:fadtk"].score(left[:50], right[:50], 0)
    with pytest.raises(Unscorable, match="fadtk gives NaN: one of the files has a single window"):
        SET_METRICS["fad:vggish:fadtk"].score([*left, left[0][:1]], [*right, right[0][:1]], 0)


def test_every_card_is_complete_and_of_its_own():
    hashes = set()
    for name, metric in SET_METRICS.items():
        assert metric.card.name == name
        assert metric.card.model
        json.dumps(asdict(metric.card))
        hashes.add(metric.card.hash)
        encoder = metric.encoder.removesuffix("@side")
        assert encoder in {"musicnn", "vggish", "vggish:relu", "clap", "clap:htsat-unfused"}
        assert not metric.card.higher_is_better
    assert len(hashes) == len(SET_METRICS)
    assert {"fad:musicnn", "fad:vggish", "fad:clap", "fad_inf:musicnn", "kad:musicnn"} <= set(SET_METRICS)
    assert {"fad:musicnn@side", "fad:clap@side", "embedding_distance:musicnn"} <= set(SET_METRICS)


def test_the_card_of_rows_says_what_the_loaded_encoder_is():
    plain = SET_METRICS["fad:musicnn"].card
    card = with_encoder(plain, Bands())
    assert card.model == f"{plain.model}; bands beef"
    assert card.rate_rule == "both resampled to 8000 Hz (soxr VHQ)"
    assert {**plain.constants, "window": 4000, "hop": 2000, "tail": card.constants["tail"]} == card.constants
    assert card.hash != plain.hash


@cache
def _noise_and_quieter(encoder: str) -> list[list[np.ndarray]]:
    """Vectors of an encoder, computed once for all kinds of distances."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((20, 2, 44100)).astype(np.float32)
    return [[vectors(load_encoder(encoder), scale * x, 44100) for x in noise] for scale in (1.0, 0.1)]


@pytest.mark.parametrize("kind", ["fad", "fad_inf", "kad", "embedding_distance"])
@pytest.mark.parametrize("encoder", ["music2latent:small", "mfcc-chroma", "random-init:small", "mfcc-chroma@side"])
def test_any_encoder_gives_a_metric(kind, encoder):
    metric = get_metric(f"{kind}:{encoder}")
    assert (metric.card.name, metric.encoder) == (f"{kind}:{encoder}", encoder)
    card = with_encoder(metric.card, load_encoder(encoder))
    assert "window" not in card.constants and card.model.endswith(load_encoder(encoder).fingerprint)
    sides = _noise_and_quieter(encoder)
    same, other = metric.score(sides[0], sides[0], 0), metric.score(*sides, 0)
    assert same.value == pytest.approx(0, abs=1e-5) and other.value > 10 * abs(same.value)


def test_streams_and_frames_are_vectors_frame_by_frame():
    encoder, audio = load_encoder("music2latent:small"), np.random.default_rng(0).standard_normal((2, 44100))
    latents = encoder.encode(audio.astype(np.float32))
    found = vectors(encoder, audio.astype(np.float32), 44100)
    assert found.shape == (2 * latents.shape[2], latents.shape[1]) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:4], [latents[0, :, 0], latents[1, :, 0], latents[0, :, 1], latents[1, :, 1]])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fad:musicn", "unknown encoder 'musicn'; did you mean musicnn?"),
        ("fda:musicnn", "unknown metric 'fda:musicnn'; did you mean fad:musicnn?"),
        ("kad:opus:32k", "opus:32k has no latents, and cannot be an encoder"),
        ("fad_inf:vggish:x", "vggish has the variants linear, relu, got 'x'"),
        ("fad:musicn@side", "unknown encoder 'musicn'; did you mean musicnn?"),
        ("embedding_distance:opus:32k", "opus:32k has no latents, and cannot be an encoder"),
    ],
)
def test_a_wrong_encoder_is_one_clear_error(name, message):
    with pytest.raises(ValueError) as caught:
        get_metric(name)
    assert str(caught.value) == message


def test_listing_the_metrics_imports_neither_torch_nor_transformers():
    code = (
        "import sys; import m2l_bench.reconstruction.metrics; "
        "print({'torch', 'transformers', 'visqol', 'librosa'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"


@pytest.mark.parametrize("score", [fad, kad])
def test_contributions_are_the_pseudo_values_of_the_files(score) -> None:
    rng = np.random.default_rng(3)
    references = [rng.normal(size=(4, 6)) for _ in range(14)]
    estimates = [file + 0.3 * rng.normal(size=file.shape) for file in references]
    estimates[5] = estimates[5][:0]  # refused: left out on both sides
    whole = score(references, estimates, 0)
    found = np.array(whole.contributions)
    assert np.isnan(found[5]) and np.isfinite(np.delete(found, 5)).all()
    if score is kad:  # unbiased; but its bandwidth stays that of all files
        assert np.nanmean(found) == pytest.approx(whole.value, rel=1e-9) and np.isnan(whole.corrected)
        return
    assert np.nanmean(found) == pytest.approx(whole.corrected, rel=1e-9) and whole.corrected < whole.value
    without = [
        score(references[:k] + references[k + 1 :], estimates[:k] + estimates[k + 1 :], 0).value
        for k in range(14)
        if k != 5
    ]
    np.testing.assert_allclose(np.delete(found, 5), 13 * whole.value - 12 * np.array(without), atol=1e-8)


def test_what_is_corrected_is_nearer_to_the_distance_of_the_populations() -> None:
    rng = np.random.default_rng(4)
    truth = 8 * (1 + 1.5 - 2 * np.sqrt(1.5))  # of variances 1 and 1.5 in eight dimensions
    plain, corrected, covered = [], [], []
    for _ in range(60):
        references = [rng.normal(size=(5, 8)) for _ in range(25)]
        estimates = [x + np.sqrt(0.5) * rng.normal(size=x.shape) for x in references]
        found = fad(references, estimates, 0)
        plain.append(found.value)
        corrected.append(found.corrected)
        covered.append(found.ci_low <= truth <= found.ci_high)
    assert np.mean(plain) > 1.2 * truth and np.mean(corrected) == pytest.approx(truth, rel=0.05)
    assert 0.85 < np.mean(covered) < 1.0


@pytest.mark.parametrize("score", [fad, kad])
def test_two_equal_systems_are_rarely_told_apart_and_a_worse_one_is(score) -> None:
    from m2l_bench.statistics import paired_test

    def p_value(seed: int, worse: float) -> float:
        rng = np.random.default_rng(seed)
        references = [rng.normal(size=(1, 8)) + rng.normal(size=(5, 8)) for _ in range(20)]
        sides = [[file + noise * rng.normal(size=file.shape) for file in references] for noise in (0.3, 0.3 * worse)]
        return paired_test(*(score(references, side, 0).contributions for side in sides))

    assert sum(p_value(seed, 1.0) < 0.05 for seed in range(60)) <= 7  # 3 expected
    assert all(p_value(seed, 6.0) < 0.05 for seed in range(5))


def slow_embedding_distance(references, estimates):
    """By the definition, value by value."""
    rows = [row.tolist() for file in references for row in file]
    variance = 0.0
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        variance += sum((value - mean) ** 2 for value in column) / (len(column) - 1)
    of_files = []
    for reference, estimate in zip(references, estimates, strict=True):
        pairs = list(zip(reference.tolist(), estimate.tolist(), strict=False))
        squares = [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in pairs]
        of_files.append(sum(squares) / len(squares) / variance)
    return of_files


def test_embedding_distance_is_that_of_its_definition():
    left, right = embedded(20)
    result = embedding_distance(left, right, 0)
    expected = slow_embedding_distance(left, right)
    assert result.contributions == pytest.approx(expected, rel=1e-9)
    assert result.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert np.isnan(result.corrected) and not result.health


def test_embedding_distance_of_known_vectors():
    rng = np.random.default_rng(0)
    left = [rng.standard_normal((30, 4)).astype(np.float32) * [1, 2, 3, 4] for _ in range(200)]  # total variance 30
    shifted = [x + np.array([3, 0, 0, 0]) for x in left]
    assert embedding_distance(left, shifted, 0).value == pytest.approx(9 / 30, rel=0.05)
    assert embedding_distance(left, [*left[1:], left[0]], 0).value == pytest.approx(2.0, rel=0.05)  # another file
    scaled = [100 * np.asarray(side) for side in (left, shifted)]
    assert embedding_distance(*scaled, 0).value == pytest.approx(embedding_distance(left, shifted, 0).value)


def test_embedding_distance_leaves_out_files_without_vectors_and_keeps_their_places():
    left, right = embedded(20)
    result = embedding_distance(left, [*right[:5], np.empty((0, 8), np.float32), *right[6:]], 0)
    assert np.flatnonzero(np.isnan(result.contributions)).tolist() == [5]
    assert result.value == pytest.approx(np.nanmean(result.contributions))


def test_embedding_distance_needs_vectors_that_differ():
    same = [np.ones((5, 3), np.float32)] * 12
    with pytest.raises(Unscorable, match="vectors are all equal: no variance"):
        embedding_distance(same, same, 0)


def test_the_side_encoder_takes_the_side_of_a_file_as_one_channel():
    encoder = load_encoder("mfcc-chroma@side")
    assert (encoder.name, encoder.fingerprint) == (
        "mfcc-chroma@side",
        f"{load_encoder('mfcc-chroma').fingerprint}@side",
    )
    stereo = 0.1 * np.random.default_rng(0).standard_normal((2, 44100)).astype(np.float32)
    side = (stereo[:1] - stereo[1:]) / 2
    assert np.array_equal(vectors(encoder, stereo, 44100), vectors(load_encoder("mfcc-chroma"), side, 44100))


def test_the_side_encoder_notices_what_the_mean_of_the_channels_does_not():
    rng = np.random.default_rng(0)
    wide = [np.concatenate([song(rng), song(rng)]) for _ in range(20)]
    narrow = [x.mean(axis=0) + 0.1 * (x - x.mean(axis=0)) for x in wide]
    side = SideEncoder(Bands(), "bands@side", 8000, 0, "beef@side")
    values = [
        fad(*([vectors(encoder, x, 8000) for x in files] for files in (wide, narrow)), 0).value
        for encoder in (Bands(), side)
    ]
    assert values[0] < 1e-6 and values[1] > 1.0


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        ([0], "needs 2 channels that are not silent, got 1"),
        ([0, 1, 0], "needs 2 channels that are not silent, got 3"),
        ([0, 0], "audio is mono: its side is more than 60 dB below its mid"),
    ],
)
def test_a_file_without_a_side_has_no_vectors_of_it(channels, reason):
    audio = 0.1 * np.random.default_rng(0).standard_normal((2, 44100)).astype(np.float32)
    with pytest.raises(Unscorable, match=reason):
        vectors(load_encoder("mfcc-chroma@side"), audio[channels], 44100)


def test_the_card_of_a_side_says_so_and_has_the_window():
    card = with_encoder(SET_METRICS["fad:musicnn@side"].card, SideEncoder(Bands(), "bands@side", 8000, 0, "beef@side"))
    assert card.channel_rule.startswith("the side signal (L - R) / 2 as one channel; a file without two channels")
    assert card.constants["window"] == 4000 and card.rate_rule == "both resampled to 8000 Hz (soxr VHQ)"
    assert card.model.endswith("bands@side beef@side")
