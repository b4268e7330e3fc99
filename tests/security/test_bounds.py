"""Sizes that a file claims are checked before memory is allocated: audio, results, outcomes, latents, models, text."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from safetensors.numpy import save_file

from m2l_bench import audio
from m2l_bench.audio import AudioError
from m2l_bench.files.untrusted import parse_json
from m2l_bench.music2latent.config import PUBLISHED, Config
from m2l_bench.results import Item, from_parquet, to_parquet
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.suite.suite import read_suite
from m2l_bench.systems.encoders.features import MfccChroma
from m2l_bench.systems.files import file_decoder
from m2l_bench.systems.musika.keras_weights import read_layers
from m2l_bench.systems.pca import Pca
from m2l_bench.systems.small.recipes import read_recipe

ROOT = Path(__file__).parents[2]
MEASURE = """
import sys
from tests.peak_memory import peak_memory, restart_peak
from m2l_bench import audio
before = restart_peak()
try:
    audio.load(sys.argv[1])
except audio.AudioError as error:
    print(error)
print((peak_memory() - before) // 2**20)
"""


def _claim(path: Path, n_samples: int) -> None:
    """Write a FLAC file whose header claims `n_samples` samples."""
    soundfile.write(path, np.zeros(48000), 48000)
    content = bytearray(path.read_bytes())
    # STREAMINFO: the low 36 bits of bytes 18 to 25 of the file are the number of samples.
    field = int.from_bytes(content[18:26], "big") >> 36 << 36 | n_samples
    content[18:26] = field.to_bytes(8, "big")
    path.write_bytes(content)


@pytest.mark.parametrize(("n_samples", "message"), [((1 << 36) - 1, "too long, must have at most"), (1 << 28, "")])
def test_a_small_file_that_claims_hours_takes_no_memory(n_samples: int, message: str, tmp_path: Path) -> None:
    _claim(tmp_path / "bomb.flac", n_samples)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "bomb.flac")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    output, megabytes = done.stdout.splitlines()
    assert "bomb.flac" in output and message in output and int(megabytes) < 100, done


def test_a_day_of_silence_is_refused_and_its_excerpts_are_read(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "day.flac", "w", 4000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(24):
            file.write(np.zeros(4000 * 3600, np.int16))
    assert (tmp_path / "day.flac").stat().st_size < 3_000_000
    with pytest.raises(
        AudioError, match=r"day\.flac: too long, must have at most 268435456 .* got 1 x 345600000; cut it"
    ):
        audio.load(tmp_path / "day.flac")
    excerpt, rate = audio.load(tmp_path / "day.flac", start=4000 * 3600 * 23, n_samples=4000)
    assert excerpt.shape == (1, 4000) and rate == 4000


def test_the_limit_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((1000, 2)), 8000)
    monkeypatch.setenv("M2L_BENCH_MAX_SAMPLES", "2000")
    assert audio.load(tmp_path / "a.wav")[0].shape == (2, 1000)
    with pytest.raises(AudioError, match=r"at most 2000 samples .* got 2 x 2000"):
        audio.load(tmp_path / "a.wav", sample_rate=16000)
    with pytest.raises(AudioError, match="resampled from 8000 to 8001 Hz"):
        audio.resample(np.zeros((2, 8000), np.float32), 8000, 8001)
    monkeypatch.setenv("M2L_BENCH_MAX_SAMPLES", "1e9")
    with pytest.raises(ValueError, match="M2L_BENCH_MAX_SAMPLES must be a number of samples, got '1e9'"):
        audio.load(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [1, 99, 1_000_001, 2**31 - 1])
def test_invalid_sample_rates(rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), rate)
    with pytest.raises(AudioError, match=f"must be 100 to 1000000 Hz, got {rate}"):
        audio.info(tmp_path / "a.wav")


ITEM = Item(system="a", fingerprint="b", dataset="c", metric="d", card="e", item="f")


def test_results_that_claim_more_records_than_bytes(tmp_path: Path) -> None:
    table = pq.read_table(pa.BufferReader(to_parquet([ITEM], Item)))
    column = {name: pa.repeat(table[name][0], 1 << 20) for name in table.column_names}
    pq.write_table(pa.table(column), tmp_path / "items.parquet")
    assert (tmp_path / "items.parquet").stat().st_size < 100_000
    with pytest.raises(ValueError, match="no more records than bytes"):
        from_parquet(tmp_path / "items.parquet", Item)


def test_results_with_columns_of_other_types(tmp_path: Path) -> None:
    names = pq.read_table(pa.BufferReader(to_parquet([ITEM], Item))).column_names
    pq.write_table(pa.table({name: [b"\xff"] for name in names}), tmp_path / "items.parquet")
    with pytest.raises(ValueError, match="must have columns of the kinds"):
        from_parquet(tmp_path / "items.parquet", Item)
    (tmp_path / "none.parquet").write_bytes(to_parquet([replace(ITEM, reason=None)], Item))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a value in every field"):
        from_parquet(tmp_path / "none.parquet", Item)


@pytest.mark.parametrize("place", ["header", "shape"])
def test_outcomes_that_claim_more_than_their_segment_holds(place: str, tmp_path: Path) -> None:
    key = "ab" * 32
    store = Store(tmp_path)
    store.put(key, Outcome({}, {"latents": np.zeros((1, 64, 2), np.float32)}))
    store.close()
    (segment,) = (tmp_path / "segments").iterdir()
    content = bytearray(segment.read_bytes())
    if place == "header":  # the length of the arrays: 8 bytes before the last checksum
        end = content.index(b'{"value"')
        content[end - 12 : end - 4] = (1 << 40).to_bytes(8, "little")
    else:  # with a right checksum
        end = content.index(b'{"value"')
        length = int.from_bytes(content[end - 20 : end - 16], "little")
        text = bytes(content[end : end + length]).replace(b"[1,64,2]", b"[9,64,2]")
        content[end : end + length] = text
        content[end - 16 : end - 12] = crc32(text, crc32(bytes.fromhex(key))).to_bytes(4, "little")
    segment.write_bytes(content)
    assert Store(tmp_path).get(key) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": [10**9] * 5}, "blocks must be whole, at least 1 and at most 64"),
        ({"multipliers": [1] * 1000}, "multipliers must be a list of at most 16 entries"),
        ({"window": 2**40}, "window must be whole, at least 1 and at most 65536"),
        ({"width": "64"}, "width must be whole"),
        ({"width": True}, "width must be whole"),
        ({"blocks": 2}, "blocks must be a list"),
        ({"attention": [1] * 5}, "attention must be true or false"),
        ({"sigma_min": float("nan")}, "sigma_min must be a positive number"),
        ({"alpha": None}, "alpha must be a positive number"),
        ([], "config must be an object"),
    ],
)
def test_models_of_unreasonable_size(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.from_dict(PUBLISHED.to_dict() | change if isinstance(change, dict) else change)


@pytest.mark.parametrize("change", [{"sample_rate": "0"}, {"n_samples": "1000000000000"}, {"n_samples": "-1"}])
def test_latents_that_claim_hours(change: dict[str, str], tmp_path: Path) -> None:
    system = Pca()
    metadata = {"fingerprint": system.fingerprint, "sample_rate": "44100", "n_samples": "4096"} | change
    save_file({"latents": np.zeros((1, 64, 1), np.float32)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        file_decoder(system)(tmp_path / "a.safetensors", tmp_path / "a.wav")


@pytest.mark.parametrize(
    "latents",
    [np.zeros((64, 1), np.float32), np.full((1, 64, 1), np.nan, np.float32)],
)
def test_invalid_latents(latents: np.ndarray, tmp_path: Path) -> None:
    system = Pca()
    metadata = {"fingerprint": system.fingerprint, "sample_rate": "44100", "n_samples": "4096"}
    save_file({"latents": latents}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ValueError, match=r"latents must (be|decode to) finite"):
        file_decoder(system)(tmp_path / "a.safetensors", tmp_path / "a.wav")


@pytest.mark.parametrize("trap", ["huge", "external", "link", "virtual", "text"])
def test_keras_files_with_links_or_false_sizes(trap: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(400))
    with h5py.File(tmp_path / "trap.h5", "w") as file:
        file.attrs["layer_names"] = ["conv2d"]
        group = file.create_group("conv2d")
        group.attrs["weight_names"] = ["kernel"]
        if trap == "huge":  # nothing is stored: all of it is the fill value
            group.create_dataset("kernel", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
        elif trap == "external":
            group.create_dataset("kernel", (10,), "f4", external=[(str(tmp_path / "other"), 0, 40)])
        elif trap == "link":
            group["kernel"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        elif trap == "virtual":
            layout = h5py.VirtualLayout((10,), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (10,))
            group.create_virtual_dataset("kernel", layout)
        else:
            group["kernel"] = "text"
    reason = "more weights than its" if trap == "huge" else "is a link|not numbers in the file itself"
    with pytest.raises(ValueError, match=reason):
        read_layers(tmp_path / "trap.h5")


def test_text_that_is_nested_too_deeply(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nested this deeply"):
        parse_json("[" * 200_000)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 200_000)
    for read in (read_suite, read_recipe):
        with pytest.raises(ValueError, match=r"deep\.toml: must be a readable TOML file"):
            read(tmp_path / "deep.toml")
    with pytest.raises(json.JSONDecodeError):
        parse_json("{")


def test_a_bound_also_holds_for_a_systems_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    from m2l_bench.systems.apply import encode

    monkeypatch.setenv("M2L_BENCH_MAX_SAMPLES", "30000")
    with pytest.raises(AudioError, match="resampled from 8000 to 22050 Hz"):
        encode(MfccChroma(), np.zeros((1, 16000), np.float32), 8000)
