"""Files on the Hugging Face hub, trusted on first use.

Conventions
-----------
Nothing is downloaded unless a checkpoint on the hub is asked for by its name. The revision and
SHA-256 of the first download are recorded in the user's data folder, and every later load must match them: a file that changed
is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from m2l_bench.files.disk import sha256, write_atomic
from m2l_bench.files.untrusted import parse_json

_APP = "m2l-bench"


class CheckpointError(ValueError):
    """A checkpoint that is missing or must not be used; the message names it and says what to do."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes
    ----------
    repo, file : str
    about : str
        Size and licence, for the error message of a failed download.
    revision : str, optional
        Commit to take when nothing is recorded yet; the newest one by default.
    """

    repo: str
    file: str
    about: str
    revision: str | None = None


_offline: ContextVar[list[tuple[HubFile, bool]] | None] = ContextVar("offline", default=None)


@contextmanager
def offline() -> Iterator[list[tuple[HubFile, bool]]]:
    """Look into the cache alone; the list gets each file that was asked for, and whether it was there."""
    asked: list[tuple[HubFile, bool]] = []
    token = _offline.set(asked)
    try:
        yield asked
    finally:
        _offline.reset(token)


def refuse_offline(source: HubFile) -> None:
    """Raise CheckpointError inside :func:`offline`: for files that are downloaded by other means."""
    asked = _offline.get()
    if asked is not None:
        asked.append((source, False))
        raise CheckpointError(f"{source.repo}/{source.file} ({source.about}) is not in the cache")


def fetch(source: HubFile) -> Path:
    """Find a file in huggingface_hub's cache, downloaded if need be, equal to what was first downloaded.

    CheckpointError if it is neither cached nor reachable, arrived damaged, or has changed since the first download.
    """
    name = f"{source.repo}/{source.file}"
    known = _trusted().get(name, {})
    path = _download(source, known.get("revision", source.revision))
    digest = sha256(path)
    promised = path.resolve().name  # the cache files a large blob under the SHA-256 that the hub promises
    if len(promised) == 64 and promised != digest:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{name}: the hub promises sha256 {promised}, got {digest}; the damaged download was removed, try again"
        )
    if not known:
        # The cache keeps a file below the commit it belongs to, in the repository's own folders.
        revision = path.parents[source.file.count("/")].name
        entries = {**_trusted(), name: {"revision": revision, "sha256": digest}}
        write_atomic(_record(), json.dumps(entries, indent=2, sort_keys=True).encode())
    elif known["sha256"] != digest:
        raise CheckpointError(
            f"{name}: {path} has sha256 {digest}, the first download had {known['sha256']}; "
            f"delete its entry in {_record()} only if you trust the new file"
        )
    return path


def fetch_all(sources: Sequence[HubFile], *, only_first: bool = False) -> tuple[Path, ...]:
    """Find several files, or the first of them, as :func:`fetch` does.

    Inside :func:`offline` each is asked for whatever is missing, so that its list names all that a download would fetch.
    """
    inside_offline = _offline.get() is not None
    paths: list[Path] = []
    missing: CheckpointError | None = None
    for source in sources[:1] if only_first and not inside_offline else sources:
        try:
            paths.append(fetch(source))
        except CheckpointError as error:
            if not inside_offline:
                raise
            missing = missing or error
    if missing:
        raise missing
    return tuple(paths)


def recorded(source: HubFile) -> dict[str, str]:
    """What was recorded at a file's first download: its ``revision`` and ``sha256``; empty if there was none."""
    return dict(_trusted().get(f"{source.repo}/{source.file}", {}))


def _download(source: HubFile, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download  # imported here: it is slow, and most checkpoints are local

    # It logs every retry; the one error at the end is enough.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
    asked = _offline.get()
    if asked is not None:
        asked.append((source, False))
    try:
        path = Path(hf_hub_download(source.repo, source.file, revision=revision, local_files_only=asked is not None))
        if asked is not None:
            asked[-1] = source, True
        return path
    except Exception as error:  # the hub client raises its own, its HTTP library's and the system's errors
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"checkpoint {source.file} of {source.repo} on the Hugging Face hub ({source.about}) is neither cached nor "
            f"reachable ({reason}); connect, or fetch the file elsewhere and give its path as the checkpoint"
        ) from error


def _record() -> Path:
    return platformdirs.user_data_path(_APP) / "trusted-checkpoints.json"


def _trusted() -> dict[str, dict[str, str]]:
    try:
        entries = parse_json(_record().read_text(encoding="utf-8"))
        if not all(isinstance(entry[key], str) for entry in entries.values() for key in ("sha256", "revision")):
            raise TypeError("entries must have a revision and a sha256")
        return entries
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{_record()}: must be JSON, got {error}; repair it, or delete it to trust the next download"
        ) from error
