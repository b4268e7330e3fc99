"""The local engine: one thread a worker, killed, hanging and raising jobs, full disks, interrupts, orphans."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from toy_jobs import BatchedJob, GpuJob, ThreadsJob, ToyJob, values_of

from m2l_bench.cli import _local
from m2l_bench.suite.engine import EngineError
from m2l_bench.suite.local import LocalEngine, _serve, _Worker, gpus_for
from m2l_bench.suite.store import Store

TOY_RUN = """
import sys
from contextlib import closing
from pathlib import Path
sys.path[:0] = {path!r}
from toy_jobs import BatchedJob
from m2l_bench.suite.engine import Workspace, run_jobs
from m2l_bench.suite.local import LocalEngine
if __name__ == "__main__":
    engine = LocalEngine(workers=2, on_stopping=lambda n: print("stopping", n, flush=True))
    jobs = [BatchedJob(n, seconds={seconds}) for n in range(12)]
    try:
        run_jobs(jobs, Workspace(Path({store!r})), engine)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def _values(jobs: list[ToyJob], folder: Path, **options) -> list[float | str]:
    with closing(LocalEngine(**options)) as engine:
        return values_of(jobs, folder, engine)


def _attempts(folder: Path, number: int) -> list[str]:
    return (folder / f"tries-{number}").read_text().split()


@pytest.mark.parametrize("read", [True, False])
def test_a_worker_ends_quietly_where_its_parent_is_gone(read: bool) -> None:
    ours, theirs = multiprocessing.Pipe()

    def leave() -> None:
        assert ours.poll(10)
        if read:
            ours.recv()
        ours.close()  # with something unread the other end sees a connection reset, else the end of the file

    parent, before = threading.Thread(target=leave), signal.getsignal(signal.SIGINT)
    parent.start()
    try:
        _serve(theirs)
    finally:
        signal.signal(signal.SIGINT, before)
        parent.join()


def test_outcomes_come_in_the_order_of_the_jobs_whatever_the_workers(tmp_path: Path) -> None:
    jobs = [ToyJob(n, seconds=0.02 * (n % 3)) for n in range(7)]
    for workers in (1, 3):
        assert _values(jobs, tmp_path / str(workers), workers=workers) == list(range(7))


def test_a_worker_has_one_thread(tmp_path: Path) -> None:
    assert _values([ThreadsJob(1)], tmp_path) == [1.0]


def test_a_killed_worker_is_replaced_and_its_job_tried_again_in_another_process(tmp_path: Path) -> None:
    jobs = [ToyJob(0), ToyJob(1, "die", times=1), ToyJob(2)]
    assert _values(jobs, tmp_path, workers=2) == [0, 1, 2]
    assert len(set(_attempts(tmp_path, 1))) == 2


def test_a_job_that_kills_its_worker_twice_is_counted_with_the_reason(tmp_path: Path) -> None:
    first, reason, last = _values([ToyJob(0), ToyJob(1, "die"), ToyJob(2)], tmp_path)
    assert (first, last) == (0, 2)
    assert reason == "its worker process was killed by SIGKILL (out of memory?), 2 times"
    assert len(_attempts(tmp_path, 1)) == 2


def test_a_hanging_job_is_killed_after_the_timeout_and_the_rest_goes_on(tmp_path: Path) -> None:
    began = time.monotonic()
    values = _values([ToyJob(0, "hang"), ToyJob(1), ToyJob(2)], tmp_path, workers=2, timeout=3.0)
    assert values == ["its worker process was killed after 3 s, the time limit of a job", 1, 2]
    assert time.monotonic() - began < 60
    assert len(_attempts(tmp_path, 0)) == 1


def test_a_job_that_takes_too_much_memory_is_killed_and_the_rest_goes_on(tmp_path: Path) -> None:
    reason, *others = _values([ToyJob(0, "eat"), ToyJob(1), ToyJob(2)], tmp_path, workers=2, memory=0.5)
    assert re.fullmatch(r"its worker process was killed at \d\.\d\d GiB, the memory limit is 0\.5 GiB", str(reason))
    assert others == [1, 2]
    assert len(_attempts(tmp_path, 0)) == 1


def test_memory_that_a_job_leaves_behind_is_not_the_next_ones_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Worker, "_gibibytes", lambda worker: 0.5 if worker.jobs else 5.0)
    assert _values([ToyJob(0), ToyJob(1)], tmp_path, workers=1, memory=1.0) == [0, 1]
    assert _attempts(tmp_path, 0) != _attempts(tmp_path, 1)  # each in a process of its own


