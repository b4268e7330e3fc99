"""Do the distances follow what everyone agrees on: fewer bits, worse sound? MP3 and Opus on the embedded excerpts.

    python tests/benchmarks/bench_bitrates.py [FIGURE.png]

Encodes every excerpt in memory with libsndfile at falling bit rates, prints FAD, FAD-inf and KAD through musicnn over
all excerpts and ViSQOL over the first eight, and says whether each is monotone. Bit rates are measured, not claimed.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import soundfile

import m2l_bench
from m2l_bench import audio as audio_io
from m2l_bench.embeddings import load
from m2l_bench.reconstruction.distribution import fad, fad_inf, kad
from m2l_bench.reconstruction.visqol import visqol_pairs

EXCERPTS = Path(m2l_bench.__file__).parent / "assets" / "reconstruction" / "wesnoth"
# codec -> (libsndfile format, subtype, rate in Hz, compression levels)
CODECS = {
    "mp3": ("MP3", "MPEG_LAYER_III", 44100, (0.4, 0.8, 0.9, 0.99)),
    "opus": ("OGG", "OPUS", 48000, (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)),
}
# Below about 30 kbit/s libopus joins stereo to one channel, which then has *more* bits than each of two had before; all
# that listens here hears the mean of the channels and would call that better. So Opus is given the mean itself.
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


def main() -> None:
    excerpts = [audio_io.load(path) for path in sorted(EXCERPTS.glob("*.ogg"))]
    listener = load("musicnn")

    def embed(audios: list[np.ndarray]) -> list[np.ndarray]:
        rates = [rate for _, rate in excerpts]
        heard = [audio_io.resample(a, r, listener.sample_rate) for a, r in zip(audios, rates, strict=True)]
        return listener.embed(heard)

    references = embed([audio for audio, _ in excerpts])
    print(f"{len(excerpts)} excerpts, {sum(map(len, references))} windows")
    curves: dict[str, list[tuple[float, ...]]] = {}
    for codec, (*_, levels) in CODECS.items():
        sources = [
            (audio.mean(axis=0, keepdims=True), rate) if codec in MONO else (audio, rate) for audio, rate in excerpts
        ]
        for level in levels:
            results = [coded(audio, rate, codec, level) for audio, rate in sources]
            kbps = float(np.mean([rate for _, rate in results]))
            estimates = embed([audio for audio, _ in results])
            plain, inf, kernel = (score(references, estimates, 0) for score in (fad, fad_inf, kad))
            pairs = [(x, y, r) for (x, r), (y, _) in zip(sources[:VISQOL_FILES], results, strict=False)]
            mos = float(np.mean([score for score, _ in visqol_pairs(pairs, workers=2)]))
            curves.setdefault(codec, []).append((kbps, plain.value, inf.value, kernel.value, mos))
            print(
                f"{codec:5s} {kbps:6.1f} kbit/s  FAD {plain.value:8.4f} [{plain.ci_low:.4f}, {plain.ci_high:.4f}]"
                f"  FAD-inf {inf.value:8.4f} [{inf.ci_low:.4f}, {inf.ci_high:.4f}]"
                f"  KAD {kernel.value:8.4f} [{kernel.ci_low:.4f}, {kernel.ci_high:.4f}]  ViSQOL {mos:.3f}",
                flush=True,
            )
    for codec, rows in curves.items():
        table = np.array(rows)  # bit rates fall
        rising, falling = np.diff(table[:, 1:4], axis=0) > 0, np.diff(table[:, 4]) < 0
        print(f"{codec}: FAD, FAD-inf, KAD rise {rising.all(axis=0).tolist()}; ViSQOL falls {bool(falling.all())}")
    if len(sys.argv) > 1:
        plot(curves, sys.argv[1])


def plot(curves: dict[str, list[tuple[float, ...]]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for codec, rows in curves.items():
        table = np.array(rows)
        left.loglog(table[:, 0], table[:, 1], "o-", label=codec)
        right.semilogx(table[:, 0], table[:, 4], "o-", label=codec)
    left.set(xlabel="kbit/s", ylabel="FAD-musicnn")
    right.set(xlabel="kbit/s", ylabel="ViSQOL (MOS-LQO)")
    left.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
