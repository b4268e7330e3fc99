"""Make a shipped small model of a training, with its record and curves.

    python scripts/export_small.py RUN          # RUN: the folder that `m2l-bench train` wrote

Writes into the package's ``assets/FAMILY-small/``: ``weights.safetensors`` (averaged weights in half precision; of
Music2Latent with the latents' scale measured, so that they have unit variance), ``record.json``, and ``training-1/`` with
``curves.png``, ``log.csv`` and ``validation.csv``. A training that started from the shipped weights
(``weights = "..."`` in its recipe) continues theirs: its record holds theirs, its totals are sums, and its folder has the
next number.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from common import ASSETS
from safetensors import safe_open
from safetensors.torch import save

from m2l_bench.files.disk import sha256, write_atomic
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.music2latent.representation import to_spectrogram
from m2l_bench.report.curves import draw_training
from m2l_bench.training.loop import WEIGHTS, make_crops
from m2l_bench.training.music2latent.consistency_recipe import ConsistencyRecipe
from m2l_bench.training.state import checkpoints, read_json

SUMS = ("cpu_seconds", "wall_seconds", "audio_seconds")
CROPS = 200  # over which the scale of the latents is measured


def export(run: Path) -> None:
    """Write weights, record and curves."""
    with safe_open(run / WEIGHTS, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state = read_json(checkpoints(run / "checkpoints")[-1])
    family, config = metadata.get("family", "music2latent"), json.loads(metadata["config"])
    if family == "music2latent":
        config["latent_scale"] = latent_scale(ConsistencyRecipe.model_validate(state["recipe"]), tensors)
    card = ASSETS / f"{family}-small"
    weights = card / "weights.safetensors"
    earlier = continued(state["recipe"], weights, card / "record.json")
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    write_atomic(weights, save(halves, {**metadata, "config": json.dumps(config)}))
    record = {
        **_with_earlier(state["totals"], earlier),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "weights_sha256": sha256(weights),
        "recipe": portable(state["recipe"]),
        **({"continued": earlier} if earlier else {}),
    }
    write_atomic(card / "record.json", (json.dumps(record, indent=1) + "\n").encode())
    training = card / f"training-{_number(record)}"
    training.mkdir(exist_ok=True)
    shutil.copyfile(run / "log.csv", training / "log.csv")
    shutil.copyfile(run / "validation.csv", training / "validation.csv")
    shutil.copyfile(draw_training([run]), training / "curves.png")
    print(json.dumps({key: record[key] for key in ("step", *SUMS, "parameters")}, indent=1))


def continued(recipe: dict[str, Any], weights: Path, record: Path) -> dict[str, Any]:
    """The shipped weights' record, where the training started from them; empty where from none.

    Raises
    ------
    ValueError
        If it started from others.
    """
    if not recipe["weights"]:
        return {}
    digest, found = sha256(Path(recipe["weights"])), sha256(weights)
    if digest != found:
        raise ValueError(f"{recipe['weights']}: must be the shipped {weights.name} ({found}), got {digest}")
    earlier: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return earlier


def _number(record: dict[str, Any]) -> int:
    """Which of the model's trainings it is, from 1."""
    return 1 + _number(record["continued"]) if "continued" in record else 1


def _with_earlier(totals: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    return {**totals, **{name: totals[name] + earlier.get(name, 0) for name in SUMS}}


def latent_scale(recipe: ConsistencyRecipe, weights: dict[str, torch.Tensor]) -> float:
    """Standard deviation of the encoder's code over training crops."""
    network = Music2LatentNetwork(recipe.config).eval()
    network.load_state_dict(weights)
    crops = make_crops(recipe)
    with torch.no_grad():
        codes = [
            network.encode(to_spectrogram(crops[i].audio[None], recipe.config, padded=False)) for i in range(CROPS)
        ]
    return round(float(torch.cat(codes).std()), 4)


def portable(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without this machine's folders."""
    recipe = json.loads(json.dumps(recipe))
    for section in (recipe["data"], recipe["validation"]):
        for folder in section["folders"]:
            folder["path"] = "training-music/" + Path(folder["path"]).name
    if recipe.get("weights"):
        recipe["weights"] = Path(recipe["weights"]).name
    return recipe


if __name__ == "__main__":
    export(Path(sys.argv[1]))
