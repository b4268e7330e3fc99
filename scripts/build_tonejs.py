"""Build m2l_bench/assets/instrument/tonejs from the npm packages ``tonejs-instrument-NAME-mp3``.

    python scripts/build_tonejs.py             # needs npm and opusenc (Debian: opus-tools)

1. Each note's first two seconds; a longer note fades out over its last 20 ms, a shorter one is followed by silence.
2. Labels are the file names. Left out: two alternative takes ("F2 v2"), and five notes that sound another pitch than
   their name says (measured against the spectrum; see `MISNAMED`).
3. Some notes of a set are evidently one recording, repitched: their waveforms, brought to one pitch, agree. Such notes
   share a `group`, and a group lies in one split.
4. Split by group, stratified: within an instrument, groups are dealt out from low to high, each to the split that is
   furthest behind its share (half train, a fifth valid, the rest test) of that instrument and of those pitch classes.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import soundfile
from common import ASSETS, LARGEST_MEMBER, encode_opus, replace_audio, sha256, write_manifest
from scipy.signal import correlate

FOLDER = ASSETS / "instrument" / "tonejs"
# One recorded source per instrument; versions are pinned because labels rest on the files.
PACKAGES = {
    "bass-electric": "1.1.2",
    "bassoon": "1.1.2",
    "cello": "1.1.1",
    "clarinet": "1.1.2",
    "contrabass": "1.1.2",
    "flute": "1.1.2",
    "french-horn": "1.1.2",
    "guitar-acoustic": "1.1.2",
    "guitar-electric": "1.1.1",
    "guitar-nylon": "1.1.1",
    "harmonium": "1.1.1",
    "harp": "1.1.1",
    "organ": "1.1.1",
    "piano": "1.1.2",
    "saxophone": "1.1.2",
    "trombone": "1.1.2",
    "trumpet": "1.1.2",
    "tuba": "1.1.2",
    "violin": "1.1.1",
    "xylophone": "1.1.2",
}
MISNAMED = {
    ("cello", "As4"): "sounds B4",
    ("clarinet", "Fs6"): "sounds F6",
    ("guitar-nylon", "D5"): "sounds D#5",
    ("trumpet", "As3"): "sounds A#4",
    ("trumpet", "C3"): "sounds C4",
}
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SAMPLE_RATE = 44_100
SECONDS = 2
FADE_SECONDS = 0.02
KBPS = 20
SHARES = {"train": 0.5, "valid": 0.2, "test": 0.3}
SAME_RECORDING = 0.95  # correlation of two waveforms brought to one pitch
NEIGHBOURS = 6  # semitones: samplers do not repitch further


@dataclass
class Note:
    """A recorded note; `audio` is (samples,) at 44.1 kHz, not yet cut."""

    instrument: str
    name: str
    midi: int
    audio: np.ndarray
    source_sha256: str
    group: int = 0
    split: str = ""


def main() -> None:
    """Fetch, cut, encode, split, and write audio and manifest."""
    notes = [note for name, version in PACKAGES.items() for note in fetch(name, version)]
    for number, group in enumerate(groups(notes)):
        for note in group:
            note.group = number
    assign_splits(notes)
    clips = {f"{n.instrument}/{n.name}.opus": encode_opus(cut(n.audio), SAMPLE_RATE, KBPS) for n in notes}
    rows = [row(note, path, data) for note, (path, data) in zip(notes, clips.items(), strict=True)]
    rows.sort(key=lambda r: str(r["path"]))
    FOLDER.mkdir(parents=True, exist_ok=True)
    size = replace_audio(FOLDER, clips)
    print(f"{len(rows)} notes, {len({n.group for n in notes})} groups, {Counter(n.split for n in notes)}")
    print(f"{size / 1e6:.2f} MB, manifest {write_manifest(FOLDER, rows)}")


def fetch(instrument: str, version: str) -> Iterator[Note]:
    """Download one package with npm and yield its usable notes."""
    with tempfile.TemporaryDirectory() as folder:
        package = f"tonejs-instrument-{instrument}-mp3@{version}"
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as content:
            for member in sorted(content.getmembers(), key=lambda m: m.name):
                match = re.fullmatch(r"package/([A-G]s?)(\d)\.mp3", member.name)
                if match is None or (instrument, match[1] + match[2]) in MISNAMED:
                    continue
                if not member.isfile() or member.size > LARGEST_MEMBER:
                    raise RuntimeError(f"{package} {member.name}: must be a file of at most {LARGEST_MEMBER} bytes")
                file = content.extractfile(member)
                data = file.read() if file else b""
                audio, sample_rate = soundfile.read(io.BytesIO(data), dtype="float32")
                if sample_rate != SAMPLE_RATE or audio.ndim != 1:
                    raise RuntimeError(f"{package} {member.name}: must be mono at {SAMPLE_RATE} Hz")
                midi = PITCH_CLASSES.index(match[1].replace("s", "#")) + 12 * (int(match[2]) + 1)
                yield Note(instrument, match[1] + match[2], midi, audio, sha256(data))


def cut(audio: np.ndarray) -> np.ndarray:
    """Take two seconds: faded where the note goes on, padded with silence where it ends before."""
    length, fade = SECONDS * SAMPLE_RATE, round(FADE_SECONDS * SAMPLE_RATE)
    out = np.zeros(length, np.float32)
    out[: len(audio)] = audio[:length]
    if len(audio) > length:
        out[-fade:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fade + 1) / fade)
    return out


def groups(notes: list[Note]) -> list[list[Note]]:
    """Join notes that are one recording at different pitches; the rest stay alone."""
    parent = list(range(len(notes)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, j in combinations(range(len(notes)), 2):
        low, high = sorted((notes[i], notes[j]), key=lambda n: n.midi)
        near = low.instrument == high.instrument and high.midi - low.midi <= NEIGHBOURS
        if near and same_recording(low.audio, high.audio, high.midi - low.midi) >= SAME_RECORDING:
            parent[max(root(i), root(j))] = min(root(i), root(j))
    found: dict[int, list[Note]] = {}
    for i, note in enumerate(notes):
        found.setdefault(root(i), []).append(note)
    return list(found.values())


def same_recording(low: np.ndarray, high: np.ndarray, semitones: int) -> float:
    """Correlate the first half second of `high` with `low` played faster, at the best lag within 50 ms."""
    length, lag = SAMPLE_RATE // 2, SAMPLE_RATE // 20
    times = np.arange(length) * 2 ** (semitones / 12)
    template = np.interp(times, np.arange(len(low)), low).astype(np.float32)
    target = np.pad(high[: length + lag], (lag, max(0, length + lag - len(high))))
    energy = _windowed(target**2, length)
    dots = correlate(target, template, mode="valid", method="fft")
    return float(np.max(np.abs(dots) / np.sqrt(np.sum(template**2) * energy + 1e-9)))


def _windowed(values: np.ndarray, length: int) -> np.ndarray:
    """Sum every window of `length` values."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return total[length:] - total[:-length]


