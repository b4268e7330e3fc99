"""The store: what is written is read by anybody, whatever is killed, cut short, damaged or written twice."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from m2l_bench.files.mirror import Mirror
from m2l_bench.suite.store import KeptArrays, Outcome, Store, require

VALUE = {"scores": {"si_sdr": 12.25, "lag": "estimate is silent", "nan": float("inf")}, "seconds": 10.0}
ARRAYS = {"windows": np.arange(12, dtype=np.float32).reshape(3, 4), "audio": np.ones((2, 5))}


def _key(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def _segments(folder: Path) -> list[Path]:
    return sorted((folder / "segments").glob("*.seg"))


def _same(found: Outcome | None) -> bool:
    assert found is not None
    assert found.value == VALUE and found.reason == "estimate is silent"
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    return True


def _written(folder: Path, keys: range) -> Store:
    store = Store(folder)
    for n in keys:
        store.put(_key(n), Outcome(VALUE, ARRAYS, "estimate is silent"))
    return store


def test_what_one_process_wrote_another_reads(tmp_path: Path) -> None:
    writer, reader = _written(tmp_path, range(5)), Store(tmp_path)
    assert _same(reader.get(_key(3))) and _same(writer.get(_key(3)))
    assert reader.get(_key(9)) is None and reader.failed(_key(9)) is None and reader.failed(_key(3)) is True
    writer.put(_key(9), Outcome({"scores": {}}))
    assert _key(9) not in reader, "as of the last refresh"
    assert reader.get(_key(9)) == Outcome({"scores": {}}) and reader.failed(_key(9)) is False


def test_the_success_of_a_second_try_counts_whichever_segment_is_read_first(tmp_path: Path) -> None:
    for outcome in (Outcome(reason="no luck"), Outcome({"n": 1}), Outcome(reason="no luck")):
        store = Store(tmp_path)
        store.put(_key(0), outcome)
        store.close()
    assert Store(tmp_path).get(_key(0)) == Outcome({"n": 1})


def test_arrays_are_left_unread_unless_asked_for(tmp_path: Path) -> None:
    found = _written(tmp_path, range(1)).get(_key(0), arrays=False)
    assert found is not None and found.value == VALUE and found.arrays == {}


def test_every_process_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    stores = [_written(tmp_path, range(n, n + 20)) for n in (0, 20, 10)]  # the last writes some keys a second time
    assert len(_segments(tmp_path)) == 3
    assert all(_same(store.get(_key(n))) for store in stores for n in range(40))


@pytest.mark.parametrize("cut", [1, 30, 70, 200])
def test_a_record_cut_short_is_none_and_what_is_before_it_is_whole(tmp_path: Path, cut: int) -> None:
    _written(tmp_path, range(3)).close()
    (segment,) = _segments(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-cut])
    store = Store(tmp_path)
    assert _same(store.get(_key(0))) and _same(store.get(_key(1)))
    assert store.get(_key(2)) is None
    store.put(_key(2), Outcome(VALUE, ARRAYS, "estimate is silent"))
    assert _same(Store(tmp_path).get(_key(2)))


@pytest.mark.parametrize("place", [0.05, 0.5, 0.95])
def test_a_damaged_record_counts_as_missing_for_everybody_and_is_made_again(tmp_path: Path, place: float) -> None:
    _written(tmp_path, range(1)).close()
    _written(tmp_path, range(1, 2)).close()
    for segment in _segments(tmp_path):
        content = bytearray(segment.read_bytes())
        if bytes.fromhex(_key(0)) in content:
            content[61 + int(place * (len(content) - 62))] ^= 1
            segment.write_bytes(bytes(content))
    store = Store(tmp_path)
    assert store.get(_key(0)) is None and _same(store.get(_key(1)))
    other = Store(tmp_path)
    other.refresh()
    assert _key(0) not in other and _key(1) in other
    with pytest.raises(OSError, match="is damaged or gone"):
        require(other, _key(0))
    other.put(_key(0), Outcome(VALUE, ARRAYS, "estimate is silent"))
    assert all(_same(Store(tmp_path).get(_key(n))) for n in (0, 1))


def test_another_copy_takes_the_place_of_a_damaged_one(tmp_path: Path) -> None:
    for _ in range(2):
        _written(tmp_path, range(1)).close()
    first, last = _segments(tmp_path)
    for segment in (last, first):
        content = segment.read_bytes()
        segment.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert (Store(tmp_path).get(_key(0)) is None) is (segment == first)


def test_what_is_no_segment_is_no_data(tmp_path: Path) -> None:
    _written(tmp_path, range(2)).close()
    (tmp_path / "segments" / "a.seg").write_bytes(b"not a segment" * 50)
    (tmp_path / "segments" / "b.seg").write_bytes(b"")
    assert _same(Store(tmp_path).get(_key(1)))


def test_a_killed_writer_loses_nothing_that_it_wrote(tmp_path: Path) -> None:
    code = (
        "import hashlib, os, signal, sys; from pathlib import Path; from m2l_bench.suite.store import Outcome, Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for n in range(100): store.put(hashlib.sha256(str(n).encode()).hexdigest(), Outcome({'n': n}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert [require(store, _key(n)).value for n in range(100)] == [{"n": n} for n in range(100)]


def test_what_another_process_appends_is_found_while_it_writes(tmp_path: Path) -> None:
    writer, reader = Store(tmp_path), Store(tmp_path)
    for n in range(50):
        writer.put(_key(n), Outcome({"n": n}))
        assert require(reader, _key(n)).value == {"n": n}
    assert len(_segments(tmp_path)) == 1


def test_segments_do_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2l_bench.suite.store._LARGEST_SEGMENT", 1000)
    store = _written(tmp_path, range(20))
    assert 2 < len(_segments(tmp_path)) < 20
    assert all(_same(store.get(_key(n))) for n in range(20))


def test_arrays_of_other_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="arrays must be float32 or float64, got int64"):
        Store(tmp_path).put(_key(0), Outcome(arrays={"codes": np.arange(3)}))


def test_a_failing_disk_leaves_what_was_whole(tmp_path: Path) -> None:
    store = _written(tmp_path, range(1))
    assert store._out is not None
    os.close(store._out.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        store.put(_key(1), Outcome(VALUE))
    assert _same(Store(tmp_path).get(_key(0)))


def test_machines_that_share_a_mirror_find_each_others_outcomes(tmp_path: Path) -> None:
    one, two = (Store(tmp_path / name, Mirror(f"file://{tmp_path}/there")) for name in ("one", "two"))
    for n in range(3):
        one.put(_key(n), Outcome({"n": n}))
    assert two.get(_key(0)) is None, "not there before it is flushed"
    one.flush()
    assert [require(two, _key(n)).value for n in range(3)] == [{"n": n} for n in range(3)]
    one.put(_key(3), Outcome({"n": 3}))
    one.flush()
    assert require(two, _key(3)).value == {"n": 3}
    assert len(_segments(tmp_path / "two")) == 2


def test_arrays_of_items_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    store = _written(tmp_path, range(3))
    arrays = KeptArrays(store, {"a.wav": _key(0), "b.wav": _key(2), "gone.wav": _key(9)}, "windows")
    assert list(arrays) == ["a.wav", "b.wav", "gone.wav"] and len(arrays) == 3
    assert "gone.wav" in arrays and "c.wav" not in arrays
    np.testing.assert_array_equal(arrays["b.wav"], ARRAYS["windows"])
    assert arrays["b.wav"] is not arrays["b.wav"]
    with pytest.raises(OSError, match="is damaged or gone"):
        arrays["gone.wav"]
