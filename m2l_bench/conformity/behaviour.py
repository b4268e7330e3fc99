"""How a system behaves: delay, seams, generation loss, memory, speed, size, and what exactly was loaded.

Each check takes a :class:`~m2l_bench.conformity.subject.Subject` and gives what it found; no findings where it does not
apply. Speed and memory are those of this machine while it did whatever else it did.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.conformity.finding import Finding, Verdict
from m2l_bench.conformity.subject import LONG, Subject
from m2l_bench.files.disk import sha256
from m2l_bench.files.hub import recorded
from m2l_bench.reconstruction import mel_distance, si_sdr
from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.pair.alignment import Alignment, align, undo_lag
from m2l_bench.reconstruction.pair.si_sdr import score
from m2l_bench.systems.base import Autoencoder

LATE = 0.99  # samples: one, less the error of the estimate
SLIGHT = 0.5  # samples
COSTLY = 1.0  # dB of SI-SDR; a coder of few bits may be off by a sample that its other errors hide
LOUDER = 1.0  # dB
PASSES = (1, 2, 5, 10)
CONTEXT = 1.0  # seconds before a cut in which the output may differ
AUDIBLE = 1e-4  # of full scale
MEMORY_SECONDS = (10, 60)


def alignment(subject: Subject) -> list[Finding]:
    """Lag, gain and polarity of two excerpts' reconstructions."""
    if not subject.is_codec:
        return []
    found: list[Alignment] = []
    costs: list[float] = []
    reason = ""
    for excerpt in subject.excerpts:
        try:
            found.append(align(excerpt.audio, excerpt.output, subject.rate))
            in_time = undo_lag(excerpt.audio, excerpt.output, found[-1].lag)
            costs.append(score(*in_time, subject.rate) - score(excerpt.audio, excerpt.output, subject.rate))
        except Unscorable as error:
            reason = str(error)
    if not found:
        meaning = "No lag, gain or polarity: the phases are not kept, or the delay is above 50 ms."
        return [Finding("lag, gain, polarity", "note", "undefined", meaning)]
    lag = max((a.lag for a in found), key=abs)
    gain = max((a.gain for a in found), key=abs)
    inverted = any(a.polarity < 0 for a in found)
    some = f" (1 of {len(subject.excerpts)} excerpts: {reason})" if reason else ""
    cost, side = max(costs), "late" if lag > 0 else "early"
    late: Verdict = "note" if abs(lag) >= SLIGHT or reason else "pass"
    meaning = "The output is in time."
    if abs(lag) >= SLIGHT:
        meaning = f"The output is {side}; in time, its SI-SDR would be {cost:.1f} dB higher."
    if abs(lag) >= LATE and cost >= COSTLY:
        late = "fail"
    level = f"{gain:+.2f} dB, {'inverted' if inverted else 'not inverted'}"
    off = inverted or abs(gain) > LOUDER
    kept = "The output is inverted." if inverted else "The part of the output that follows the input has another level."
    return [
        Finding("lag", late, f"{lag:.4g} samples", meaning + some, {"lag (samples)": lag, "cost (dB)": cost}),
        Finding(
            "gain, polarity",
            "note" if off else "pass",
            level,
            kept if off else "Level and polarity are kept.",
            {"gain (dB)": gain, "polarity": -1 if inverted else 1},
        ),
    ]


def seams(subject: Subject) -> list[Finding]:
    """A long file against its first part: how far before the cut the output is another one."""
    if not subject.is_codec:
        return []
    audio = subject.music(LONG)
    cut = round(0.63 * audio.shape[-1])  # no round number, so that blocks of usual lengths do not end there
    whole, part = subject.run(audio)[:, :cut], subject.run(audio[:, :cut])
    apart = np.abs(whole.astype(np.float64) - part).max(axis=0)
    inside = cut - round(CONTEXT * subject.rate)
    largest = float(apart[:inside].max())
    unlike = np.flatnonzero(apart > AUDIBLE)
    reach = (cut - int(unlike[0])) / subject.rate if unlike.size else 0.0
    figure = f"{largest:.2g} more than {CONTEXT:g} s before the cut"
    values = {"largest difference": largest, "reach (s)": reach}
    if largest <= AUDIBLE:
        meaning = f"What follows changes the output up to {reach:.2g} s before it, and nothing earlier."
        return [Finding("seams", "pass", figure, meaning, values)]
    meaning = f"What follows changes the output from {reach:.3g} s before it on: another length gives other numbers."
    return [Finding("seams", "note", figure, meaning, values)]


def generations(subject: Subject) -> list[Finding]:
    """SI-SDR and mel distance to the original after several passes."""
    if not subject.is_codec:
        return []
    excerpt = subject.excerpts[0]
    signal, texts = excerpt.output, []
    values: dict[str, float] = {}
    for n in range(1, max(PASSES) + 1):
        if n > 1:
            signal = subject.run(signal)
        if n in PASSES:
            ratio = float(np.nanmean(si_sdr(excerpt.audio, signal)))
            mel = float(np.nanmean(mel_distance(excerpt.audio, signal, subject.rate)))
            values |= {f"SI-SDR after {n} (dB)": ratio, f"mel distance after {n}": mel}
            texts.append((f"{ratio:.1f}", f"{mel:.2f}"))
    ratios, mels = (", ".join(column) for column in zip(*texts, strict=True))
    figure = f"SI-SDR {ratios} dB; mel distance {mels}"
    meaning = f"After {', '.join(map(str, PASSES))} passes, to the original."
    return [Finding("generation loss", "note", figure, meaning, values)]


