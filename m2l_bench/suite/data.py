"""What a suite runs on: a named list of audio files with their content hashes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m2l_bench import audio
from m2l_bench.audio import AudioError
from m2l_bench.files.disk import sha256
from m2l_bench.results import data_hash


@dataclass(frozen=True)
class AudioItem:
    """One file: its id (relative POSIX path), where it lies, and the SHA-256 of its bytes ("" where unreadable)."""

    id: str
    path: str
    sha256: str

    @property
    def stem(self) -> str:
        """The id without suffix: what pairs a reconstruction with its reference."""
        return Path(self.id).with_suffix("").as_posix()


@dataclass(frozen=True)
class AudioSet:
    """A named list of files; `note` is the caveat that stands under every table over it."""

    name: str
    items: tuple[AudioItem, ...]
    note: str = ""

    @property
    def hash(self) -> str:
        """Changes with any file's content or name."""
        return data_hash((item.id, item.sha256) for item in self.items)


def from_folder(folder: str | Path, *, name: str | None = None, note: str = "") -> AudioSet:
    """Every audio file below a folder; unreadable ones are planned too, so that they are counted.

    Raises
    ------
    AudioError
        If it is not a folder or holds no audio file.
    """
    folder = Path(folder)
    paths = audio.list_audio(folder)
    if not paths:
        raise AudioError(f"{folder}: must hold audio files ({', '.join(audio.AUDIO_SUFFIXES)}), got none")
    items = tuple(
        AudioItem(path.relative_to(folder).as_posix(), str(path.resolve()), content_hash(path)) for path in paths
    )
    return AudioSet(name or folder.resolve().name, items, note)


def read_ahead(items: Sequence[AudioItem]) -> Iterator[tuple[AudioItem, Callable[[], tuple[np.ndarray, int]]]]:
    """Each file with a call that gives its audio and sample rate, or raises; the next one is decoded meanwhile."""
    with ThreadPoolExecutor(1) as decoder:
        ahead: deque[Future[tuple[np.ndarray, int]]] = deque()
        for number, item in enumerate(items):
            ahead += [decoder.submit(audio.load, other.path) for other in items[number + len(ahead) : number + 2]]
            yield item, ahead.popleft().result


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or "" where it cannot be read."""
    try:
        return sha256(path)
    except OSError:  # a dangling link or a file without read permission: the job that loads it says which
        return ""
