"""Record what the authors' package (0.1.8) computes at full size with redrawn weights: writes golden.npz beside this file.

Run it from the repository's root, with tests/music2latent on the path: ``python tests/music2latent/make_golden.py``.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from drawing import drawn_state, golden_audio, golden_noise
from music2latent import inference, models

if __name__ == "__main__":
    network = models.UNet().eval()
    network.load_state_dict(drawn_state(network.state_dict()))
    trainer = SimpleNamespace(gen=network)
    audio, start = golden_audio(), golden_noise()
    latents = inference.encode_audio_inference(audio, trainer, 10**6, 1, device="cpu")
    features = inference.encode_audio_inference(audio, trainer, 10**6, 1, device="cpu", extract_features=True)
    with torch.no_grad():
        decoded = inference.to_waveform(network(latents * 0.06, 80 * torch.from_numpy(start), 80.0))
    arrays = {"latents": latents, "features": features, "decoded": decoded}
    np.savez_compressed(
        Path(__file__).with_name("golden.npz"), **{name: array.numpy() for name, array in arrays.items()}
    )
