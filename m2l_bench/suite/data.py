"""The data of a suite: named lists of audio files with their content hashes, and tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m2l_bench import audio
from m2l_bench.audio import AudioError, AudioInfo
from m2l_bench.files.disk import sha256
from m2l_bench.results import data_hash

if TYPE_CHECKING:
    from m2l_bench.tasks.base import Task


@dataclass(frozen=True, slots=True)
class AudioItem:
    """One file, or the middle of one.

    Attributes
    ----------
    id : str
        Relative POSIX path.
    path : str
    sha256 : str
        Of its bytes, and of `middle` where that is not 0; "" where it cannot be read.
    middle : float
        Seconds that are used, from the middle of the file; 0 for all of it.
    """

    id: str
    path: str
    sha256: str
    middle: float = 0.0

    @property
    def stem(self) -> str:
        """The id without suffix, by which a reconstruction is paired with its reference."""
        return audio.without_suffix(self.id)

    def load(self, *, longest: float | None = None) -> tuple[np.ndarray, int]:
        """Decode it, or its first `longest` seconds: (channels, samples) and sample rate; AudioError as :func:`audio.load`."""
        if not self.middle and longest is None:
            return audio.load(self.path)
        header = audio.info(self.path)
        start, n_samples = self._place(header)
        if longest is not None:
            n_samples = min(n_samples, round(longest * header.sample_rate))
        return audio.load(self.path, start=start, n_samples=n_samples)

    @property
    def seconds(self) -> float:
        """Duration; AudioError if the file cannot be read."""
        header = audio.info(self.path)
        return self._place(header)[1] / header.sample_rate

    def _place(self, header: AudioInfo) -> tuple[int, int]:
        """First sample and number of samples."""
        if not self.middle:
            return 0, header.n_samples
        n_samples = min(header.n_samples, round(self.middle * header.sample_rate))
        return (header.n_samples - n_samples) // 2, n_samples


@dataclass(frozen=True)
class AudioSet:
    """A named list of files.

    Attributes
    ----------
    name : str
    items : tuple of AudioItem
    note : str
        Caveat that stands under every table over it.
    skipped : mapping of str to str
        Paths in the folder that are not among the items, and why: links to files that are, dangling links, ...
    """

    name: str
    items: tuple[AudioItem, ...]
    note: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Hash that changes with any file's content or name."""
        return data_hash((item.id, item.sha256) for item in self.items)


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task's name and, where it is not the default, the folder of its data."""

    name: str
    data_home: str | None = None

    def load(self) -> Task:
        """Load the task; ValueError says in one line why it cannot be."""
        return _load_task(self.name, self.data_home)

    def audio(self, *splits: str) -> tuple[AudioItem, ...]:
        """Every item of these splits (of every split by default) with the hash of its audio, by id; labels stay unread.

        Raises
        ------
        ValueError
            If the dataset is missing (the message says how to get it) or its splits leak.
        """
        found = _task_audio(self.name, self.data_home)
        return tuple(item for item, split in found if split in splits or not splits)


def from_folder(folder: str | Path, *, name: str | None = None, note: str = "") -> AudioSet:
    """Every audio file below a folder; unreadable ones are planned too, so that they are counted.

    Raises
    ------
    AudioError
        If it is not a folder or holds no audio file.
    """
    folder = Path(folder)
    listing = audio.scan_audio(folder)
    if not listing.paths:
        raise AudioError(f"{folder}: must hold audio files ({', '.join(audio.AUDIO_SUFFIXES)}), got none")
    items = (
        AudioItem(path.relative_to(folder).as_posix(), str(path.absolute()), content_hash(path))
        for path in listing.paths
    )
    return AudioSet(name or folder.resolve().name, tuple(items), note, listing.skipped)


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or "" where it cannot be read."""
    try:
        return sha256(path)
    except OSError:  # a dangling link or a file without read permission: the job that loads it says which
        return ""


@lru_cache(maxsize=8)
def _load_task(name: str, data_home: str | None) -> Task:
    from m2l_bench.tasks import load_task

    return load_task(name, data_home=data_home)


@lru_cache(maxsize=8)
def _task_audio(name: str, data_home: str | None) -> tuple[tuple[AudioItem, str], ...]:
    from m2l_bench.tasks.sources.embedded import Embedded

    task = _load_task(name, data_home)
    if isinstance(task.source, Embedded):
        task.source.verify()
    return tuple((AudioItem(item.id, str(item.path), content_hash(item.path)), item.split) for item in task.items())
