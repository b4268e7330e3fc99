"""The latent store: what is put comes back; damage counts as missing; writers do not disturb each other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m2l_bench.latents import DamagedShardWarning, LatentKey, LatentStore, default_root, latent_key


def key(number: int, system: str = "ff00") -> LatentKey:
    return latent_key(f"{number:064x}", system, {"rate": 44100})


def latents(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((1 + number % 2, 4, 3 + number)).astype(np.float32)


def fill(root: Path, numbers: range) -> None:
    with LatentStore(root) as store:
        for number in numbers:
            store.put(key(number), latents(number))


def shards(root: Path) -> list[Path]:
    return sorted(root.rglob("*.parquet"))


def test_what_is_put_comes_back_in_this_store_and_in_a_new_one(tmp_path: Path) -> None:
    with LatentStore(tmp_path) as store:
        for number in range(5):
            store.put(key(number), latents(number))
            np.testing.assert_array_equal(store.get(key(number)), latents(number))  # also while pending
    assert len(shards(tmp_path)) == 1
    again = LatentStore(tmp_path)
    assert again.keys() == sorted(key(number) for number in range(5))
    assert len(again) == 5 and key(3) in again and key(9) not in again
    for number in range(5):
        value = again.get(key(number))
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, latents(number))
    with pytest.raises(KeyError):
        again.get(key(9))


def test_keys_differ_by_audio_system_and_settings_and_not_by_the_order_of_settings() -> None:
    base = latent_key("ab", "cd", {"a": 1, "b": 2})
    assert base == latent_key("ab", "cd", {"b": 2, "a": 1})
    assert (
        len(
            {
                base,
                latent_key("ac", "cd", {"a": 1, "b": 2}),
                latent_key("ab", "ce", {"a": 1, "b": 2}),
                latent_key("ab", "cd"),
            }
        )
        == 4
    )


def test_float16_is_half_the_size_and_not_seen_by_a_float32_store(tmp_path: Path) -> None:
    big = np.random.default_rng(0).standard_normal((1, 64, 2000)).astype(np.float32)
    for dtype in ("float32", "float16"):
        LatentStore(tmp_path, dtype=dtype).put(key(0, dtype[-2:]), big)
    half, single = (next((tmp_path / dtype).rglob("*.parquet")).stat().st_size for dtype in ("float16", "float32"))
    assert half < 0.52 * single
    np.testing.assert_array_equal(LatentStore(tmp_path, dtype="float16").get(key(0, "16")), big.astype(np.float16))
    assert key(0, "16") not in LatentStore(tmp_path)


def test_pandas_reads_the_shards(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    frame = pd.read_parquet(tmp_path / "float32").sort_values("audio").reset_index(drop=True)
    assert list(frame.columns) == ["audio", "system", "settings", "streams", "dim", "frames", "values"]
    assert frame.settings.unique().tolist() == ['{"rate":44100}']
    for number, row in frame.iterrows():
        np.testing.assert_array_equal(np.reshape(row["values"], (row.streams, row.dim, row.frames)), latents(number))


def test_duckdb_reads_the_shards_and_computes_on_them(tmp_path: Path) -> None:
    import duckdb

    fill(tmp_path, range(3))
    rows = duckdb.sql(
        f"SELECT audio, streams, dim, frames, values, list_sum(values) FROM '{tmp_path}/float32/*/*.parquet' ORDER BY audio"
    ).fetchall()
    assert len(rows) == 3
    for number, (_, streams, dim, frames, values, total) in enumerate(rows):
        np.testing.assert_array_equal(np.float32(values).reshape(streams, dim, frames), latents(number))
        assert total == pytest.approx(latents(number).sum(dtype=np.float64), rel=1e-4, abs=1e-4)


def test_put_twice_keeps_the_first(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    store.put(key(0), latents(0))
    store.put(key(0), latents(0) + 1)
    np.testing.assert_array_equal(store.get(key(0)), latents(0))
    assert len(shards(tmp_path)) == 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_shard_is_missing_and_made_again(tmp_path: Path, share: float) -> None:
    fill(tmp_path, range(4))
    path = shards(tmp_path)[0]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    store = LatentStore(tmp_path)
    with pytest.warns(DamagedShardWarning, match=path.name):
        assert key(2) not in store
    np.testing.assert_array_equal(store.get_or_make(key(2), lambda: latents(2)), latents(2))
    assert store.verify() == [path]
    assert store.verify(remove=True) == [path] and not path.exists()
    assert LatentStore(tmp_path).keys() == [key(2)]


def test_flipped_bits_are_damage_not_data(tmp_path: Path) -> None:
    fill(tmp_path, range(1))
    path = shards(tmp_path)[0]
    data = bytearray(path.read_bytes())
    place = bytes(data).index(latents(0).tobytes()[:8])
    data[place] ^= 0x01
    path.write_bytes(bytes(data))
    store = LatentStore(tmp_path)
    with pytest.warns(DamagedShardWarning), pytest.raises(KeyError):
        store.get(key(0))
    assert LatentStore(tmp_path).verify() == [path]


def test_prune_drops_what_is_not_kept_and_copies(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    other = tmp_path / "other"
    fill(other, range(2, 6))  # a second writer that made two of the keys again
    path = shards(other)[0]
    path.rename(tmp_path / "float32" / "ff00" / path.name)
    LatentStore(tmp_path).put(key(0, "aa"), latents(0))
    leftover = tmp_path / "float32" / "ff00" / ".x.parquet.abc.part"
    leftover.write_bytes(b"half")
    os.utime(leftover, (0, 0))
    store = LatentStore(tmp_path)
    assert len(store) == 7
    assert store.prune(lambda k: k != key(5)) == 3  # one asked for, two copies
    assert not leftover.exists()
    for again in (store, LatentStore(tmp_path)):
        assert again.keys() == sorted([key(0, "aa"), *(key(number) for number in range(5))])
        for number in range(5):
            np.testing.assert_array_equal(again.get(key(number)), latents(number))
    assert store.prune(lambda k: k.system == "aa") == 5
    assert len(shards(tmp_path / "float32")) == 1 and store.verify() == []


def test_a_reader_survives_another_process_pruning(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    reader = LatentStore(tmp_path)
    assert len(reader) == 4
    LatentStore(tmp_path).prune(lambda k: k != key(0))
    np.testing.assert_array_equal(reader.get(key(3)), latents(3))
    with pytest.raises(KeyError):
        reader.get(key(0))


def test_concurrent_writers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=fill, args=(tmp_path, range(k, k + 10))) for k in (0, 5, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    store = LatentStore(tmp_path)
    assert store.keys() == sorted(key(number) for number in range(20))
    assert store.verify() == []
    for number in range(20):
        np.testing.assert_array_equal(store.get(key(number)), latents(number))


def test_killed_while_writing_then_resumed_equals_an_undisturbed_run(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_latents import *\n"
        "store = LatentStore(sys.argv[1])\n"
        "for number in range(10**6): store.put(key(number), latents(number % 50))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while len(shards(tmp_path)) < 3:
        time.sleep(0.02)
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    store = LatentStore(tmp_path)
    found = len(store)
    assert found >= 3 and store.verify() == []
    made = []
    for number in range(found + 5):
        np.testing.assert_array_equal(
            store.get_or_make(key(number), lambda n=number: made.append(n) or latents(n % 50)), latents(number % 50)
        )
    assert made == list(range(found, found + 5))


def test_what_was_put_before_an_exception_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), LatentStore(tmp_path) as store:
        store.put(key(0), latents(0))
        raise RuntimeError
    assert key(0) in LatentStore(tmp_path)


def test_bad_input() -> None:
    store = LatentStore("/nonexistent")
    with pytest.raises(ValueError, match=r"\(streams, dim, frames\), got shape \(3,\)"):
        store.put(key(0), np.zeros(3))
    with pytest.raises(ValueError, match="finite in float32, got 1"):
        store.put(key(0), np.full((1, 1, 1), np.nan))
    with pytest.raises(ValueError, match="finite in float16, got 2"):
        LatentStore("/nonexistent", dtype="float16").put(key(0), np.full((1, 1, 2), 1e6))
    with pytest.raises(ValueError, match="dtype must be one of"):
        LatentStore(dtype="float64")
    with pytest.raises(ValueError, match="hexadecimal"):
        latent_key("../x", "ff")


def test_default_root_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert LatentStore().root == default_root() == Path("/somewhere/m2l_bench/latents")