def assign_splits(notes: list[Note]) -> None:
    """Deal groups to splits (rule 4), lowest first; changes the notes in place."""
    placed: Counter[tuple[str, object]] = Counter()  # (split, instrument or pitch class) -> notes
    total: Counter[object] = Counter()
    by_group: dict[int, list[Note]] = {}
    for note in notes:
        by_group.setdefault(note.group, []).append(note)
    for members in sorted(by_group.values(), key=lambda ms: (ms[0].instrument, min(m.midi for m in ms))):
        labels: list[object] = [*(m.instrument for m in members), *(m.midi % 12 for m in members)]
        total.update(labels)

        def behind(split: str, labels: list[object] = labels) -> float:
            return sum(SHARES[split] * total[label] - placed[split, label] for label in labels)

        best = max(SHARES, key=behind)
        placed.update((best, label) for label in labels)
        for member in members:
            member.split = best


def row(note: Note, path: str, data: bytes) -> dict[str, object]:
    """Make a row of the manifest."""
    return {
        "path": path,
        "sha256": sha256(data),
        "split": note.split,
        "group": f"g{note.group:03d}",
        "instrument": note.instrument,
        "pitch_class": PITCH_CLASSES[note.midi % 12],
        "octave": note.midi // 12 - 1,
        "midi": note.midi,
        "source": f"tonejs-instrument-{note.instrument}-mp3@{PACKAGES[note.instrument]}/{note.name}.mp3",
        "source_sha256": note.source_sha256,
    }


if __name__ == "__main__":
    main()