def test_what_a_job_raises_is_its_reason(tmp_path: Path) -> None:
    assert _values([ToyJob(0, "raise"), ToyJob(1)], tmp_path) == ["KeyError: 'no such thing'", 1]


def test_failed_jobs_stay_failed_until_they_are_retried(tmp_path: Path) -> None:
    jobs = [ToyJob(0, "raise", times=1), ToyJob(1)]
    with closing(LocalEngine()) as engine:
        assert values_of(jobs, tmp_path, engine) == ["KeyError: 'no such thing'", 1]
        assert values_of(jobs, tmp_path, engine) == ["KeyError: 'no such thing'", 1]
        assert values_of(jobs, tmp_path, engine, retry_failed=True) == [0, 1]
    assert len(set(_attempts(tmp_path, 0))) == 1, "the same process"
    assert (len(_attempts(tmp_path, 0)), len(_attempts(tmp_path, 1))) == (2, 1)


def test_of_a_batch_only_the_job_that_kills_its_worker_fails(tmp_path: Path) -> None:
    jobs = [BatchedJob(0), BatchedJob(1, "die"), BatchedJob(2), BatchedJob(3), BatchedJob(4)]
    first, reason, *others = _values(jobs, tmp_path)
    assert (first, others) == (0, [2, 3, 4])
    assert str(reason).endswith("2 times")
    assert [len(_attempts(tmp_path, n)) for n in range(5)] == [1, 2, 1, 1, 1]


def test_each_worker_sees_one_gpu(tmp_path: Path) -> None:
    jobs = [GpuJob(n, seconds=1.0) for n in range(4)]
    assert sorted(_values(jobs, tmp_path, workers=2, gpus=("3", "5"))) == [3, 3, 5, 5]


def test_a_full_disk_stops_the_run_blames_no_file_and_loses_nothing(tmp_path: Path) -> None:
    jobs = [ToyJob(0), ToyJob(1, "full", times=1), ToyJob(2)]
    with pytest.raises(EngineError, match=r"No space left on device \(somewhere\).*goes on from there"):
        _values(jobs, tmp_path)
    assert _values(jobs, tmp_path) == [0, 1, 2]
    assert len(_attempts(tmp_path, 0)) == 1


@pytest.mark.parametrize(("name", "value"), [("workers", 0), ("timeout", 0.0), ("timeout", float("nan"))])
def test_options_are_checked(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got"):
        LocalEngine(**{name: value})


def _toy_run(folder: Path, seconds: float) -> subprocess.Popen[str]:
    script = folder / "toy_run.py"
    script.write_text(TOY_RUN.format(path=sys.path, seconds=seconds, store=str(folder / "store")))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((folder / "store").glob("tries-*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    return process


def _finished(folder: Path) -> int:
    store = Store(folder / "store")
    store.refresh()
    return sum(store.failed(ToyJob(n).id) is not None for n in range(12))


def test_the_first_interrupt_lets_running_jobs_finish(tmp_path: Path) -> None:
    process = _toy_run(tmp_path, 1.0)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping" in out
    begun = len(list((tmp_path / "store").glob("tries-*")))
    assert _finished(tmp_path) == begun, "what was under way is finished"
    assert 1 <= begun < 8, "the rest of the batches is left"


def test_the_second_interrupt_kills(tmp_path: Path) -> None:
    process = _toy_run(tmp_path, 120.0)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "stopping" not in process.stdout.readline():
        pass
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 30
    assert _finished(tmp_path) == 0


def test_a_killed_main_process_leaves_no_worker_behind(tmp_path: Path) -> None:
    process = _toy_run(tmp_path, 120.0)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_workers_are_pinned_to_the_gpus_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2l_bench.suite.local._GPU_DRIVERS", ("/dev/null",))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus_for(None) == gpus_for("cuda") == ("0", "1", "2")
    assert (gpus_for("cuda:1"), gpus_for("cpu")) == (("1",), ())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7,9")
    assert (gpus_for(None), gpus_for("cuda:1")) == (("4", "GPU-7", "9"), ("GPU-7",))
    engine = _local(workers=None)
    assert isinstance(engine, LocalEngine)
    assert (engine.workers, engine.gpus) == (3, ("4", "GPU-7", "9")), "one worker a GPU"
    assert LocalEngine(workers=4, gpus=("0", "1"))._gpu() == "0"
