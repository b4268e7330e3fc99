"""The loop: resuming after a kill, stopping on what is not finite, what a run leaves behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import MODEL, RATE, tiny_recipe

from m2l_bench.music2latent.config import Config
from m2l_bench.systems.small.recipes import objective_of, train
from m2l_bench.training.loop import Interrupted, NonFiniteError, Trainer
from m2l_bench.training.music2latent.consistency_recipe import ConsistencyRecipe
from m2l_bench.training.state import checkpoints, read_json

# A run of its own, from its tenth step on slow enough to be killed; argv: recipe as JSON, out, seconds to sleep each step.
CHILD = """
import sys, time
from m2l_bench.training.music2latent.consistency_recipe import ConsistencyRecipe
from m2l_bench.systems.small import recipes as training
from m2l_bench.training import loop
step = loop.Trainer.step
def slow(self, examples):
    if self.totals.step >= 10:
        time.sleep(float(sys.argv[3]))
    return step(self, examples)
loop.Trainer.step = slow
training.train(ConsistencyRecipe.model_validate_json(sys.argv[1]), sys.argv[2], resume=True, progress=False)
"""


def _child(recipe: ConsistencyRecipe, out: Path, sleep: float = 0.0) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, recipe.model_dump_json(), str(out), str(sleep)], env=environment
    )


def _state(out: Path) -> dict[str, torch.Tensor]:
    last = checkpoints(out / "checkpoints")[-1]
    return {**load_file(last / "state.safetensors"), **load_file(out / "weights.safetensors")}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_killed_and_resumed_is_bit_for_bit_the_same(pieces: Path, tmp_path: Path) -> None:
    """20 steps == some 10, kill -9, the rest."""
    recipe = tiny_recipe(pieces)
    train(recipe, tmp_path / "whole", progress=False)
    out = tmp_path / "killed"
    child = _child(recipe, out, sleep=0.5)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "step-00000010" / "state.json").exists():
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.02)
    time.sleep(0.6)  # into the steps that no checkpoint holds
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert read_json(checkpoints(out / "checkpoints")[-1])["totals"]["step"] == 10
    train(recipe, out, resume=True, progress=False)
    whole, resumed = _state(tmp_path / "whole"), _state(out)
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name
    losses = [[(row["step"], row["loss"]) for row in _rows(run / "log.csv")] for run in (tmp_path / "whole", out)]
    assert losses[0] == losses[1]


def test_sigterm_saves_and_stops(pieces: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(pieces, optimization={"steps": 100_000}, run={"checkpoint_every": 100_000, "log_every": 1})
    child = _child(recipe, tmp_path / "run")
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "log.csv").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 1  # an uncaught Interrupted
    (saved,) = checkpoints(tmp_path / "run" / "checkpoints")
    assert read_json(saved)["totals"]["step"] == int(_rows(tmp_path / "run" / "log.csv")[-1]["step"])


def test_a_run_leaves_log_validation_samples_and_checkpoints(pieces: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        pieces,
        optimization={"steps": 12},
        run={"log_every": 2, "checkpoint_every": 4, "keep": 2},
        validation={"folders": [{"path": str(pieces)}], "every": 6, "clips": 2, "seconds": 0.5, "samples": 1},
    )
    calls = []

    def score(references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], sample_rate: int) -> dict[str, float]:
        calls.append(([x.shape for x in references], [x.shape for x in estimates], sample_rate))
        return {"mine": 1.5}

    weights = train(recipe, tmp_path / "run", score=score, progress=False)
    assert weights == tmp_path / "run" / "weights.safetensors"
    rows = _rows(tmp_path / "run" / "log.csv")
    assert [int(row["step"]) for row in rows] == list(range(2, 13, 2))
    assert float(rows[-1]["cpu_seconds"]) > 0
    assert float(rows[-1]["audio_seconds"]) == pytest.approx(12 * 2 * recipe.crop_samples / RATE)
    validation = _rows(tmp_path / "run" / "validation.csv")
    assert [int(row["step"]) for row in validation] == [6, 12]
    assert validation[0]["distance@1"] != validation[1]["distance@1"]
    assert validation[0]["mine"] == "1.5"
    assert calls[0] == ([(4000,)] * 2, [(4000,)] * 2, RATE)
    samples = {path.name for path in (tmp_path / "run" / "validation").iterdir()}
    assert {"clip-0-reference.wav", "clip-0-step-00000006.wav", "clip-0-step-00000012.png"} <= samples
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000008", "step-00000012"]


def test_a_training_may_start_from_weights(pieces: Path, tmp_path: Path) -> None:
    first = train(tiny_recipe(pieces, optimization={"steps": 4}), tmp_path / "first", progress=False)
    recipe = tiny_recipe(pieces).model_copy(update={"weights": first})
    trainer = Trainer(recipe, objective_of, tmp_path / "second", score=None)
    trainer.start(resume=False)
    weights = load_file(first)
    assert all(torch.equal(trainer.network.state_dict()[name], tensor) for name, tensor in weights.items())
    assert all(torch.equal(trainer.average.tensors[name], tensor) for name, tensor in weights.items())
    wider = tiny_recipe(pieces, model={**MODEL, "width": 8}).model_copy(update={"weights": first})
    with pytest.raises(ValueError, match="must hold the weights of this network"):
        Trainer(wider, objective_of, tmp_path / "third", score=None).start(resume=False)


def test_weights_hold_their_config(pieces: Path, tmp_path: Path) -> None:
    from m2l_bench.music2latent.checkpoint import load_checkpoint

    weights = train(tiny_recipe(pieces, optimization={"steps": 4}), tmp_path / "run", progress=False)
    assert load_checkpoint(weights).config == Config.from_dict(MODEL)


def test_an_unfinished_folder_is_not_overwritten(pieces: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(pieces, optimization={"steps": 5})
    train(recipe, tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"must hold no checkpoints unless resuming, got step-00000005"):
        train(recipe, tmp_path, progress=False)


def test_resuming_another_training_is_refused(pieces: Path, tmp_path: Path) -> None:
    train(tiny_recipe(pieces, optimization={"steps": 5}), tmp_path, progress=False)
    with pytest.raises(ValueError, match="seed must be as in the checkpoint to resume, 0, got 1"):
        train(tiny_recipe(pieces).model_copy(update={"seed": 1}), tmp_path, resume=True, progress=False)
    with pytest.raises(ValueError, match="optimization must be as in the checkpoint"):
        train(tiny_recipe(pieces, optimization={"batch": 4}), tmp_path, resume=True, progress=False)
    train(tiny_recipe(pieces, optimization={"steps": 7}), tmp_path, resume=True, progress=False)
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step-00000005", "step-00000007"]


def test_a_damaged_checkpoint_says_so(pieces: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(pieces, optimization={"steps": 5})
    train(recipe, tmp_path, progress=False)
    state = checkpoints(tmp_path / "checkpoints")[-1] / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"must hold a whole state\.safetensors"):
        train(recipe, tmp_path, resume=True, progress=False)


def test_a_gradient_that_is_not_finite_stops_the_run(pieces: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(pieces), objective_of, tmp_path, score=None)
    trainer.start(resume=False)
    gain = trainer.network.encoder.gain
    gain.register_hook(lambda gradient: gradient * torch.nan)
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    with pytest.raises(
        NonFiniteError, match=r"at step 0, sigma [\d.e+-]+ .*first faulty gradient: network.encoder.gain"
    ):
        trainer.run(progress=False)
    saved = load_file(checkpoints(tmp_path / "checkpoints")[-1] / "state.safetensors")
    assert all(torch.equal(saved[f"network.{name}"], tensor) for name, tensor in before.items())


def test_a_loss_that_is_not_finite_stops_the_run(pieces: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(pieces), objective_of, tmp_path, score=None)
    trainer.start(resume=False)
    with torch.no_grad():
        trainer.network.unet.conv_in.weight[0] = torch.inf
    with pytest.raises(NonFiniteError, match="got loss nan"):
        trainer.run(progress=False)
    assert checkpoints(tmp_path / "checkpoints")


def test_a_stop_from_outside_is_heard(pieces: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(pieces), objective_of, tmp_path, score=None)
    trainer.start(resume=False)
    trainer.stop.set()
    with pytest.raises(Interrupted, match="stopped at step 1"):
        trainer.run(progress=False)


def test_the_progress_bar_is_shown_where_asked(
    pieces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_recipe(pieces, optimization={"steps": 2, "warm_up": 1}), tmp_path)
    assert "2/2" in capsys.readouterr().out
