"""Shards of the latent store: one Parquet file that holds latents of one system, with their keys.

Conventions
-----------
One row, and one row group, is one latent ``(streams, dim, frames)``: columns `audio`, `system`, `settings` (its key),
`streams`, `dim`, `frames`, `values` (the array in C order). Pages carry checksums. A shard is written whole or not at all.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.files.disk import write_atomic
from m2l_bench.files.untrusted import plain_parquet

_KEY_COLUMNS = ["audio", "system", "settings"]


@dataclass(frozen=True, order=True)
class LatentKey:
    """What a latent depends on.

    Attributes
    ----------
    audio : str
        SHA-256 of the audio, hexadecimal.
    system : str
        Fingerprint of the system, hexadecimal.
    settings : str
        Canonical JSON of the encoding's settings; see :func:`latent_key`.
    """

    audio: str
    system: str
    settings: str = "{}"

    def __post_init__(self) -> None:
        for name in ("audio", "system"):
            value = getattr(self, name)
            if not value or set(value) - set("0123456789abcdef"):
                raise ValueError(f"{name} must be lower-case hexadecimal digits, got {value!r}")


def latent_key(audio_sha256: str, fingerprint: str, settings: Mapping[str, Any] | None = None) -> LatentKey:
    """Name a latent.

    Parameters
    ----------
    audio_sha256, fingerprint : str
        Hexadecimal digits.
    settings : mapping, optional
        Everything else the latent depends on (excerpt, sample rate, channel rule, ...), JSON-serialisable.

    Returns
    -------
    LatentKey

    Examples
    --------
    >>> latent_key("ab12", "00ff", {"start": 0, "channels": 1}).settings
    '{"channels":1,"start":0}'
    """
    return LatentKey(audio_sha256, fingerprint, json.dumps(dict(settings or {}), sort_keys=True, separators=(",", ":")))


def damage() -> tuple[type[Exception], ...]:
    """What reading a damaged shard raises."""
    import pyarrow

    return (pyarrow.ArrowException, OSError, KeyError, ValueError)


def write_shard(folder: Path, rows: Iterable[tuple[LatentKey, np.ndarray]]) -> Path:
    """Write latents of one dtype under a name that nobody else has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys, arrays = zip(*rows, strict=True)
    values_type = pa.from_numpy_dtype(arrays[0].dtype)
    columns = {name: pa.array([getattr(key, name) for key in keys], pa.string()) for name in _KEY_COLUMNS}
    for axis, name in enumerate(("streams", "dim", "frames")):
        columns[name] = pa.array([array.shape[axis] for array in arrays], pa.int32())
    columns["values"] = pa.array([array.ravel() for array in arrays], pa.list_(values_type))
    sink = pa.BufferOutputStream()
    # One row group a latent: reading one touches no other. Floats hardly compress and have no dictionary worth making.
    pq.write_table(
        pa.table(columns), sink, row_group_size=1, compression="none", use_dictionary=False, write_page_checksum=True
    )
    path = folder / f"{uuid.uuid4().hex}.parquet"
    write_atomic(path, sink.getvalue().to_pybytes())
    return path


def read_keys(path: Path) -> tuple[list[LatentKey], Any]:
    """Keys in the order of their rows, and the parsed footer."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _refuse_bomb(path, file)
        columns = file.read(_KEY_COLUMNS).to_pydict()
        return [LatentKey(*row) for row in zip(*columns.values(), strict=True)], file.metadata


def _refuse_bomb(path: Path, file: Any) -> None:
    """A shard is neither compressed nor coded through a dictionary, so it holds no more values than bytes."""
    import pyarrow as pa

    kinds = [pa.string()] * 3 + [pa.int32()] * 3
    schema = file.schema_arrow
    values = schema.field("values").type
    if schema.names != [*_KEY_COLUMNS, "streams", "dim", "frames", "values"] or schema.types[:-1] != kinds:
        raise ValueError(f"must be a shard of latents, got the columns {schema.names}")
    if not pa.types.is_list(values) or values.value_type not in (pa.float32(), pa.float16()):
        raise ValueError(f"values must be lists of float32 or float16, got {values}")
    plain_parquet(path, file.metadata)


def read_row(path: Path, row: int, *, footer: Any) -> np.ndarray:
    """One latent as float32; no other is touched."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, metadata=footer, page_checksum_verification=True) as file:
        return _decode(file.read_row_group(row, use_threads=False))[1].astype(np.float32)


def read_all(path: Path) -> Iterator[tuple[LatentKey, np.ndarray]]:
    """Every latent in the order of the rows, checksums verified."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _refuse_bomb(path, file)
        for row in range(file.num_row_groups):
            yield _decode(file.read_row_group(row))


def _decode(table: Any) -> tuple[LatentKey, np.ndarray]:
    key = LatentKey(*(table[name][0].as_py() for name in _KEY_COLUMNS))
    shape = [table[name][0].as_py() for name in ("streams", "dim", "frames")]
    return key, table["values"].chunk(0).flatten().to_numpy().reshape(shape)
