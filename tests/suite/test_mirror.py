"""Runs whose machines share no file system: what one has finished, another finds in the mirror."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from m2l_bench.files.mirror import Mirror
from m2l_bench.suite.engine import EngineError
from m2l_bench.suite.on_ray import RayEngine
from m2l_bench.suite.run import RunResult, run_suite
from m2l_bench.suite.suite import make_suite


@pytest.fixture(params=["file", "memory"])
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> Mirror:
    name = f"there-{tmp_path.name}-{request.node.name}"
    return Mirror(f"memory://{name}" if request.param == "memory" else f"file://{tmp_path / name}")


def test_files_come_back_as_they_went(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    mirror.push(tmp_path / "a", "x/y/a")
    (tmp_path / "a").write_bytes(b"two")
    mirror.push(tmp_path / "a", "x/y/a")
    assert mirror.names("x") == ["y"] and mirror.names("x/y") == ["a"] and mirror.names("nowhere") == []
    assert mirror.pull("x/y/a", tmp_path / "new" / "b") and (tmp_path / "new" / "b").read_bytes() == b"two"
    assert not mirror.pull("x/y/c", tmp_path / "c") and not (tmp_path / "c").exists()


def test_an_unknown_protocol_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"mirror must be a URL that fsspec can open, got 'gopher9://x'"):
        Mirror("gopher9://x")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Files of at least one musicnn window, and enough of them for a distance of sets."""
    folder, rng = tmp_path / "music", np.random.default_rng(0)
    folder.mkdir()
    for name in "abcdefghij":
        soundfile.write(folder / f"{name}.wav", 0.1 * rng.standard_normal(7 * 16000), 16000)
    return folder


def _run(folder: Path, out: Path, mirror: str | None, **more) -> tuple[RunResult, list[float | None]]:
    seconds: list[float | None] = []
    suite = make_suite(
        {
            "systems": ["identity", "lowpass-3.5k"],
            "audio": [str(folder)],
            "metrics": ["si_sdr", "fad:musicnn"],
            "tasks": [],
        }
    )
    return run_suite(suite, out=out, mirror=mirror, on_finished=lambda job, s: seconds.append(s), **more), seconds


def test_another_machine_goes_on_where_one_stopped(music: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'there'}"
    first, _ = _run(music, tmp_path / "one", url)
    second, seconds = _run(music, tmp_path / "two", url)
    assert set(seconds) == {None} and first.n_failed == 0
    alone, _ = _run(music, tmp_path / "three", None)
    for file in ("rows.csv", "items.parquet"):
        assert (second.folder / file).read_bytes() == (first.folder / file).read_bytes()
        assert (second.folder / file).read_bytes() == (alone.folder / file).read_bytes()


def test_a_mirror_that_fails_stops_the_run_and_loses_nothing(music: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((EngineError, OSError), match="file/below"):
        _run(music, tmp_path / "one", f"file://{tmp_path}/file/below")
    result, _ = _run(music, tmp_path / "one", f"file://{tmp_path / 'there'}")
    assert result.n_failed == 0


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_workers_of_a_cluster_that_see_only_the_mirror(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write in a folder of their own: everything in the run's came through the mirror."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "theirs"))
    engine = RayEngine(workers=2)
    try:
        result, _ = _run(music, tmp_path / "run", f"file://{tmp_path / 'there'}", engine=engine)
    finally:
        engine.close()
    alone, _ = _run(music, tmp_path / "alone", None)
    assert (result.folder / "rows.csv").read_bytes() == (alone.folder / "rows.csv").read_bytes()
    theirs = {path.name for path in (tmp_path / "theirs").rglob("*.seg")}
    ours = {path.name for path in (result.folder / "store").rglob("*.seg")}
    assert theirs and ours == theirs
