"""Make the shipped small model of a finished (or stopped) training, with its record and curves.

    python scripts/export_small.py RUN          # RUN: the folder that `m2l-bench train` wrote

Writes ``music2latent-small.safetensors`` (averaged weights; the latents' scale measured, so that they
have unit variance) and, in ``music2latent-small/``, ``record.json`` and ``curves.png``, all in the package's assets.
In ``results/training/music2latent-small/`` it keeps what the training needs to go on: the raw weights in float32, and the
optimiser's moments in bfloat16. With ``--restore RUN`` it makes a checkpoint to resume from of those.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import torch
from common import ASSETS
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file

from m2l_bench import audio as audio_io
from m2l_bench.music2latent.checkpoint import load_checkpoint, save_checkpoint
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.music2latent.recipe import Recipe
from m2l_bench.music2latent.representation import to_spectrogram
from m2l_bench.music2latent.training import make_crops
from m2l_bench.training.state import checkpoints, read_json

SMALL = ASSETS / "music2latent-small.safetensors"
CARD = ASSETS / "music2latent-small"
STATE = ASSETS.parents[1] / "results" / "training" / "music2latent-small"
CROPS = 200  # over which the scale of the latents is measured


def main() -> None:
    """Export, or restore."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("--restore", action="store_true", help="make a checkpoint in RUN of what is kept")
    arguments = parser.parse_args()
    if arguments.restore:
        restore(arguments.run)
    else:
        export(arguments.run)


def export(run: Path) -> None:
    """Write weights, record, curves and kept state."""
    saved = checkpoints(run / "checkpoints")[-1]
    state, tensors = read_json(saved), load_file(saved / "state.safetensors")
    recipe = Recipe.model_validate(state["recipe"])
    average = _below(tensors, "average.")
    scale = latent_scale(recipe, average)
    config = recipe.model_copy(update={"model": {**recipe.model, "latent_scale": scale}}).config
    save_checkpoint(SMALL, average, config)
    record = {
        **state["totals"],
        "updates": state["updates"],
        "latent_scale": scale,
        "recipe": _portable(state["recipe"]),
    }
    record["parameters"] = sum(tensor.numel() for tensor in average.values())
    record["weights_sha256"] = audio_io.sha256(SMALL)
    audio_io.write_atomic(CARD / "record.json", (json.dumps(record, indent=1) + "\n").encode())
    curves(run, CARD / "curves.png")
    STATE.mkdir(parents=True, exist_ok=True)
    save_file(_below(tensors, "network."), STATE / "network.safetensors")
    moments = _below(tensors, "optimizer.")
    save_file(
        {name: tensor.bfloat16() for name, tensor in moments.items() if tensor.ndim}, STATE / "moments.safetensors"
    )
    kept = {**state, "recipe": _portable(state["recipe"]), "optimizer_step": float(_any_step(moments))}
    audio_io.write_atomic(STATE / "state.json", (json.dumps(kept, indent=1) + "\n").encode())
    for name in ("log.csv", "validation.csv"):
        audio_io.write_atomic(STATE / name, (run / name).read_bytes())
    print(json.dumps({key: value for key, value in record.items() if key != "recipe"}, indent=1))


def restore(run: Path) -> None:
    """Make a checkpoint that `m2l-bench train --resume` goes on from; moments and average are rounded ones."""
    state = json.loads((STATE / "state.json").read_text(encoding="utf-8"))
    moments = {name: tensor.float() for name, tensor in load_file(STATE / "moments.safetensors").items()}
    steps = {
        f"{name.removesuffix('.exp_avg')}.step": torch.tensor(state["optimizer_step"])
        for name in moments
        if name.endswith(".exp_avg")
    }
    tensors = {f"network.{name}": tensor for name, tensor in load_file(STATE / "network.safetensors").items()}
    tensors |= {f"average.{name}": tensor.float() for name, tensor in load_checkpoint(SMALL).state.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in (moments | steps).items()}
    folder = run / "checkpoints" / f"step-{state['totals']['step']:08d}"
    folder.mkdir(parents=True)
    save_file(tensors, folder / "state.safetensors")
    del state["optimizer_step"]
    audio_io.write_atomic(folder / "state.json", json.dumps(state, indent=1).encode())
    for name in ("log.csv", "validation.csv"):
        audio_io.write_atomic(run / name, (STATE / name).read_bytes())


def latent_scale(recipe: Recipe, weights: dict[str, torch.Tensor]) -> float:
    """Standard deviation of the encoder's code over training crops."""
    network = Music2LatentNetwork(recipe.config).eval()
    network.load_state_dict(weights)
    crops = make_crops(recipe)
    with torch.no_grad():
        codes = [
            network.encode(to_spectrogram(crops[i].audio[None], recipe.config, padded=False)) for i in range(CROPS)
        ]
    return round(float(torch.cat(codes).std()), 4)


def curves(run: Path, path: Path) -> None:
    """Draw training loss, validation distances and scores over the steps."""
    log, validation = _columns(run / "log.csv"), _columns(run / "validation.csv")
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot(log["step"], log["loss"], lw=0.8)
    left.set(title="training loss", xlabel="step", yscale="log")
    for name in [name for name in validation if name.startswith("distance@")]:
        middle.plot(validation["step"], validation[name], marker=".", label=f"sigma = {name[9:]}")
    middle.set(title="held-out distance", xlabel="step", ylim=(0, None))
    middle.legend()
    right.plot(validation["step"], validation["mel_distance"], marker=".", color="tab:blue")
    right.set(title="held out: mel distance (blue), SI-SDR (dB, red)", xlabel="step", ylim=(0, None))
    other = right.twinx()
    other.plot(validation["step"], validation["si_sdr"], marker=".", color="tab:red")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _columns(path: Path) -> dict[str, list[float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def _portable(recipe: dict) -> dict:
    """A recipe without this machine's folders."""
    recipe = json.loads(json.dumps(recipe))
    for section in (recipe["data"], recipe["validation"]):
        for folder in section["folders"]:
            folder["path"] = "training-music/" + Path(folder["path"]).name
    return recipe


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _any_step(moments: dict[str, torch.Tensor]) -> torch.Tensor:
    return next(tensor for name, tensor in moments.items() if name.endswith(".step"))


if __name__ == "__main__":
    main()
