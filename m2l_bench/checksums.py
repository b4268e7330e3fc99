"""The checksums of a run's files: they find damage, not forgery."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from m2l_bench.files.disk import sha256, write_atomic
from m2l_bench.files.untrusted import inside

CHECKSUMS = "SHA256SUMS"  # as sha256sum --check reads it


def add_checksums(folder: Path, names: Iterable[str]) -> None:
    """List files of a run, and those of folders in it, in its ``SHA256SUMS``; entries of that name give way.

    Parameters
    ----------
    folder : Path
        Of a finished run; one without ``SHA256SUMS`` is left as it is.
    names : iterable of str
        Files or folders in it.
    """
    if not (folder / CHECKSUMS).is_file():
        return
    names = tuple(names)
    kept = {path: digest for path, digest in read_checksums(folder).items() if path.split("/")[0] not in names}
    found = [path for name in names for path in ([folder / name], (folder / name).rglob("*"))[(folder / name).is_dir()]]
    write_checksums(folder, kept | checksums(folder, (path for path in found if path.is_file())))


def read_checksums(folder: Path) -> dict[str, str]:
    """The checksums of a run: relative path -> SHA-256; ValueError where there are none or they are damaged."""
    path = file_of_run(folder, CHECKSUMS)
    lines = [line.partition("  ") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    wrong = [digest for digest, _, name in lines if len(digest) != 64 or not name]
    if wrong or not lines:
        raise ValueError(f"{path}: must hold lines of a SHA-256 and a path, got {(wrong or ['nothing'])[0]!r}")
    return {name: digest for digest, _, name in lines}


def changed_files(folder: Path, sums: Mapping[str, str]) -> dict[str, str]:
    """Compare files of a run with their checksums.

    Parameters
    ----------
    folder : Path
    sums : mapping of str to str
        Relative path -> SHA-256, all or some of :func:`read_checksums`.

    Returns
    -------
    dict of str to str
        Of each file that differs, the SHA-256 that was found; empty where there is no such file.

    Raises
    ------
    OutsideError
        If a path leads out of the folder.
    """
    paths = {name: inside(folder, name, source=folder / CHECKSUMS) for name in sums}
    found = {name: sha256(path) if path.is_file() else "" for name, path in paths.items()}
    return {name: digest for name, digest in found.items() if digest != sums[name]}


def checksums(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Relative path -> SHA-256 of files in a folder."""
    return {Path(os.path.relpath(path, folder)).as_posix(): sha256(path) for path in paths}


def write_checksums(folder: Path, sums: Mapping[str, str]) -> None:
    """Write a run's ``SHA256SUMS``."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    write_atomic(folder / CHECKSUMS, "".join(lines).encode())


def file_of_run(folder: str | os.PathLike[str], name: str) -> Path:
    """Path of a file that each finished run has; ValueError where there is none."""
    path = Path(folder) / name
    if not path.is_file():
        raise ValueError(f"{folder}: must be the folder of a finished run, got one without {name}")
    return path
