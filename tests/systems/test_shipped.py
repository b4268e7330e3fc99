"""The small models that ship: what their records say of them, and that their decoders use the latents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from safetensors import safe_open

import m2l_bench
from m2l_bench import assets, audio
from m2l_bench.reconstruction import mel_distance
from m2l_bench.suite.suite import EMBEDDED_SYSTEMS
from m2l_bench.systems.catalogue import SYSTEMS
from m2l_bench.systems.small.recipes import read_recipe

ASSETS = Path(assets.__file__).parent
RESULTS = Path(__file__).parents[2] / "docs" / "results.md"
SHIPPED = sorted(path.parent.name.removesuffix("-small") for path in ASSETS.glob("*-small/weights.safetensors"))


def test_all_that_ships_is_compared_by_default() -> None:
    assert [f"{name}:small" for name in SHIPPED] == sorted(name for name in EMBEDDED_SYSTEMS if name.endswith(":small"))


@pytest.mark.parametrize("family", SHIPPED)
def test_the_record_is_of_these_weights_and_this_recipe(family: str) -> None:
    card = ASSETS / f"{family}-small"
    weights = card / "weights.safetensors"
    record = json.loads((card / "record.json").read_text())
    assert record["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    with safe_open(weights, framework="np") as file:
        count = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
    assert record["parameters"] == count
    assert float(SYSTEMS[family].parameters.split(";")[0]) == pytest.approx(count / 1e6, abs=0.006)
    assert f"{count:,}" in (card / "README.md").read_text()
    trainings = [record]
    while "continued" in trainings[0]:  # from the weights of an earlier training, whose totals it includes
        trainings.insert(0, trainings[0]["continued"])
        assert trainings[1]["audio_seconds"] > trainings[0]["audio_seconds"]
    assert len(list(card.glob("training-*/recipe.toml"))) == len(trainings) - 1
    for number, training in enumerate(trainings, start=1):
        assert (card / f"training-{number}" / "curves.png").is_file()
        place = ASSETS / "recipes" / f"{family}.toml" if number == 1 else card / f"training-{number}" / "recipe.toml"
        recipe = read_recipe(place).to_dict()
        for section in ("model", "data", "noise", "stages", "adversarial", "optimization", "validation"):
            ours, theirs = (
                {key: value for key, value in (held.get(section) or {}).items() if key != "folders"}
                for held in (recipe, training["recipe"])
            )
            assert ours == theirs, section
        assert training["step"] == recipe["optimization"]["steps"]
    minutes = SYSTEMS[family].caveats["small"].split(" trained for ")[1].split()[0]
    assert int(minutes) == round(record["cpu_seconds"] / 60)
    cpu, wall, audio_seconds = (record[f"{name}_seconds"] for name in ("cpu", "wall", "audio"))
    budget = f"| {count / 1e6:.2f} | {cpu / 60:.0f} | {wall / 3600:.1f} | {audio_seconds / 3600:.1f} |"
    assert f"| {family}:small {budget}" in RESULTS.read_text(encoding="utf-8")


@pytest.mark.parametrize("family", SHIPPED)
def test_decoders_use_their_latents(family: str) -> None:
    """With the right latents an excerpt comes back nearer than with another excerpt's."""
    system = m2l_bench.load(f"{family}:small")
    clips = sorted((assets.folder("reconstruction/wesnoth")).glob("*.ogg"))[:2]
    one, other = (audio.load(path, n_samples=3 * 44100)[0][:1] for path in clips)
    right = mel_distance(one, system.decode(system.encode(one), one.shape[-1]), 44100).mean()
    wrong = mel_distance(one, system.decode(system.encode(other), one.shape[-1]), 44100).mean()
    assert right < 0.8 * wrong
