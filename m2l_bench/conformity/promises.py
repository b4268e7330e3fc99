"""What the protocols promise: shapes, finite values, seeds, no state, batches, latents, one way back.

Each check takes a :class:`~m2l_bench.conformity.subject.Subject` and gives what it found; no findings where it does not
apply. A check may raise whatever the system raises.
"""

from __future__ import annotations

import numpy as np

from m2l_bench.conformity.finding import ROUNDING, Finding, Verdict, decibels, difference, level
from m2l_bench.conformity.subject import Subject
from m2l_bench.plugins import one_line
from m2l_bench.systems.base import Autoencoder, BitstreamCodec

LENGTHS = (1, 100, 44_101)  # samples
MUSICAL = 44_101  # samples; what is shorter, a system may refuse
SECONDS = 1.0  # of test signals
SILENT = -60.0  # dB relative to full scale


def shapes(subject: Subject) -> list[Finding]:
    """Exact length and channels of what comes back, and an input that stays as it was."""
    return [_shape(subject, "mono and stereo", (1, 2)), _shape(subject, "6 channels", (6,))]


def _shape(subject: Subject, name: str, counts: tuple[int, ...]) -> Finding:
    broken: list[str] = []
    refused: list[str] = []
    for n_samples in LENGTHS:
        for channels in counts:
            rng = np.random.default_rng(n_samples)
            given = (0.1 * rng.standard_normal((channels, n_samples))).clip(-0.5, 0.5).astype(np.float32)
            kept = given.copy()
            system = subject.system
            try:
                back = system.reconstruct(given) if subject.is_codec else system.encode(given)
            except ValueError as error:
                fine = channels > 2 or n_samples < MUSICAL
                (refused if fine else broken).append(f"{_samples(n_samples)} refused: {one_line(error)}")
                continue
            except Exception as error:  # a user's code may raise anything
                broken.append(f"{_samples(n_samples)} of {channels} channels raised {one_line(error)}")
                continue
            fault = _fault(subject, given, np.asarray(back))
            if not np.array_equal(given, kept):
                fault = "the input was changed in place"
            if fault:
                broken.append(f"{_samples(n_samples)} of {channels} channels: {fault}")
    total = len(LENGTHS) * len(counts)
    figure = f"{total - len(broken) - len(refused)} of {total} as promised"
    what = "Reconstructions have exactly the shape of their input." if subject.is_codec else "Latents have their shape."
    verdict: Verdict = "fail" if broken else "note" if refused else "pass"
    meaning = _first(broken or refused) if broken or refused else what
    return Finding(f"shape, {name}", verdict, figure, meaning, {"broken": len(broken), "refused": len(refused)})


def _fault(subject: Subject, given: np.ndarray, back: np.ndarray) -> str:
    """What is wrong with the output for an input; empty if nothing is."""
    if subject.is_codec and back.shape != given.shape:
        return f"a reconstruction must have its input's shape {given.shape}, got {back.shape}"
    dim = None if subject.is_codec else subject.system.latent_dim
    if dim and (back.ndim != 3 or back.shape[1] != dim or 0 in back.shape):
        return f"latents must have shape (streams, {dim}, frames), got {back.shape}"
    if back.dtype != np.float32:
        return f"must be float32, got {back.dtype}"
    return "" if np.isfinite(back).all() else "must be finite, got NaN or infinite values"


def levels(subject: Subject) -> list[Finding]:
    """Silence, a constant, and a sine and a square at full scale, in stereo."""
    n_samples = round(SECONDS * subject.rate)
    tone = np.sin(2 * np.pi * 997 / subject.rate * np.arange(n_samples))
    signals = {
        "silence": np.zeros(n_samples),
        "DC 0.5": np.full(n_samples, 0.5),
        "full-scale sine": tone,
        "full-scale square": np.sign(tone + 1e-9),
    }
    findings = []
    for name, signal in signals.items():
        given = np.stack([signal, signal]).astype(np.float32)
        back = subject.run(given)
        if not np.isfinite(back).all():
            findings.append(Finding(name, "fail", "-", "The output has NaN or infinite values."))
        elif subject.is_codec:
            findings.append(_level(name, given, back))
    return findings or [Finding("test signals", "pass", "finite", "Latents of silence, DC and full scale are finite.")]


