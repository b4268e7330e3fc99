"""Record the layers of the authors' MuQ on small random weights: ``python record_muq.py``, with the package ``muq`` 0.1.0.

The package needs torchaudio, torchvision and transformers < 5 (recorded with transformers 4.57.6, torch 2.13.0).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2ConformerConfig

FOLDER = Path(__file__).parent / "golden" / "muq"
LENGTHS = (1920, 24_000, 48_480)


def main() -> None:
    from muq.muq.muq import MuQ, MuQConfig  # only here: the package is for recording, not for tests

    torch.manual_seed(0)
    conformer = Wav2Vec2ConformerConfig(
        num_attention_heads=2,
        intermediate_size=24,
        hidden_act="swish",
        position_embeddings_type="rotary",
        conv_depthwise_kernel_size=7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    config = MuQConfig(
        conv_dim=4,
        encoder_dim=16,
        encoder_depth=3,
        codebook_size=8,
        codebook_dim=4,
        stat={"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623},
        w2v2_config=json.loads(conformer.to_json_string(use_diff=False)),
    )
    model = MuQ(config).eval()
    for name, value in model.state_dict().items():  # so that every layer, gain and running mean matters
        if value.is_floating_point() and "inv_freq" not in name:
            value += 0.2 * torch.randn_like(value) if "running_var" not in name else torch.rand_like(value)
    FOLDER.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, FOLDER / "model.safetensors")
    (FOLDER / "config.json").write_text(json.dumps(asdict(config), indent=1))
    time = np.arange(max(LENGTHS)) / 24_000
    wave = 0.2 * np.sin(2 * np.pi * (200 + 600 * time) * time) + 0.02 * np.random.default_rng(0).standard_normal(
        len(time)
    )
    recorded = {"wave": wave.astype(np.float32)}
    for length in LENGTHS:
        with torch.inference_mode():
            layers = model(torch.from_numpy(recorded["wave"][None, :length])).hidden_states
        recorded[f"layers_{length}"] = torch.stack(layers)[1:, 0].numpy()  # (layers, frames, 16)
    np.savez_compressed(FOLDER / "layers.npz", **recorded)


if __name__ == "__main__":
    main()
