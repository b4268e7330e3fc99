"""Runs whose machines share no file system: what one has finished, another finds in the mirror."""

from __future__ import annotations

from pathlib import Path

import pytest
from noise_run import make_noise, run_noise

from m2l_bench.files.mirror import Mirror
from m2l_bench.suite.engine import EngineError


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


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Music, and a run without a mirror."""
    folder = tmp_path_factory.mktemp("mirror")
    music = make_noise(folder / "music")
    return music, run_noise(music, folder / "alone")[0].folder


def test_another_machine_goes_on_where_one_stopped(alone: tuple[Path, Path], tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'there'}"
    first, _ = run_noise(alone[0], tmp_path / "one", url)
    second, seconds = run_noise(alone[0], tmp_path / "two", url)
    assert set(seconds) == {None} and first.n_failed == 0
    for file in ("rows.csv", "items.parquet"):
        assert (second.folder / file).read_bytes() == (first.folder / file).read_bytes()
        assert (second.folder / file).read_bytes() == (alone[1] / file).read_bytes()


def test_a_mirror_that_fails_stops_the_run_and_loses_nothing(alone: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((EngineError, OSError), match="file/below"):
        run_noise(alone[0], tmp_path / "one", f"file://{tmp_path}/file/below")
    result, _ = run_noise(alone[0], tmp_path / "one", f"file://{tmp_path / 'there'}")
    assert result.n_failed == 0
