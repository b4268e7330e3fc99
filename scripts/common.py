"""Functions shared by the scripts that build the embedded sets: Debian packages, manifests, coding."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

LARGEST_MEMBER = 64 << 20  # bytes of one file unpacked from a foreign archive
ASSETS = Path(__file__).resolve().parents[1] / "m2l_bench" / "assets"


@contextmanager
def debian_package(name: str) -> Iterator[Path]:
    """Download a Debian package with apt-get, unpack it, and yield the folder; nothing is installed."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name], cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.deb")
        unpacked = Path(folder) / "unpacked"
        subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)
        archive.unlink()
        yield unpacked


def sha256(data: bytes) -> str:
    """Hash bytes: a clip's identity."""
    return hashlib.sha256(data).hexdigest()


def write_manifest(folder: Path, rows: Sequence[dict[str, object]]) -> str:
    """Write ``manifest.csv`` (UTF-8, LF) and return its SHA-256, which m2l_bench/assets/__init__.py pins."""
    path = folder / "manifest.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return sha256(path.read_bytes())


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """Read ``manifest.csv``."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def replace_audio(folder: Path, clips: dict[str, bytes]) -> int:
    """Remove the audio that an earlier build left in `folder`, write `clips`, and return their size in bytes."""
    for old in [*folder.rglob("*.ogg"), *folder.rglob("*.opus"), *folder.rglob("*.mp3")]:
        old.unlink()
    for path, data in clips.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return sum(map(len, clips.values()))


def encode_opus(audio: np.ndarray, sample_rate: int, kbps: int, *, constrained: bool = False) -> bytes:
    """Encode with opusenc; a fixed stream number and no padding make equal input give equal bytes.

    Parameters
    ----------
    audio : np.ndarray, (samples,) or (samples, channels)
    sample_rate : int
        Hz; Opus itself always runs at 48 kHz.
    kbps : int
        Target of the variable bit rate; steady tones take half as much again.
    constrained : bool
        Keep close to the target throughout.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, coded = Path(folder) / "a.wav", Path(folder) / "a.opus"
        soundfile.write(source, audio, sample_rate, subtype="PCM_24")
        options = ["--quiet", "--music", "--bitrate", str(kbps), "--serial", "1", "--padding", "0"]
        options += ["--cvbr"] * constrained
        subprocess.run(["opusenc", *options, source, coded], check=True)
        return coded.read_bytes()
