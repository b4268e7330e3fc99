"""Synthetic folders with the layouts of public datasets: tones instead of music, read by the real loaders."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.audio import load, write
from m2l_bench.tasks.sources.gtzan import fault_filtered

RATE = 22050


def tone(path: Path, label: int, seed: int) -> None:
    """A tenth of a second whose pitch tells the label."""
    rng = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * 600 * 1.6**label * np.arange(2205) / RATE) + 0.05 * rng.standard_normal(2205)
    write(path, 0.3 * wave.astype(np.float32), RATE)


def features(path: Path) -> np.ndarray:
    """Log energies of 24 bands, (24, 1)."""
    audio, _ = load(path, sample_rate=RATE)
    spectrum = np.abs(np.fft.rfft(audio.mean(axis=0)[:2048], 2048))[:1008]
    return np.log(spectrum.reshape(24, 42).mean(axis=1) + 1e-3)[:, None]


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def table(path: Path, rows: list[list[Any]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def index(home: Path, name: str, tracks: dict[str, dict[str, str]]) -> None:
    """mirdata's index of the folder, with the MD5 of every file, beside the data."""

    def entry(relative: str) -> list[str | None]:
        path = home / relative
        return [relative, hashlib.md5(path.read_bytes()).hexdigest()] if relative else [None, None]

    content = {"version": "x", "tracks": {t: {k: entry(p) for k, p in files.items()} for t, files in tracks.items()}}
    text(home / name, json.dumps(content))


def giantsteps(root: Path) -> Path:
    """Training part: annotations.txt, audio, md5; test part: mirdata's giantsteps_key."""
    home = root / "giantsteps-mtg-key-dataset"
    keys = ["C major", "A minor", "F# minor"]
    rows = [["ID", "MANUAL KEY", "C"]]
    for k in range(60):
        name = str(10_000 + k)
        rows.append([name, keys[k % 3], "2"])
        tone(home / "audio" / f"{name}.LOFI.mp3", k % 3, k)
        digest = hashlib.md5((home / "audio" / f"{name}.LOFI.mp3").read_bytes()).hexdigest()
        text(home / "md5" / f"{name}.LOFI.md5", f"{digest}  {name}.LOFI.mp3\n")
    rows += [["1", "C major / A minor", "2"], ["2", "-", "2"], ["3", "C major", "1"], ["4", "Nonsense", "2"]]
    table(home / "annotations" / "annotations.txt", rows, "\t")
    home, tracks = root / "giantsteps_key", {}
    spelled = ["C major", "A minor", "Gb minor"]  # the same keys, spelled otherwise
    for k in range(16):
        stem = f"{20_000 + k} Somebody - Something"
        tone(home / "audio" / f"{stem}.mp3", k % 3, 100 + k)
        text(home / "keys_gs+" / f"{stem}.txt", "Nonsense" if k == 15 else f"{spelled[k % 3]}\n")
        text(home / "original_metadata" / f"{stem}.json", json.dumps({"artists": [], "genres": [], "bpm": 120}))
        tracks[str(k)] = {
            "audio": f"audio/{stem}.mp3", "key": f"keys_gs+/{stem}.txt", "meta": f"original_metadata/{stem}.json"
        }  # fmt: skip
    index(home, "giantsteps_key_index_+.json", tracks)
    return root


def beatport(home: Path) -> Path:
    tracks = {}
    keys = ["C minor", "D minor", "Eb major"]
    for k in range(60):
        stem = f"{k} Somebody - Something"
        tone(home / "audio" / f"{stem}.mp3", k % 3, k)
        text(home / "keys" / f"{stem}.txt", "C minor | D minor\n" if k == 0 else "Unknown\n" if k == 1 else keys[k % 3])
        text(home / "meta" / f"{stem}.json", json.dumps({"artists": [{"name": f"artist {k // 2}"}]}))
        tracks[str(k)] = {"audio": f"audio/{stem}.mp3", "key": f"keys/{stem}.txt", "meta": f"meta/{stem}.json"}
    index(home, "beatport_key_index_1.0.0.json", tracks)
    return home


def gtzan(home: Path) -> Path:
    genres = ("blues", "hiphop", "jazz")
    chosen = [track for track in fault_filtered() if track.split(".")[0] in genres and int(track[-2:]) % 4 == 0]
    tracks = {}
    for k, track in enumerate([*chosen, "blues.99999"]):  # the last one is not in the split
        genre = track.split(".")[0]
        tone(home / "gtzan_genre" / "genres" / genre / f"{track}.wav", genres.index(genre), k)
        tracks[track] = {"audio": f"gtzan_genre/genres/{genre}/{track}.wav", "beats": "", "tempo": ""}
    index(home, "gtzan_genre_index_1.0.json", tracks)
    return home


