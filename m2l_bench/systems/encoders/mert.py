"""MERT, a self-supervised model of music, through transformers' ``HubertModel``: no code of the repository is run.

Conventions
-----------
24 kHz, mean of the channels. A frame is the output of one transformer layer, 768 values every 320 samples (75 a second); by
default the mean of all layers. Frame ``t`` begins at sample ``320 t``; a file has as many as begin inside it.

MERT attends to its whole input and was trained on excerpts of 5 s, so it gets windows of 5 s (375 frames), side by side. The
last window ends with the file (:mod:`~m2l_bench.systems.encoders.attention_windows`); a shorter file is one shorter window. Each
window is shifted to mean 0 and scaled to variance 1, as by the model's own feature extractor, and has the 80 samples after it
in addition, which the convolutions of its last frame reach.

References
----------
Li, Yuan, Zhang, Ma, Chen, Yin, Xiao, Lin, Ragni, Benetos, Gyenge, Dannenberg, Liu, Chen, Xia, Shi, Huang, Wang, Guo and Fu,
"MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training", ICLR 2024.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.untrusted import parse_json
from m2l_bench.files.weights import fill, read_safetensors, read_weights, tensors_of
from m2l_bench.systems import framing, pretrained
from m2l_bench.systems.encoders.attention_windows import layer_number, windows
from m2l_bench.systems.repository import Checkpoint, Device, PublishedSystem, hub_files

_SETTINGS = ("config.json", "preprocessor_config.json")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that a user's folder has; the hub has the second
PUBLISHED = hub_files("m-a-p/MERT-v1-95M", (*_SETTINGS, _WEIGHTS[1]), "378 MB, CC BY-NC 4.0")
_SECONDS = 5  # of a window, as in training

# Of the configuration's fields, what HubertModel computes for. `attention_relax` (32 in the 330M model) is not among them: it
# shifts the logits of a softmax by a constant, which changes nothing but rounding.
_REQUIRED = {
    "feature_extractor_cqt": False,  # a constant-Q transform beside the convolutions
    "deepnorm": False,  # scaled residual connections
    "conv_pos_batch_norm": False,
}
# Sizes and switches that the network is built from; whatever else the configuration holds is for training or generation.
_FIELDS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps",
    "feat_extract_norm", "feat_extract_activation", "feat_proj_layer_norm", "conv_dim", "conv_stride", "conv_kernel",
    "conv_bias", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "do_stable_layer_norm",
)  # fmt: skip
# Keys of weights that only training uses, by their beginning.
TRAINING_ONLY = {
    "masked_spec_embed": "stands in for masked frames",
    "mask_emb": "the same, in fairseq's spelling",
    "final_proj.": "projection to the targets' space",
    "label_embs_concat": "embeddings of the targets",
    "encoder_cqt_model.": "constant-Q target",
    "encoder_mel_model.": "mel target",
}


class Mert(PublishedSystem):
    """Frames of one transformer layer of MERT, or the mean of all.

    Parameters
    ----------
    layer : int or str
        From 1 to the number of layers (12 in the 95M model), ``"last"`` or ``"mean"``.
    checkpoint : path-like, optional
        A folder with ``config.json``, ``preprocessor_config.json`` and ``model.safetensors`` or ``pytorch_model.bin``;
        MERT-v1-330M (24 layers of 1,024) is taken as well.
    device : str, optional
        CUDA where there is one, else the CPU, by default.
    seed : int
        Nothing is drawn.
    """

    name, published = "mert", PUBLISHED

    def __init__(
        self, *, layer: int | str = "mean", checkpoint: Checkpoint = None, device: Device = None, seed: int = 0
    ) -> None:
        pretrained.library_class("transformers", "HubertModel")
        if checkpoint is not None and (Path(checkpoint) / _WEIGHTS[0]).is_file():
            self.published = hub_files("", (*_SETTINGS, _WEIGHTS[0]), "")
        super().__init__(checkpoint=checkpoint, device=device, seed=seed)
        config_file, preprocessor, weights = self.paths
        config = _settings(config_file)
        self.model = _build(config_file, config)
        fill(self.model, _state_dict(weights), weights)
        self.model.eval().requires_grad_(False).to(self.device)
        layers = self.model.config.num_hidden_layers
        self.layer = layer_number(layer, layers)
        self.identify(f"mert:{self.layer or 'mean'}", {"layer": self.layer or "mean", "seconds": _SECONDS})
        self.sample_rate = _integer(config_file, config, "sample_rate", 24_000)
        self._normalise = _checked_preprocessor(preprocessor, self.sample_rate)
        stride, kernel = self.model.config.conv_stride, self.model.config.conv_kernel
        self.hop = prod(stride)
        # Samples that a frame depends on: 400 in the published models.
        self._reach = 1 + sum((size - 1) * prod(stride[:level]) for level, size in enumerate(kernel))
        self.latent_dim, self.latent_rate = self.model.config.hidden_size, self.sample_rate / self.hop
        self.window = max(1, _SECONDS * self.sample_rate // self.hop)  # frames

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (1, latent_dim, frames), at least one frame."""
        signal = framing.as_audio(audio).mean(0)
        frames = -(-len(signal) // self.hop)
        out = np.empty((1, self.latent_dim, frames), np.float32)
        for first, start, stop in windows(frames, self.window):
            out[0, :, start:stop] = self._frames(signal, first, stop)[:, start - first :].cpu().numpy()
        return out

    def _frames(self, signal: np.ndarray, first: int, stop: int) -> Tensor:
        """Frames of one window, (latent_dim, stop - first)."""
        begin, end = first * self.hop, (stop - 1) * self.hop + self._reach
        wave = signal[begin:end]
        if self._normalise:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)  # in float32, as the extractor
        # After the file's end comes what the extractor pads with: zeros of the normalised signal.
        padded = framing.slice_with_zeros(wave, 0, end - begin)
        states = self.model(torch.from_numpy(padded)[None].to(self.device), output_hidden_states=True).hidden_states
        if self.layer:
            return states[self.layer][0].T
        return torch.stack(states[1:]).mean(0)[0].T  # the first is the input of the first layer


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: must be a JSON object, got {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: must be a JSON object, got {type(found).__name__}")
    return found


def _integer(path: Path, settings: dict[str, Any], field: str, default: int) -> int:
    value = settings.get(field, default)
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{path}: {field} must be a positive whole number, got {value!r}")
    return value


def _build(path: Path, config: dict[str, Any]) -> Any:
    """A ``HubertModel`` of the sizes of a MERT configuration; CheckpointError if it would compute something else."""
    from transformers import HubertConfig, HubertModel

    for field, wanted in _REQUIRED.items():
        if config.get(field, wanted) != wanted:
            raise CheckpointError(f"{path}: {field} must be {str(wanted).lower()}, got {config[field]!r}")
    sizes = {field: config[field] for field in _FIELDS if field in config}
    try:
        # Without masking there is no stand-in for masked frames among the weights.
        return HubertModel(HubertConfig(**sizes, mask_time_prob=0.0, mask_feature_prob=0.0))
    except Exception as error:  # the library checks sizes each in its own way
        raise CheckpointError(f"{path}: no HubertModel has these sizes ({' '.join(str(error).split())})") from error


def _checked_preprocessor(path: Path, rate: int) -> bool:
    """Whether windows are normalised; CheckpointError if the extractor does anything that is not done here."""
    settings = _settings(path)
    kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    if kind != "Wav2Vec2FeatureExtractor":
        raise CheckpointError(f"{path}: feature_extractor_type must be Wav2Vec2FeatureExtractor, got {kind!r}")
    if settings.get("sampling_rate", rate) != rate:
        raise CheckpointError(f"{path}: sampling_rate must be config.json's {rate}, got {settings['sampling_rate']!r}")
    return bool(settings.get("do_normalize", True))


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The weights without those that only training uses, as float32."""
    tensors = read_safetensors(path)[0] if path.suffix == ".safetensors" else tensors_of(path, read_weights(path))
    return {name: value.float() for name, value in tensors.items() if not name.startswith(tuple(TRAINING_ONLY))}
