"""Do the distances follow what everyone agrees on: fewer bits, worse sound? MP3 and Opus on the embedded excerpts.

    python tests/benchmarks/bench_bitrates.py [--short] [FOLDER]

Encodes every excerpt in memory with libsndfile at falling bit rates, prints FAD, FAD-inf and KAD through musicnn over
all excerpts and ViSQOL over the first eight, and says whether each is monotone. Bit rates are measured, not claimed.
FOLDER gets the numbers as CSV, and FAD and ViSQOL against the bit rate as figures. ``--short`` takes the end points
only, and two excerpts for ViSQOL.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

import m2l_bench
from m2l_bench import audio as audio_io
from m2l_bench.reconstruction.pair.visqol import visqol
from m2l_bench.reconstruction.sets.distribution import fad, fad_inf, kad
from m2l_bench.reconstruction.sets.vectors import load_encoder, vectors
from m2l_bench.report.figures import rate_quality
from m2l_bench.report.style import Interval, Point, save
from m2l_bench.statistics import mean_interval

EXCERPTS = Path(m2l_bench.__file__).parent / "assets" / "reconstruction" / "wesnoth"
# codec -> (libsndfile format, subtype, rate in Hz, compression levels)
CODECS = {
    "mp3": ("MP3", "MPEG_LAYER_III", 44100, (0.4, 0.8, 0.9, 0.99)),
    "opus": ("OGG", "OPUS", 48000, (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)),
}
# Below about 30 kbit/s libopus joins stereo to one channel, which then has *more* bits than each of two had before; the
# metrics here use the mean of the channels and would score that as better. So Opus is given the mean itself.
MONO = {"opus"}
VISQOL_FILES = 8


def coded(audio: np.ndarray, sample_rate: int, codec: str, level: float) -> tuple[np.ndarray, float]:
    """Encode and decode: audio of the same shape, and the measured kbit/s."""
    container, subtype, codec_rate, _ = CODECS[codec]
    options = {"bitrate_mode": "CONSTANT"} if codec == "mp3" else {}
    buffer = io.BytesIO()
    resampled = audio_io.resample(audio, sample_rate, codec_rate)
    soundfile.write(
        buffer, resampled.T, codec_rate, format=container, subtype=subtype, compression_level=level, **options
    )
    kbps = len(buffer.getvalue()) * 8 / (audio.shape[1] / sample_rate) / 1000
    buffer.seek(0)
    decoded = soundfile.read(buffer, dtype="float32", always_2d=True)[0].T
    return audio_io.resample(decoded, codec_rate, sample_rate, n_samples=audio.shape[1]), kbps


class Line(NamedTuple):
    """One codec at one bit rate: FAD as printed, FAD less its bias, FAD-inf, KAD and ViSQOL, with intervals (NaN: none)."""

    codec: str
    kbps: float
    fad: Interval
    fad_corrected: Interval
    fad_inf: Interval
    kad: Interval
    visqol: Interval


def main(*, short: bool, folder: Path | None) -> None:
    excerpts = [audio_io.load(path) for path in sorted(EXCERPTS.glob("*.ogg"))]
    encoder = load_encoder("musicnn")

    def embed(audios: list[np.ndarray]) -> list[np.ndarray]:
        return [vectors(encoder, audio, rate) for audio, (_, rate) in zip(audios, excerpts, strict=True)]

    references = embed([audio for audio, _ in excerpts])
    print(f"{len(excerpts)} excerpts, {sum(map(len, references))} windows")
    lines: list[Line] = []
    for codec, (*_, levels) in CODECS.items():
        sources = [
            (audio.mean(axis=0, keepdims=True), rate) if codec in MONO else (audio, rate) for audio, rate in excerpts
        ]
        for level in levels[:: len(levels) - 1] if short else levels:
            results = [coded(audio, rate, codec, level) for audio, rate in sources]
            kbps = float(np.mean([rate for _, rate in results]))
            estimates = embed([audio for audio, _ in results])
            plain, extrapolated, kernel = (score(references, estimates, 0) for score in (fad, fad_inf, kad))
            of_sets = (
                Interval(plain.value, *2 * [np.nan]),
                Interval(plain.corrected, plain.ci_low, plain.ci_high),
                Interval(extrapolated.value, *2 * [np.nan]),
                Interval(kernel.value, kernel.ci_low, kernel.ci_high),
            )
            several = list(zip(sources, results, strict=True))[: 2 if short else VISQOL_FILES]
            mos = [visqol(x, y, rate) for (x, rate), (y, _) in several]
            lines.append(Line(codec, kbps, *of_sets, Interval(float(np.mean(mos)), *mean_interval(mos))))
            told = zip(("FAD", "FAD corrected", "FAD-inf", "KAD", "ViSQOL"), lines[-1][2:], strict=True)
            print(
                f"{codec:5s} {kbps:6.1f} kbit/s  "
                + "  ".join(f"{n} {v:.4f} [{a:.4f}, {b:.4f}]" for n, (v, a, b) in told),
                flush=True,
            )
    for codec in CODECS:
        values = np.array([[interval.value for interval in line[2:]] for line in lines if line.codec == codec])
        steps = np.diff(values, axis=0)  # bit rates fall
        rise, fall = (steps[:, :4] > 0).all(axis=0).tolist(), bool((steps[:, 4] < 0).all())
        print(f"{codec}: FAD, FAD corrected, FAD-inf, KAD rise {rise}; ViSQOL falls {fall}")
    if folder:
        write(lines, folder)


def write(lines: list[Line], folder: Path) -> None:
    """The numbers as CSV; FAD and ViSQOL against the bit rate as figures."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "bitrates.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [f"{name}{end}" for name in Line._fields[2:] for end in ("", "_low", "_high")]
        writer.writerow(["codec", "kbps", *names])
        for line in lines:
            writer.writerow([line.codec, f"{line.kbps:.2f}", *(f"{x:.6g}" for interval in line[2:] for x in interval)])
    for name, label in (("fad_corrected", "FAD-musicnn corrected ↓"), ("visqol", "ViSQOL (MOS-LQO) ↑")):
        points = [
            Point(
                line.codec, "opus (mono)" if line.codec in MONO else line.codec, Interval(line.kbps, *2 * [np.nan]), y
            )
            for line in lines
            for y in [getattr(line, name)]
        ]
        save(
            rate_quality(points, x_label="bit rate (kbit/s)", y_label=label),
            folder / f"{name.partition('_')[0]}-against-bit-rate",
        )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    folders = [Path(argument) for argument in arguments if argument != "--short"]
    main(short="--short" in arguments, folder=folders[0] if folders else None)