def _level(name: str, given: np.ndarray, back: np.ndarray) -> Finding:
    peak, mean, size = float(np.abs(back).max()), float(back.mean()), level(back)
    values = {"level (dBFS)": size, "peak": peak, "mean": mean}
    if name == "silence":
        figure, good = f"{_dbfs(size)}, peak {peak:.2g}", size <= SILENT
        meaning = "Silence stays silent." if good else "The system makes a sound of silence."
    elif name.startswith("DC"):
        figure, good = f"mean {mean:.3f}", abs(mean - 0.5) < 0.05
        meaning = "A constant is kept." if good else "A constant is not kept; most metrics subtract it."
    else:
        beyond = float((np.abs(back) > 1).mean())
        clipped = float((np.abs(back) >= 1).mean() - (np.abs(given) >= 1).mean())
        values |= {"share beyond full scale": beyond, "share newly at full scale": clipped}
        figure, good = f"{_dbfs(size)}, peak {peak:.3f}", beyond == 0 and clipped < 1e-3
        meaning = "Nothing is clipped." if good else f"{100 * clipped:.1f}% of the samples are clipped to full scale."
        if beyond:
            meaning = (
                f"{100 * beyond:.1f}% of the samples lie beyond full scale: clipped where they are written to PCM."
            )
    return Finding(name, "pass" if good else "note", figure, meaning, values)


def repeats(subject: Subject) -> list[Finding]:
    """The same seed twice, two files in either order, and another seed. It comes first: the system must be fresh."""
    a, b = subject.excerpts
    once = [a.output, b.output]
    fresh = subject.reload()
    if fresh is None:
        again = [subject.run(a.audio), subject.run(b.audio)]
        return [
            _repeat("same system twice", once, again, "The system keeps state between calls, or draws unseeded noise.")
        ]
    other_way = [subject.run(b.audio, fresh), subject.run(a.audio, fresh)][::-1]
    unequal = difference_of(once, other_way)
    # Noise or state? A third one meets the files in the first order: only noise then differs.
    same_way = other_way
    if unequal > -np.inf:
        third = subject.reload()
        same_way = [subject.run(a.audio, third), subject.run(b.audio, third)]
        if getattr(fresh, "fingerprint", None) != getattr(subject.system, "fingerprint", None):
            return [Finding("same seed twice", "fail", "two fingerprints", "One seed must give one fingerprint.")]
    meaning = "Equal fingerprints must mean equal numbers: something is drawn without the seed."
    seed = _repeat("same seed twice", once, same_way, meaning)
    if seed.verdict == "fail":
        state = Finding("order of files", "note", "-", "Cannot be told while the same seed gives other numbers.")
    else:
        state = _repeat("order of files", once, other_way, "A file's output depends on the file before: state is kept.")
    return [seed, state, _other_seed(subject, once[0])]


def _repeat(name: str, once: list[np.ndarray], again: list[np.ndarray], fault: str) -> Finding:
    found = difference_of(once, again)
    values = {"difference (dB)": found}
    if found == -np.inf:
        return Finding(name, "pass", "bit-equal", "Two files give the same numbers again.", values)
    if found < ROUNDING:
        return Finding(name, "note", decibels(found), "Equal within rounding, not in every bit.", values)
    return Finding(name, "fail", f"differs by {decibels(found)}", fault, values)


def difference_of(once: list[np.ndarray], again: list[np.ndarray]) -> float:
    """The largest difference of two lists of outputs in dB; inf where shapes differ."""
    pairs = zip(once, again, strict=True)
    return max(np.inf if x.shape != y.shape else difference(x, y) for x, y in pairs)


def _other_seed(subject: Subject, once: np.ndarray) -> Finding:
    other = subject.reload(further=1)
    found = difference_of([once], [subject.run(subject.excerpts[0].audio, other)])
    values = {"difference (dB)": found}
    if found == -np.inf:
        return Finding("another seed", "pass", "bit-equal", "The output does not depend on the seed.", values)
    if other.fingerprint == subject.system.fingerprint:
        meaning = "Another seed gives other numbers, but the same fingerprint: it must cover the seed."
        return Finding("another seed", "fail", f"differs by {decibels(found)}", meaning, values)
    if not getattr(subject.system, "is_seeded", True):
        meaning = "Another seed gives other numbers, but is_seeded is False."
        return Finding("another seed", "fail", f"differs by {decibels(found)}", meaning, values)
    return Finding("another seed", "note", f"differs by {decibels(found)}", "So much of the output is drawn.", values)


