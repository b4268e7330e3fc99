"""Find the finished run of a suite that is asked for again, without planning it.

Conventions
-----------
A run that left nothing out is remembered beside its jobs under a signature: the suite, and path, size and time of change of every
file that could make it another run: those of this package and all that the suite names. The plan's hash, over the content of
files, decides where no run is remembered. Suites that name code of the user's are always planned.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from m2l_bench import plugins
from m2l_bench.files.disk import write_atomic
from m2l_bench.results import PAGE
from m2l_bench.suite.suite import Suite, texts

RUNS = Path("results") / "runs"
_PACKAGE = Path(__file__).parent.parent
_KINDS = ("system", "metric", "task", "probe")


def store_of(out: Path | None) -> Path:
    """Where the finished jobs of a run lie: in the folder that was asked for, else together with those of the other runs."""
    return (out / "store" if out else RUNS / ".store").absolute()


def remember(asked: str, store: Path, folder: Path) -> None:
    """Write down that the run with a :func:`signature` lies in `folder`."""
    path = store / "finished" / asked
    if asked and not path.is_file():
        write_atomic(path, folder.name.encode())


def recall(suite: Suite, out: Path | None) -> Path | None:
    """The folder of the finished run of `suite`, with its report; None where there is none, or only a plan can tell."""
    finished = store_of(out) / "finished"
    if not finished.is_dir() or not (asked := signature(suite)) or not (finished / asked).is_file():
        return None
    folder = out or RUNS / (finished / asked).read_text(encoding="utf-8")
    return folder if (folder / "run.json").is_file() and (folder / PAGE).is_file() else None


def signature(suite: Suite) -> str:
    """Digest of all that the run depends on; empty where only a plan can tell."""
    named = list(texts(suite.model_dump(mode="json")))
    installed = {name for kind in _KINDS for name in plugins.names(kind)}
    if any(".py:" in text or text.endswith(".csv") or text.partition(":")[0] in installed for text in named):
        return ""
    digest = hashlib.sha256(suite.model_dump_json().encode())
    for path in (_PACKAGE, *_data(suite, named)):
        for file in _files(path):
            try:
                about = file.stat()
            except OSError:  # a dangling link: the run counts it
                digest.update(f"{file}\0".encode())
            else:
                digest.update(f"{file}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def _data(suite: Suite, named: list[str]) -> list[Path]:
    """Files and folders that a suite names, and the default folders of its datasets."""
    from m2l_bench.suite.audio_sets import PUBLISHED_SETS

    places = [Path(text.partition("=")[2] or text) for text in named]
    found = [place for place in places if place.is_absolute()]
    datasets = [spec.load().about.name for spec in suite.task_specs() if not spec.data_home]
    datasets += [PUBLISHED_SETS[name].about.name for name in suite.audio if name in PUBLISHED_SETS]
    home = Path("~/mir_datasets").expanduser()
    return [*found, *(home / name for several in datasets for name in several.split("; "))]


def _files(place: Path) -> Iterator[Path]:
    """The place itself and every file below it, in order; each folder once, whatever links lead to it."""
    yield place
    seen: set[str] = set()
    for folder, folders, names in os.walk(place, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(folder, name) for name in sorted(names))
