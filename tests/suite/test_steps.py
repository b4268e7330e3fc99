"""Batches of files and scores beside an accelerator: a device that is none, which takes note of what it is given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from m2l_bench import audio
from m2l_bench.music2latent.autoencoder import Music2Latent
from m2l_bench.suite import steps
from m2l_bench.suite.data import AudioItem, content_hash
from m2l_bench.suite.engine import Workspace, perform
from m2l_bench.suite.jobs.encode import EncodeJob
from m2l_bench.suite.jobs.reconstruct import Scoring
from m2l_bench.suite.local import LocalEngine
from m2l_bench.suite.store import Outcome
from m2l_bench.suite.suite import SystemSpec


class Device:
    """A system on a device that is none: it halves, and counts the files of each call and the threads that they come from."""

    name, sample_rate, seed, fingerprint = "device", 44100, 0, "d" * 16
    latent_dim, latent_rate = 4, 10.0

    def __init__(self, *, memory: int = 10**9, batches: bool = True) -> None:
        self.calls: list[int] = []
        self.threads: set[int] = set()
        self.memory = memory
        if batches:
            self.reconstruct_batch, self.encode_batch = self._reconstruct, self._encode

    def reconstruct(self, signal: np.ndarray) -> np.ndarray:
        return self._reconstruct(signal[None])[0]

    def encode(self, signal: np.ndarray) -> np.ndarray:
        return self._encode(signal[None])[0]

    def _reconstruct(self, files: np.ndarray) -> np.ndarray:
        return self._taken(files) / 2

    def _encode(self, files: np.ndarray) -> np.ndarray:
        return np.repeat(self._taken(files)[:, :, None, :8], 4, axis=2)

    def _taken(self, files: np.ndarray) -> np.ndarray:
        if files.size > self.memory:
            raise RuntimeError("out of memory")
        self.calls.append(len(files))
        self.threads.add(threading.get_ident())
        return files


def _items(folder: Path, music: Callable[..., np.ndarray], lengths: list[int]) -> list[AudioItem]:
    items = []
    for number, n_samples in enumerate(lengths):
        path = folder / f"{number}.wav"
        if n_samples:
            audio.write(path, music(n_samples, seed=number), 44100)
        else:
            path.write_bytes(b"RIFF")
        items.append(AudioItem(path.name, str(path), content_hash(path)))
    return items


def _outcomes(
    kind: str, device: Device, items: list[AudioItem], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Outcome]:
    monkeypatch.setattr(SystemSpec, "load", lambda self: device)
    spec = SystemSpec(system="device")
    if kind == "reconstruct":
        scoring = Scoring(spec=spec, fingerprint="d" * 16, metrics=("si_sdr", "gain"))
        jobs = [scoring.job(item) for item in items]
    else:
        jobs = [
            EncodeJob(spec=spec, fingerprint="d" * 16, item=item, pooling="mean", clip_seconds=None) for item in items
        ]
    workspace = Workspace(folder / f"store-{len(list(folder.iterdir()))}")
    answers = list(perform(jobs, workspace))
    assert [reason == "" for reason, _, _ in answers] == [Path(item.path).stat().st_size > 4 for item in items]
    return [workspace.store.get(job.id) for job in jobs]


def _same(some: list[Outcome], others: list[Outcome]) -> bool:
    return all(
        repr(asdict(one)) == repr(asdict(other)) and one.arrays.keys() == other.arrays.keys()
        for one, other in zip(some, others, strict=True)
    )


@pytest.mark.parametrize("kind", ["reconstruct", "encode"])
def test_files_of_one_length_go_together_and_the_outcomes_are_those_of_each_alone(
    kind: str, music: Callable[..., np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = _items(tmp_path, music, [22050, 22050, 30000, 0, 22050, 30000, 20000])
    alone = Device(batches=False)
    expected = _outcomes(kind, alone, items, tmp_path, monkeypatch)
    assert alone.calls == [1] * 6
    for n_threads, memory, calls in [
        ("0", 10**9, [3, 2, 1]),
        ("3", 10**9, [3, 2, 1]),
        ("0", 125_000, [1, 1, 1, 2, 1]),  # three files are too large for the device: they are done alone
    ]:
        monkeypatch.setenv(steps.SCORERS, n_threads)
        device = Device(memory=memory)
        assert _same(_outcomes(kind, device, items, tmp_path, monkeypatch), expected)
        assert device.calls == calls
        assert device.threads == {threading.get_ident()}, "one thread alone talks to the device"


def test_a_batch_is_bounded(music: Callable[..., np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = _items(tmp_path, music, [22050] * 5)
    device = Device()
    size = audio.load(items[0].path)[0].size
    monkeypatch.setattr(steps, "MOST_SAMPLES", 2 * size + 1)
    _outcomes("encode", device, items, tmp_path, monkeypatch)
    assert device.calls == [2, 2, 1]


def test_scores_are_made_beside_the_device(
    music: Callable[..., np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device gets the second file while the first is scored: else this would wait for ever."""
    items = _items(tmp_path, music, [22050, 30000])
    device, second = Device(), threading.Event()
    score, threads = Scoring.score, []

    def slow(self: Scoring, *arguments: object) -> Outcome:
        threads.append(threading.get_ident())
        assert second.wait(60)
        return score(self, *arguments)  # type: ignore[arg-type]

    def reconstruct(signal: np.ndarray) -> np.ndarray:
        if signal.shape[-1] == 30000:
            second.set()
        return signal

    monkeypatch.setattr(Scoring, "score", slow)
    monkeypatch.setattr(device, "reconstruct", reconstruct)
    monkeypatch.setenv(steps.SCORERS, "1")
    _outcomes("reconstruct", device, items, tmp_path, monkeypatch)
    assert second.is_set() and threading.get_ident() not in threads


def test_a_system_that_cannot_be_loaded_fails_each_file(
    music: Callable[..., np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: SystemSpec) -> None:
        raise ValueError("no such weights")

    monkeypatch.setenv(steps.SCORERS, "2")
    monkeypatch.setattr(SystemSpec, "load", refuse)
    scoring = Scoring(spec=SystemSpec(system="device"), fingerprint="d" * 16, metrics=("si_sdr",))
    jobs = [scoring.job(item) for item in _items(tmp_path, music, [22050, 22050])]
    answers = list(perform(jobs, Workspace(tmp_path / "store")))
    assert [reason for reason, _, _ in answers] == ["no such weights"] * 2


def test_workers_with_gpus_score_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert LocalEngine(workers=2, gpus=("0", "1"))._scorers() == 7
    assert LocalEngine(workers=16, gpus=("0",))._scorers() == 1
    assert LocalEngine(workers=2)._scorers() == 0


def test_batches_of_music2latent_are_its_files(music: Callable[..., np.ndarray]) -> None:
    system = Music2Latent(variant="small")
    assert not hasattr(system, "encode_batch"), "a processor gains nothing"
    files = np.stack([music(22050, seed=seed) for seed in range(3)])
    latents, back = system.encode(files), system.reconstruct(files)
    for file, of_latents, of_audio in zip(files, latents, back, strict=True):
        np.testing.assert_array_equal(of_latents, system.encode(file))
        np.testing.assert_array_equal(of_audio, system.reconstruct(file))
