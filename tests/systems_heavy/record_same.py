"""Record golden values of SAME from its original code, at the small sizes of ``same_weights``.

Run by hand, never by the tests, with the original package's folder (of the repository Stability-AI/stable-audio-3, MIT)
and ``einops`` installed::

    PYTHONPATH=. python tests/systems_heavy/record_same.py FOLDER

Writes ``golden/same.json`` (names and shapes of every weight) and ``golden/same.npz`` (latents and decoded audio). Every draw
of noise is replaced by ``same_weights.pattern``. torchaudio, which the code imports but does not need here, is stood in for.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import recipes  # noqa: E402
import same_weights  # noqa: E402

SAMPLES = 9_000


def original(folder: Path) -> Any:
    """The module that builds the original's networks, without the parts of its package that need more libraries."""
    sys.path.insert(0, str(folder))
    package = types.ModuleType("stable_audio_3")
    package.__path__ = [str(folder / "stable_audio_3")]
    sys.modules["stable_audio_3"] = package
    for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]
    sys.modules["torchaudio.transforms"].Resample = None  # type: ignore[attr-defined]
    return [
        importlib.import_module(f"stable_audio_3.models.{name}")
        for name in ("autoencoders", "bottleneck", "pretransforms")
    ]


@torch.no_grad()
def main(folder: Path) -> None:
    autoencoders, bottleneck, pretransforms = original(folder)
    torch.randn_like = lambda x: torch.from_numpy(same_weights.pattern(*x.shape))  # type: ignore[assignment]
    layouts, golden = {}, {}
    for name, config in same_weights.CONFIGS.items():
        parts = config["model"]
        model = autoencoders.AudioAutoencoder(
            autoencoders.SAMEEncoder(**parts["encoder"]["config"]),
            autoencoders.SAMEDecoder(**parts["decoder"]["config"]),
            latent_dim=parts["latent_dim"],
            downsampling_ratio=parts["downsampling_ratio"],
            sample_rate=config["sample_rate"],
            bottleneck=bottleneck.SoftNormBottleneck(**parts["bottleneck"]["config"]),
            pretransform=pretransforms.PatchedPretransform(**parts["pretransform"]["config"]),
            soft_clip=parts["decoder"].get("soft_clip", False),
        ).eval()
        layouts[name] = {key: list(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict(same_weights.state(name, layouts[name]))
        audio = recipes.music(2, SAMPLES)
        padded = np.pad(audio, [(0, 0), (0, -SAMPLES % parts["downsampling_ratio"])])
        latents = model.encode(torch.from_numpy(padded)[None])
        wave = model.decode(latents)[0, :, :SAMPLES]
        golden |= {f"{name}/latents": latents[0].numpy(), f"{name}/wave": wave.numpy()}
        print(f"{name}: latents {tuple(latents.shape)}, std {latents.std():.3f}; wave std {wave.std():.3f}")
    (HERE / "golden" / "same.json").write_text(json.dumps(layouts) + "\n")
    np.savez_compressed(HERE / "golden" / "same.npz", **golden)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
