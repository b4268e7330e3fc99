"""Equivariance of an autoencoder: gain, mixing and shift of the audio, and noise in the latents.

Conventions
-----------
Functions take an autoencoder (E: encode, D: decode) and audio ``(channels, samples)`` at its own sample rate, and give the
scores of that file by the name of their card in :data:`CARDS`: a number, or the
:class:`~m2l_bench.reconstruction.checks.Unscorable` that says why there is none. Scores of pairs are those of
:func:`~m2l_bench.reconstruction.metrics.score_pair`.

Both sides are decoded with the same noise: nothing here seeds a decoder, because a system's decode must give the same output
for the same latents, from its own ``seed``. Where noise depends on the position (as Music2Latent's does), a shift moves the
music and not the noise: what a decoder makes up from noise lowers the scores.

Gain and mixing scale the audio first, such that the loudest signal that is encoded peaks at 0.5. So nothing clips, and no
number depends on how loud a file was mastered. SI-SDR ignores the level of the estimate, so gain has a level error beside it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from m2l_bench.audio import AudioError
from m2l_bench.cards import Card
from m2l_bench.reconstruction.checks import Undefined, Unscorable
from m2l_bench.reconstruction.metrics import Scores, get_metric, score_pair
from m2l_bench.systems import apply
from m2l_bench.systems.base import Autoencoder, System

GAINS = (-12, -6, 6, 12)  # dB
PEAK = 0.5  # of the loudest signal that is encoded, where signals are scaled
SHIFTS = {"1ms": 0.001, "10ms": 0.01, "100ms": 0.1}  # seconds
HALF_FRAME = "half-frame"
LEVELS = (-40, -30, -20, -10, 0)  # dB
_PAIR = ("si_sdr", "mel_distance")


class AutoencoderSystem(Autoencoder, System, Protocol):
    """An autoencoder with the attributes of a system."""


def gain(system: AutoencoderSystem, audio: np.ndarray, sample_rate: int) -> Scores:
    """Turn the audio up and down.

    Parameters
    ----------
    system : Autoencoder
    audio : np.ndarray of float32, shape (channels, samples)
    sample_rate : int
        Hz; the system's own.

    Returns
    -------
    dict of str to float or Unscorable
        For each gain of -12, -6, 6 and 12 dB (g as a factor): ``gain_si_sdr:*dB``, the SI-SDR (dB) of D(E(g x)) to g D(E(x));
        ``gain_level_error:*dB``, by how many dB their energies differ. ``gain_linearity``, in [0, 1]: the share of the
        variance of E(g x) over these gains and 0 dB that a straight line in g explains, the line of least squares of each
        latent value, and all values together. 1 if E is linear or affine; Undefined if the gain changes nothing.

    Raises
    ------
    ValueError, TypeError
        If the audio has another shape or rate; if the system cannot encode and decode, or returns another shape.
    """
    audio = _scaled(_checked(system, audio, sample_rate), 10 ** (max(GAINS) / 20))
    latents = {0: _encode(system, audio, sample_rate)}
    plain = _decode(system, latents[0], audio)
    scores: Scores = {}
    for decibels in GAINS:
        factor = np.float32(10 ** (decibels / 20))
        latents[decibels] = _encode(system, factor * audio, sample_rate)
        turned, expected = _decode(system, latents[decibels], audio), factor * plain
        name = f"{decibels:+d}dB"
        scores[f"gain_si_sdr:{name}"] = score_pair(expected, turned, sample_rate, ["si_sdr"])["si_sdr"]
        scores[f"gain_level_error:{name}"] = _level_error(expected, turned)
    scores["gain_linearity"] = _linearity(latents)
    return scores


def _level_error(expected: np.ndarray, turned: np.ndarray) -> float | Unscorable:
    energies = [float(np.sum(np.square(signal, dtype=np.float64))) for signal in (expected, turned)]
    return (
        abs(float(10 * np.log10(energies[1] / energies[0]))) if all(energies) else Unscorable("decoded audio is silent")
    )


def _linearity(latents: dict[int, np.ndarray]) -> float | Unscorable:
    factors = 10 ** (np.array(list(latents)) / 20)
    values = np.stack([each.ravel() for each in latents.values()]).astype(np.float64)
    values -= values.mean(axis=0)
    factors -= factors.mean()
    total = np.sum(values**2)
    if total == 0:
        return Undefined("latents do not change with the gain")
    slopes = factors @ values / (factors @ factors)
    return float(np.clip(1 - np.sum((values - factors[:, None] * slopes) ** 2) / total, 0, 1))


def mixing(system: AutoencoderSystem, first: np.ndarray, second: np.ndarray, sample_rate: int) -> Scores:
    """Add the latents of two files, x1 and x2.

    Parameters
    ----------
    system : Autoencoder
    first, second : np.ndarray of float32, shape (channels, samples)
        Of one shape.
    sample_rate : int
        Hz; the system's own.

    Returns
    -------
    dict of str to float or Unscorable
        SI-SDR (dB) of D(E(x1) + E(x2)): ``mixing_si_sdr``, to x1 + x2, and ``mixing_si_sdr_decoded``, to D(E(x1 + x2)).

    Raises
    ------
    ValueError, TypeError
        If the audio has another shape or rate; if the system cannot encode and decode, or returns another shape.
    """
    first, second = (_checked(system, audio, sample_rate) for audio in (first, second))
    if first.shape != second.shape:
        raise ValueError(f"second must have the first's shape {first.shape}, got {second.shape}")
    first, second, mixed = _scaled(np.stack([first, second, first + second]), 1.0)
    added = _encode(system, first, sample_rate) + _encode(system, second, sample_rate)
    estimate, decoded = _decode(system, added, mixed), _decode(system, _encode(system, mixed, sample_rate), mixed)
    return {
        name: score_pair(reference, estimate, sample_rate, ["si_sdr"])["si_sdr"]
        for name, reference in (("mixing_si_sdr", mixed), ("mixing_si_sdr_decoded", decoded))
    }


def same_shape(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What two files have in common, (channels, samples): channels and samples from the first on."""
    channels, n_samples = (min(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    return first[:channels, :n_samples], second[:channels, :n_samples]


def shift(system: AutoencoderSystem, audio: np.ndarray, sample_rate: int) -> Scores:
    """Shift the audio in time: encode it without its first samples.

    Parameters
    ----------
    system : Autoencoder
    audio : np.ndarray of float32, shape (channels, samples)
    sample_rate : int
        Hz; the system's own.

    Returns
    -------
    dict of str to float or Unscorable
        For shifts of 1, 10 and 100 ms and half a latent frame, each rounded to samples: ``shift_si_sdr:*`` (dB) and
        ``shift_mel_distance:*`` of D(E(shifted x)) to shifted D(E(x)).

    Raises
    ------
    ValueError, TypeError
        If the audio has another shape or rate; if the system cannot encode and decode, or returns another shape.
    """
    audio = _checked(system, audio, sample_rate)
    seconds = SHIFTS | {HALF_FRAME: 0.5 / system.latent_rate}
    plain = _decode(system, _encode(system, audio, sample_rate), audio)
    scores: Scores = {}
    for name, duration in seconds.items():
        later = round(duration * sample_rate)
        if later >= audio.shape[-1]:
            found: Scores = dict.fromkeys(_PAIR, Unscorable(f"needs more than {later} samples, got {audio.shape[-1]}"))
        else:
            shifted = audio[:, later:]
            estimate = _decode(system, _encode(system, shifted, sample_rate), shifted)
            found = score_pair(plain[:, later:], estimate, sample_rate, _PAIR)
        scores |= {f"shift_{metric}:{name}": found[metric] for metric in _PAIR}
    return scores


def noise(system: AutoencoderSystem, audio: np.ndarray, sample_rate: int, std: np.ndarray, *, seed: int = 0) -> Scores:
    """Decode latents with Gaussian noise: how much a generator of latents may err.

    Parameters
    ----------
    system : Autoencoder
    audio : np.ndarray of float32, shape (channels, samples)
    sample_rate : int
        Hz; the system's own.
    std : np.ndarray of float, shape (latent_dim,)
        Standard deviation of each dimension over a set of files: :func:`m2l_bench.latent.sheet.scale`.
    seed : int
        Of the noise, which is the same draw at every level.

    Returns
    -------
    dict of str to float or Unscorable
        For noise of -40, -30, -20, -10 and 0 dB relative to the standard deviation of each dimension: of the decoded audio to
        the audio, as for a reconstruction, ``noise_si_sdr:*dB`` (dB) and ``noise_mel_distance:*dB``; to what is decoded
        without noise, ``noise_si_sdr_decoded:*dB`` and ``noise_mel_distance_decoded:*dB``.

    Raises
    ------
    ValueError, TypeError
        If the audio has another shape or rate, or std another shape or a negative value; if the system cannot encode and
        decode, or returns another shape.
    """
    audio = _checked(system, audio, sample_rate)
    latents = _encode(system, audio, sample_rate)
    std = np.asarray(std, dtype=np.float64)
    if std.shape != latents.shape[1:2] or not (np.isfinite(std) & (std >= 0)).all():
        raise ValueError(f"std must have {latents.shape[1]} finite values of at least 0, got shape {std.shape}: {std}")
    drawn = std[:, None] * np.random.default_rng(seed).standard_normal(latents.shape)
    references = {"": audio, "_decoded": _decode(system, latents, audio)}
    scores: Scores = {}
    for level in LEVELS:
        disturbed = (latents + 10 ** (level / 20) * drawn).astype(np.float32)
        estimate = _decode(system, disturbed, audio)
        for suffix, reference in references.items():
            found = score_pair(reference, estimate, sample_rate, _PAIR)
            scores |= {f"noise_{metric}{suffix}:{level:+d}dB": found[metric] for metric in _PAIR}
    return scores


def _checked(system: AutoencoderSystem, audio: np.ndarray, sample_rate: int) -> np.ndarray:
    if not isinstance(system, Autoencoder):
        raise TypeError(
            f"system must have encode(), decode() and reconstruct(), got {getattr(system, 'name', system)!r}"
        )
    if sample_rate != (system.sample_rate or sample_rate):
        raise ValueError(f"sample_rate must be the system's {system.sample_rate} Hz, got {sample_rate}")
    audio = np.asarray(audio)
    if audio.ndim != 2 or 0 in audio.shape or not np.isfinite(audio).all():
        raise ValueError(f"audio must be finite and have shape (channels, samples), got {audio.dtype} {audio.shape}")
    return audio.astype(np.float32)


def _scaled(audio: np.ndarray, loudest: float) -> np.ndarray:
    """Audio such that `loudest` times it peaks at :data:`PEAK`; silence stays."""
    peak = loudest * float(np.abs(audio).max())
    return (audio * (PEAK / peak)).astype(np.float32) if peak else audio


def _encode(system: AutoencoderSystem, audio: np.ndarray, sample_rate: int) -> np.ndarray:
    return apply.encode(system, audio, sample_rate)[0].astype(np.float32)


def _decode(system: AutoencoderSystem, latents: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Decode to the shape of some audio, which is checked."""
    decoded = np.asarray(system.decode(latents, like.shape[-1]))
    if decoded.shape != like.shape or not np.isfinite(decoded).all():
        raise AudioError(f"decoded audio must be finite and have shape {like.shape}, got {decoded.shape}")
    return decoded


_SAME_NOISE = "both sides decoded with the noise of the system's own seed"
_SCALED = f"the loudest signal that is encoded peaks at {PEAK:g}"


def _card(
    name: str,
    title: str,
    formula: str,
    *,
    metric: str = "",
    higher_is_better: bool = True,
    unit: str = "dB",
    **constants: object,
) -> Card:
    """The card of a number, or of the score of a pair under a metric, whose own card it then names by its hash."""
    pair = get_metric(metric).card if metric else None
    return Card(
        name=name,
        title=title,
        unit=pair.unit if pair else unit,
        higher_is_better=pair.higher_is_better if pair else higher_is_better,
        formula=f"{formula}; {_SAME_NOISE}",
        rate_rule="of the system: files are resampled to it",
        channel_rule=pair.channel_rule if pair else "all channels or streams together",
        constants=({"metric": metric, "metric_card": pair.hash} if pair else {}) | constants,
        source="m2l_bench" + (f"; {pair.source}" if pair else ""),
    )


_TITLES = {"si_sdr": "SI-SDR", "mel_distance": "mel distance"}
CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        *(
            _card(
                f"gain_si_sdr:{decibels:+d}dB",
                f"gain SI-SDR, {decibels:+d} dB",
                f"SI-SDR of D(E(g x)) to g D(E(x)); {_SCALED}",
                metric="si_sdr",
                gain_db=decibels,
                loudest_gain_db=max(GAINS),
            )
            for decibels in GAINS
        ),
        *(
            _card(
                f"gain_level_error:{decibels:+d}dB",
                f"gain level error, {decibels:+d} dB",
                f"|10 log10(energy of D(E(g x)) / energy of g D(E(x)))|; {_SCALED}",
                higher_is_better=False,
                gain_db=decibels,
                loudest_gain_db=max(GAINS),
            )
            for decibels in GAINS
        ),
        _card(
            "gain_linearity",
            "gain linearity",
            "1 - sum of squares of E(g x) about the line a + b g of least squares / sum of squares about the mean over g, a and "
            f"b of each latent value, sums over all values and gains; {_SCALED}",
            unit="",
            gains_db=sorted((0, *GAINS)),
        ),
        _card(
            "mixing_si_sdr",
            "mixing SI-SDR",
            f"SI-SDR of D(E(x1) + E(x2)) to x1 + x2; {_SCALED}",
            metric="si_sdr",
        ),
        _card(
            "mixing_si_sdr_decoded",
            "mixing SI-SDR to decoded",
            f"SI-SDR of D(E(x1) + E(x2)) to D(E(x1 + x2)); {_SCALED}",
            metric="si_sdr",
        ),
        *(
            _card(
                f"shift_{metric}:{name}",
                f"shift {_TITLES[metric]}, {name}",
                f"{_TITLES[metric]} of D(E(x without its first samples)) to D(E(x)) without them; their number is the shift, "
                "rounded; noise that depends on the position is not shifted",
                metric=metric,
                shift=seconds,
            )
            for name, seconds in {**SHIFTS, HALF_FRAME: "0.5 / latent rate"}.items()
            for metric in _PAIR
        ),
        *(
            _card(
                f"noise_{metric}{suffix}:{level:+d}dB",
                f"noise {_TITLES[metric]}{' to decoded' if suffix else ''}, {level:+d} dB",
                f"{_TITLES[metric]} of D(E(x) + 10^(level / 20) s n) to {reference}; n: standard normal, seeded, the same at "
                "every level; s: standard deviation of each dimension over all files",
                metric=metric,
                level_db=level,
            )
            for level in LEVELS
            for suffix, reference in (("", "x"), ("_decoded", "D(E(x))"))
            for metric in _PAIR
        ),
    )
}
