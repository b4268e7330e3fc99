"""Shrunk DAC, EnCodec and diffusers models with random weights, saved by their own libraries."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_kvae_audio import AutoencoderKLKVAEAudio
from diffusers.models.autoencoders.autoencoder_oobleck import AutoencoderOobleck
from diffusers.models.autoencoders.autoencoder_same import AutoencoderSAME
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

ENCODEC_48KHZ = {
    "sampling_rate": 48000,
    "audio_channels": 2,
    "normalize": True,
    "chunk_length_s": 1.0,
    "overlap": 0.01,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
    "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
}
_GAIN = 0.6  # more, and rounding errors grow from layer to layer until nothing can be compared


def _randomise(model: torch.nn.Module, *, seed: int = 0) -> None:
    """Weights with enough gain that every layer matters in the output."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if not value.is_floating_point() or any(part in name for part in ("cluster_size", "inited", "inv_freq")):
            continue
        draw = torch.randn(value.shape, generator=generator)
        if name.endswith(("original0", "weight_g", "gamma", "running_std")) or ".norm." in name:  # gains
            draw = _GAIN * (1 + 0.2 * draw)
        elif name.endswith(("alpha", "beta")):
            draw = value.data + 0.2 * draw.abs()
        elif value.dim() == 1:
            draw = 0.05 * draw
        elif not name.endswith(("embed", "embed_avg", "codebook.weight")):
            draw = _GAIN * draw / (value[0].numel() ** 0.5)
        value.data.copy_(draw)


def dac(folder: Path) -> DacModel:
    model = DacModel(DacConfig(encoder_hidden_size=4, decoder_hidden_size=32, sampling_rate=44100)).eval()
    _randomise(model)
    model.save_pretrained(folder)
    return model


def encodec(folder: Path, variant: str) -> EncodecModel:
    options = ENCODEC_48KHZ if variant == "48khz" else {}
    model = EncodecModel(EncodecConfig(num_filters=4, hidden_size=16, codebook_size=1024, **options)).eval()
    _randomise(model)
    model.save_pretrained(folder)
    return model


def oobleck(folder: Path, **options: object) -> AutoencoderOobleck:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = {"encoder_hidden_size": 8, "decoder_channels": 4, "decoder_input_channels": 4}
        model = AutoencoderOobleck(**sizes, **options).eval()
    _randomise(model)
    model.save_pretrained(folder)
    return model


def ace_step(folder: Path) -> AutoencoderOobleck:
    """25 frames a second at 48 kHz."""
    return oobleck(folder, downsampling_ratios=[2, 4, 4, 6, 10], sampling_rate=48000)


def kvae_audio(folder: Path) -> AutoencoderKLKVAEAudio:
    model = AutoencoderKLKVAEAudio(
        encoder_dim=4, latent_dim=32, codebook_dim=6, decoder_dim=64, attn_num_heads=4
    ).eval()
    _randomise(model)
    model.save_pretrained(folder)
    return model


def same(folder: Path, **options: object) -> AutoencoderSAME:
    """By default of the published frames of 4,096 samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = {
            "encoder_channels": 8,
            "encoder_transformer_depths": (3,),
            "latent_dim": 12,
            "dim_heads": 16,
            "decoder_sinusoidal_blocks": (2,),
        }
        model = AutoencoderSAME(**(sizes | options)).eval()
    _randomise(model)
    model.save_pretrained(folder)
    return model


def published_size(name: str, folder: Path) -> None:
    """Models of the published sizes, with the libraries' own random weights."""
    if name == "dac":
        DacModel(DacConfig(sampling_rate=44100)).save_pretrained(folder)
    elif name.startswith("encodec"):
        options = ENCODEC_48KHZ if name.endswith("48khz") else {}
        EncodecModel(EncodecConfig(**options)).save_pretrained(folder)
    elif name == "kvae-audio":
        AutoencoderKLKVAEAudio().save_pretrained(folder)
    elif name == "same-s":
        AutoencoderSAME().save_pretrained(folder)
    elif name == "same-l":
        large = {"encoder_channels": 256, "encoder_transformer_depths": (12,), "decoder_sinusoidal_blocks": (8,)}
        AutoencoderSAME(**large).save_pretrained(folder)
    else:
        AutoencoderOobleck().save_pretrained(folder)
