"""Listening page: one static folder that opens from the disk, without network and without a server.

Conventions
-----------
``index.html`` holds scores and code; the audio of clip N lies in ``clips/N.js`` (base64 of the files as they are: a page
opened from the disk may load scripts and pictures, and nothing else) and is loaded when the clip is opened; its
spectrograms are ``spectrograms/N-S.png``, S = 0 for the original; waveforms are drawn by the page. The folder is
``report/listen`` of the report page, which it links to. All systems of a clip play at the loudness of the
original (ITU-R BS.1770); one common factor keeps the loudest of them below full scale.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.cards import REPEATABILITY
from m2l_bench.files.untrusted import printable
from m2l_bench.loudness import loudness
from m2l_bench.report.clips import SUFFIXES, ClipFiles
from m2l_bench.report.figure_data import frequency_ticks, spectrogram
from m2l_bench.report.runs import Measurement, RunData, natural_key
from m2l_bench.report.significance import Pairs
from m2l_bench.report.sources import page_sources, rounded, script_json, template
from m2l_bench.results import KINDS, group_by_kind

# Levels that a picture shows, in dB below full scale.
TOP, BOTTOM = -10.0, -100.0
MOST_GAIN = 20.0  # dB; a larger difference is not corrected
# Metrics of single files that pages show before all others.
FIRST_METRICS = ("si_sdr", "mel_distance", "stft_distance")
ORIGINALS = KINDS[0]  # the originals stand with the references


def write_page(folder: Path, results: RunData, clips: Sequence[ClipFiles], *, title: str) -> None:
    """Write the page of `clips` into `folder`, with the scores in `results`.

    Raises
    ------
    ValueError
        If a clip's files differ in their number of channels.
    """
    data = page_data(results, clips)
    for name in ("clips", "spectrograms"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:  # decoding and transforms release the GIL
        list(pool.map(lambda index: _write_clip(folder, index, clips[index], data["systems"]), range(len(clips))))
    sources = page_sources("listen")
    page = template("listen.html.j2").render(title=printable(title), data=script_json(data), **sources)
    (folder / "index.html").write_text(page, encoding="utf-8")


def page_data(results: RunData, clips: Sequence[ClipFiles]) -> dict[str, Any]:
    """Collect the page's data as JSON-serialisable values.

    ``clips[i]["scores"][m][s]`` is the score of system s in metric m, or None. ``groups`` holds the name and number of
    columns of each group of systems, the original's column included. ``ticks`` holds, for each sample rate, places and names
    on the frequency axis.
    """
    groups = _groups(results, clips)
    systems = [system for several in groups.values() for system in several]
    pairs = Pairs(item for item in results.items if not item.task)
    datasets = {clip.dataset for clip in clips}
    names = dict.fromkeys(m.metric for m in pairs.measured() if m.dataset in datasets)
    # A clip's contribution to a number of the whole set is not a score of the clip.
    cards = {m.metric: card for m, card in results.measured.items() if not m.task and m.statistic == "mean"}
    cards = {metric: card for metric, card in cards.items() if card.get("group") != REPEATABILITY}
    first = [name for name in FIRST_METRICS if name in names]
    metrics = [name for name in dict.fromkeys([*first, *sorted(names)]) if name in cards]
    fields = {"title": "title", "unit": "unit", "better": "higher_is_better"}
    return {
        "systems": systems,
        "groups": [[kind, len(several) + (kind == ORIGINALS)] for kind, several in groups.items() if kind],
        "ticks": {
            rate: list(zip(*frequency_ticks(rate / 2), strict=True)) for rate in sorted({c.sample_rate for c in clips})
        },
        "metrics": [{"name": name} | {key: cards[name][field] for key, field in fields.items()} for name in metrics],
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
    wanted = [levels[0] - level if math.isfinite(level) and math.isfinite(levels[0]) else 0.0 for level in levels]
    gains = 10 ** (np.clip(wanted, -MOST_GAIN, MOST_GAIN) / 20)
    return (gains / max(1.0, np.max(gains * peaks))).round(6).tolist()


def _groups(results: RunData, clips: Sequence[ClipFiles]) -> dict[str, list[str]]:
    """Systems of the clips by kind; those of unknown kind come last. One group without a name where there are no kinds."""
    found = {system for clip in clips for system in clip.systems}
    systems = [system for system in results.systems if system in found]
    systems += sorted(found - set(systems), key=natural_key)
    groups = group_by_kind({system: results.kinds[system] for system in systems if system in results.kinds})
    if not groups:
        return {"": systems}
    others = [system for system in systems if not any(system in several for several in groups.values())]
    return {ORIGINALS: []} | groups | ({"others": others} if others else {})


def _scores(pairs: Pairs, clip: ClipFiles, metric: str, systems: Sequence[str]) -> list[float | None]:
    scores = pairs.scores(Measurement(clip.dataset, metric=metric))
    return [rounded(scores.get(system, {}).get(clip.id)) for system in systems]


def _write_clip(folder: Path, index: int, clip: ClipFiles, systems: Sequence[str]) -> None:
    paths = [clip.reference, *(clip.systems.get(system) for system in systems)]
    encoded: list[str | None] = [None] * len(paths)
    levels, peaks, channels = [-math.inf] * len(paths), [0.0] * len(paths), set()
    for place, path in ((place, Path(path)) for place, path in enumerate(paths) if path):
        samples, rate = audio_io.load(path)
        channels.add(len(samples))
        levels[place], peaks[place] = loudness(samples, rate), float(np.max(np.abs(samples)))
        encoded[place] = f"data:{SUFFIXES[path.suffix.lower()]};base64,{base64.b64encode(path.read_bytes()).decode()}"
        (folder / "spectrograms" / f"{index}-{place}.png").write_bytes(_picture(samples, rate))
    if len(channels) > 1:
        raise ValueError(f"{clip.id}: all files of a clip must have one number of channels, got {sorted(channels)}")
    content = {"audio": encoded, "gain": matched_gains(levels, peaks)}
    (folder / "clips" / f"{index}.js").write_text(f"m2lClip({index},{json.dumps(content)});\n", encoding="utf-8")


def _picture(samples: np.ndarray, sample_rate: int) -> bytes:
    """Draw a spectrogram as a small PNG, as large as the page shows it and with at most one column for 256 samples."""
    import matplotlib
    from PIL import Image

    frames = min(320, max(40, samples.shape[-1] // 256))
    levels = spectrogram(samples, sample_rate, frames=frames, bins=128)[::-1]  # low frequencies at the bottom
    scaled = np.clip((levels - BOTTOM) / (TOP - BOTTOM), 0, 1)
    image = Image.fromarray((scaled * 255).astype(np.uint8), mode="P")
    image.putpalette(matplotlib.colormaps["magma"](np.arange(256), bytes=True)[:, :3].ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
