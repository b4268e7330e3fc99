"""Damaged files for every reader of the package, and the results that are allowed.

A case is a pure function of (kind, seed): a good file of that kind, changed one to six times. A reader may succeed, or
raise ValueError whose message names the file; anything else is a finding.
"""

from __future__ import annotations

import io
import json
import random
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch
from safetensors.numpy import save

from m2l_bench import audio
from m2l_bench.files.weights import read_weights
from m2l_bench.music2latent.checkpoint import load_checkpoint, save_checkpoint
from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.report.clips import read_manifest
from m2l_bench.results import Item, from_parquet, to_parquet
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.suite.suite import read_suite
from m2l_bench.systems.files import file_decoder
from m2l_bench.systems.musika.keras_weights import read_layers
from m2l_bench.systems.pca import Pca
from m2l_bench.systems.small.recipes import read_recipe
from m2l_bench.tasks.sources.annotation_files import read_annotation
from m2l_bench.tasks.sources.folder import LabelTable

SECONDS, BYTES = 10.0, 2 << 30  # a case that takes more of either is a finding
AUDIO = {
    "pcm16.wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "adpcm.wav": ("WAV", "MS_ADPCM"),
    "gsm.wav": ("WAV", "GSM610"), "rf64.wav": ("RF64", "PCM_24"), "extensible.wav": ("WAVEX", "PCM_24"),
    "a.flac": ("FLAC", "PCM_16"), "b.flac": ("FLAC", "PCM_24"), "vorbis.ogg": ("OGG", "VORBIS"),
    "opus.opus": ("OGG", "OPUS"), "a.mp3": ("MP3", "MPEG_LAYER_III"), "a.aiff": ("AIFF", "PCM_16"),
    "float.aif": ("AIFF", "FLOAT"), "caf.wav": ("CAF", "ALAC_16"), "au.wav": ("AU", "PCM_16"),
    "w64.wav": ("W64", "PCM_16"), "nist.wav": ("NIST", "PCM_16"), "voc.wav": ("VOC", "PCM_16"),
}  # fmt: skip
TINY = Config(
    width=16, multipliers=(1, 1), blocks=(1, 1), encoder_blocks=(1, 1), attention=(False, True), frequency_only=(False,),
    heads=4, embedding_width=16, bottleneck_width=16, bottleneck_blocks=1, latent_dim=4, window=128, hop=32,
)  # fmt: skip
SUITE = b'name = "a"\nsystems = ["opus:32k", { system = "pca", label = "ours", options = { a = 1 } }]\n\
audio = ["reconstruction/wesnoth"]\nmetrics = ["si_sdr"]\ntasks = ["key/tunes"]\nprobe_seeds = [0, 1]\nseed = 3\n'
RECIPE = b'seed = 1\n[model]\nwidth = 16\n[data]\nfolders = [{ path = "music", weight = 1.0, include = ["a/*"] }]\n\
[optimization]\nsteps = 100\nwarm_up = 10\nbetas = [0.9, 0.999]\n[run]\nprecision = "no"\nthreads = 1\n'
TABLE = b'path,label,split,group\na.wav,rock,train,x\n"b.wav",jazz,test,y\nc/d.wav,rock,valid,\n'
CHORDS = b"# chords\n0.0 1.25 C:maj(9,11)\n1.25,2.5,Bb:min7/b3\n2.6\t4.0 N\n"
NOTES = b"0.1 0.5 60\n0.1,0.75,64.5\n\n0.5\t1.0 67\n"
TOKENS = [
    b"\0", b"../", b"\xff\xfe", b'"', b"'", b"[" * 3000, b"{", b"}", b"]", b"\n", b",", b"=", b"1e999", b"-1", b"nan", b"inf",
    b"9" * 30, b"9" * 6000, b"true", b"null", b"[]", b"{}", b"\xef\xbb\xbf", b"\r", b"0", b"'''", b"1979-05-27", b"/etc/passwd",
]  # fmt: skip


def _tone() -> np.ndarray:
    time = np.arange(4800) / 8000
    return np.stack([np.sin(2760 * time), 0.3 * np.sin(5000 * time)], axis=1) * 0.5


def _audio(kind: str) -> bytes:
    buffer, (container, coding) = io.BytesIO(), AUDIO[kind]
    tone = _tone()[:, :1] if coding in ("GSM610", "ALAC_16") else _tone()
    soundfile.write(buffer, tone, 8000, format=container, subtype=coding)
    return buffer.getvalue()


def _clips() -> bytes:
    clip = {"id": "a", "dataset": "d", "sample_rate": 8000, "n_samples": 80, "start": 0.0, "reference": "a.wav"}
    return json.dumps({"version": 1, "systems": ["x"], "clips": [clip | {"systems": {"x": "a.wav"}}]}).encode()


def _results() -> bytes:
    items = [
        Item(system="a", fingerprint="b", dataset="c", metric="d", card="e", item=str(i), value=i / 7) for i in range(9)
    ]
    return to_parquet(items, Item)


