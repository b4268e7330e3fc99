"""Build m2l_bench/assets/reconstruction/wesnoth from the Debian package wesnoth-1.16-music.

    python scripts/build_wesnoth.py            # needs apt-get and dpkg-deb; nothing is installed

The rule, the same for every track:
1. A track counts if it is at least 40 s long and names its composer and the soundtrack album in its tags. (This leaves
   out the jingles, the ten silent seconds, and one later track without these tags.)
2. At most three tracks per composer, the first by file name, so that no composer dominates.
3. The excerpt begins a third of the way into the track; where the ten seconds there hold a second below -40 dBFS, or
   their first and last three seconds differ by more than 10 dB (a fade), it moves on by five seconds until they do not.
4. It is cut at the next packet border, so what is decoded is bit for bit what the source decodes to: no re-encoding.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import soundfile
from common import ASSETS, debian_package, replace_audio, sha256, write_manifest
from ogg_vorbis import Cut, comments, cut

PACKAGE = "wesnoth-1.16-music"
FOLDER = ASSETS / "reconstruction" / "wesnoth"
SECONDS = 10
SHORTEST_TRACK = 40.0
TRACKS_PER_COMPOSER = 3
QUIETEST_DB = -40.0
LARGEST_FADE_DB = 10.0


def main() -> None:
    """Cut the excerpts, check each against its source, and write audio, manifest and licences."""
    rows: list[dict[str, object]] = []
    clips: dict[str, bytes] = {}
    with debian_package(PACKAGE) as package:
        (music,) = package.rglob("data/core/music")
        for track, tags in choose_tracks(music):
            clip, sample_rate, channels = excerpt(track)
            path = f"{track.stem.replace('-', '_')}.ogg"
            clips[path] = clip.data
            rows.append(
                {
                    "path": path,
                    "sha256": sha256(clip.data),
                    "title": tags["TITLE"],
                    "composer": tags["ARTIST"],
                    "year": tags["DATE"],
                    "source": track.name,
                    "source_sha256": sha256(track.read_bytes()),
                    "start_seconds": f"{clip.start / sample_rate:.6f}",
                    "duration_seconds": f"{clip.n_samples / sample_rate:.6f}",
                    "start_sample": clip.start,
                    "sample_rate": sample_rate,
                    "channels": channels,
                }
            )
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.copy(package / "usr/share/doc" / PACKAGE / "copyright", FOLDER / "COPYRIGHT")
    shutil.copy("/usr/share/common-licenses/GPL-2", FOLDER / "LICENSE")
    rows.sort(key=lambda row: str(row["path"]))
    size = replace_audio(FOLDER, clips)
    print(f"{len(rows)} excerpts, {size / 1e6:.2f} MB, manifest {write_manifest(FOLDER, rows)}")


def choose_tracks(music: Path) -> list[tuple[Path, dict[str, str]]]:
    """Apply rules 1 and 2; sorted by file name."""
    chosen: list[tuple[Path, dict[str, str]]] = []
    for track in sorted(music.glob("*.ogg")):
        tags = comments(track.read_bytes())
        long_enough = soundfile.info(track).duration >= SHORTEST_TRACK
        same_composer = sum(t["ARTIST"] == tags.get("ARTIST") for _, t in chosen)
        if long_enough and {"ARTIST", "ALBUM"} <= set(tags) and same_composer < TRACKS_PER_COMPOSER:
            chosen.append((track, tags))
    return chosen


def excerpt(track: Path) -> tuple[Cut, int, int]:
    """Apply rules 3 and 4, and compare the excerpt with its source, sample for sample."""
    audio, sample_rate = soundfile.read(track, dtype="float32", always_2d=True)
    length = SECONDS * sample_rate
    start = int(len(audio) / sample_rate / 3) * sample_rate
    while not is_steady(audio[start : start + length], sample_rate):
        start += 5 * sample_rate
    clip = cut(track.read_bytes(), start, length)
    decoded, _ = soundfile.read(io.BytesIO(clip.data), dtype="float32", always_2d=True)
    if not np.array_equal(decoded, audio[clip.start : clip.start + length]):
        raise RuntimeError(f"{track.name}: the excerpt at {clip.start} must decode to the source's samples")
    return clip, sample_rate, audio.shape[1]


def is_steady(audio: np.ndarray, sample_rate: int) -> bool:
    """Say whether ten seconds are neither silent anywhere nor a fade."""
    if len(audio) < SECONDS * sample_rate:
        raise RuntimeError("no steady ten seconds in this track")
    power = np.mean(audio.reshape(SECONDS, -1) ** 2, axis=1) + 1e-12
    fade = 10 * np.log10(power[-3:].mean() / power[:3].mean())
    return bool(10 * np.log10(power.min()) >= QUIETEST_DB and abs(fade) <= LARGEST_FADE_DB)


if __name__ == "__main__":
    main()
