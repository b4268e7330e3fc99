"""Tasks: labels to predict from frozen latents, each with its data, splits, kind and metrics."""

from __future__ import annotations

import runpy
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path

from m2l_bench.tasks import genre, instrument, key, tagging
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.protocol import evaluate
from m2l_bench.tasks.sources.folder import LabelTable
from m2l_bench.tasks.tonality import KEYS, key_score

__all__ = ["evaluate", "key_score", "load_task", "task_names"]

ENTRY_POINT_GROUP = "m2l_bench.tasks"


def load_task(name: str, *, data_home: str | Path | None = None) -> Task:
    """Load a task by its name.

    Parameters
    ----------
    name : str
        A name such as ``"key/tunes"``; ``"path/to/labels.csv"``, the user's own music (see
        :mod:`m2l_bench.tasks.sources.folder`); ``"path/to/file.py:NAME"``, a :class:`~m2l_bench.tasks.base.Task` in a
        Python file; or a name that an installed package registers in the entry-point group ``m2l_bench.tasks``.
    data_home : path-like, optional
        Folder of the dataset; ``~/mir_datasets/DATASET`` by default.

    Returns
    -------
    Task

    Raises
    ------
    ValueError
        If there is no such task; the message lists the known ones.

    Examples
    --------
    >>> load_task("key/tunes").main_metric
    'key_mirex'
    """
    if name.endswith(".csv"):
        return _own_folder(Path(name))
    task = _from_file(name) if ".py:" in name else _known().get(name)
    if task is None:
        raise ValueError(f"task must be a name, a .csv or file.py:NAME; known are {', '.join(_known())}; got {name!r}")
    return task.at(data_home)


def task_names() -> list[str]:
    """Names of all tasks; those of installed packages come last."""
    return list(_known())


def _known() -> dict[str, Task]:
    modules = (tagging, key, genre, instrument)
    tasks = {task.name: task for task in chain.from_iterable(module.TASKS for module in modules)}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        tasks.setdefault(point.name, point.load())
    return tasks


def _own_folder(table: Path) -> Task:
    source = LabelTable(table=table)
    labels = KEYS if source.kind == "key" else source.tags
    name = f"own/{table.stem}"
    return Task(name=name, kind=source.kind, source=source, labels=labels, group="group", caveat=source.caveat)


def _from_file(name: str) -> Task:
    path, _, attribute = name.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"{path}: must be a Python file with a task, no such file")
    found = runpy.run_path(path).get(attribute)
    if not isinstance(found, Task):
        raise ValueError(f"{path}: {attribute} must be a Task, got {type(found).__name__}")
    return found
