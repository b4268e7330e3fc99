"""The listening page: one static folder that opens from the disk, without network and without a server.

Conventions
-----------
``index.html`` holds scores and code; the audio of clip N lies in ``clips/N.js`` (base64 of the files as they are: a page
opened from the disk may load scripts and pictures, and nothing else) and is loaded when the clip is opened; its
spectrograms are ``spectrograms/N-S.png``, S = 0 for the original. All systems of a clip play at the loudness of the
original (ITU-R BS.1770); one common factor keeps the loudest of them below full scale.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.report.clips import SUFFIXES, ClipFiles
from m2l_bench.report.figure_data import spectrogram
from m2l_bench.report.loudness import loudness
from m2l_bench.report.runs import RunData, natural_key
from m2l_bench.report.significance import Pairs, ScoreKey
from m2l_bench.report.templates import environment

# Levels that a picture shows, in dB below full scale.
TOP, BOTTOM = -10.0, -100.0
MOST_GAIN = 20.0  # dB; a larger difference is not corrected
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(folder: Path, results: RunData, clips: Sequence[ClipFiles], *, title: str) -> None:
    """Write the page of `clips` with the scores in `results`.

    Parameters
    ----------
    folder : Path
        Of the page.
    results : RunData
    clips : sequence of ClipFiles
    title : str

    Raises
    ------
    ValueError
        If a clip's files differ in their number of channels.
    """
    systems = [system for system in results.systems if any(system in clip.systems for clip in clips)]
    extra = {system for clip in clips for system in clip.systems} - set(systems)
    systems += sorted(extra, key=natural_key)
    for name in ("clips", "spectrograms"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:  # decoding and transforms leave the interpreter free
        list(pool.map(lambda index: _write_clip(folder, index, clips[index], systems), range(len(clips))))
    data = page_data(results, clips, systems) | {"title": title}
    (folder / "index.html").write_text(_render(data), encoding="utf-8")


def page_data(results: RunData, clips: Sequence[ClipFiles], systems: Sequence[str]) -> dict[str, Any]:
    """Collect the page's data: systems, metrics, and every clip's scores, as JSON-serialisable values.

    Returns
    -------
    dict
        ``clips[i]["scores"][m][s]`` is the score of system s in metric m, or None.
    """
    pairs = Pairs(item for item in results.items if not item.task)
    datasets = {clip.dataset for clip in clips}
    names = dict.fromkeys(score_key.metric for score_key in pairs.measured() if score_key.dataset in datasets)
    # A clip's contribution to a number of the whole set is not a score of the clip.
    cards = {row.metric: results.cards[row.card] for row in results.rows if not row.task and row.statistic == "mean"}
    metrics = [name for name in _metric_order(names) if name in cards]
    return {
        "systems": list(systems),
        "metrics": [
            {
                "name": name,
                "title": cards[name]["title"],
                "unit": cards[name]["unit"],
                "better": cards[name]["higher_is_better"],
            }
            for name in metrics
        ],
        "clips": [
            {
                "id": clip.id,
                "dataset": clip.dataset,
                "rate": clip.sample_rate,
                "seconds": round(clip.n_samples / clip.sample_rate, 6),
                "start": clip.start,
                "has": [system in clip.systems for system in systems],
                "scores": [_scores(pairs, clip, metric, systems) for metric in metrics],
            }
            for clip in clips
        ],
    }


def merge_clips(parts: Sequence[Sequence[ClipFiles]]) -> list[ClipFiles]:
    """Clips of several runs as one list: the same excerpt of the same file holds the systems of all runs."""
    merged: dict[tuple[Any, ...], ClipFiles] = {}
    for part in parts:
        for clip in part:
            key = (clip.dataset, clip.id, clip.start, clip.sample_rate, clip.n_samples)
            other = merged.get(key)
            merged[key] = replace(other, systems={**clip.systems, **other.systems}) if other else clip
    return list(merged.values())


def matched_gains(levels: Sequence[float], peaks: Sequence[float]) -> list[float]:
    """Factors that bring every signal to the loudness of the first, none of them above full scale.

    Parameters
    ----------
    levels : sequence of float
        Loudness in LUFS, the original's first; minus infinity for silence, which is left alone.
    peaks : sequence of float
        Largest magnitude of each signal.

    Examples
    --------
    >>> matched_gains([-20.0, -26.0], [0.1, 0.05])
    [1.0, 1.995262]
    """
    gains = []
    for level in levels:
        wanted = levels[0] - level if math.isfinite(level) and math.isfinite(levels[0]) else 0.0
        gains.append(10 ** (min(MOST_GAIN, max(-MOST_GAIN, wanted)) / 20))
    highest = max((gain * peak for gain, peak in zip(gains, peaks, strict=True)), default=0.0)
    common = min(1.0, 1.0 / highest) if highest > 0 else 1.0
    return [round(gain * common, 6) for gain in gains]


def _metric_order(names: Mapping[str, None]) -> list[str]:
    """Put the usual metrics first; the page opens with the first one."""
    first = ("si_sdr", "mel_distance", "stft_distance")
    return sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name))


def _scores(pairs: Pairs, clip: ClipFiles, metric: str, systems: Sequence[str]) -> list[float | None]:
    scores = pairs.scores(ScoreKey(clip.dataset, "", "", "", metric))
    found = (scores.get(system, {}).get(clip.id) for system in systems)
    return [None if value is None else float(f"{value:.6g}") for value in found]


def _write_clip(folder: Path, index: int, clip: ClipFiles, systems: Sequence[str]) -> None:
    paths = [Path(clip.reference)] + [
        Path(clip.systems[system]) if system in clip.systems else None for system in systems
    ]
    encoded: list[str | None] = []
    levels, peaks, channels = [], [], set()
    for place, path in enumerate(paths):
        if path is None:
            encoded.append(None)
            levels.append(-math.inf)
            peaks.append(0.0)
            continue
        samples, rate = audio_io.load(path)
        channels.add(len(samples))
        levels.append(loudness(samples, rate))
        peaks.append(float(np.max(np.abs(samples))))
        encoded.append(f"data:{SUFFIXES[path.suffix.lower()]};base64,{base64.b64encode(path.read_bytes()).decode()}")
        (folder / "spectrograms" / f"{index}-{place}.png").write_bytes(_picture_of(samples))
    if len(channels) > 1:
        raise ValueError(f"{clip.id}: all files of a clip must have one number of channels, got {sorted(channels)}")
    content = {"audio": encoded, "gain": matched_gains(levels, peaks)}
    (folder / "clips" / f"{index}.js").write_text(f"m2lClip({index},{json.dumps(content)});\n", encoding="utf-8")


def _picture_of(samples: np.ndarray) -> bytes:
    """Draw it as large as the page shows it, with at most one column for 256 samples."""
    frames = min(320, max(40, samples.shape[-1] // 256))
    return picture(spectrogram(samples, frames=frames, bins=128, n_fft=1024))


def picture(levels: np.ndarray) -> bytes:
    """A spectrogram (bins, frames) in dB as a small PNG, low frequencies at the bottom."""
    from PIL import Image

    scaled = np.clip((levels[::-1] - BOTTOM) / (TOP - BOTTOM), 0, 1)
    image = Image.fromarray((scaled * 255).astype(np.uint8), mode="P")
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _palette() -> list[int]:
    """Magma, sampled at five places: brightness rises evenly, also for colour-blind readers."""
    stops = np.array([(0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)], dtype=np.float64)
    places = np.linspace(0, len(stops) - 1, 256)
    colours = [np.interp(places, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return [int(value) for value in np.stack(colours, axis=1).round().ravel()]


def _render(data: Mapping[str, Any]) -> str:
    # In a script element only "<" could end the JSON early; non-ASCII signs are escaped by json itself.
    embedded = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        environment()
        .get_template("listen.html.j2")
        .render(
            title=data["title"],
            data=embedded,
            css=(_TEMPLATES / "listen.css").read_text(encoding="utf-8"),
            js=(_TEMPLATES / "listen.js").read_text(encoding="utf-8"),
        )
    )
