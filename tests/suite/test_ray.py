"""The Ray engine on one machine with two workers: the same rows, lost workers, hanging jobs, failing storage."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from noise_run import make_noise, run_noise
from toy_jobs import BatchedJob, ToyJob, values_of

from m2l_bench.suite import on_ray
from m2l_bench.suite.engine import EngineError
from m2l_bench.suite.on_ray import RayEngine
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ray on this machine, its workers finding the toy jobs; the folder where they keep what they fetch."""
    folder = tmp_path_factory.mktemp("theirs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder
    sys.modules["ray"].shutdown()


def _values(jobs: list[ToyJob], folder: Path, **options) -> list[float | str]:
    return values_of(jobs, folder, RayEngine(workers=2, **options))


def test_outcomes_come_in_order_and_lost_workers_are_tried_once_more(tmp_path: Path) -> None:
    jobs = [ToyJob(0), ToyJob(1, "die", times=1), ToyJob(2, "die"), ToyJob(3), ToyJob(4, "raise")]
    first, second, reason, fourth, raised = _values(jobs, tmp_path)
    assert (first, second, fourth) == (0, 1, 3)
    assert str(reason).startswith("its worker process was lost") and str(reason).endswith("2 times")
    assert raised == "KeyError: 'no such thing'"


def test_of_a_batch_only_the_job_that_kills_its_worker_fails(tmp_path: Path) -> None:
    first, reason, third = _values([BatchedJob(0), BatchedJob(1, "die"), BatchedJob(2)], tmp_path)
    assert (first, third) == (0, 2)
    assert str(reason).startswith("its worker process was lost")


def test_an_address_where_nothing_listens_is_one_error_within_half_a_minute() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for spelling in (address, f"ray://{address}"):
        with pytest.raises(EngineError, match=f"Ray at {spelling} cannot be reached: Connection refused"):
            on_ray._require_reachable(spelling)
    assert on_ray.CONNECT_SECONDS <= 30


def test_a_hanging_job_is_killed(tmp_path: Path) -> None:
    values = _values([ToyJob(0, "hang"), ToyJob(1)], tmp_path, timeout=10.0)
    assert values == ["its worker process was killed after 10 s, the time limit of a job", 1]


def test_a_share_of_a_gpu_that_no_machine_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="gpus_per_job must be at most what the cluster has, 0"):
        _values([ToyJob(0)], tmp_path, gpus_per_job=0.5)


def test_a_full_disk_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="No space left on device"):
        _values([ToyJob(0, "full", times=1)], tmp_path)
    assert _values([ToyJob(0, "full", times=1)], tmp_path) == [0]


def test_rows_are_the_same_bytes_as_on_one_machine(music_folder: Path, tmp_path: Path) -> None:
    suite = make_suite(
        {
            "systems": ["identity", "lowpass-7k"],
            "audio": [str(music_folder)],
            "metrics": ["si_sdr", "mel_distance"],
            "tasks": [],
        }
    )
    run_suite(suite, out=tmp_path / "local")
    run_suite(suite, out=tmp_path / "ray", engine=RayEngine(workers=2))
    for name in ("rows.csv", "items.parquet"):
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()


def test_workers_that_see_only_the_mirror(cache: Path, tmp_path: Path) -> None:
    """They write in a folder of their own: everything in the run's came through the mirror."""
    music = make_noise(tmp_path / "music")
    url = f"file://{tmp_path / 'there'}"
    result, _ = run_noise(music, tmp_path / "run", url, engine=RayEngine(workers=2))
    alone, _ = run_noise(music, tmp_path / "alone")
    assert (result.folder / "rows.csv").read_bytes() == (alone.folder / "rows.csv").read_bytes()
    theirs = {path.name for path in cache.rglob("*.seg")}
    ours = {path.name for path in (result.folder / "store").rglob("*.seg")}
    assert theirs and ours == theirs


@pytest.mark.parametrize(("name", "value"), [("workers", 0), ("gpus_per_job", -1.0), ("timeout", 0.0)])
def test_options_are_checked(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got"):
        RayEngine(**{name: value})
