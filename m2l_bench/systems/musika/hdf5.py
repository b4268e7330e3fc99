"""Read arrays of a Keras HDF5 file in a separate process, because HDF5's C library can loop forever on damaged bytes.

Conventions
-----------
Run as a script, ``hdf5.py FILE OUT`` writes a NumPy archive with the arrays ``LAYER/0``, ``LAYER/1``, ..., in the file's order;
it imports nothing else of this package, to start fast. An error in the file is printed to stdout, with exit code 3.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

CPU_SECONDS, WALL_SECONDS = 4, 120  # reading 120 MB takes a tenth of a second
_REFUSED = 3


def read_arrays(path: Path) -> dict[str, list[np.ndarray]]:
    """Read the weights of each layer, in the file's order.

    ValueError where Keras did not write the file, or it points into other files or cannot be read in a reasonable time.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights.npz"
        command = [sys.executable, __file__, str(path), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=WALL_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"checkpoint file {path} cannot be read in {WALL_SECONDS} s; damaged") from error
        if done.returncode == _REFUSED:
            raise ValueError(f"checkpoint file {path} {done.stdout.strip()}")
        if done.returncode < 0:
            raise ValueError(f"checkpoint file {path} stops HDF5's library (signal {-done.returncode}); damaged")
        if done.returncode:
            raise RuntimeError(f"reading {path} failed: {done.stderr.strip()}")
        found: dict[str, list[np.ndarray]] = {}
        with np.load(out, allow_pickle=False) as file:
            for key in file.files:
                found.setdefault(key.rpartition("/")[0], []).append(file[key])
    return found


def _read(path: Path) -> dict[str, np.ndarray]:
    import h5py

    left = size = path.stat().st_size
    found = {}
    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)  # Model.save puts them one level deeper
        if "layer_names" not in root.attrs:
            raise ValueError("no layer_names: not written by Keras")
        for layer in _text(root.attrs["layer_names"]):
            group = _own(root, layer)
            for index, name in enumerate(_text(group.attrs["weight_names"])):
                left -= (stored := _own(group, name)).nbytes
                if left < 0:
                    raise ValueError(f"more weights than its {size} bytes can hold")
                found[f"{layer}/{index}"] = np.asarray(stored)
    return found


def _own(group: Any, name: str) -> Any:
    """A member stored in the file itself: HDF5 can refer to other files, by links, external or virtual data."""
    import h5py

    for depth in range(1, len(parts := name.split("/")) + 1):
        if not isinstance(group.get("/".join(parts[:depth]), getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r}, which is a link")
    found = group[name]
    if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual or found.dtype.kind != "f"):
        raise ValueError(f"{name!r}, which is not numbers in the file itself")
    return found


def _text(names: Iterable[str | bytes]) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _main(path: Path, out: Path) -> None:
    import h5py

    with suppress(ImportError):  # not on Windows, where the wall clock alone bounds it
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    try:
        with h5py.File(path, "r"):
            pass
    except OSError as error:
        print(f"is not HDF5: {error}")
        raise SystemExit(_REFUSED) from error
    # h5py raises what the C library met in damaged bytes, of many kinds.
    try:
        np.savez(out, **_read(path))  # type: ignore[arg-type]
    except Exception as error:
        print(f"has {error}")
        raise SystemExit(_REFUSED) from error


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
