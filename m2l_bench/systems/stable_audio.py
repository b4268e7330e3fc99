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

from m2l_bench.systems.pretrained import ConvolutionalAutoencoder
from m2l_bench.systems.repository import hub_files

PUBLISHED = hub_files(
    "stabilityai/stable-audio-open-1.0",
    ("vae/config.json", "vae/diffusion_pytorch_model.safetensors"),
    "625 MB, Stability AI Community License, gated: accept it on the hub and log in",
)


class StableAudio(ConvolutionalAutoencoder):
    """Stable Audio's variational autoencoder: 64 values per 2,048 stereo samples (21.5 Hz).

    The published repository is gated: accept its licence on the hub and set a token before the first download.

    Parameters are those of :class:`~m2l_bench.systems.repository.PublishedSystem`.
    """

    name, published, pairs = "stable-audio", PUBLISHED, True
    library, model_class, width = "diffusers", "AutoencoderOobleck", "decoder_input_channels"