def tinysol(home: Path) -> Path:
    instruments, pitches = ("Flute", "Oboe", "Violin"), ("C4", "C#4")
    rows: list[list[Any]] = [["Path", *(f"column {k}" for k in range(13))]]
    tracks = {}
    for k in range(60):
        name, pitch = instruments[k % 3], pitches[k % 2]
        stem = f"{name[:2]}-ord-{pitch}-ff-N-{k}"
        path = f"Family/{name}/ordinario/{stem}.wav"
        tone(home / "audio" / "TinySOL" / path, k % 6, k)
        fixed = ["ff", 4, 0, "", "FALSE"]
        rows.append([path, (k // 6) % 5, "Family", name[:2], name, "ord", "ordinario", pitch, 60 + k % 2, *fixed])
        tracks[stem] = {"audio": f"audio/TinySOL/{path}"}
    table(home / "annotation" / "TinySOL_metadata.csv", rows)
    index(home, "tinysol_index_6.0.json", tracks)
    return home


def medley(home: Path) -> Path:
    rows: list[list[Any]] = [["subset", "instrument", "instrument_id", "song_id", "uuid4"]]
    tracks = {}
    for k in range(48):
        subset = ("training", "training", "validation", "test")[k // 12]
        name, uuid = ("flute", "piano")[k % 2], f"0000-{k:04d}"
        path = f"audio/Medley-solos-DB_{subset}-{k % 2}_{uuid}.wav"
        tone(home / path, k % 2, k)
        rows.append([subset, name, k % 2, k // 2, uuid])
        tracks[uuid] = {"audio": path}
    table(home / "annotation" / "Medley-solos-DB_metadata.csv", rows)
    index(home, "medley_solos_db_index_1.2.json", tracks)
    return home


def jamendo(home: Path) -> Path:
    header = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
    rows: list[list[Any]] = [header]
    tracks = {}
    for k in range(60):
        name, path = f"track_{k:07d}", f"audios/{k % 100:02d}/{k}.mp3"
        tone(home / path, k % 3, k)
        tags = [f"mood/theme---{tag}" for tag in (["calm"], ["dark"], ["calm", "epic"])[k % 3]]
        rows.append([name, f"artist_{k // 3:06d}", f"album_{k // 3:06d}", path, "200.0", *tags])
        tracks[name] = {"audio": path}
    table(home / "data" / "autotagging_moodtheme.tsv", rows, "\t")
    for split in range(5):
        for part, lines in (("train", rows[1:37]), ("validation", rows[37:49]), ("test", rows[49:])):
            table(home / f"data/splits/split-{split}/autotagging_moodtheme-{part}.tsv", [header, *lines], "\t")
    index(home, "mtg_jamendo_autotagging_moodtheme_index_1.0.json", tracks)
    return home


def irmas(home: Path) -> Path:
    tracks = {}
    for k in range(60):
        code = ("cel", "flu", "pia")[k % 3]
        path = f"IRMAS-TrainingData/{code}/[{code}][cla]{k // 3 * 10 + k:04d}__1.wav"
        tone(home / path, k % 3, k)
        tracks[f"{k // 3 * 10 + k:04d}__1"] = {"audio": path, "annotation": path}
    for k in range(12):
        stem = f"IRMAS-TestingData-Part1/Part1/{k // 2:02d} - Some Song-{k}"
        tone(home / f"{stem}.wav", k % 3, 100 + k)
        text(home / f"{stem}.txt", "\n".join((["cel"], ["flu"], ["pia", "voi"])[k % 3]) + "\n")
        tracks[str(k)] = {"audio": f"{stem}.wav", "annotation": f"{stem}.txt"}
    index(home, "irmas_index_1.0.json", tracks)
    return home


def openmic(home: Path) -> Path:
    """Each clip has one instrument, was asked for another one that is absent, and for no others."""
    names = ("flute", "piano", "voice")
    header = ["track_id", "artist_name", "track_genres", "track_title", "sample_key", "start_time"]
    metadata: list[list[Any]] = [header]
    labels: list[list[Any]] = [["sample_key", "instrument", "relevance", "num_responses"]]
    parts: dict[str, list[list[Any]]] = {"train": [], "test": []}
    tracks = {}
    for k in range(60):
        key = f"{k:06d}_3840"
        tone(home / f"audio/{key[:3]}/{key}.ogg", k % 3, k)
        genres = "[{'genre_id': '76', 'genre_title': 'Experimental Pop', 'genre_url': 'http://x/'}]"
        metadata.append([k, f"The Band {k // 2}", genres, f"Song {k}", key, 3.84])
        labels += [[key, names[k % 3], 0.5 if k % 2 else 1.0, 3], [key, names[(k + 1) % 3], 0.17105, 3]]
        parts["test" if k >= 44 else "train"].append([key])
        tracks[key] = {"audio": f"audio/{key[:3]}/{key}.ogg", "vggish": ""}
    table(home / "openmic-2018-metadata.csv", metadata)
    table(home / "openmic-2018-aggregated-labels.csv", labels)
    for part, rows in parts.items():
        table(home / f"partitions/split01_{part}.csv", rows)
    text(home / "class-map.json", json.dumps({name: k for k, name in enumerate(names)}))
    index(home, "openmic2018_index_1.0.json", tracks)
    return home


def giantsteps_tempo(home: Path) -> Path:
    """Tempi in rising order, whichever more listeners tapped; the last track has none."""
    folder = "giantsteps-tempo-dataset-0b7d47ba8cae59d3535a02e3db69e2cf6d0af5bb"

    def jams(tempi: list[tuple[float, float]]) -> str:
        data = [{"time": 0.0, "duration": 120.0, "value": value, "confidence": share} for value, share in tempi]
        genre = {"namespace": "tag_open", "data": [{"value": "techno"}]}
        return json.dumps({"annotations": [{"namespace": "tempo", "data": data}, genre]})

    found = ([(70.0, 0.1), (140.3, 0.9)], [(87.0, 0.8), (174.0, 0.2)], [(120.0, 1.0)])
    folds: list[list[str]] = [[] for _ in range(10)]
    tracks = {}
    for k in range(61):
        stem = "3041381.LOFI" if k == 60 else f"{10_000 + k}.LOFI"
        tone(home / f"audio/{stem}.mp3", k % 3, k)
        text(home / f"{folder}/annotations/jams/{stem}.jams", jams([(100.0, 1.0)]))
        text(home / f"{folder}/annotations_v2/jams/{stem}.jams", jams([] if k == 60 else found[k % 3]))
        folds[k % 10].append(f"{stem}.mp3")
        tracks[str(k)] = {
            "audio": f"audio/{stem}.mp3",
            "annotation_v1": f"{folder}/annotations/jams/{stem}.jams",
            "annotation_v2": f"{folder}/annotations_v2/jams/{stem}.jams",
        }
    for k, names in enumerate(folds, start=1):
        text(home / f"{folder}/splits/fold{k:02d}.txt", "\n".join(names) + "\n")
    index(home, "giantsteps_tempo_index_2.0.json", tracks)
    return home


def nsynth(home: Path) -> Path:
    for split, count in (("train", 40), ("valid", 12), ("test", 12)):
        notes = {}
        for k in range(count):
            family = ("bass", "flute")[k % 2]
            instrument = f"{family}_acoustic_{(0 if split == 'train' else 100) + k // 8:03d}"
            name = f"{instrument}-{60 + k}-{100 if split == 'test' else 50}"
            tone(home / f"nsynth-{split}" / "audio" / f"{name}.wav", k % 2, k)
            notes[name] = {"instrument_str": instrument, "instrument_family_str": family, "pitch": 60 + k}
        text(home / f"nsynth-{split}" / "examples.json", json.dumps(notes))
    return home


def magnatagatune(home: Path) -> Path:
    from m2l_bench.tasks.sources.magnatagatune import TAGS

    others = [f"other {k}" for k in range(138)]
    rows: list[list[Any]] = [["clip_id", *TAGS, *others, "mp3_path"]]
    for k in range(66):
        folder = "0b1acdf"[k % 7]
        path = f"{folder}/band_{k}-album_{k}-01-song-0-29.mp3"
        tone(home / path, k % 3, k)
        tags = {"guitar": k % 3 == 0, "piano": k % 3 == 1, "loud": k % 3 > 0}
        none = k >= 63  # one clip without any of the tags, two of the three broken ones
        flags = [int(tags.get(tag, False) and k != 63) for tag in TAGS]
        clip = {64: 35644, 65: 57881}.get(k, 100 + k)
        rows.append([clip, *flags, *([int(none)] * 138), path])
    table(home / "annotations_final.csv", rows, "\t")
    return home


# task -> builder, and how many items take part
LAYOUTS: dict[str, tuple[Callable[[Path], Path], int]] = {
    "key/giantsteps": (giantsteps, 60 + 16),
    "key/beatport": (beatport, 60),
    "genre/gtzan": (gtzan, 70),
    "instrument/tinysol": (tinysol, 60),
    "instrument/tinysol:3": (tinysol, 60),
    "pitch/tinysol": (tinysol, 60),
    "instrument/medley-solos-db": (medley, 48),
    "tagging/mtg-jamendo-moodtheme": (jamendo, 60),
    "instrument/irmas": (irmas, 72),
    "instrument/openmic2018": (openmic, 60),
    "tempo/giantsteps": (giantsteps_tempo, 60),
    "instrument/nsynth": (nsynth, 64),
    "tagging/magnatagatune": (magnatagatune, 63),
}
