"""Synthetic folders with the layouts of public datasets with annotations in time, read by mirdata's own loaders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from layouts import RATE, gtzan, index, text, tone

from m2l_bench.audio import write
from m2l_bench.tasks.annotation import Annotation

Written = dict[str, Annotation]  # what was written, by track; tracks that must not be used have none
SECONDS = 4.0
CHORDS = ("C:maj", "A:min7", "F:maj/3", "N")


def clicks(path: Path, times: np.ndarray, seed: int) -> None:
    """Short bursts at `times`, on weak noise."""
    rng = np.random.default_rng(seed)
    wave = 0.003 * rng.standard_normal(round(SECONDS * RATE))
    burst = 0.5 * np.exp(-np.arange(600) / 100) * np.sin(2 * np.pi * 1500 * np.arange(600) / RATE)
    for first in np.round(times * RATE).astype(int):
        wave[first : first + 600] += burst[: len(wave) - first]
    write(path, wave.astype(np.float32), RATE)


def beats(seed: int) -> Annotation:
    """A steady tempo."""
    rng = np.random.default_rng(seed)
    times = np.arange(rng.uniform(0.05, 0.4), SECONDS - 0.05, rng.uniform(0.35, 0.8)).round(4)
    return Annotation(starts=times, ends=times)


def chords(seed: int) -> Annotation:
    ends = np.cumsum(np.random.default_rng(seed).uniform(0.5, 1.5, 4)).round(4)
    labels = np.roll(CHORDS, seed)
    return Annotation(starts=np.append(0.0, ends[:-1]), ends=ends, values=labels)


def notes(seed: int, n: int = 6) -> Annotation:
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.uniform(0.1, 3.0, n)).round(3)
    ends = (starts + rng.uniform(0.2, 0.8, n)).round(3)
    return Annotation(starts=starts, ends=ends, values=rng.permutation(np.arange(45, 75))[:n].astype(float))


def guitarset(home: Path) -> dict[str, Written]:
    """Two lead sheets by six players, accompanied and solo; JAMS with one annotation of notes for each string."""
    written: dict[str, Written] = {"beats": {}, "chords": {}, "notes": {}}
    tracks = {}
    for k in range(24):
        name = f"{k // 4:02d}_{('BN1-129-Eb', 'Funk3-112-C#')[k // 2 % 2]}_{('comp', 'solo')[k % 2]}"
        found = {"beats": beats(k), "chords": chords(k), "notes": notes(k)}
        for kind in ("beats", "notes") if k % 2 else ("beats", "chords", "notes"):
            written[kind][name] = found[kind]
        text(home / "annotation" / f"{name}.jams", json.dumps({"annotations": _jams(found, k), "sandbox": {}}))
        clicks(home / "audio_mono-mic" / f"{name}_mic.wav", found["beats"].starts, k)
        tracks[name] = dict.fromkeys(("audio_hex_cln", "audio_hex", "audio_mix"), "") | {
            "audio_mic": f"audio_mono-mic/{name}_mic.wav", "jams": f"annotation/{name}.jams"
        }  # fmt: skip
    index(home, "guitarset_index_1.1.0.json", tracks)
    return written


def _jams(found: dict[str, Annotation], seed: int) -> list[dict[str, Any]]:
    def rows(annotation: Annotation, values: list[Any]) -> list[dict[str, Any]]:
        times = zip(annotation.starts.tolist(), (annotation.ends - annotation.starts).tolist(), values, strict=True)
        return [{"time": t, "duration": d, "value": v, "confidence": None} for t, d, v in times]

    def one(namespace: str, data: Any, source: str = "") -> dict[str, Any]:
        return {"namespace": namespace, "annotation_metadata": {"data_source": source}, "data": data}

    pitches = found["notes"]
    strings: list[dict[str, Any]] = []
    for string in range(6):  # notes lie on strings 1, 3 and 5, a little out of tune; the others are silent
        own = np.flatnonzero(np.arange(len(pitches.starts)) % 3 == string // 2) if string % 2 else []
        part = Annotation(starts=pitches.starts[own], ends=pitches.ends[own]) if len(own) else None
        data = rows(part, (pitches.values[own] + 0.08 * (-1) ** seed).tolist()) if part else []
        contour: dict[str, list[Any]] = {"time": [], "duration": [], "value": [], "confidence": []}
        strings += [one("pitch_contour", contour, str(string)), one("note_midi", data, str(string))]
    # Two strings that play the last note together are one note.
    last = {"time": pitches.starts[-1], "duration": pitches.ends[-1] - pitches.starts[-1], "confidence": None}
    strings[1]["data"].append(last | {"value": pitches.values[-1] - 0.1})
    position = {"measure": 1, "num_beats": 4, "beat_units": 4}
    bars = [{"position": 1 + k % 4} | position for k in range(len(found["beats"].starts))]
    played = ["G:maj7/1"] * len(found["chords"].starts)
    return [
        *strings,
        one("beat_position", rows(found["beats"], bars)),
        one("chord", rows(found["chords"], found["chords"].values.tolist())),
        one("chord", rows(found["chords"], played), "Semi-automatic chord transcription with manual verification"),
    ]


def gtzan_beats(home: Path) -> dict[str, Written]:
    """The folder of the genre task with jazz.00054 too, and the beats beside it; the second track has none."""
    tone(gtzan(home) / "gtzan_genre/genres/jazz/jazz.00054.wav", 2, 0)
    written: Written = {}
    tracks = {}
    for k, path in enumerate(sorted(home.rglob("*.wav"))):
        file = f"gtzan_tempo_beat-main/beats/gtzan_{path.stem.replace('.', '_')}.beats" if k != 1 else ""
        tracks[path.stem] = {"audio": path.relative_to(home).as_posix(), "beats": file, "tempo": ""}
        if file:
            text(home / file, "".join(f"{time}\t{1 + j % 4}\n" for j, time in enumerate(beats(k).starts)))
            written[path.stem] = beats(k)
    index(home, "gtzan_genre_index_1.0.json", tracks)
    return {"beats": written}


BALLROOM = {  # track -> dance, of ten albums, whose splits differ
    "Albums-Latin_Jam2-05": "ChaChaCha", "Albums-Latin_Jam2-13": "ChaChaCha", "Albums-Secret_Garden-01": "Waltz",
    "Media-104705": "Waltz", "Media-104706": "Waltz", "Media-105901": "Waltz", "Media-105902": "Tango",
    "Media-100601": "Samba", "Media-100602": "Samba", "Media-103402": "ChaChaCha", "Media-103415": "ChaChaCha",
    "Albums-Fire-08": "ChaChaCha", "Albums-Fire-09": "Samba", "Albums-Macumba-01": "Rumba-International",
    "Media-105301": "Jive", "Media-105302": "Jive", "Albums-Step_By_Step-11": "Quickstep", "Media-104101": "Samba",
    "Media-106001": "Tango", "Media-104001": "Jive", "Media-105701": "Waltz", "Media-105702": "Waltz",
}  # fmt: skip


def ballroom(home: Path) -> dict[str, Written]:
    written: Written = {}
    tracks = {}
    for k, (name, dance) in enumerate(BALLROOM.items()):
        files = {
            "audio": f"B_1.0/audio/{dance}/{name}.wav", "beats": f"B_1.0/annotations/beats/{name}.beats",
            "tempo": f"B_1.0/annotations/tempo/{name}.bpm",
        }  # fmt: skip
        written[name] = beats(k)
        clicks(home / files["audio"], written[name].starts, k)
        text(home / files["beats"], "".join(f"{t:.10f} {1 + j % 4}\n" for j, t in enumerate(written[name].starts)))
        text(home / files["tempo"], "100\n")
        tracks[name] = files
    index(home, "ballroom_full_index_1.0.json", tracks)
    return {"beats": written}


def maestro(home: Path) -> dict[str, Written]:
    """Twelve performances; one piece is in training and in the test, another in training and validation."""
    import pretty_midi

    written: Written = {}
    tracks, metadata = {}, []
    pieces = [f"Sonata No. {k}" for k in range(12)]
    pieces[1], pieces[2] = pieces[11], pieces[7]
    for k, piece in enumerate(pieces):
        stem = f"{2004 + k % 3}/MIDI-Unprocessed_{k:02d}_R1_2008_wav--1"
        written[stem] = notes(k)
        piano = pretty_midi.Instrument(program=0)
        for start, end, pitch in zip(written[stem].starts, written[stem].ends, written[stem].values, strict=True):
            piano.notes.append(pretty_midi.Note(velocity=80, pitch=int(pitch), start=start, end=end))
        piano.control_changes.append(pretty_midi.ControlChange(64, 127, 0.0))  # the sustain pedal, held throughout
        midi = pretty_midi.PrettyMIDI(resolution=1000)
        midi.instruments.append(piano)
        (home / stem).parent.mkdir(parents=True, exist_ok=True)
        midi.write(str(home / f"{stem}.midi"))
        tone(home / f"{stem}.wav", 0, k)
        tracks[stem] = {"audio": f"{stem}.wav", "midi": f"{stem}.midi"}
        split = "train" if k < 6 else "validation" if k < 9 else "test"
        metadata.append({
            "canonical_composer": "Alban Berg", "canonical_title": piece, "split": split, "year": 2004 + k % 3,
            "midi_filename": f"{stem}.midi", "audio_filename": f"{stem}.wav", "duration": 4.0,
        })  # fmt: skip
    text(home / "maestro-v2.0.0.json", json.dumps(metadata))
    index(home, "maestro_index_2.0.0.json", tracks)
    return {"notes": written}


ALBUMS = (
    "01_-_Please_Please_Me", "03_-_A_Hard_Day's_Night", "05_-_Help!", "07_-_Revolver", "09_-_Magical_Mystery_Tour",
    "10CD1_-_The_Beatles", "10CD2_-_The_Beatles", "11_-_Abbey_Road",
)  # fmt: skip


def beatles(home: Path) -> dict[str, Written]:
    written: Written = {}
    tracks = {}
    for k, album in enumerate([*ALBUMS, *ALBUMS]):
        song = f"{'CD1_-_' * album.startswith('10CD1')}{1 + k // 8:02d}_-_Song_{k}"
        name = f"{album[:2]}{k:02d}"
        files = {
            "audio": f"audio/{album}/{song}.wav", "chords": f"annotations/chordlab/The Beatles/{album}/{song}.lab",
            "sections": f"annotations/seglab/The Beatles/{album}/{song}.lab",
        }  # fmt: skip
        written[name] = chords(k)
        rows = zip(written[name].starts, written[name].ends, written[name].values, strict=True)
        text(home / files["chords"], "".join(f"{start:.6f} {end:.6f} {label}\n" for start, end, label in rows))
        text(home / files["sections"], "0.000\t4.000\t0\tverse\n")
        tone(home / files["audio"], 0, k)
        tracks[name] = {"beat": "", "keys": ""} | files
    index(home, "beatles_index_1.2.json", tracks)
    return {"chords": written}


ARTISTS = ("MusicDelta", "LizNelson", "AimeeNorwich", "Handel", "Phoenix", "Meaxic", "Wolf", "HopAlong", "AmarLal")


def medleydb(home: Path) -> dict[str, Written]:
    """Two songs by each of nine artists; the second definition of melody is what counts, a third of it unvoiced."""
    written: Written = {}
    tracks = {}
    times = 256 / 44100 * np.arange(8, 400)
    for k in range(2 * len(ARTISTS)):
        name = f"{ARTISTS[k // 2]}_Song{k % 2}"
        values = np.where(np.arange(len(times)) % 90 < 60, 220.0 + 10 * k + np.arange(len(times)) % 7, 0.0)
        written[name] = Annotation(starts=times, ends=times, values=values)
        files = {"audio": f"audio/{name}_MIX.wav"}
        for version in (1, 2, 3):
            files[f"melody{version}"] = f"melody{version}/{name}_MELODY{version}.csv"
            rows = zip(times, values if version == 2 else 0 * values, strict=True)
            text(home / files[f"melody{version}"], "".join(f"{time!r},{value!r}\n" for time, value in
                                                           ((float(t), float(v)) for t, v in rows)))  # fmt: skip
        tone(home / files["audio"], 0, k)
        tracks[name] = files
    text(home / "medleydb_melody_metadata.json", json.dumps({name: {"artist": name.split("_")[0]} for name in tracks}))
    index(home, "medleydb_melody_index_5.0.json", tracks)
    return {"melody": written}


# task -> builder
LAYOUTS: dict[str, Callable[[Path], dict[str, Written]]] = {
    "beat/guitarset": guitarset,
    "chord/guitarset": guitarset,
    "notes/guitarset": guitarset,
    "beat/gtzan": gtzan_beats,
    "beat/ballroom": ballroom,
    "notes/maestro": maestro,
    "chord/beatles": beatles,
    "melody/medleydb": medleydb,
}
