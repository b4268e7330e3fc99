"""Safe reading of untrusted files: which paths they may name, how their text is read and shown.

Conventions
-----------
A table names only files below its own folder, also after links are resolved; a suite file names no code. The environment
variable ``M2L_BENCH_ALLOW_OUTSIDE=1`` lifts both rules. Paths that a person types, or writes into a suite, are not checked.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pydantic import ValidationError

ALLOW_OUTSIDE = "M2L_BENCH_ALLOW_OUTSIDE"
_FEW_RECORDS = 1 << 16


class OutsideError(ValueError):
    """A file names a path outside its own folder, or code."""


def outside_allowed() -> bool:
    """Whether ``M2L_BENCH_ALLOW_OUTSIDE=1`` is set."""
    return os.environ.get(ALLOW_OUTSIDE) == "1"


def inside(root: str | os.PathLike[str], name: str | os.PathLike[str], *, source: str | os.PathLike[str]) -> Path:
    """Resolve a name below a folder and refuse it where it leads out.

    Parameters
    ----------
    root : path-like
        Folder; may itself be a link.
    name : path-like
        Relative to `root`.
    source : path-like
        File that names it; begins the error message.

    Returns
    -------
    Path
        ``root / name``, links not resolved.

    Raises
    ------
    OutsideError
        If it leads out of `root`, be it by ``..``, an absolute path or a link.

    Examples
    --------
    >>> inside("music", "album/01.flac", source="music/labels.csv").as_posix()
    'music/album/01.flac'
    """
    root, text = Path(root), os.fspath(name)
    if "\0" in text:
        raise OutsideError(f"{source}: path must not hold a null character, got {text!r}")
    path = root / text
    try:
        stays = path.resolve().is_relative_to(root.resolve())
        path.exists()
    except (OSError, RuntimeError) as error:  # a name too long for the system, a circle of links
        raise OutsideError(f"{source}: path must be one that the system can follow ({error})") from error
    if not stays and not outside_allowed():
        raise OutsideError(
            f"{source}: path must stay below {root}, got {text!r}, which leads out of it; {ALLOW_OUTSIDE}=1 allows that"
        )
    return path


def parse_json(text: str | bytes) -> Any:
    """Read JSON; ValueError also where it is nested too deeply for Python's parser."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("must not be nested this deeply") from error


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ValueError
        If it is missing, not UTF-8, not TOML, or nested too deeply; the message begins with the path.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: must be a readable TOML file ({error})") from error


def faults(error: ValidationError) -> str:
    """Format pydantic's errors in one line: for each its key, the constraint and the value."""
    found = []
    for fault in error.errors():
        key, message = ".".join(str(part) for part in fault["loc"]), fault["msg"].removeprefix("Value error, ")
        if ", got " not in message:
            value = repr(fault["input"])
            message += f", got {value if len(value) <= 80 else value[:77] + '...'}"
        found.append(f"{key}: {message}" if key else message)
    return "; ".join(found)


def modest_parquet(path: Path, footer: Any) -> None:
    """Refuse a Parquet file that claims more records than bytes: one value a billion times over is a small file.

    Parameters
    ----------
    path : Path
    footer : pyarrow.parquet.FileMetaData

    Raises
    ------
    ValueError
    """
    claimed = max(footer.num_rows, sum(footer.row_group(i).num_rows for i in range(footer.num_row_groups)))
    if claimed > max(_FEW_RECORDS, size := path.stat().st_size):
        raise ValueError(f"{path}: must hold no more records than bytes ({size}), claims {claimed}")


def plain_parquet(path: Path, footer: Any) -> None:
    """Refuse a Parquet file that has several records a row group, or claims to expand to more bytes than it has.

    Only row groups are checked: reading a column from a damaged footer crashes Arrow (pyarrow 26). A dictionary-coded
    column may therefore expand unnoticed.

    Parameters
    ----------
    path : Path
    footer : pyarrow.parquet.FileMetaData
        Of a file with one record a row group.

    Raises
    ------
    ValueError
    """
    size, claimed = path.stat().st_size, 0
    for group in map(footer.row_group, range(footer.num_row_groups)):
        if group.num_rows != 1:
            raise ValueError(f"{path}: must hold one record a row group, got {group.num_rows}")
        claimed += group.total_byte_size
    if claimed > size:
        raise ValueError(f"{path}: must hold no more than its {size} bytes, claims {claimed}")


def printable(text: str) -> str:
    """Replace control and direction characters, which could reorder text or control a terminal, with spaces."""
    return "".join(sign if unicodedata.category(sign) not in ("Cc", "Cf", "Cs") else " " for sign in text)
