"""The store of finished jobs: append-only segment files, one for each process that writes.

Conventions
-----------
A record is the outcome of one job: a JSON object, and arrays (windows, latents, audio) beside it. Its key is the job's
identity, 64 hexadecimal digits. A segment, ``segments/*.seg``, is a row of records; each has a header (magic, key, whether
it failed, lengths and CRC-32 of its two parts), the JSON, then the arrays in C order.

Every process appends to a segment of its own, so that any number of them may write at once, on one machine or through a
shared file system, without locks. A record cut short by a kill is recognised by its length and never read; a damaged one
fails its checksum when it is read; it is then marked in its place and counts as missing, so that it is made again. Where a
key was written twice, the records are equal, or the one that did not fail counts.
Readers keep an index of what they have seen and look at the ends of the segments again when they miss a key.
"""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from zlib import crc32

import numpy as np

from m2l_bench.files.mirror import Mirror

_HEADER = struct.Struct("<4s32s?IIQI")  # magic, key, failed, JSON: length, CRC-32; arrays: length, CRC-32
_MAGIC, _WITHDRAWN = b"m2l1", b"m2l0"
_DTYPES = ("float32", "float64")
_LARGEST_SEGMENT = 256 << 20  # bytes; then the writer starts another
_MOST_OPEN = 64  # segments open for reading
_SYNC_SECONDS = 1.0  # what a power failure may lose; a killed process loses nothing that it wrote


@dataclass(frozen=True)
class Outcome:
    """The result of a job.

    Attributes
    ----------
    value : mapping
        JSON-serialisable.
    arrays : mapping of str to np.ndarray
        float32 or float64.
    reason : str
        The first reason why a number is missing, or empty.
    """

    value: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    reason: str = ""


