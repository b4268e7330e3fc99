"""A copy of a folder on storage that machines share without a common file system, through fsspec.

Conventions
-----------
A mirror is a URL such as ``s3://bucket/folder``, ``gs://...``, ``sftp://...`` or ``file:///...``; names below it are
relative, with slashes. Files are written in fsspec's transactions: an object store shows only complete files.
Every failure is an :class:`OSError` that names the mirror.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m2l_bench.files.disk import write_atomic


class Mirror:
    """Files by name below a URL.

    Parameters
    ----------
    url : str
        URL of a folder; it is created with the first file.

    Raises
    ------
    ValueError
        If fsspec does not know the protocol, or the package for it is not installed.

    Examples
    --------
    >>> import tempfile
    >>> mirror = Mirror("memory://example")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.txt"
    ...     n = path.write_bytes(b"content")
    ...     mirror.push(path, "letters/a.txt")
    ...     mirror.pull("letters/a.txt", Path(folder) / "b.txt"), mirror.pull("letters/b.txt", path), mirror.names("letters")
    (True, False, ['a.txt'])
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        try:
            self._fs, self._root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ValueError(f"mirror must be a URL that fsspec can open, got {url!r} ({error})") from error
        self.url = url

    def push(self, path: Path, name: str) -> None:
        """Copy a file to the mirror; an existing one is replaced."""
        place = self._place(name)
        with self._failures():
            self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            with self._fs.transaction, self._fs.open(place, "wb") as file:
                file.write(path.read_bytes())

    def pull(self, name: str, path: Path) -> bool:
        """Copy a file from the mirror to `path`; return False if there is none."""
        with self._failures():
            try:
                data = self._fs.cat_file(self._place(name))
            except FileNotFoundError:
                return False
        write_atomic(path, data)
        return True

    def names(self, folder: str) -> list[str]:
        """List the files and folders in a folder, sorted; empty if it does not exist."""
        place = self._place(folder)
        with self._failures():
            self._fs.invalidate_cache(place)  # others write there
            try:
                found: list[Any] = self._fs.ls(place, detail=False)
            except FileNotFoundError:
                return []
        return sorted(Path(path).name for path in found)

    def _place(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each protocol has exceptions of its own
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}", self.url) from error
