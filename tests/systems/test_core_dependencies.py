"""The default run needs the core dependencies alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from m2l_bench.suite.suite import EMBEDDED_SYSTEMS

CODE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("transformers", "diffusers", "h5py", "accelerate"):
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Blocker())
import numpy as np
from m2l_bench.systems.registry import load

audio = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 8000)).astype(np.float32)
for name in sys.argv[1:]:
    assert load(name).reconstruct(audio).shape == audio.shape, name
    print(name)
"""


def test_every_default_system_runs_on_the_core_dependencies_alone() -> None:
    done = subprocess.run([sys.executable, "-c", CODE, *EMBEDDED_SYSTEMS], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stderr)
    assert done.stdout.split() == list(EMBEDDED_SYSTEMS)
