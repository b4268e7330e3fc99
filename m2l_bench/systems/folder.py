"""Ready-made reconstructions: a folder with one file per reference."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

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

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the files' names and contents."""
        hashes = {stem: [sha256(path) for path in paths] for stem, paths in self._files.items()}
        return fingerprint("folder", hashes)

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        files: dict[str, list[Path]] = {}
        # By name, not by list_audio(), which lists each real file once: several names may be links to one file.
        for path in sorted(self.directory.rglob("*")):
            if path.suffix.lower() in audio.AUDIO_SUFFIXES and path.is_file():
                files.setdefault(relative_stem(path, self.directory), []).append(path)
        return files

    def find(self, stem: str) -> tuple[np.ndarray, int]:
        """Load the reconstruction of one reference.

        Parameters
        ----------
        stem : str
            Relative path without suffix, such as ``"album/01"``.

        Returns
        -------
        audio : np.ndarray, float32, (channels, samples)
        sample_rate : int

        Raises
        ------
        AudioError
            If there is none, more than one, or it cannot be read.
        """
        paths = self._files.get(stem, [])
        if len(paths) != 1:
            found = ", ".join(path.name for path in paths) or "none"
            raise AudioError(f"{self.directory / stem}: must have exactly one reconstruction, got {found}")
        return audio.load(paths[0])


def relative_stem(path: Path, root: Path) -> str:
    """Path below `root` without suffix, with forward slashes: it pairs a reconstruction with its reference."""
    return path.relative_to(root).with_suffix("").as_posix()
