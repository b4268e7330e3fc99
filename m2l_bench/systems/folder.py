"""Ready-made reconstructions: a folder with one file per reference."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench import audio
from m2l_bench.audio import AudioError
from m2l_bench.files.disk import sha256
from m2l_bench.files.fingerprint import fingerprint


class ReconstructionFolder:
    """Find the reconstruction of a reference by its relative path without suffix.

    Parameters
    ----------
    directory : path-like
        Same layout as the references' folder; formats and sample rates may differ.
    label : str, optional
        Label in the tables; the folder's name by default.
    """

    sample_rate: int | None = None

    def __init__(self, directory: str | Path, *, label: str | None = None, seed: int = 0) -> None:
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise AudioError(f"{directory}: must be a folder of reconstructions, no such folder")
        self.name = label or self.directory.resolve().name
        self.seed = seed
        self._folders: dict[Path, dict[str, list[Path]]] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the files' names and contents, and of the links among them."""
        listing = audio.scan_audio(self.directory)
        hashes: dict[str, Any] = {}
        for path in listing.paths:
            stem = path.relative_to(self.directory).with_suffix("").as_posix()
            hashes.setdefault(stem, []).append(sha256(path))
        return fingerprint("folder", hashes | listing.skipped)

    def find(self, stem: str) -> tuple[np.ndarray, int]:
        """Load the reconstruction of one reference: see :class:`~m2l_bench.systems.base.ReadyMade`.

        AudioError if there is none, more than one, or it cannot be read.
        """
        place = self.directory / stem
        paths = self._listed(place.parent).get(place.name, [])
        if len(paths) != 1:
            found = ", ".join(path.name for path in paths) or "none"
            raise AudioError(f"{place}: must have exactly one reconstruction, got {found}")
        return audio.load(paths[0])

    def _listed(self, folder: Path) -> dict[str, list[Path]]:
        """Name without suffix -> audio files of one folder. Unlike in list_audio(), several may be links to one file."""
        if folder not in self._folders:
            files = self._folders[folder] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in audio.AUDIO_SUFFIXES and path.is_file():
                    files.setdefault(path.stem, []).append(path)
        return self._folders[folder]
