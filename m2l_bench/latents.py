"""The latent store: encode once, probe many times.

Conventions
-----------
A latent is named by what it depends on and never by a file's name: SHA-256 of the audio, fingerprint of the system,
settings of the encoding. Latents are ``(streams, dim, frames)``; they are kept as float32 (or float16 by choice) and
always returned as float32. On disk the store is a tree of Parquet shards, ``ROOT/DTYPE/FINGERPRINT/*.parquet``,
readable by pandas and DuckDB; one row holds one latent: columns `audio`, `system`, `settings`, `streams`, `dim`,
`frames`, `values` (the array in C order).

Every writer makes new shards under names of its own and renames them into place whole, and there is no shared index, so
any number of processes may write at once; use one :class:`LatentStore` a thread. A shard that is truncated or whose
page checksums fail is never read as data: its keys count as missing, so that they are made again.
"""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from m2l_bench.files.mirror import Mirror
from m2l_bench.shards import LatentKey, damage, latent_key, read_all, read_keys, read_row, write_shard

__all__ = ["DamagedShardWarning", "LatentKey", "LatentStore", "default_root", "latent_key"]

DTYPES = ("float32", "float16")
# A shard is flushed at either bound: small enough that a killed run loses little, large enough that files stay few.
_SHARD_ROWS = 256
_SHARD_BYTES = 64 << 20
_STALE_SECONDS = 3600


class DamagedShardWarning(RuntimeWarning):
    """A shard could not be read; its latents count as missing."""


