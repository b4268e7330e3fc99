"""Clips of the listening page: choose them, write them, and read their manifest.

Conventions
-----------
A folder of clips holds ``manifest.json`` and 16-bit FLAC files (WAV and MP3 are read too)::

    {"version": 1, "systems": ["opus:12k", ...],
     "clips": [{"id": "album/01.ogg", "dataset": "my-music", "sample_rate": 44100, "n_samples": 441000, "start": 0.0,
                "reference": "0f3a.../reference.flac", "systems": {"opus:12k": "0f3a.../01.flac", ...}}]}

Paths are relative to the folder and never made from names; all files of a clip have its length, rate and number of
channels. A system that failed on a clip is missing from the clip's ``systems``.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.files.disk import write_atomic
from m2l_bench.files.untrusted import inside, parse_json
from m2l_bench.results import Item

MANIFEST = "manifest.json"
SUFFIXES = {".flac": "audio/flac", ".wav": "audio/wav", ".mp3": "audio/mpeg"}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Audio of one clip.

    Attributes
    ----------
    id, dataset : str
        As in the run's items.
    sample_rate : int
        Hz, of the reference and every estimate.
    reference : np.ndarray, float32, (channels, samples)
    estimates : mapping of str to np.ndarray
        System -> its reconstruction, of the reference's shape.
    """

    id: str
    dataset: str
    sample_rate: int
    reference: np.ndarray
    estimates: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ClipFiles:
    """One clip of a manifest; paths are absolute once read."""

    id: str
    dataset: str
    sample_rate: int
    n_samples: int
    start: float  # in its file, in seconds
    reference: str
    systems: Mapping[str, str] = field(default_factory=dict)


def choose_clips(items: Sequence[Item], *, dataset: str, metric: str, higher_is_better: bool, n: int = 9) -> list[str]:
    """Choose clips evenly from the worst to the best, among them the worst, the median and the best.

    A clip's place is the mean over systems of its rank in the metric: a system with large numbers does not decide.

    Parameters
    ----------
    n : int
        How many, odd and >= 3 (else ValueError); all clips where there are no more.

    Returns
    -------
    list of str
        Ids, worst first.
    """
    if n < 3 or n % 2 == 0:
        raise ValueError(f"n must be odd and at least 3, got {n}")
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for item in items:
        if (item.dataset, item.metric, item.task) == (dataset, metric, "") and np.isfinite(item.value):
            scores[item.system][item.item] = item.value if higher_is_better else -item.value
    ranks: dict[str, list[float]] = defaultdict(list)
    for of_system in scores.values():
        values = np.array(list(of_system.values()))
        for name, value in of_system.items():
            ranks[name].append(float(np.mean(values < value) + np.mean(values == value) / 2))
    order = sorted(ranks, key=lambda name: (float(np.mean(ranks[name])), name))
    if len(order) <= n:
        return order
    return [order[round(place)] for place in np.linspace(0, len(order) - 1, n)]


def write_clips(folder: Path, clips: Iterable[Clip], *, systems: Sequence[str]) -> None:
    """Write clips as 16-bit FLAC with their manifest (last, so that a folder with a manifest is complete).

    More than two channels are mixed to one. A signal that goes beyond full scale is scaled down as a whole and never
    clipped: the page matches levels. Clips are taken one at a time; `systems` is the order of the columns.

    Raises
    ------
    ValueError
        If an estimate has another shape than its reference, a system is not among `systems`, or a clip comes twice.
    """
    written: dict[str, ClipFiles] = {}
    for clip in clips:
        _check(clip, systems)
        name = hashlib.sha256(f"{clip.dataset}\n{clip.id}".encode()).hexdigest()[:16]
        if name in written:
            raise ValueError(f"{clip.dataset}: a clip must come once, got {clip.id!r} twice")
        files = written[name] = ClipFiles(
            id=clip.id,
            dataset=clip.dataset,
            sample_rate=clip.sample_rate,
            n_samples=clip.reference.shape[-1],
            start=0.0,
            reference=f"{name}/reference.flac",
            systems={system: f"{name}/{systems.index(system) + 1:02d}.flac" for system in clip.estimates},
        )
        _write_flac(folder / files.reference, clip.reference, clip.sample_rate)
        for system, path in files.systems.items():
            _write_flac(folder / path, clip.estimates[system], clip.sample_rate)
    content = {"version": 1, "systems": list(systems), "clips": [asdict(files) for files in written.values()]}
    write_atomic(folder / MANIFEST, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def read_manifest(folder: Path) -> list[ClipFiles]:
    """Read and check a manifest; the paths become absolute.

    Raises
    ------
    ValueError
        If the manifest is not of this form, or names a file that is missing, lies outside the folder, or has another
        sample rate, length (of lossless files) or format than stated.
    """
    path = folder / MANIFEST
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        systems = [str(system) for system in content["systems"]]
        clips = [ClipFiles(**clip) for clip in content["clips"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: must be a manifest of clips ({error})") from error
    for clip in clips:
        if unknown := sorted(set(clip.systems) - set(systems)):
            raise ValueError(f"{path}: clip {clip.id!r}: systems must be among {systems}, got {unknown}")
    return [
        replace(
            clip,
            reference=_checked(folder, clip, clip.reference),
            systems={system: _checked(folder, clip, name) for system, name in clip.systems.items()},
        )
        for clip in clips
    ]


def _checked(folder: Path, clip: ClipFiles, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{folder}: clip files must be {', '.join(SUFFIXES)} inside the folder, got {name!r}")
    found = audio_io.info(inside(folder, name, source=folder / MANIFEST))
    if found.sample_rate != clip.sample_rate:
        raise ValueError(
            f"{folder / path}: must have {clip.sample_rate} Hz as its manifest says, got {found.sample_rate}"
        )
    if path.suffix.lower() != ".mp3" and found.n_samples != clip.n_samples:
        raise ValueError(f"{folder / path}: must hold {clip.n_samples} samples, got {found.n_samples}")
    return str(folder / path)


def _check(clip: Clip, systems: Sequence[str]) -> None:
    if clip.reference.ndim != 2 or not clip.reference.size:
        raise ValueError(f"{clip.id}: reference must have shape (channels, samples), got {clip.reference.shape}")
    for system, estimate in clip.estimates.items():
        if system not in systems:
            raise ValueError(f"{clip.id}: system must be one of {', '.join(systems)}, got {system!r}")
        if estimate.shape != clip.reference.shape:
            raise ValueError(
                f"{clip.id}: {system} must have the reference's shape {clip.reference.shape}, got {estimate.shape}"
            )


def _write_flac(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    if len(audio) > 2:
        audio = audio.mean(axis=0, keepdims=True)
    peak = float(np.max(np.abs(audio)))
    limit = 32767 / 32768  # the largest positive value of 16 bits
    audio_io.write(path, audio * (limit / peak) if peak > limit else audio, sample_rate, subtype="PCM_16")
