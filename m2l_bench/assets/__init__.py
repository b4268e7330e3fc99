"""Embedded audio sets: their folders, manifests and checksums.

Conventions
-----------
A set is a folder with ``manifest.csv`` (one row a clip, columns ``path`` and ``sha256`` first), its audio, and the
licences that the audio is under, which differ from the licence of the code. ``docs/data.md`` says where each set comes
from, how it was made and what it does not measure. Tasks that share a set's audio share its folder and manifest.
"""

from __future__ import annotations

import csv
from pathlib import Path

from m2l_bench.files.disk import sha256

_HERE = Path(__file__).parent

# name of the set or task -> folder
FOLDERS = {
    "beat/tunes": "tunes",
    "chord/tunes": "tunes",
    "genre/tunes": "tunes",
    "instrument/tonejs": "instrument/tonejs",
    "key/tunes": "tunes",
    "notes/tunes": "tunes",
    "onset/tunes": "tunes",
    "pitch/tonejs": "instrument/tonejs",
    "reconstruction/wesnoth": "reconstruction/wesnoth",
    "tagging/tunes": "tunes",
    "tunes": "tunes",
}

# Annotations in time, beside a manifest: file -> SHA-256.
ANNOTATIONS = {"tunes/annotations.parquet": "89eb5a705d67b2dd3e2b1e0af643b3fb5323cf47780a231114421677201c03d9"}

# folder -> SHA-256 of its manifest: a changed label, split or clip needs a change here
MANIFESTS = {
    "instrument/tonejs": "3ba8fb1a52c4f83e9b8e2f5fb5f0fd1b2235baf41534a2984e14bdf8e5ec994b",
    "reconstruction/wesnoth": "a700c51c3977265720a44497026c541037e4bf6609fb61a3b7b83479ca772532",
    "tunes": "9acdc019c7dbe944e4e17da939f2636c14047ade9ea50f73bc73442f41794431",
}


def folder(name: str) -> Path:
    """Find the folder of an embedded set.

    Parameters
    ----------
    name : str
        A key of `FOLDERS`, such as ``"reconstruction/wesnoth"`` or ``"key/tunes"``.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If there is no such set.
    """
    if name not in FOLDERS:
        raise ValueError(f"name must be one of {', '.join(sorted(FOLDERS))}, got {name!r}")
    return _HERE / FOLDERS[name]


def manifest(name: str) -> list[dict[str, str]]:
    """Read the manifest of an embedded set, without its audio (see `verify`).

    Parameters
    ----------
    name : str
        A key of `FOLDERS`.

    Returns
    -------
    list of dict
        One per clip, in the manifest's order; ``path`` is relative to `folder`.

    Raises
    ------
    ValueError
        If there is no such set.

    Examples
    --------
    >>> manifest("reconstruction/wesnoth")[0]["composer"]
    'Aleksi Aubry-Carlson'
    """
    with (folder(name) / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def verify(name: str) -> None:
    """Check an embedded set's manifest and every file in it against their SHA-256.

    Parameters
    ----------
    name : str
        A key of `FOLDERS`.

    Raises
    ------
    ValueError
        If a file is missing or differs (the message names it), or there is no such set.
    """
    place = folder(name)
    _verify_file(place / "manifest.csv", MANIFESTS[FOLDERS[name]])
    for file, digest in ANNOTATIONS.items():
        if file.startswith(f"{FOLDERS[name]}/"):
            _verify_file(_HERE / file, digest)
    for row in manifest(name):
        _verify_file(place / row["path"], row["sha256"])


def _verify_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: must exist, nothing there; install the package again")
    found = sha256(path)
    if found != expected:
        raise ValueError(f"{path}: SHA-256 must be {expected}, got {found}; damaged or changed file")