def batches(subject: Subject) -> list[Finding]:
    """A batch of files against the files alone, where the system takes batches."""
    findings = []
    given = np.stack([excerpt.audio for excerpt in subject.excerpts])
    for name in ("encode", "reconstruct"):
        method = getattr(subject.system, f"{name}_batch", None)
        if method is None:
            continue
        alone = [np.asarray(getattr(subject.system, name)(audio.copy())) for audio in given]
        together = list(np.asarray(method(given.copy())))
        if len(together) != len(alone):
            meaning = f"A batch of {len(alone)} must give as many, got {len(together)}."
            findings.append(Finding(f"{name}_batch", "fail", "-", meaning))
        else:
            findings.append(
                _repeat(f"{name}_batch", alone, together, "A file in a batch must give what it gives alone.")
            )
    return findings


def round_trip(subject: Subject) -> list[Finding]:
    """``encode`` then ``decode``, and ``compress`` then ``decompress``, against ``reconstruct``."""
    system, audio, findings = subject.system, subject.excerpts[0].audio, []
    if isinstance(system, Autoencoder):
        back = np.asarray(system.decode(system.encode(audio.copy()), audio.shape[-1]))
        findings.append(_same(subject, "encode, decode", back, "decode() of encode() is not what reconstruct() gives."))
    if isinstance(system, BitstreamCodec):
        data = system.compress(audio.copy())
        back = np.asarray(system.decompress(data, *audio.shape))
        kbps = 8 * len(data) / (audio.shape[-1] / subject.rate) / 1000
        found = _same(subject, "compress, decompress", back, "The measured bits do not give what reconstruct() gives.")
        values = {**found.values, "bit rate (kbit/s)": kbps}
        findings.append(Finding(found.name, found.verdict, f"{found.figure}, {kbps:.4g} kbit/s", found.meaning, values))
    return findings


def _same(subject: Subject, name: str, back: np.ndarray, fault: str) -> Finding:
    expected = subject.excerpts[0].output
    if back.shape != expected.shape:
        meaning = f"It must have the shape of reconstruct() {expected.shape}, got {back.shape}."
        return Finding(name, "fail", "-", meaning)
    found = difference(expected, back)
    figure = "bit-equal" if found == -np.inf else f"differs by {decibels(found)}"
    if found < ROUNDING:
        return Finding(name, "pass", figure, "Equal to reconstruct().", {"difference (dB)": found})
    return Finding(name, "note", figure, fault, {"difference (dB)": found})


def latents(subject: Subject) -> list[Finding]:
    """Shape, dimension and rate of latents against what the system claims."""
    if not subject.is_encoder:
        return []
    system, rate = subject.system, subject.rate
    audio = subject.music(3.0)
    short, long = (np.asarray(system.encode(audio[:, : n * rate].copy())) for n in (1, 3))
    dim, claimed = system.latent_dim, float(system.latent_rate)
    shape = f"{long.shape} for 3 s of stereo"
    for found in (short, long):
        if found.ndim != 3 or found.shape[1] != dim or 0 in found.shape:
            meaning = f"Latents must have shape (streams, {dim}, frames), got {found.shape}."
            return [Finding("latents", "fail", shape, meaning)]
    frames = long.shape[-1] - short.shape[-1]  # the difference leaves out what is padded at the ends
    values = {"dim": dim, "rate (Hz)": claimed, "streams": long.shape[0], "values a second": dim * claimed * len(long)}
    figure = f"{shape}, {dim} x {claimed:.4g} Hz, {values['values a second']:,.4g} values/s"
    if abs(frames - 2 * claimed) > 1:
        meaning = f"latent_rate promises {2 * claimed:.4g} frames for 2 s more of audio, got {frames}."
        return [Finding("latents", "fail", figure, meaning, values)]
    return [Finding("latents", "pass", figure, "Shape, dimension and rate are as claimed.", values)]


def _samples(n_samples: int) -> str:
    return "1 sample" if n_samples == 1 else f"{n_samples:,} samples"


def _first(faults: list[str]) -> str:
    return faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")


def _dbfs(value: float) -> str:
    return "digital zero" if value == -np.inf else f"{value:.1f} dBFS"
