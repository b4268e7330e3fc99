"""Record golden values of Moûsai from its original libraries, at a small and at the published size.

Run by hand, never by the tests, with the libraries in a folder of their own::

    pip install --no-deps --target LIBRARIES a-unet==0.0.16 audio-encoders-pytorch==0.0.22 \
        audio-diffusion-pytorch==0.1.3 einops einops-exts data-science-types
    PYTHONPATH=. python tests/systems_heavy/record_mousai.py LIBRARIES

Writes ``golden/mousai.json`` (names and shapes of every weight) and ``golden/mousai.npz`` (latents and 2-step decodes
of the small sizes). Weights are made by ``mousai_weights.state`` on both sides. Prints, for every size, how far this
package's networks are from the original's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import mousai_oracle  # noqa: E402
import mousai_weights  # noqa: E402
import recipes  # noqa: E402

from m2l_bench.systems.mousai.network import Network  # noqa: E402
from m2l_bench.systems.mousai.state_dict import translate  # noqa: E402

LENGTHS = {"small-v2": 8192, "small-v3": 8192, "v2": 65536, "v3": 65536}
STEPS = 2


@torch.no_grad()
def record(libraries: Path, size: str) -> tuple[dict[str, list[int]], dict[str, np.ndarray]]:
    """Layout and golden arrays of one size; prints how far our networks are from the original's."""
    config = mousai_weights.CONFIGS[size]
    model = mousai_oracle.build(libraries, config)
    layout = {
        name: list(value.shape)
        for name, value in model.state_dict().items()
        if not name.startswith(("diffusion.", "sampler."))
    }
    weights = mousai_weights.published(layout, config)
    model.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
    audio = torch.from_numpy(recipes.music(2, LENGTHS[size]))[None]
    latents = model.encode(audio)
    noise = torch.randn(1, 2, LENGTHS[size], generator=torch.Generator().manual_seed(3))
    wave = model.decode(latents, generator=torch.Generator().manual_seed(3), num_steps=STEPS)
    ours = Network(config).eval()
    ours.load_state_dict(translate(weights, config))
    pairs = (ours.encoder(audio), latents), (ours.decode(latents, noise, STEPS), wave)
    close = [float((a - b).abs().max()) for a, b in pairs]
    count = sum(p.numel() for p in model.parameters())
    print(f"{size}: {count:,} parameters, ours {sum(p.numel() for p in ours.parameters()):,}")
    print(f"  latents std {latents.std():.3f}, wave peak {wave.abs().max():.3f}; ours differ by {close}")
    golden = {"latents": latents[0], "noise": noise[0], "wave": wave[0]} if size.startswith("small") else {}
    return layout, {f"{size}/{name}": value.numpy() for name, value in golden.items()}


if __name__ == "__main__":
    layouts, arrays = {}, {}
    for which in LENGTHS:
        layouts[which], new = record(Path(sys.argv[1]), which)
        arrays |= new
    (HERE / "golden" / "mousai.json").write_text(json.dumps(layouts))
    np.savez_compressed(HERE / "golden" / "mousai.npz", **arrays)
