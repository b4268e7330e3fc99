"""Stereo image, phases and level of a reconstruction: slow twins, and cases whose answer the definitions give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal

from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.metrics import get_metric, score_pair

RATE = 44_100
STEREO = ["si_sdr_mid", "si_sdr_side", "width_error", "width_change", "panning_error", "interchannel_coherence_error"]
LEVEL = ["loudness_error", "loudness_change", "true_peak_error", "true_peak_change"]
ALL = [*STEREO, "phase_coherence", *LEVEL]
PERFECT = {**dict.fromkeys(ALL, 0.0), "si_sdr_mid": 100.0, "si_sdr_side": 100.0, "phase_coherence": 1.0}


def scores(reference: np.ndarray, estimate: np.ndarray, names: list[str] = ALL, rate: int = RATE) -> dict[str, float]:
    found = score_pair(reference, estimate, rate, names)
    for value in found.values():
        if isinstance(value, Unscorable):
            raise value
    return found  # type: ignore[return-value]


def expect(found: dict[str, float], *, tolerance: float = 1e-6, **changed: float) -> None:
    """Every metric is as `changed` says, and perfect where it says nothing."""
    assert found == pytest.approx(PERFECT | changed, abs=tolerance)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """Independent noise in both channels, 3 s: panned to the middle on average, of width 0 dB, incoherent."""
    return 0.1 * np.random.default_rng(5).standard_normal((2, 3 * RATE))


# --- slow twins


def cells(channel: np.ndarray) -> list[list[complex]]:
    """STFT by its definition: frames of 2048 samples every 512, centred on sample 512 k, the ends reflected."""
    mirrored = [*channel[1024:0:-1], *channel, *channel[-2:-1026:-1]]
    hann = [math.sin(math.pi * n / 2048) ** 2 for n in range(2048)]
    starts = range(0, len(channel) + 1, 512)
    return [list(np.fft.fft([w * x for w, x in zip(hann, mirrored[s : s + 2048], strict=True)])[:1025]) for s in starts]


def bands(rate: int) -> list[list[int]]:
    """Bins of each band."""
    found: dict[int, list[int]] = {}
    for k in range(1, 1025):
        found.setdefault(math.floor(21.4 * math.log10(1 + 0.00437 * k * rate / 2048)), []).append(k)
    return list(found.values())


def slow_panning(reference: np.ndarray, estimate: np.ndarray) -> float:
    left, right, other_left, other_right = map(cells, (*reference, *estimate))

    def panning(a: complex, b: complex) -> float:
        return (abs(a) - abs(b)) / (abs(a) + abs(b)) if a or b else 0.0

    total = weight = 0.0
    for t in range(len(left)):
        for k in range(1025):
            w = abs(left[t][k]) ** 2 + abs(right[t][k]) ** 2
            total += w * abs(panning(other_left[t][k], other_right[t][k]) - panning(left[t][k], right[t][k]))
            weight += w
    return total / weight


def slow_coherence(x: list[list[complex]], y: list[list[complex]], band: list[int]) -> float:
    cross = sum(frame[k] * other[k].conjugate() for frame, other in zip(x, y, strict=True) for k in band)
    energies = [sum(abs(frame[k]) ** 2 for frame in side for k in band) for side in (x, y)]
    return abs(cross) / math.sqrt(energies[0] * energies[1])


def slow_energy(channels: list[list[list[complex]]], band: list[int]) -> float:
    return sum(abs(frame[k]) ** 2 for channel in channels for frame in channel for k in band)


def slow_interchannel(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    r, e = [cells(x) for x in reference], [cells(x) for x in estimate]
    energies = [slow_energy(r, band) for band in bands(rate)]
    errors = []
    for band, energy in zip(bands(rate), energies, strict=True):
        if energy > 1e-6 * max(energies):
            own = slow_coherence(*e, band) if slow_energy(e, band) > 1e-6 * energy else 0.0
            errors.append(abs(own - slow_coherence(*r, band)))
    return sum(errors) / len(errors)


def slow_phase(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    channels = []
    for r, e in zip(reference, estimate, strict=True):
        x, y = cells(r), cells(e)
        energies = [slow_energy([x], band) for band in bands(rate)]
        values = []
        for band, energy in zip(bands(rate), energies, strict=True):
            pairs = [(a[k], b[k]) for a, b in zip(x, y, strict=True) for k in band]
            if energy > 1e-6 * max(energies):
                ratio = abs(sum(a * b.conjugate() for a, b in pairs)) / sum(abs(a) * abs(b) for a, b in pairs)
                values.append(ratio if slow_energy([y], band) > 1e-6 * energy else 0.0)
        channels.append(sum(values) / len(values))
    return sum(channels) / 2


def slow_si_sdr(r: list[float], e: list[float]) -> float:
    r, e = [x - sum(r) / len(r) for x in r], [x - sum(e) / len(e) for x in e]
    a = sum(x * y for x, y in zip(r, e, strict=True)) / sum(x * x for x in r)
    return 10 * math.log10(sum((a * x) ** 2 for x in r) / sum((y - a * x) ** 2 for x, y in zip(r, e, strict=True)))


def slow_width(signal: np.ndarray) -> float:
    mid = [(a + b) / 2 for a, b in zip(*signal.tolist(), strict=True)]
    side = [(a - b) / 2 for a, b in zip(*signal.tolist(), strict=True)]
    energies = [sum((x - sum(part) / len(part)) ** 2 for x in part) for part in (mid, side)]
    return 10 * math.log10(energies[1] / energies[0])


@pytest.mark.parametrize("rate", [44_100, 16_000])
def test_equals_the_slow_twins(music: np.ndarray, coded: np.ndarray, rate: int) -> None:
    # A low-pass in the estimate, so that bands are empty on one side; an offset, so that means count.
    dulled = scipy.signal.sosfiltfilt(scipy.signal.butter(8, 0.3, output="sos"), coded[:, :4000])
    dulled += np.array([[0.1], [-0.05]])
    reference, estimate = music[:, :4000].astype(np.float64), dulled
    found = scores(reference, estimate, [*STEREO, "phase_coherence"], rate)
    sides = [
        [[(a + sign * b) / 2 for a, b in zip(*x.tolist(), strict=True)] for sign in (1, -1)]
        for x in (reference, estimate)
    ]
    width = slow_width(estimate) - slow_width(reference)
    expected = {
        "si_sdr_mid": slow_si_sdr(sides[0][0], sides[1][0]),
        "si_sdr_side": slow_si_sdr(sides[0][1], sides[1][1]),
        "width_error": abs(width),
        "width_change": width,
        "panning_error": slow_panning(reference, estimate),
        "interchannel_coherence_error": slow_interchannel(reference, estimate, rate),
        "phase_coherence": slow_phase(reference, estimate, rate),
    }
    assert found == pytest.approx(expected, rel=1e-8)


# --- cases


def test_an_exact_copy_is_perfect(noise: np.ndarray, music: np.ndarray) -> None:
    for signal in (noise, music):
        expect(scores(signal, signal.copy()), tolerance=1e-12)


def test_a_common_gain_changes_the_level_alone(noise: np.ndarray) -> None:
    half = -6.020600
    changed = {"loudness_change": half, "loudness_error": -half, "true_peak_change": half, "true_peak_error": -half}
    expect(scores(noise, 0.5 * noise), tolerance=1e-5, **changed)
    expect(scores(noise, -0.5 * noise), tolerance=1e-5, **changed)


def test_swapped_channels_have_the_width_but_not_the_panning(noise: np.ndarray) -> None:
    skewed = noise * [[1.0], [0.5]]
    found = scores(skewed, skewed[::-1].copy())
    # Panning is mirrored: the error is twice the size of the reference's own.
    doubled = (
        2 * scores(skewed, np.repeat(skewed.mean(axis=0, keepdims=True), 2, axis=0), ["panning_error"])["panning_error"]
    )
    assert found["phase_coherence"] < 0.2
    expect(found, panning_error=doubled, phase_coherence=found["phase_coherence"])


def test_a_mono_sum_keeps_the_mid_and_loses_the_rest(noise: np.ndarray) -> None:
    mono = np.repeat(noise.mean(axis=0, keepdims=True), 2, axis=0)
    found = scores(noise, mono, STEREO)
    width = 20 * math.log10(np.std(noise[0] - noise[1]) / np.std(noise[0] + noise[1]))
    assert found["si_sdr_mid"] == 100.0 and found["si_sdr_side"] == -100.0
    assert found["width_change"] == pytest.approx(-60.0 - width) and found["width_error"] == -found["width_change"]
    assert found["interchannel_coherence_error"] == pytest.approx(1.0, abs=0.12)  # from near 0 to 1
    assert found["panning_error"] == pytest.approx(_rayleigh_panning(), abs=0.01)


def _rayleigh_panning() -> float:
    """Energy-weighted mean panning of two independent complex Gaussians of one size, by integration over their angle."""
    # |L| = cos u, |R| = sin u with density 2 sin u cos u for u in [0, pi / 2]; the energy does not depend on u.
    u = (np.arange(100_000) + 0.5) / 100_000 * np.pi / 2
    density = 2 * np.sin(u) * np.cos(u)
    return float(np.mean(density * np.abs(np.cos(u) - np.sin(u)) / (np.cos(u) + np.sin(u))) * np.pi / 2)


def test_random_phases_with_true_magnitudes_lose_the_phases_alone(noise: np.ndarray) -> None:
    # Tones have one magnitude in all frames: their phases can be drawn anew without changing any.
    t = np.arange(3 * RATE) / RATE
    soft = scipy.signal.windows.tukey(len(t), 0.2)
    rng = np.random.default_rng(0)
    frequencies = 21.533203125 * np.arange(20, 900, 20)
    gains = rng.uniform(0.2, 1.0, (2, len(frequencies)))

    def tones(phases: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                sum(g * np.sin(2 * np.pi * f * t + p) for g, f, p in zip(row, frequencies, phases, strict=True))
                for row in gains
            ]
        )

    reference, estimate = (0.01 * soft * tones(rng.uniform(0, 2 * np.pi, len(frequencies))) for _ in range(2))
    found = scores(
        reference, estimate, ["panning_error", "width_error", "loudness_error", "interchannel_coherence_error"]
    )
    assert max(found.values()) < 0.02
    # In noise, every cell of the STFT gets a phase of its own, the same in both channels.
    _, _, spectrum = scipy.signal.stft(noise, nperseg=2048, noverlap=1536)
    spectrum = spectrum * np.exp(2j * np.pi * rng.uniform(size=spectrum.shape[1:]))
    made_up = scipy.signal.istft(spectrum, nperseg=2048, noverlap=1536)[1][:, : noise.shape[1]]
    found = scores(noise, made_up, ["phase_coherence", "si_sdr_mid", "panning_error"])
    assert found["phase_coherence"] < 0.15 and found["si_sdr_mid"] < -10


def test_one_delayed_channel_changes_phases_and_width_but_not_the_panning(noise: np.ndarray) -> None:
    near = np.stack([noise[0], 0.9 * noise[0] + 0.3 * noise[1]])  # coherent: 0.95
    delayed = np.stack([near[0], np.roll(near[1], 10)])
    found = scores(near, delayed)
    assert found["width_change"] > 5.0 and found["si_sdr_side"] < 0.0
    assert found["loudness_error"] < 0.01 and found["true_peak_error"] < 0.01
    # A channel is its own delayed copy: coherent with itself in narrow bands, less in wide ones; the other is untouched.
    left, right = (scores(near[[k]], delayed[[k]], ["phase_coherence"])["phase_coherence"] for k in (0, 1))
    assert left == pytest.approx(1.0) and 0.5 < right < 0.99
    assert found["phase_coherence"] == pytest.approx((left + right) / 2)


@pytest.mark.parametrize(("delay", "band"), [(8, 500.0), (40, 300.0)])
def test_phase_coherence_of_a_delay_is_the_sinc_of_band_and_delay(delay: int, band: float) -> None:
    """Flat noise in one band: the phases of a delayed copy run evenly over 2 pi B d."""
    from m2l_bench.reconstruction.pair.bands import erb_sums

    white = np.random.default_rng(0).standard_normal(20 * RATE)
    pair = white[None, 100:], white[None, 100 - delay : -delay]
    widths = erb_sums(np.ones(1025), RATE) * RATE / 2048
    expected = np.mean([abs(np.sinc(width * delay / RATE)) for width in widths])
    assert scores(*pair, ["phase_coherence"])["phase_coherence"] == pytest.approx(expected, abs=0.03)


def test_three_decibels_on_one_side(noise: np.ndarray) -> None:
    centred = noise[:1] + 0.05 * noise[1:] * [[1.0], [-1.0]]  # nearly mono: panned to the middle
    louder = centred * [[1.0], [math.sqrt(2)]]
    found = scores(centred, louder)
    shift = (math.sqrt(2) - 1) / (math.sqrt(2) + 1)
    assert found["panning_error"] == pytest.approx(shift, abs=0.01)
    assert found["phase_coherence"] == pytest.approx(1.0) and found["interchannel_coherence_error"] < 1e-9
    assert found["loudness_change"] == pytest.approx(10 * math.log10(1.5), abs=0.05)
    mid, side = (1 + math.sqrt(2)) / 2, (math.sqrt(2) - 1) / 2  # of the mono part
    assert found["width_change"] == pytest.approx(
        10 * math.log10((side / mid) ** 2 + 0.05**2) - 20 * math.log10(0.05), abs=0.1
    )


def test_width_of_a_scaled_side_is_exact(noise: np.ndarray) -> None:
    mid, side = noise
    for factor in (0.1, 0.5, 2.0):
        found = scores(np.stack([mid + side, mid - side]), np.stack([mid + factor * side, mid - factor * side]))
        assert found["width_change"] == pytest.approx(20 * math.log10(factor))
        assert found["width_error"] == abs(found["width_change"])
        assert found["si_sdr_mid"] == 100.0 and found["si_sdr_side"] == 100.0


def test_interchannel_coherence_is_that_of_the_mixture(noise: np.ndarray) -> None:
    shared, other = noise
    found = scores(np.stack([shared, other]), np.stack([shared, 0.8 * shared + 0.6 * other]))
    assert found["interchannel_coherence_error"] == pytest.approx(0.8, abs=0.1)
    polarity = np.stack([shared, 0.8 * shared + 0.6 * other]), np.stack([shared, -0.8 * shared - 0.6 * other])
    assert scores(*polarity)["interchannel_coherence_error"] == pytest.approx(0.0, abs=1e-12)


def low_passed(signal: np.ndarray) -> np.ndarray:
    """The signal without anything above 3.3 kHz."""
    spectrum = np.fft.rfft(signal)
    spectrum[:, round(3300 / RATE * signal.shape[-1]) :] = 0.0
    return np.fft.irfft(spectrum, signal.shape[-1])


def test_bands_that_a_codec_drops_have_no_phases(noise: np.ndarray) -> None:
    soft = noise * scipy.signal.windows.tukey(noise.shape[-1], 0.2)  # hard ends would reach into the empty bands
    low = low_passed(soft)
    # 21.4 log10(1 + 0.00437 f): 3.3 kHz lies in band 25 of the bands 0 to 42. What is 80 dB down does not count, though coherent.
    for rest, expected in ((1e-4, 26 / 43), (1e-2, 1.0)):
        found = scores(soft, low + rest * (soft - low), ["phase_coherence", "interchannel_coherence_error"])
        assert found["phase_coherence"] == pytest.approx(expected, abs=0.03)
    assert found["interchannel_coherence_error"] < 0.02


def test_dither_above_a_low_pass_of_the_reference_is_no_music(noise: np.ndarray) -> None:
    dulled = low_passed(noise)
    dither = 1e-6 * np.random.default_rng(1).standard_normal(noise.shape)
    found = scores(dulled + dither, dulled - dither, ["phase_coherence", "interchannel_coherence_error"])
    assert found["phase_coherence"] > 0.99 and found["interchannel_coherence_error"] < 0.01


# --- what cannot be scored


@pytest.mark.parametrize("kind", ["mono", "dual mono", "almost", "silent channel", "six channels"])
def test_a_reference_without_a_stereo_image_is_not_scored(noise: np.ndarray, kind: str) -> None:
    left, right = noise
    reference, reason = {
        "mono": (noise[:1], "needs 2 channels that are not silent, got 1"),
        "dual mono": (np.stack([left, left]), "reference is mono: its side is more than 60 dB below its mid"),
        "almost": (
            np.stack([left, left + 1.9e-3 * right]),
            "reference is mono: its side is more than 60 dB below its mid",
        ),
        "silent channel": (np.stack([left, 1e-4 * right]), "needs 2 channels that are not silent, got 1"),
        "six channels": (np.tile(noise, (3, 1)), "needs 2 channels that are not silent, got 6"),
    }[kind]
    found = score_pair(reference, reference + 0.01, RATE, ALL)
    assert {name: str(found[name]) for name in STEREO} == dict.fromkeys(STEREO, reason)
    assert not any(isinstance(found[name], Unscorable) for name in ("phase_coherence", *LEVEL))


def test_a_side_of_59_db_below_the_mid_is_stereo(noise: np.ndarray) -> None:
    left, right = noise
    faint = np.stack([left + 1.12e-3 * right, left - 1.12e-3 * right])
    assert scores(faint, faint) == pytest.approx(PERFECT, abs=1e-9)


def test_channels_in_opposite_phase_have_no_mid(noise: np.ndarray) -> None:
    opposite = noise[:1] * [[1.0], [-1.0]]
    found = score_pair(opposite, opposite, RATE, STEREO)
    assert str(found.pop("si_sdr_mid")) == "reference has no mid: it is more than 60 dB below the side"
    assert found == {**{name: PERFECT[name] for name in STEREO[1:]}}
    assert scores(opposite, noise, ["width_change"])["width_change"] == pytest.approx(-60.0, abs=0.1)


def test_quiet_sides_have_no_loudness(noise: np.ndarray) -> None:
    quiet = 1e-5 * noise
    for pair, side in (((quiet, noise), "reference"), ((noise, quiet), "estimate")):
        found = score_pair(*pair, RATE, LEVEL)
        reasons = {str(found[name]) for name in LEVEL[:2]}
        assert reasons == {f"{side} has no loudness: no block of 0.4 s is above -70 LUFS"}
        assert not isinstance(found["true_peak_error"], Unscorable)


@pytest.mark.parametrize(
    ("name", "n_samples"),
    [
        ("panning_error", 1025),
        ("interchannel_coherence_error", 1025),
        ("phase_coherence", 1025),
        ("loudness_error", 17640),
    ],
)
def test_the_least_length_is_that_of_the_card(noise: np.ndarray, name: str, n_samples: int) -> None:
    constants = get_metric(name).card.constants
    assert constants.get("min_samples", round(constants.get("min_seconds", 0) * RATE)) == n_samples
    assert np.isfinite(scores(noise[:, :n_samples], noise[:, 500 : 500 + n_samples], [name])[name])
    with pytest.raises(Unscorable, match=f"needs at least {n_samples} samples, got {n_samples - 1}"):
        scores(noise[:, : n_samples - 1], noise[:, : n_samples - 1], [name])


def test_a_change_is_described_and_an_error_is_lower_is_better() -> None:
    for quantity, unit in (("width", "dB"), ("loudness", "LU"), ("true_peak", "dB")):
        change, error = (get_metric(f"{quantity}_{form}").card for form in ("change", "error"))
        assert (change.higher_is_better, error.higher_is_better) == (None, False)
        assert change.unit == error.unit == unit and change.version == error.version == 1
