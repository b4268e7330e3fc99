"""The autoencoder of Stable Audio Open, through diffusers.

Conventions
-----------
44.1 kHz stereo; channels are coded in pairs. Latents are the mean of the variational posterior. The input is padded with
zeros to whole frames of 2,048 samples. Long inputs are processed in blocks with enough context that the result is the
same.

References
----------
Evans, Parker, Carr, Zukowski, Taylor and Pons, "Stable Audio Open", ICASSP 2025.
"""

from __future__ import annotations

from pathlib import Path

import torch

from m2l_bench.systems.pretrained import ConvolutionalAutoencoder
from m2l_bench.systems.repository import Repository

PUBLISHED = Repository(
    "stabilityai/stable-audio-open-1.0",
    ("config.json", "diffusion_pytorch_model.safetensors"),
    "625 MB, Stability AI Community License, gated: accept it on the hub and log in",
    subfolder="vae",
)


class StableAudio(ConvolutionalAutoencoder):
    """Stable Audio's variational autoencoder: 64 values per 2,048 stereo samples (21.5 Hz).

    The published repository is gated: accept its licence on the hub and set a token before the first download.

    Parameters
    ----------
    checkpoint, device, seed
        As for :class:`~m2l_bench.systems.repository.PublishedSystem`. Nothing is random here.
    """

    pairs = True

    def __init__(
        self, *, checkpoint: str | Path | None = None, device: str | torch.device | None = None, seed: int = 0
    ) -> None:
        library, model = "diffusers", "AutoencoderOobleck"
        super().__init__("stable-audio", PUBLISHED, library, model, checkpoint=checkpoint, device=device, seed=seed)
        self.latent_dim = self.model.config.decoder_input_channels  # the encoder also gives the posterior's width
