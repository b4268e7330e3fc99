"""Checkpoints of several files: a folder that the user names, or a repository on the hub, trusted on first use.

Conventions
-----------
Nothing is downloaded unless a system is loaded without a checkpoint of the user's own. The revision and the SHA-256 of
what the first download brought are recorded beside Music2Latent's, and every later load must match them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from m2l_bench.files.disk import sha256
from m2l_bench.files.hub import CheckpointError, HubFile, fetch


@dataclass(frozen=True)
class Repository:
    """Where a system's published files are.

    Attributes
    ----------
    repo : str
    files : tuple of str
    about : str
        Size and licence, for the message of whoever cannot download them.
    revision : str, optional
        Commit that the authors' own loader names; the newest one otherwise.
    subfolder : str
        In which the files stand.
    """

    repo: str
    files: tuple[str, ...]
    about: str
    revision: str | None = None
    subfolder: str = ""

    def file(self, name: str) -> HubFile:
        """One of its files."""
        inside = f"{self.subfolder}/{name}" if self.subfolder else name
        return HubFile(self.repo, inside, self.about, self.revision)


def find(checkpoint: str | Path | None, repository: Repository) -> tuple[Path, ...]:
    """Paths of a repository's files, in its order: in the user's own folder, or downloaded.

    Parameters
    ----------
    checkpoint : path-like or None
        A folder that holds the files; where there is only one, its path will do.
    repository : Repository

    Raises
    ------
    CheckpointError
        If the folder lacks a file, or the hub's cannot be had or have changed.
    """
    if checkpoint is None:
        paths = tuple(fetch(repository.file(name)) for name in repository.files)
        if len({path.parent for path in paths}) > 1:
            raise CheckpointError(f"checkpoint: {repository.repo} changed between two of its files; try again")
        return paths
    path = Path(checkpoint)
    if len(repository.files) == 1 and path.is_file():
        return (path,)
    missing = [name for name in repository.files if not (path / name).is_file()]
    if missing:
        raise CheckpointError(
            f"checkpoint must be a folder with {', '.join(repository.files)}; {path} lacks {', '.join(missing)}"
        )
    return tuple(path / name for name in repository.files)


def digest(paths: Sequence[Path]) -> str:
    """One SHA-256 for several files."""
    return hashlib.sha256("".join(sha256(path) for path in paths).encode()).hexdigest()
