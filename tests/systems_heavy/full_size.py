"""The published sizes with random weights: parameters, seconds per second of music, and memory at two lengths.

Run by hand (half an hour, up to 15 GB of memory)::

    PYTHONPATH=. python tests/systems_heavy/full_size.py [--long SECONDS] [NAME]...

Each system is loaded from files of the published names and shapes, through the documented call. Moûsai takes one step
instead of twenty, CoDiCodec one instead of five. Each runs in a process of its own; what it holds when loaded is printed, and
how much more at most over a short and a long piece of stereo music. Input and output alone take 0.7 MB a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHORT, LONG = 20, 60  # seconds; blocks last 6 (CoDiCodec's 12), so that most have context on either side
NAMES = (
    "musika",
    "mousai-v2",
    "mousai-v3",
    "dac",
    "encodec:24khz",
    "encodec:48khz",
    "stable-audio",
    "kvae-audio",
    "same-s",
    "same-l",
    "ear-vae",
    "ear-vae2",
    "x-codec",
    "mimi",
    "vibevoice",
    "music2latent-authors",
    "codicodec",
)


def write(name: str, folder: Path) -> None:
    """Weights of the published names and shapes."""
    import torch

    if name == "musika":
        import keras_file

        layout = json.loads((HERE / "golden" / "musika_full.json").read_text())
        for net, weights in layout["weights"].items():
            keras_file.write(folder / f"{net}.h5", net, layout["layers"][net], weights)
    elif name.startswith("mousai"):
        import mousai_weights

        version = name.partition("-")[2]
        layout = json.loads((HERE / "golden" / "mousai.json").read_text())[version]
        torch.save(mousai_weights.published(layout, mousai_weights.CONFIGS[version]), folder / "pytorch_model.bin")
    elif name.startswith("ear-vae"):
        import ear_vae_weights

        file = {"ear-vae": "ear_vae_44k.pyt", "ear-vae2": "ear_vae2.pt"}[name]
        torch.save(ear_vae_weights.state(ear_vae_weights.LAYOUT[f"published {name}"]), folder / file)
    elif name in ("music2latent-authors", "codicodec"):
        import authors_models

        authors_models.write("codicodec" if name == "codicodec" else "music2latent", folder)
    else:
        import library_models

        library_models.published_size(name, folder)


def measure(name: str, folder: Path, seconds: int) -> dict[str, float]:
    """Load, reconstruct once, and say what it took."""
    import numpy as np
    import recipes
    import torch

    import m2l_bench
    from tests.peak_memory import peak_memory, restart_peak

    options = {"num_steps": 1} if name.startswith(("mousai", "codicodec")) else {}
    system: Any = m2l_bench.load(name, checkpoint=folder, device="cpu", **options)
    modules = [value for value in vars(system).values() if isinstance(value, torch.nn.Module)]
    rate = system.sample_rate or 44100
    audio = np.tile(recipes.music(2, rate), (1, seconds))
    held = restart_peak()
    start = time.perf_counter()
    back = system.reconstruct(audio)
    took = time.perf_counter() - start
    assert back.shape == audio.shape and np.isfinite(back).all()
    return {
        "parameters": sum(p.numel() for module in modules for p in module.parameters()),
        "seconds per second": took / seconds,
        "MB held": held / 1e6,
        "MB more": (peak_memory() - held) / 1e6,
    }


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
        sys.exit()
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--long", type=int, default=LONG)
    asked = parser.parse_args()
    for which in asked.names:
        with tempfile.TemporaryDirectory() as place:
            write(which, Path(place))
            for length in (SHORT, asked.long):
                command = [sys.executable, __file__, "--one", which, place, str(length)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(which, f"{length} s:", done.stdout.strip(), flush=True)
