"""Two processes on gloo against one with the doubled batch."""

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
from tiny_training import tiny_recipe

from m2l_bench.systems.small.recipes import objective_of
from m2l_bench.training.crops import batches
from m2l_bench.training.loop import Trainer
from m2l_bench.training.state import checkpoints

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
CHILD = """
import json, sys
from pathlib import Path
from m2l_bench.training.crops import batches
from m2l_bench.training.music2latent.consistency_recipe import ConsistencyRecipe
from m2l_bench.systems.small.recipes import objective_of
from m2l_bench.training.loop import Trainer
recipe, out = ConsistencyRecipe.model_validate_json(sys.argv[1]), Path(sys.argv[2])
trainer = Trainer(recipe, objective_of, out, score=None)
trainer.start(resume=False)
rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
last = min(4, recipe.optimization.steps)
own = batches(trainer.crops, first=0, last=last, batch=trainer.batch, process=rank, processes=world)
out.mkdir(exist_ok=True)
losses = [trainer.step(examples) for examples in own]
trainer.save()
(out / f"losses-{rank}.json").write_text(json.dumps([world, losses]))
trainer.accelerator.end_training()
"""


def test_two_processes_train_as_one(pieces: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(pieces, optimization={"batch": 4})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "child.py"]
    (tmp_path / "child.py").write_text(CHILD)
    subprocess.run(
        [*command, recipe.model_dump_json(), "two"], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True
    )
    results = [json.loads((tmp_path / "two" / f"losses-{rank}.json").read_text()) for rank in (0, 1)]
    trainer = Trainer(recipe, objective_of, tmp_path / "one", score=None)
    trainer.start(resume=False)
    losses = [trainer.step(e) for e in batches(trainer.crops, first=0, last=4, batch=4)]
    trainer.save()
    for world, theirs in results:
        assert world == 2
        for (loss, norm), (their_loss, their_norm) in zip(losses, theirs, strict=True):
            assert their_loss == pytest.approx(loss, rel=1e-4)
            assert their_norm == pytest.approx(norm, rel=1e-3)
    one, two = (load_file(checkpoints(tmp_path / n / "checkpoints")[-1] / "state.safetensors") for n in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_batch_that_does_not_divide_is_refused(pieces: Path, tmp_path: Path) -> None:
    from m2l_bench.training.loop import _share

    with pytest.raises(ValueError, match=r"batch must be a multiple of the number of processes \(2\), got 3"):
        _share(3, 2)


def test_half_precision_trains_too(pieces: Path, tmp_path: Path) -> None:
    """In a process of its own: accelerate keeps the first precision that a process asks for."""
    recipe = tiny_recipe(pieces, optimization={"steps": 3, "warm_up": 1}, run={"precision": "bf16"})
    (tmp_path / "child.py").write_text(CHILD)
    subprocess.run(
        [sys.executable, "child.py", recipe.model_dump_json(), "half"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
    )
    _, losses = json.loads((tmp_path / "half" / "losses-0.json").read_text())
    trainer = Trainer(
        recipe.model_copy(update={"run": recipe.run.model_copy(update={"precision": "no"})}),
        objective_of,
        tmp_path,
        score=None,
    )
    whole = [trainer.step(examples)[0] for examples in batches(trainer.crops, first=0, last=3, batch=2)]
    rounded = [loss for loss, _ in losses]
    np.testing.assert_allclose(rounded, whole, rtol=0.05)
    assert rounded[2] != whole[2]
    state = load_file(checkpoints(tmp_path / "half" / "checkpoints")[-1] / "state.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
