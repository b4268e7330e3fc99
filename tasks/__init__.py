"""Tasks: labels to predict from frozen latents, each with its data, splits, kind and metrics."""

from __future__ import annotations

from pathlib import Path

from m2l_bench import plugins
from m2l_bench.tasks import genre, in_time, instrument, key, tagging, tempo
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.protocol import evaluate
from m2l_bench.tasks.sources.folder import LabelTable
from m2l_bench.tasks.tonality import KEYS, key_score

__all__ = ["evaluate", "key_score", "load_task", "task_names"]

_TASKS = {task.name: task for module in (tagging, key, tempo, genre, instrument, in_time) for task in module.TASKS}


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
        If there is no such task; the message names the nearest one.

    Examples
    --------
    >>> load_task("key/tunes").main_metric
    'key_mirex'
    """
    if name.endswith(".csv"):
        return _own_folder(Path(name))
    task = _TASKS.get(name)
    if task is None:
        task = plugins.find("task", name, _TASKS).thing
        if not isinstance(task, Task):
            raise ValueError(f"{name}: must be a Task, got {type(task).__name__}")
    return task.at(data_home)


def task_names() -> list[str]:
    """Names of all tasks; those of installed packages come last."""
    return list(dict.fromkeys([*_TASKS, *plugins.names("task")]))


def _own_folder(table: Path) -> Task:
    source = LabelTable(table=table)
    source.items()  # every file is checked before anything is encoded
    labels = KEYS if source.kind == "key" else source.tags
    name = f"own/{table.stem}"
    return Task(name=name, kind=source.kind, source=source, labels=labels, group="group", caveat=source.caveat)