def _torch(legacy: bool) -> bytes:
    buffer = io.BytesIO()
    state = {"gen_state_dict": {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.int64)}}
    torch.save(state | {"epoch": 3}, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def _keras() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = ["conv2d", "conv2d_1"]
        for name in ("conv2d", "conv2d_1"):
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel:0"]
            group[f"{name}/kernel:0"] = np.arange(12, dtype=np.float32)
    return buffer.getvalue()


def _latents() -> bytes:
    metadata = {"fingerprint": _pca().fingerprint, "sample_rate": "44100", "n_samples": "8000", "channels": "1"}
    return save({"latents": np.ones((1, 64, 2), np.float32)}, metadata)


@lru_cache
def _pca() -> Pca:
    return Pca()


def _written(make: Callable[[Path], object], pattern: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        return next(Path(folder).rglob(pattern)).read_bytes()


KEYS = [f"{i:064x}" for i in range(3)]


def _segment(folder: Path) -> None:
    store = Store(folder)
    for i, key in enumerate(KEYS):
        store.put(key, Outcome({"score": i}, {"latents": np.full((1, 4, 5), i, np.float32)}))
    store.close()


@lru_cache(maxsize=64)
def good(kind: str) -> bytes:
    """Make an undamaged file of a kind."""
    if kind in AUDIO:
        return _audio(kind)
    tiny = Music2LatentNetwork(TINY).state_dict
    return {
        "suite.toml": lambda: SUITE,
        "recipe.toml": lambda: RECIPE,
        "labels.csv": lambda: TABLE,
        "chords.csv": lambda: CHORDS,
        "notes.csv": lambda: NOTES,
        "manifest.json": _clips,
        "items.parquet": _results,
        "store.seg": lambda: _written(_segment, "*.seg"),
        "model.safetensors": lambda: _written(
            lambda p: save_checkpoint(p / "a.safetensors", tiny(), TINY), "*.safetensors"
        ),
        "latents.safetensors": _latents,
        "model.pt": lambda: _torch(False),
        "legacy.pt": lambda: _torch(True),
        "musika.h5": _keras,
    }[kind]()


def _read_segment(path: Path) -> None:
    folder = path.parent / "store"
    (folder / "segments").mkdir(parents=True, exist_ok=True)
    (folder / "segments" / "a.seg").write_bytes(path.read_bytes())
    store = Store(folder)
    for key in KEYS:
        store.get(key)  # None where it is damaged
    store.close()


def _read_table(path: Path) -> None:
    source = LabelTable(table=path)
    _ = source.kind, source.tags
    source.items()
    for split in ("train", "valid", "test"):
        source.labels(split)


READERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(AUDIO, lambda path: audio.load(path, sample_rate=16000)),
    "suite.toml": read_suite,
    "recipe.toml": read_recipe,
    "labels.csv": _read_table,
    "chords.csv": lambda path: read_annotation(path, "chords"),
    "notes.csv": lambda path: read_annotation(path, "notes"),
    "manifest.json": lambda path: read_manifest(path.parent),
    "items.parquet": lambda path: from_parquet(path, Item),
    "store.seg": _read_segment,
    "model.safetensors": lambda path: load_checkpoint(path).network(),
    "latents.safetensors": lambda path: file_decoder(_pca())(path, path.parent / "back.wav"),
    "model.pt": read_weights,
    "legacy.pt": read_weights,
    "musika.h5": read_layers,
}
KINDS = tuple(READERS)


def mutant(kind: str, seed: int) -> bytes:
    """Make the damaged file number `seed` of a kind."""
    chance = random.Random(f"{kind} {seed}")
    data, text = bytearray(good(kind)), kind.endswith((".toml", ".csv", ".json"))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        _change(data, chance, text)
    return bytes(data)


def _change(data: bytearray, chance: random.Random, text: bool) -> None:
    if not data:
        return
    # Headers and footers decide: two of three changes go there.
    place = chance.choice(
        (chance.randrange(min(len(data), 200)), chance.randrange(len(data)), -chance.randrange(1, 400))
    )
    place = max(0, len(data) + place) if place < 0 else place
    width = chance.choice((1, 2, 4, 8))
    way = chance.randrange(9 if text else 7)
    if way == 0:
        data[place] ^= 1 << chance.randrange(8)
    elif way == 1:
        data[place : place + width] = chance.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * width
    elif way == 2:
        number = chance.choice((1, 2**15, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62)) % 256**width
        data[place : place + width] = number.to_bytes(width, chance.choice(("little", "big")))
    elif way == 3:
        end = len(data) if chance.random() < 0.5 else place + chance.randrange(1, 64)
        del data[place:end]
    elif way == 4:
        data[place:place] = data[place : place + chance.randrange(1, 64)] * chance.choice((1, 2, 50))
    elif way == 5:
        data[place:place] = chance.randbytes(chance.randrange(1, 32))
    elif way == 6:
        data[place] = chance.randrange(256)
    else:
        data[place:place] = chance.choice(TOKENS)


def cases(n: int, *, start: int = 0) -> Iterator[tuple[int, str, int]]:
    """Yield (number, kind, seed), audio and other kinds in turn."""
    others = [kind for kind in KINDS if kind not in AUDIO]
    sounds = list(AUDIO)
    for number in range(start, n):
        half, rest = divmod(number, 2)
        kinds = sounds if rest else others
        kind, seed = kinds[half % len(kinds)], half // len(kinds)
        if kind == "musika.h5" and seed % 20:  # each starts a process: one in twenty is enough
            kind, seed = "items.parquet", seed + 1_000_000
        yield number, kind, seed


def prepare(folder: Path) -> None:
    """Write the files that tables and manifests name."""
    for name in ("a.wav", "b.wav", "c/d.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.zeros(80), 8000)


def finding(kind: str, seed: int, folder: Path) -> str | None:
    """Read one case; return a description of what went wrong, or None."""
    path = folder / kind
    path.write_bytes(mutant(kind, seed))
    (folder / "back.wav").unlink(missing_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            READERS[kind](path)
    except ValueError as error:
        names = {
            "manifest.json": str(folder),
            "model.safetensors": "checkpoint 'model'",
        }  # a checkpoint goes by its stem
        named = kind in str(error) or names.get(kind, kind) in str(error)
        return None if named else f"does not name the file: {error!r}"[:300]
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}: {error}"[:300]
    finally:
        path.unlink(missing_ok=True)
    return None