class Store:
    """Records on disk by key; open one in each process.

    Parameters
    ----------
    folder : Path
        Made at the first write.
    mirror : Mirror, optional
        Storage shared with machines that do not share the folder: finished segments are copied there at each
        :meth:`flush`, and those of other machines are fetched when a key is missed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder))
    ...     store.put("ab" * 32, Outcome({"score": 1.5}, {"latents": np.zeros((64, 10), np.float32)}))
    ...     found = store.get("ab" * 32)
    ...     found.value, found.arrays["latents"].shape, store.get("cd" * 32)
    ({'score': 1.5}, (64, 10), None)
    """

    def __init__(self, folder: Path, mirror: Mirror | None = None) -> None:
        self.folder, self.mirror = folder / "segments", mirror
        self._index: dict[bytes, tuple[int, int]] = {}  # key -> segment and offset; the offset is negative if it failed
        self._segments: dict[str, int] = {}  # file name -> number
        self._ends: list[int] = []  # how far each segment is indexed
        self._open: dict[int, IO[bytes]] = {}
        self._out: io.FileIO | None = None
        self._own = 0  # number of the segment being written
        self._synced = 0.0

    def put(self, key: str, outcome: Outcome) -> None:
        """Append a record; OSError where the storage fails."""
        arrays = {name: np.ascontiguousarray(array) for name, array in outcome.arrays.items()}
        wrong = [str(array.dtype) for array in arrays.values() if array.dtype not in _DTYPES]
        if wrong:
            raise ValueError(f"arrays must be {' or '.join(_DTYPES)}, got {wrong[0]}")
        shapes = [[name, str(array.dtype), array.shape] for name, array in arrays.items()]
        record = {"value": outcome.value, "reason": outcome.reason, "arrays": shapes}
        text = json.dumps(record, separators=(",", ":")).encode()
        blob = b"".join(array.tobytes() for array in arrays.values())
        raw = bytes.fromhex(key)
        lengths = len(text), crc32(text, crc32(raw)), len(blob), crc32(blob)
        if self._out is None or self._out.tell() > _LARGEST_SEGMENT:
            self._start_segment()
        assert self._out is not None
        offset = self._out.tell()
        try:
            left = memoryview(_HEADER.pack(_MAGIC, raw, bool(outcome.reason), *lengths) + text + blob)
            while left:
                left = left[self._out.write(left) :]
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self._sync()
        except OSError:
            with suppress(OSError):
                self._out.close()
            self._out = None  # whatever of the record is there, nothing follows it
            raise
        self._index[raw] = self._own, -offset - 1 if outcome.reason else offset
        self._ends[self._own] = self._out.tell()

    def get(self, key: str, *, arrays: bool = True) -> Outcome | None:
        """Read a record; None where there is none, or it is damaged.

        Parameters
        ----------
        key : str
        arrays : bool
            Read the arrays too.
        """
        raw = bytes.fromhex(key)
        if raw not in self._index:
            self.refresh()
        place, before = self._index.get(raw), None
        while place is not None and place != before:
            found = self._read(raw, *place, arrays=arrays)
            if found is not None:
                return found
            self._withdraw(*place)
            self._forget()  # there may be another copy
            self.refresh()
            place, before = self._index.get(raw), place
        return None

    def failed(self, key: str) -> bool | None:
        """Whether a record has a reason in place of a number, or None where there is none as of the last refresh."""
        place = self._index.get(bytes.fromhex(key))
        return None if place is None else place[1] < 0

    def digest(self, key: str) -> bytes:
        """The header of a record: its key, and the lengths and checksums of its content; empty where there is none."""
        place = self._index.get(bytes.fromhex(key))
        if place is None:
            return b""
        file = self._file(place[0])
        file.seek(-place[1] - 1 if place[1] < 0 else place[1])
        return file.read(_HEADER.size)

    def __contains__(self, key: str) -> bool:
        """Whether there is a record as of the last :meth:`refresh`."""
        return bytes.fromhex(key) in self._index

    def flush(self) -> None:
        """Make what was written outlast a power failure, and copy it to the mirror."""
        if self._out is None:
            return
        if self.mirror:  # files there come whole and are never appended to
            self._sync()
            path = Path(self._out.name)
            self._out.close()
            self._out = None
            self.mirror.push(path, f"segments/{path.name}")

    def close(self) -> None:
        """Flush, and close all files."""
        self.flush()
        self.__del__()

    def __del__(self) -> None:
        for file in (self._out, *self._open.values()):
            if file is not None:
                with suppress(OSError):
                    file.close()
        self._out, self._open = None, {}

    def refresh(self) -> bool:
        """Index what any process has appended since; returns whether there was anything."""
        before = len(self._index)
        if self.mirror:
            here = {path.name for path in self.folder.glob("*.seg")}
            for name in self.mirror.names("segments"):
                if name.endswith(".seg") and name not in here:
                    self.mirror.pull(f"segments/{name}", self.folder / name)
        sizes = {path.name: path.stat().st_size for path in sorted(self.folder.glob("*.seg"))}
        if any(sizes.get(name, 0) < self._ends[number] for name, number in self._segments.items()):
            self._forget()  # somebody deleted a segment, or cut one short
        for name, size in sizes.items():
            self._scan(name, size)
        return len(self._index) > before

    def _scan(self, name: str, size: int) -> None:
        segment = self._number(name)
        offset = self._ends[segment]
        if offset >= size:
            return
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                magic, raw, failed, n_text, _, n_blob, _ = _HEADER.unpack(header)
                end = offset + _HEADER.size + n_text + n_blob
                if magic not in (_MAGIC, _WITHDRAWN) or end > size:  # damaged, or still being written
                    break
                place = segment, -offset - 1 if failed else offset
                # A failed job may have been tried again: its success counts, whichever segment is read first.
                if magic == _MAGIC and not (failed and raw in self._index):
                    self._index[raw] = place
                file.seek(n_text + n_blob, os.SEEK_CUR)
                offset = end
        self._ends[segment] = offset

    def _read(self, raw: bytes, segment: int, place: int, *, arrays: bool) -> Outcome | None:
        offset = -place - 1 if place < 0 else place
        try:
            file = self._file(segment)
            file.seek(offset)
            magic, key, _, n_text, text_crc, n_blob, blob_crc = _HEADER.unpack(file.read(_HEADER.size))
            text = file.read(n_text)
            if magic != _MAGIC or key != raw or crc32(text, crc32(raw)) != text_crc:
                return None
            record = json.loads(text)
            wanted = record["arrays"] if arrays else []
            blob = memoryview(file.read(n_blob) if wanted else b"")
            if wanted and crc32(blob) != blob_crc:
                return None
            found, start = {}, 0
            for name, dtype, shape in wanted:
                end = start + int(np.prod(shape)) * (4 if dtype == "float32" else 8)
                found[name] = np.frombuffer(blob[start:end], dtype if dtype in _DTYPES else "V").reshape(shape)
                start = end
            return Outcome(record["value"], found, record["reason"])
        except (OSError, struct.error, ValueError, KeyError, TypeError):  # damaged, or gone
            with suppress(KeyError, OSError):
                self._open.pop(segment).close()
            return None

    def _file(self, segment: int) -> IO[bytes]:
        """A segment, open for reading."""
        if segment not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[segment] = (self.folder / list(self._segments)[segment]).open("rb")
        return self._open[segment]

    def _withdraw(self, segment: int, place: int) -> None:
        """Mark a damaged record, so that it counts as missing for everybody."""
        with suppress(OSError), (self.folder / list(self._segments)[segment]).open("r+b") as file:
            file.seek(-place - 1 if place < 0 else place)
            file.write(_WITHDRAWN)

    def _forget(self) -> None:
        self._index, self._ends = {}, [0] * len(self._ends)
        while self._open:
            self._open.popitem()[1].close()

    def _number(self, name: str) -> int:
        if name not in self._segments:
            self._segments[name] = len(self._ends)
            self._ends.append(0)
        return self._segments[name]

    def _start_segment(self) -> None:
        if self._out is not None:
            self._sync()
            self._out.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex}.seg"
        self._out = (self.folder / name).open("xb", buffering=0)
        self._own = self._number(name)

    def _sync(self) -> None:
        assert self._out is not None
        os.fsync(self._out.fileno())
        self._synced = time.monotonic()


def require(store: Store, key: str, *, arrays: bool = True) -> Outcome:
    """A record that another job rests on.

    Raises
    ------
    OSError
        If it is damaged or gone: the run must stop, and computes it again when it is started again.
    """
    found = store.get(key, arrays=arrays)
    if found is None:
        raise OSError(errno.EIO, f"the stored outcome {key[:12]} is damaged or gone", str(store.folder))
    return found


class KeptArrays(Mapping[str, np.ndarray]):
    """An array of each item's record, read whenever it is asked for: none is held.

    Parameters
    ----------
    store : Store
    keys : mapping of str to str
        Item -> key of its record.
    array : str
        The array's name in the records.
    """

    def __init__(self, store: Store, keys: Mapping[str, str], array: str) -> None:
        self._store, self._keys, self._array = store, keys, array

    def __getitem__(self, item: str) -> np.ndarray:
        return require(self._store, self._keys[item]).arrays[self._array]

    def __contains__(self, item: object) -> bool:
        return item in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
