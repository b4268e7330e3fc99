"""Published-style state dicts of EAR-VAE and EAR-VAE2, made from the recorded layouts and the weights' recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import recipes
import torch
from torch import Tensor

from m2l_bench.systems.ear_vae import complex_spectrum, system, waveform

LAYOUT: dict[str, dict[str, list[int]]] = {}
_recorded = Path(__file__).parent / "golden" / "ear_vae.json"
if _recorded.exists():  # it does not while it is recorded
    LAYOUT = json.loads(_recorded.read_text())

# Frames and reach are the published ones.
SMALL = {
    "ear-vae": waveform.Config(latent_dim=32, decoder_channels=8, multiples=(1, 1, 1, 2, 2)),
    "ear-vae2": complex_spectrum.Config(
        channels=2, decoder_channels=4, latent_dim=6, refiner_channels=16, refiner_inner=32
    ),
}
_UNIT = re.compile(r"(\w+\.layers\.\d\.layers\.\d\.layers)\.2\.(alpha|beta)")  # one activation under two names


def state(layout: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Weights of the names and shapes of a layout, with gains that keep activations and rounding errors in size."""
    made = {}
    for name, shape in layout.items():
        draw = torch.from_numpy(recipes.weight("ear-vae", _UNIT.sub(r"\1.0.\2", name), tuple(shape)))
        if name.endswith("window"):
            draw = torch.hann_window(shape[0])
        elif name.endswith("inv_freq"):
            draw = 10000 ** (-torch.arange(0, 32, 2) / 32)
        elif name.endswith("norm.beta"):
            draw = torch.zeros(shape)  # not trained in the original
        elif name.endswith(("gamma", "norm.weight")):
            draw = 1 + draw
        elif name.endswith(("weight_g", "original0")):
            draw = 0.8 + 0.05 * draw
        elif name.endswith("alpha"):
            draw = draw - 1
        elif name.endswith("bias"):
            draw = 0.1 * draw
        made[name] = draw
    return made


def write(name: str, path: Path, change: Mapping[str, Any] | None = None) -> Path:
    """A checkpoint of the small size; `change` is joined to its content, and None in it removes an entry."""
    content = state(LAYOUT[f"small {name}"]) | dict(change or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path


def shrink(patch: pytest.MonkeyPatch) -> None:
    """The published files hold no sizes, so the small weights need the small sizes in the code."""
    patch.setattr(system, "CONFIGS", SMALL)
