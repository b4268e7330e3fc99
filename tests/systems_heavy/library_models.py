"""Shrunk models of transformers and diffusers with random weights, saved by their own libraries."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import recipes
import torch
from diffusers.models.autoencoders.autoencoder_kl_kvae_audio import AutoencoderKLKVAEAudio
from diffusers.models.autoencoders.autoencoder_oobleck import AutoencoderOobleck
from diffusers.models.autoencoders.autoencoder_same import AutoencoderSAME
from transformers import (
    DacConfig,
    DacModel,
    EncodecConfig,
    EncodecModel,
    HubertConfig,
    MimiConfig,
    MimiModel,
    VibeVoiceAcousticTokenizerConfig,
    VibeVoiceAcousticTokenizerModel,
    XcodecConfig,
    XcodecModel,
)

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
        if not value.is_floating_point() or any(
            part in name for part in ("cluster", "inited", "initialized", "inv_freq")
        ):
            continue
        draw = torch.randn(value.shape, generator=generator)
        if (
            name.endswith(("original0", "weight_g", "gamma", "scale", "running_std"))
            or "norm.weight" in name
            or ".norm." in name
        ):  # gains
            draw = _GAIN * (1 + 0.2 * draw)
        elif name.endswith(("alpha", "beta")):
            draw = value.data + 0.2 * draw.abs()
        elif value.dim() == 1:
            draw = 0.05 * draw
        elif not name.endswith(("embed", "embed_avg", "embed_sum", "codebook.weight")):
            draw = _GAIN * draw / (value[0].numel() ** 0.5)
        value.data.copy_(draw)


def dac(folder: Path, **options: Any) -> DacModel:
    model = DacModel(DacConfig(encoder_hidden_size=4, decoder_hidden_size=32, sampling_rate=44100, **options)).eval()
    _randomise(model)
    model.save_pretrained(folder)
    return model


def encodec(folder: Path, variant: str) -> EncodecModel:
    options = ENCODEC_48KHZ if variant == "48khz" else {}
    model = EncodecModel(EncodecConfig(num_filters=4, hidden_size=16, codebook_size=1024, **options)).eval()
    _randomise(model)
    model.save_pretrained(folder)
    return model


def _semantic(strides: list[int], rate: int, **options: object) -> dict:
    """Sizes of X-Codec and of Higgs Audio's tokeniser: a DAC and a HuBERT, shrunk."""
    acoustic = DacConfig(
        encoder_hidden_size=4,
        decoder_hidden_size=32,
        hidden_size=16,
        downsampling_ratios=strides,
        upsampling_ratios=strides,
        sampling_rate=rate,
    )
    semantic = HubertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    return {"acoustic_model_config": acoustic, "semantic_model_config": semantic, "sample_rate": rate, **options}


def _fit_codebooks(quantisers: Iterable[Any], z: torch.Tensor) -> None:
    """Codebooks with the mean and spread of what reaches them, so that the codes differ."""
    generator = torch.Generator().manual_seed(0)
    for quantiser in quantisers:
        inside = z.transpose(1, 2)
        if hasattr(quantiser, "project_in"):
            inside = quantiser.project_in(inside)
        book = quantiser.codebook
        values = book.embed_sum if hasattr(book, "embed_sum") else book.embed
        draw = torch.randn(values.shape, generator=generator)
        values.copy_(inside.mean((0, 1)) + inside.std((0, 1)) * draw)
        z = z - quantiser.decode(quantiser.encode(z))


@torch.no_grad()
def _semantic_codec(model: Any, folder: Path) -> Any:
    _randomise(model.eval())
    reached = []
    original = model.quantizer.encode

    def encode(z: torch.Tensor, *rest: Any) -> Any:
        reached.append(z)
        return original(z, *rest)

    model.quantizer.encode = encode
    model.encode(torch.from_numpy(recipes.music(1, 96_000))[None])
    del model.quantizer.encode
    _fit_codebooks(model.quantizer.quantizers, reached[0])
    model.save_pretrained(folder)
    return model


def x_codec(folder: Path) -> Any:
    return _semantic_codec(XcodecModel(XcodecConfig(**_semantic([8, 5, 4, 2], 16_000))), folder)


def higgs_audio(folder: Path, model_class: Any) -> Any:
    """`model_class` is given: transformers hides it where torchaudio is not installed."""
    sizes = _semantic([8, 5, 4, 2, 3], 24_000, target_bandwidths=[0.5, 1, 1.5, 2], codebook_dim=8)
    return _semantic_codec(model_class(model_class.config_class(**sizes)), folder)


@torch.no_grad()
def mimi(folder: Path) -> MimiModel:
    sizes = {"num_filters": 4, "hidden_size": 16, "codebook_dim": 8, "vector_quantization_hidden_dimension": 8}
    sizes |= {"num_quantizers": 6, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    sizes |= {"intermediate_size": 32, "upsample_groups": 16, "sliding_window": 20}
    model = MimiModel(MimiConfig(**sizes)).eval()
    _randomise(model)
    z = model.encoder(torch.from_numpy(recipes.music(1, 240_000))[None]).latents
    quantiser = model.quantizer
    for part in (quantiser.semantic_residual_vector_quantizer, quantiser.acoustic_residual_vector_quantizer):
        _fit_codebooks(part.layers, part.input_proj(z))
    model.save_pretrained(folder)
    return MimiModel.from_pretrained(folder).eval()  # its codebooks keep what they were first used with


def vibevoice(folder: Path) -> VibeVoiceAcousticTokenizerModel:
    # At the published epsilon, norms over a few channels make large what rounding made of near silence.
    sizes = {"num_filters": 4, "hidden_size": 8, "depths": [1, 1, 1, 1, 1, 1, 2], "rms_norm_eps": 1e-2}
    model = VibeVoiceAcousticTokenizerModel(VibeVoiceAcousticTokenizerConfig(**sizes)).eval()
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


def kvae_audio(folder: Path, **options: Any) -> AutoencoderKLKVAEAudio:
    model = AutoencoderKLKVAEAudio(
        encoder_dim=4, latent_dim=32, codebook_dim=6, decoder_dim=64, attn_num_heads=4, **options
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
    elif name.startswith("same"):
        import same_weights

        same_weights.published_size(name, folder)
    elif name in ("x-codec", "mimi", "vibevoice"):
        model_class, config_class = {
            "x-codec": (XcodecModel, XcodecConfig),
            "mimi": (MimiModel, MimiConfig),
            "vibevoice": (VibeVoiceAcousticTokenizerModel, VibeVoiceAcousticTokenizerConfig),
        }[name]
        model_class(config_class()).save_pretrained(folder)
    else:
        AutoencoderOobleck().save_pretrained(folder)
