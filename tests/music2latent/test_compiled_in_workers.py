"""bfloat16 in the workers of a run. This process never loads OpenVINO, whose threads do not go well with starting others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawing import drawn_state

from m2l_bench import audio
from m2l_bench.music2latent.checkpoint import save_checkpoint
from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite

pytestmark = pytest.mark.skipif(
    not any(flag in Path("/proc/cpuinfo").read_text().split() for flag in ("avx512_bf16", "amx_bf16")),
    reason="this processor has no bfloat16 instructions",
)


@pytest.fixture
def shallow_file(tiny: Config, tmp_path: Path) -> Path:
    """Of two levels: what a graph takes to be made grows with their number."""
    config = replace(
        tiny,
        multipliers=(1, 2),
        blocks=(1, 1),
        encoder_blocks=(1, 1),
        attention=(False, True),
        frequency_only=(False,),
    )
    path = tmp_path / "shallow.safetensors"
    save_checkpoint(path, drawn_state(Music2LatentNetwork(config).state_dict()), config)
    return path


def test_runs_in_workers(
    music: Callable[..., np.ndarray], shallow_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    audio.write(tmp_path / "music" / "chords.wav", music(44100), 44100)
    systems = [
        {"system": "music2latent", "checkpoint": str(shallow_file), "label": "float32"},
        {
            "system": "music2latent",
            "checkpoint": str(shallow_file),
            "label": "bfloat16",
            "options": {"precision": "bfloat16"},
        },
    ]
    content = {"name": "precision", "systems": systems, "audio": [str(tmp_path / "music")], "metrics": ["si_sdr"]}
    found = run_suite(make_suite(content | {"tasks": []}), out=tmp_path / "run")
    scores = {row.system: row.value for row in found.rows if row.metric == "si_sdr" and row.system != "chance"}
    assert set(scores) == {"float32", "bfloat16"} and scores["float32"] != scores["bfloat16"]
    assert scores["float32"] == pytest.approx(scores["bfloat16"], abs=1)
