"""Safe reading of untrusted files: the paths that they may name, and how their text is read and printed.

Conventions
-----------
A table may name only files below its own folder, also after links are resolved; a suite file may name no code. The
environment variable ``M2L_BENCH_ALLOW_OUTSIDE=1`` lifts both rules. Paths on the command line or in a suite are not checked.
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
    """Join a folder and a name, and check that the path stays in the folder.

    Parameters
    ----------
    root : path-like
        Folder; may itself be a link.
    name : path-like
        Relative to `root`.
    source : path-like
        File that has the name, for the error message.

    Returns
    -------
    Path
        ``root / name``, links not resolved.

    Raises
    ------
    OutsideError
        If the path leads out of `root`: by ``..``, as an absolute path, or through a link.

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
    except (OSError, RuntimeError) as error:  # too long a name, a cycle of links
        raise OutsideError(f"{source}: path must be valid on this system, got {text[:80]!r} ({error})") from error
    if not stays and not outside_allowed():
        raise OutsideError(f"{source}: path must lie in {root}, got {text!r}; {ALLOW_OUTSIDE}=1 allows other paths")
    return path


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; ValueError also where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("must not be nested this deeply") from error


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file; ValueError if it is missing, not UTF-8, not TOML, or nested too deeply."""
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
    """Raise ValueError if a Parquet file (its ``pyarrow.parquet.FileMetaData``) claims more records than it has bytes."""
    claimed = max(footer.num_rows, sum(footer.row_group(i).num_rows for i in range(footer.num_row_groups)))
    if claimed > max(_FEW_RECORDS, size := path.stat().st_size):
        raise ValueError(f"{path}: must hold no more records than bytes ({size}), claims {claimed}")


def printable(text: str) -> str:
    """Replace control and direction characters, which could reorder text or control a terminal, with spaces."""
    return "".join(sign if unicodedata.category(sign) not in ("Cc", "Cf", "Cs") else " " for sign in text)
