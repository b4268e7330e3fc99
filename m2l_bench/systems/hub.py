"""Published checkpoints: a folder that the user names, or files from the Hugging Face hub, pinned on first use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def folder(
    checkpoint: str | Path | None,
    *,
    repository: str,
    files: Sequence[str],
    subfolder: str | None = None,
    revision: str | None = None,
) -> Path:
    """The folder that holds all the files: the user's own, or a download (of the repository's subfolder)."""
    if checkpoint is not None:
        path = Path(checkpoint)
        missing = [name for name in files if not (path / name).is_file()]
        if missing:
            raise ValueError(f"checkpoint must be a folder with {', '.join(files)}; {path} lacks {', '.join(missing)}")
        return path
    from huggingface_hub import hf_hub_download

    paths = [Path(hf_hub_download(repository, name, subfolder=subfolder, revision=revision)) for name in files]
    return paths[0].parent


def file(checkpoint: str | Path | None, *, repository: str, name: str, revision: str | None = None) -> Path:
    """One file: the user's own, or in the user's folder, or a download."""
    if checkpoint is not None and Path(checkpoint).is_file():
        return Path(checkpoint)
    return folder(checkpoint, repository=repository, files=[name], revision=revision) / name


def sha256(path: Path) -> bytes:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()
