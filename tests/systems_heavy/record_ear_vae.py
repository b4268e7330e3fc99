"""Record golden values of EAR-VAE and EAR-VAE2 from their original code, at a small and at the published size.

Run by hand, never by the tests, with checkouts of both repositories and two packages in folders of their own::

    git clone https://github.com/Eps-Acoustic-Revolution-Lab/EAR_VAE
    git clone https://github.com/Eps-Acoustic-Revolution-Lab/EAR_VAE2
    pip install --no-deps --target LIBRARIES descript-audio-codec==1.0.0 alias-free-torch==0.0.6
    PYTHONPATH=. python tests/systems_heavy/record_ear_vae.py EAR_VAE EAR_VAE2 LIBRARIES

Writes ``golden/ear_vae.json`` (names and shapes of every weight in the state dicts) and ``golden/ear_vae.npz`` (latents and
waves of the small sizes, and what the transformer of the published size makes of latents). Weights are made by
``ear_vae_weights.state`` on both sides. Prints, for every size, how far this package's networks are from the original's,
and what the original's coding in chunks changes.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import ear_vae_weights  # noqa: E402
import recipes  # noqa: E402

from m2l_bench.systems.ear_vae import system  # noqa: E402
from m2l_bench.systems.ear_vae.published_file import load  # noqa: E402

# Samples: whole frames for EAR-VAE, whose original drops an incomplete one.
LENGTHS = {"ear-vae": 6 * 1024, "ear-vae2": 6 * 1920 - 600}


def original_classes(first: Path, second: Path, libraries: Path) -> dict[str, Any]:
    """The model classes; of the package dac only the layers are imported, which need torch alone."""
    sys.path[:0] = [str(libraries), str(second)]
    for name, folder in (("dac", libraries / "dac"), ("dac.nn", libraries / "dac" / "nn"), ("first", first / "model")):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return {
        "ear-vae": importlib.import_module("first.ear_vae").EAR_VAE,
        "ear-vae2": importlib.import_module("ear_vae2").EarVAE2,
    }


def original(classes: dict[str, Any], folders: dict[str, Path], name: str, config: Any) -> torch.nn.Module:
    """A model in the sizes of `config`; all else is as in the published configuration."""
    if name == "ear-vae":
        options = json.loads((folders[name] / "config" / "model_config.json").read_text())
        shared = {"c_mults": list(config.multiples), "strides": list(config.strides)}
        wide = 2 * config.latent_dim
        options["encoder"]["config"] |= {"channels": wide, "latent_dim": wide} | shared
        options["decoder"]["config"] |= {"channels": config.decoder_channels, "latent_dim": config.latent_dim} | shared
        options["transformer"]["depth"] = config.depth
    else:
        options = json.loads((folders[name] / "configs" / "ear_vae2.json").read_text())["model"]["gen"]["config"]
        options |= {"C0": config.channels, "C0_decoder": config.decoder_channels, "D": config.latent_dim}
        options["refiner"] |= {
            "dim": config.refiner_channels,
            "intermediate_dim": config.refiner_inner,
            "num_layers": config.refiner_layers,
        }
    return classes[name](options).eval()


def run(name: str, model: Any, audio: Tensor) -> dict[str, Tensor]:
    """What the authors' inference makes of audio (1, 2, samples), with the mean of the posterior and without loudness."""
    if name == "ear-vae":
        latents = model.encode(audio, use_sample=False)
        return {"latents": latents, "wave": model.decode(latents)}
    padded, _ = model.preprocess_audio(audio)
    latents = model.encode_audio(padded, deterministic=True)
    return {"latents": latents, "wave": model.decode_audio(latents)}


@torch.no_grad()
def record(name: str, size: str, model: Any, config: Any) -> tuple[dict[str, list[int]], dict[str, np.ndarray]]:
    """Layout and golden arrays of one size; prints how far our networks are from the original's."""
    layout = {key: list(value.shape) for key, value in model.state_dict().items()}
    weights = ear_vae_weights.state(layout)
    model.load_state_dict(weights)
    audio = torch.from_numpy(recipes.music(2, LENGTHS[name]))[None]
    golden = run(name, model, audio)
    ours = system.NETWORKS[name](config).eval()
    with tempfile.TemporaryDirectory() as folder:
        torch.save(weights, Path(folder) / "weights.pt")
        load(ours, ours.published_names(), Path(folder) / "weights.pt")
    padded = torch.nn.functional.pad(audio, (0, -audio.shape[-1] % ours.hop))
    end = golden["wave"].shape[-1] - ours.tail
    latents = ours.encode(padded)
    pairs = {
        "latents": (latents, golden["latents"]),
        "wave": (ours.decode(ours.attend(golden["latents"]))[..., :end], golden["wave"][..., :end]),
        "full path": (ours.decode(ours.attend(latents))[..., :end], golden["wave"][..., :end]),
    }
    print(f"{size} {name}: {sum(p.numel() for p in model.parameters()):,} parameters, {len(layout)} entries")
    for what, (a, b) in pairs.items():
        changes = b.diff(dim=-1).abs().mean() / b.abs().mean()
        print(
            f"  {what}: peak {b.abs().max():.3f}, relative change {changes:.2f}, error {(a - b).abs().max() / b.abs().max():.1e}"
        )
    arrays = {f"{name}/{key}": value[0].numpy() for key, value in golden.items()} if size == "small" else {}
    if name == "ear-vae" and size == "published":
        latents = torch.from_numpy(recipes.music(config.latent_dim, 50))[None]
        arrays["ear-vae/attended"] = model.transformers(latents.transpose(1, 2))[0].T.numpy()
    if name == "ear-vae2" and size == "small":
        chunks(model)
    return layout, arrays


def chunks(model: Any) -> None:
    """Print what the original's chunks, with the overlap of its command line, change against its coding in one piece."""
    audio = torch.from_numpy(recipes.music(2, 100 * 1920))[None]
    options = {"chunked": True, "chunk_size": 40, "overlap": 16}
    latents = model.encode_audio(audio, deterministic=True)
    wave = model.decode_audio(latents)[..., :-480]
    in_chunks = (
        model.encode_audio(audio, deterministic=True, **options),
        model.decode_audio(latents, **options)[..., :-480],
    )
    errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(in_chunks, (latents, wave), strict=True)]
    print("  in chunks: latents differ by {:.1e}, wave by {:.1e}".format(*errors))


if __name__ == "__main__":
    first, second, libraries = map(Path, sys.argv[1:])
    originals = original_classes(first, second, libraries)
    layouts, golden = {}, {}
    for size, configs in (("small", ear_vae_weights.SMALL), ("published", system.CONFIGS)):
        for which, config in configs.items():
            model = original(originals, {"ear-vae": first, "ear-vae2": second}, which, config)
            layouts[f"{size} {which}"], new = record(which, size, model, config)
            golden |= new
    (HERE / "golden" / "ear_vae.json").write_text(json.dumps(layouts, separators=(",", ":")))
    np.savez_compressed(HERE / "golden" / "ear_vae.npz", **golden)
