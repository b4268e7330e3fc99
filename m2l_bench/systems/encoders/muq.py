"""MuQ, a self-supervised model of music, on transformers' conformer; the package ``muq`` is not needed.

Conventions
-----------
24 kHz, mean of the channels. A frame is the output of one conformer layer, 1,024 values every 960 samples (25 a second); by
default the last one, after the final normalisation, which the authors' package calls the features. Frame ``t`` begins at
sample ``960 t``; a file has as many as begin inside it.

The front end: decibels of 128 mel bands (HTK's scale, triangles of height 1, to 12 kHz) of the power in windows of 2,048
samples (periodic Hann) every 240, centred, mirrored at the ends, shifted and scaled by the configuration's constants.

MuQ attends to its whole input and was trained on excerpts of 30 s, so it gets windows of 30 s (750 frames), side by side; the
last one ends with the file (:mod:`~m2l_bench.systems.encoders.attention_windows`). The file's end is filled up with zeros to 240
samples, and to 1,200 in all.

References
----------
Zhu, Zhou, Chen, Yu, Ma, Gu, Luo, Tan and Chen, "MuQ: Self-Supervised Music Representation Learning with Mel Residual Vector
Quantization", 2025 (arXiv 2501.01108).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from m2l_bench.audio import fit_length
from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.untrusted import parse_json
from m2l_bench.files.weights import fill, read_safetensors
from m2l_bench.systems import framing, pretrained
from m2l_bench.systems.encoders.attention_windows import layer_number, windows
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

PUBLISHED = hub_files("OpenMuQ/MuQ-large-msd-iter", ("config.json", "model.safetensors"), "about 1.3 GB, CC BY-NC 4.0")
N_FFT, N_MELS, SAMPLE_RATE = 2048, 128, 24_000
_WINDOW = 750  # frames: 30 s

# Fields of config.json with the only value that is computed for.
_REQUIRED = {"hop_length": 240, "n_mels": N_MELS, "label_rate": 25, "is_flash": False}
# Fields of the conformer's configuration that change its computation.
_CONFORMER = (
    "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps", "position_embeddings_type",
    "rotary_embedding_base", "max_source_positions", "conv_depthwise_kernel_size",
)  # fmt: skip
# Keys of weights that only training uses, by their beginning.
TRAINING_ONLY = {
    "model.linear.": "predictions of the targets",
    "model.cls_token": "is in no computation",
    "model.conformer.pos_conv_embed.": "is in no computation",
    "model.quantizer_": "random projection, target",
    "model.rvq.": "residual vector quantiser, target",
    "model.recon_proj.": "prediction of the mel spectrum",
}


class Muq(PublishedSystem):
    """Frames of one layer of MuQ, or the mean of all.

    Parameters
    ----------
    layer : int or str
        From 1 to the number of layers (12 in the published model), ``"last"`` or ``"mean"``.
    checkpoint : path-like, optional
        A folder with ``config.json`` and ``model.safetensors``.
    device : str, optional
        CUDA where there is one, else the CPU, by default.
    seed : int
        Nothing is drawn.
    """

    name, published = "muq", PUBLISHED
    sample_rate = SAMPLE_RATE

    def __init__(
        self, *, layer: int | str = "last", checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
    ) -> None:
        pretrained.library_class("transformers", "Wav2Vec2ConformerConfig")
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        config_file, weights = self.paths
        self.network = _build(config_file)
        tensors = read_safetensors(weights)[0]
        used = {name: value for name, value in tensors.items() if not name.startswith(tuple(TRAINING_ONLY))}
        fill(self.network, used, weights, names={name: f"model.{name}" for name in self.network.state_dict()})
        self.network.eval().requires_grad_(False).to(self.device)
        layers = len(self.network.conformer.layers)
        self.layer = layer_number(layer, layers)
        shown = "mean" if self.layer == 0 else "last" if self.layer == layers else str(self.layer)
        self.identify(f"muq:{shown}", {"layer": self.layer, "frames": _WINDOW})
        self.hop = 4 * _REQUIRED["hop_length"]
        self.latent_dim = self.network.conformer.layer_norm.normalized_shape[0]
        self.latent_rate = self.sample_rate / self.hop

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (1, latent_dim, frames), at least one frame."""
        # Whole mel frames, and enough samples to be mirrored at the ends.
        step = _REQUIRED["hop_length"]
        signal = framing.pad_to_multiple(framing.as_audio(audio).mean(0), step)
        frames = -(-len(signal) // self.hop)
        signal = fit_length(signal, max(len(signal), N_FFT // 2 // step * step + step))
        out = np.empty((1, self.latent_dim, frames), np.float32)
        for first, start, stop in windows(frames, _WINDOW):
            wave = torch.from_numpy(signal[first * self.hop : len(signal) if stop == frames else stop * self.hop])
            layers = self.network(wave[None].to(self.device))
            chosen = layers[self.layer - 1] if self.layer else torch.stack(layers).mean(0)
            out[0, :, start:stop] = chosen[0, start - first : stop - first].T.cpu().numpy()
        return out


class Network(nn.Module):
    """Two residual convolutions over the mel spectrum and a conformer; its keys are the published ones without ``model.``.

    Parameters
    ----------
    width : int
        Of the convolutions.
    conformer : Wav2Vec2ConformerConfig
    mean, std : float
        Of the mel spectrum in dB.
    """

    _window: Tensor
    _filters: Tensor

    def __init__(self, width: int, conformer: Any, mean: float, std: float) -> None:
        from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

        super().__init__()
        self.conv = Subsampling(width, conformer.hidden_size)
        self.conformer = Wav2Vec2ConformerEncoder(conformer)
        del self.conformer.pos_conv_embed  # it has weights, but is not called
        self.mean, self.std = mean, std
        self.register_buffer("_window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("_filters", mel_filters(), persistent=False)

    def forward(self, wave: Tensor) -> list[Tensor]:
        """(batch, samples) -> the output of each layer (batch, frames, hidden_size), the last one normalised."""
        outputs: list[Tensor] = []

        def keep(module: nn.Module, given: Any, output: Any) -> None:
            outputs.append(output[0] if isinstance(output, tuple) else output)

        handles = [layer.register_forward_hook(keep) for layer in self.conformer.layers]
        try:
            last = self.conformer(self.conv((self.mel(wave) - self.mean) / self.std)).last_hidden_state
        finally:
            for handle in handles:
                handle.remove()
        return [*outputs[:-1], last]

    def mel(self, wave: Tensor) -> Tensor:
        """Mel spectrum in dB, without the frame at the end: (batch, samples) -> (batch, 128, samples // 240)."""
        spectrum = torch.stft(
            wave, N_FFT, _REQUIRED["hop_length"], window=self._window, pad_mode="reflect", return_complex=True
        )
        power = self._filters @ spectrum.abs().square()  # (batch, mels, frames)
        return 10 * power.clamp(min=1e-10).log10()[..., :-1]


class Subsampling(nn.Module):
    """(batch, mels, time) -> (batch, time / 4, width of the conformer)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(Residual(1, width), Residual(width, width))
        self.linear = nn.Linear(width * N_MELS // 4, out)

    def forward(self, mel: Tensor) -> Tensor:
        """Both convolutions, then all bands of a frame together."""
        x = self.conv(mel[:, None])  # (batch, width, mels / 4, time / 4)
        return self.linear(x.flatten(1, 2).transpose(1, 2))


class Residual(nn.Module):
    """Two convolutions beside one, halving both axes."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, padding=1), nn.BatchNorm2d(n_out)
        self.conv3, self.bn3 = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n_in, mels, time) -> (batch, n_out, mels / 2, time / 2)."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(self.bn3(self.conv3(x)) + inner)


def mel_filters() -> Tensor:
    """Triangular filters (128, 1025) of height 1 on HTK's mel scale, from 0 Hz to half the sample rate."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, N_MELS + 2) / 2595) - 1)
    frequencies = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


def _build(path: Path) -> Network:
    """The network of a ``config.json``; CheckpointError if it would compute something else than the package."""
    from transformers import Wav2Vec2ConformerConfig

    try:
        config = parse_json(path.read_bytes())
        for field, wanted in _REQUIRED.items():
            if config.get(field, wanted) != wanted:
                raise CheckpointError(f"{path}: {field} must be {wanted}, got {config[field]!r}")
        sizes = {key: config.get(key, default) for key, default in (("encoder_dim", 1024), ("encoder_depth", 12))}
        given = {key: value for key, value in config["w2v2_config"].items() if key in _CONFORMER}
        conformer = Wav2Vec2ConformerConfig(
            **given, hidden_size=sizes["encoder_dim"], num_hidden_layers=sizes["encoder_depth"]
        )
        conformer._attn_implementation = "eager"
        mean, std = (float(config["stat"][f"melspec_{N_FFT}_{kind}"]) for kind in ("mean", "std"))
        return Network(config.get("conv_dim", 512), conformer, mean, std)
    except CheckpointError:
        raise
    except Exception as error:  # keys that are missing, and what the library refuses, each in its own way
        raise CheckpointError(f"{path}: must be MuQ's configuration ({type(error).__name__}: {error})") from error