def default_root() -> Path:
    """The user's cache folder for latents, outside any data folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("m2l_bench")) / "latents"


class LatentStore:
    """Latents on disk, looked up by :class:`LatentKey`.

    Parameters
    ----------
    root : path-like, optional
        Folder of the store, made at the first write; :func:`default_root` by default.
    dtype : {"float32", "float16"}
        What values are kept as. A store sees only latents of its own dtype.
    mirror : Mirror, optional
        Where every shard is copied to, and those of other machines are fetched from when a system of theirs is looked up.

    Notes
    -----
    Outside a ``with`` block each :meth:`put` writes a shard of its own; inside one, writes are batched and the rest is
    written when the block ends, also when it ends by an exception: what was put is whole. Inside one, the disk is looked
    at once for each system: what other processes add meanwhile may be missed, and be kept twice, which does no harm.

    Examples
    --------
    >>> import tempfile
    >>> key = latent_key("ab12", "00ff")
    >>> with tempfile.TemporaryDirectory() as folder, LatentStore(folder) as store:
    ...     store.put(key, np.zeros((1, 64, 10)))
    ...     store.get(key).shape
    (1, 64, 10)
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, *, dtype: str = "float32", mirror: Mirror | None = None
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self.root = Path(root) if root is not None else default_root()
        self.dtype = dtype
        self.mirror = mirror
        self._index: dict[LatentKey, tuple[Path, int]] = {}
        # Names of shards by folder: those in the index, and damaged ones that were warned about.
        self._seen: dict[Path, set[str]] = defaultdict(set)
        self._footers: dict[Path, Any] = {}  # parsing one takes longer than reading a latent
        self._pending: dict[LatentKey, np.ndarray] = {}
        self._batching = False
        self._looked: set[str] = set()  # systems that were looked for on disk in this batch

    def __enter__(self) -> LatentStore:
        self._batching = True
        self._looked.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batching = False
        self.flush()

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, LatentKey):
            return False
        return key in self._pending or self._known(key) is not None or key in self._refreshed(key.system)

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[LatentKey]:
        """Every key, sorted; shards that other processes have added meanwhile are found."""
        return sorted(self._pending.keys() | self._refreshed().keys())

    def get(self, key: LatentKey) -> np.ndarray:
        """Read a latent.

        Returns
        -------
        np.ndarray, float32, (streams, dim, frames)

        Raises
        ------
        KeyError
            If it is not there, or its shard is damaged (then :class:`DamagedShardWarning` names the shard).
        """
        if key in self._pending:
            return self._pending[key].astype(np.float32)
        while True:
            place = self._index.get(key) or self._refreshed(key.system).get(key)
            if place is None:
                raise KeyError(key)
            try:
                return read_row(*place, footer=self._footers.get(place[0]))
            except FileNotFoundError:  # pruned by another process: look for it in another shard
                self._forget(place[0])
            except damage() as error:
                self._forget(place[0])
                self._set_aside(place[0], error)

    def get_or_make(self, key: LatentKey, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Read a latent, or make it and keep it; both give the same float32 array."""
        try:
            return self.get(key)
        except KeyError:
            self.put(key, make())
            return self.get(key)

    def put(self, key: LatentKey, latents: np.ndarray) -> None:
        """Keep a latent (streams, dim, frames), finite in the store's dtype too; a key that is there is left as it is."""
        latents = np.asarray(latents)
        if latents.ndim != 3 or 0 in latents.shape:
            raise ValueError(f"latents must be a non-empty array (streams, dim, frames), got shape {latents.shape}")
        with np.errstate(over="ignore"):
            values = np.array(latents, dtype=self.dtype, order="C")
        if not np.isfinite(values).all():
            raise ValueError(
                f"latents must be finite in {self.dtype}, got {int((~np.isfinite(values)).sum())} that are not"
            )
        if self._known(key) is not None if self._batching else key in self:
            return
        self._pending[key] = values
        n_bytes = sum(array.nbytes for array in self._pending.values())
        if not self._batching or len(self._pending) >= _SHARD_ROWS or n_bytes >= _SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, one shard a system."""
        by_system = sorted(self._pending, key=lambda key: (key.system, key))
        for system, keys in itertools.groupby(by_system, key=lambda key: key.system):
            rows = [(key, self._pending[key]) for key in keys]
            self._write(system, rows)
            for key, _ in rows:
                del self._pending[key]

    def shards(self, keys: Iterable[LatentKey]) -> set[Path]:
        """The shards in which latents lie; KeyError where one is not there."""
        return {(self._known(key) or self._refreshed(key.system)[key])[0] for key in keys}

    def verify(self, *, remove: bool = False) -> list[Path]:
        """Read every shard completely, checksums included; returns the damaged ones, deleted where `remove` is set."""
        damaged = []
        for path in sorted((self.root / self.dtype).glob("*/*.parquet")):
            try:
                for _ in read_all(path):
                    pass
            except FileNotFoundError:
                continue
            except damage():
                damaged.append(path)
                self._forget(path)
                self._seen[path.parent].add(path.name)
        if remove:
            for path in damaged:
                self._remove(path)
        return damaged

    def prune(self, keep: Callable[[LatentKey], bool]) -> int:
        """Drop latents, copies of one key that several writers made, and the temporary files of killed writers.

        `keep` says of each key whether it stays; returns how many latents were dropped, copies included.
        """
        self.flush()
        index, dropped = dict(self._refreshed()), 0
        for path in sorted(folder / name for folder, names in self._seen.items() for name in names):
            try:
                rows = list(read_all(path))
            except damage():
                continue  # damaged shards are verify's
            kept = [
                (key, values) for row, (key, values) in enumerate(rows) if keep(key) and index.get(key) == (path, row)
            ]
            if len(kept) == len(rows):
                continue
            if kept:
                self._write(path.parent.name, kept)
            self._remove(path)
            self._forget(path)
            dropped += len(rows) - len(kept)
        for leftover in (self.root / self.dtype).glob("*/.*.part"):
            if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                leftover.unlink(missing_ok=True)
        return dropped

    def _known(self, key: LatentKey) -> tuple[Path, int] | None:
        place = self._index.get(key)
        return place if place is not None and place[0].exists() else None

    def _refreshed(self, system: str | None = None) -> dict[LatentKey, tuple[Path, int]]:
        """The index, once the folders of one system or of all were looked at."""
        if system in self._looked and self._batching:
            return self._index
        root = self.root / self.dtype
        self._synchronise(system)
        for folder in {*root.glob("*"), *self._seen} if system is None else {root / system}:
            names = set(_listed(folder))
            for gone in self._seen[folder] - names:
                self._forget(folder / gone)
            for name in sorted(names - self._seen[folder]):
                self._add_shard(folder / name)
        if system is not None:
            self._looked.add(system)
        return self._index

    def _write(self, system: str, rows: list[tuple[LatentKey, np.ndarray]]) -> None:
        path = write_shard(self.root / self.dtype / system, rows)
        if self.mirror:
            self.mirror.push(path, self._name(path))
        self._add_shard(path)

    def _remove(self, path: Path) -> None:
        if self.mirror:
            self.mirror.drop(self._name(path))
        path.unlink(missing_ok=True)

    def _synchronise(self, system: str | None) -> None:
        """Copy here what others have added to the mirror, and there what was written before there was one."""
        if self.mirror is None:
            return
        root = self.root / self.dtype
        for folder in (
            [system] if system is not None else {*self.mirror.names(self.dtype), *(p.name for p in root.glob("*"))}
        ):
            here, there = set(_listed(root / folder)), set(self.mirror.names(self._name(root / folder)))
            for name in sorted(there - here - self._seen[root / folder]):
                path = root / folder / name
                self.mirror.pull(self._name(path), path)
            for name in sorted(here - there):
                path = root / folder / name
                self.mirror.push(path, self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _add_shard(self, path: Path) -> None:
        try:
            keys, self._footers[path] = read_keys(path)
        except FileNotFoundError:
            return
        except damage() as error:
            self._set_aside(path, error)
            return
        self._seen[path.parent].add(path.name)
        for row, key in enumerate(keys):
            self._index.setdefault(key, (path, row))

    def _set_aside(self, path: Path, error: Exception) -> None:
        self._seen[path.parent].add(path.name)
        warnings.warn(
            f"{path}: damaged ({str(error).strip()}); its latents count as missing; verify(remove=True) removes it",
            DamagedShardWarning,
            stacklevel=3,
        )

    def _forget(self, path: Path) -> None:
        """Take a shard out of the index, so that the next refresh finds other copies of its keys."""
        names = self._seen[path.parent]
        names.discard(path.name)
        self._footers.pop(path, None)
        self._index = {key: place for key, place in self._index.items() if place[0] != path}
        # A copy elsewhere lost to this shard when it was indexed: look at the others anew.
        names.difference_update([name for name in names if (path.parent / name).exists()])
        self._looked.clear()


def _listed(folder: Path) -> list[str]:
    entries = os.scandir(folder) if folder.is_dir() else ()
    return [entry.name for entry in entries if entry.name.endswith(".parquet") and not entry.name.startswith(".")]
