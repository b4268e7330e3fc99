"""A task of one's own: a source of items with labels, and the kind of question."""

from collections.abc import Iterator
from pathlib import Path

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.source import About, Source, TaskItem, hashed_split


class Folders(Source):
    """Audio in one folder for each label: ``data_home/LABEL/file.wav``."""

    about = About(name="folders", version="-", licence="mine", size="-", how="Put audio in LABEL/.", citation="-")

    def read(self) -> Iterator[tuple[TaskItem, str]]:
        """Yield the files, by their path; each is its own group."""
        for path in sorted(self.home.glob("*/*.wav")):
            name = path.relative_to(self.home).as_posix()
            split = hashed_split(name, {"train": 0.6, "valid": 0.2, "test": 0.2})
            yield TaskItem(name, path, split, name), path.parent.name


FOLDERS = Task(name="genre/folders", kind="single-label", source=Folders(data_home=Path("music")))