def memory(subject: Subject) -> list[Finding]:
    """The peak of a process of its own, after a short and a long file."""
    if subject.spec is None or not Path("/proc/self/status").is_file():
        return []
    command = [sys.executable, "-m", "m2l_bench.conformity.peak", *map(str, MEMORY_SECONDS)]
    done = subprocess.run(command, input=subject.spec.model_dump_json(), capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        meaning = f"A process of its own ended early: {last}."
        return [Finding("peak memory", "fail", "-", meaning, {})]
    short, long = json.loads(lines[-1])
    seconds = MEMORY_SECONDS
    growth = (long - short) / (seconds[1] - seconds[0])
    figure = f"{short / 1e6:,.0f} MB for {seconds[0]} s, {long / 1e6:,.0f} MB for {seconds[1]} s of stereo"
    meaning = f"{growth / 1e6:.2g} MB for each further second, the audio itself included."
    values = {f"peak of {n} s (bytes)": float(size) for n, size in zip(seconds, (short, long), strict=True)}
    return [Finding("peak memory", "note", figure, meaning, values)]


def speed(subject: Subject) -> list[Finding]:
    """Seconds of stereo audio for each second of computing; the better of two times."""
    system, audio = subject.system, subject.excerpts[0].audio
    steps: dict[str, Callable[[], Any]] = {}
    if subject.is_encoder:
        steps["encode"] = lambda: system.encode(audio.copy())
    if isinstance(system, Autoencoder):
        latents = system.encode(audio.copy())
        steps["decode"] = lambda: system.decode(latents.copy(), audio.shape[-1])
    elif subject.is_codec:
        steps["reconstruct"] = lambda: system.reconstruct(audio.copy())
    factors = {name: audio.shape[-1] / subject.rate / min(map(_time, [step] * 2)) for name, step in steps.items()}
    figure = ", ".join(f"{name} {factor:.3g}x" for name, factor in factors.items())
    values = {f"{name} (x real time)": factor for name, factor in factors.items()}
    return [Finding("speed", "note", figure, "Times faster than real time, in stereo on this machine.", values)]


def identity(subject: Subject) -> list[Finding]:
    """Parameters, device, fingerprint, and the files of its weights with their SHA-256."""
    system = subject.system
    parameters, devices = _parameters(system)
    mark = getattr(system, "fingerprint", "")
    facts = [f"{parameters / 1e6:.4g} M parameters" if parameters else "no torch parameters found"]
    facts += [f"on {', '.join(sorted(devices))}"] if devices else []
    facts += (
        [f"{subject.rate:,} Hz" if system.sample_rate else "any sample rate"] if hasattr(system, "sample_rate") else []
    )
    findings = [
        Finding(
            "system", "note", ", ".join(facts), f"Fingerprint {mark or 'missing'}.", {"parameters": float(parameters)}
        )
    ]
    for name, digest, revision in _weights(subject):
        findings.append(Finding("weights", "note", name, f"SHA-256 {digest}{revision}."))
    return findings


def _weights(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """Name, SHA-256 and revision of the files that the system is known to have been loaded from."""
    system, given = subject.system, subject.spec.checkpoint if subject.spec else None
    paths = [Path(path) for path in getattr(system, "paths", ())] or ([Path(given)] if given else [])
    published = () if given else getattr(system, "published", ())
    for index, path in enumerate(paths):
        if path.is_file():
            source = published[index] if len(published) == len(paths) else None
            revision = recorded(source).get("revision", "") if source else ""
            name = f"{source.repo}/{source.file}" if source else path.name
            yield name, sha256(path), f", revision {revision}" if revision else ""


def _parameters(system: Any) -> tuple[int, set[str]]:
    """Number of parameters in the torch modules that the system holds, each counted once, and their devices."""
    torch = sys.modules.get("torch")
    if torch is None:
        return 0, set()
    seen: dict[int, Any] = {}
    waiting, met = [(system, 0)], set[int]()
    while waiting:
        thing, depth = waiting.pop()
        if id(thing) in met:
            continue
        met.add(id(thing))
        if isinstance(thing, torch.nn.Module):
            seen |= {id(parameter): parameter for parameter in thing.parameters()}
        elif isinstance(thing, (list, tuple, dict)):
            waiting += [(part, depth + 1) for part in (thing.values() if isinstance(thing, dict) else thing)] * (
                depth < 3
            )
        elif depth < 3 and hasattr(thing, "__dict__") and not isinstance(thing, type):
            waiting += [(part, depth + 1) for part in vars(thing).values()]
    return sum(p.numel() for p in seen.values()), {str(p.device) for p in seen.values()}


def _time(step: Callable[[], Any]) -> float:
    start = time.perf_counter()
    step()
    return max(time.perf_counter() - start, 1e-9)
