"""Every family's training in two processes on gloo against one with the doubled batch; half precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_families import FAMILIES, family_recipe
from tiny_training import tiny_recipe

from m2l_bench.systems.small.recipes import objective_of
from m2l_bench.training.crops import batches
from m2l_bench.training.loop import Trainer
from m2l_bench.training.recipe import Recipe
from m2l_bench.training.state import checkpoints

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
# All trainings of a pair of processes, one after the other: starting them is what takes time. argv: recipes as JSON.
CHILD = """
import json, sys
from pathlib import Path
from m2l_bench.systems.small.recipes import RECIPES, objective_of
from m2l_bench.training.crops import batches
from m2l_bench.training.loop import Trainer
from m2l_bench.training.recipe import Recipe
for text in sys.argv[1:]:
    family = json.loads(text)["family"]
    trainer = Trainer(RECIPES[family].model_validate_json(text), objective_of, Path(family), score=None)
    trainer.start(resume=False)
    rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
    own = batches(trainer.crops, first=0, last=4, batch=trainer.batch, process=rank, processes=world)
    losses = [trainer.step(examples) for examples in own]
    trainer.save()
    Path(f"{family}-{rank}.json").write_text(json.dumps([world, losses]))
trainer.accelerator.end_training()
"""


def _child(command: list[str], recipes: list[Recipe], folder: Path) -> None:
    (folder / "child.py").write_text(CHILD)
    texts = [recipe.model_dump_json() for recipe in recipes]
    done = subprocess.run(
        [sys.executable, *command, "child.py", *texts], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def _state(out: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(out / "checkpoints")[-1] / "state.safetensors")


def test_two_processes_train_as_one(pieces: Path, tmp_path: Path) -> None:
    """Four steps of six: musika-style's second stage begins with the fourth."""
    recipes: dict[str, Recipe] = {"music2latent": tiny_recipe(pieces, optimization={"batch": 4})}
    for family in FAMILIES:
        recipes[family] = family_recipe(family, pieces, optimization={"batch": 4, "steps": 6})
    _child(["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"], list(recipes.values()), tmp_path)
    for family, recipe in recipes.items():
        trainer = Trainer(recipe, objective_of, tmp_path / "one" / family, score=None)
        trainer.start(resume=False)
        losses = [trainer.step(e) for e in batches(trainer.crops, first=0, last=4, batch=4)]
        trainer.save()
        for rank in (0, 1):
            world, theirs = json.loads((tmp_path / f"{family}-{rank}.json").read_text())
            assert world == 2
            np.testing.assert_allclose(theirs, losses, rtol=1e-3, err_msg=family)
            if family == "music2latent":
                np.testing.assert_allclose([loss for loss, _ in theirs], [loss for loss, _ in losses], rtol=1e-4)
        one, two = _state(tmp_path / "one" / family), _state(tmp_path / family)
        if family == "music2latent":
            for name in one:
                torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4, msg=name)
        for name in (name for name in one if name.startswith("network.")):
            difference = float((one[name] - two[name]).norm())
            assert difference <= 5e-3 * float(one[name].norm()) + 1e-4, f"{family} {name}"


def test_a_batch_that_does_not_divide_is_refused(pieces: Path, tmp_path: Path) -> None:
    from m2l_bench.training.loop import _share

    with pytest.raises(ValueError, match=r"batch must be a multiple of the number of processes \(2\), got 3"):
        _share(3, 2)


def test_half_precision_trains_too(pieces: Path, tmp_path: Path) -> None:
    """In a process of its own: accelerate keeps the first precision that a process asks for."""
    recipe = tiny_recipe(pieces, optimization={"steps": 4, "warm_up": 1}, run={"precision": "bf16"})
    _child([], [recipe], tmp_path)
    _, losses = json.loads((tmp_path / "music2latent-0.json").read_text())
    trainer = Trainer(
        recipe.model_copy(update={"run": recipe.run.model_copy(update={"precision": "no"})}),
        objective_of,
        tmp_path / "whole",
        score=None,
    )
    whole = [trainer.step(examples)[0] for examples in batches(trainer.crops, first=0, last=4, batch=2)]
    rounded = [loss for loss, _ in losses]
    np.testing.assert_allclose(rounded, whole, rtol=0.05)
    assert rounded[2] != whole[2]
    state = load_file(checkpoints(tmp_path / "music2latent" / "checkpoints")[-1] / "state.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
