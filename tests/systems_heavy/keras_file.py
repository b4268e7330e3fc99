"""Write weights as Keras's ``save_weights`` lays them out in HDF5: for tests of the reader at the published size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import recipes


def write(path: Path, net: str, layers: Sequence[str], weights: Sequence[tuple[str, Sequence[int]]]) -> None:
    """Write the recipe's weights of one network (``"enc"``, ...) under the given layer and weight names."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for layer in layers:
            group = file.create_group(layer)
            mine = [(name, shape) for name, shape in weights if name.split("/")[0] == layer]
            group.attrs["weight_names"] = np.array([name.encode() for name, _ in mine] or np.empty(0, "S1"))
            for name, shape in mine:
                group.create_dataset(name, data=recipes.weight(f"musika/{net}", name, tuple(shape)))
