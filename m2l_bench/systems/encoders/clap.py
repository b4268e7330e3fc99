"""LAION-CLAP: the audio tower of a contrastive audio-text model, through transformers' ``ClapModel``.

Conventions
-----------
48 kHz, mean of the channels. Windows of exactly 10 s, one every 5 s, whole windows only: the model's own random
cropping of longer input and repetition of shorter input are never used. The vector is the projected, unit-length
audio feature, 512 values. ``clap`` is ``laion/larger_clap_music``, ``clap:htsat-unfused`` is
``laion/clap-htsat-unfused``; values from different checkpoints are not comparable.

References
----------
Wu, Chen, Zhang, Hui, Berg-Kirkpatrick, Dubnov, "Large-Scale Contrastive Language-Audio Pretraining", ICASSP 2023.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.weights import check_pickle
from m2l_bench.music2latent.device import pick_device
from m2l_bench.systems.encoders.windowed import WindowEncoder, frames
from m2l_bench.systems.repository import find, hub_files

MODELS = {"music": "laion/larger_clap_music", "htsat-unfused": "laion/clap-htsat-unfused"}


class Clap(WindowEncoder):
    """The projected audio feature of LAION-CLAP, one vector a window.

    Parameters
    ----------
    variant : str
        A key of :data:`MODELS`.
    checkpoint : path-like, optional
        A folder with ``config.json``, ``preprocessor_config.json`` and the weights, or another hub repository; the
        model of `variant` by default.
    device : str, optional
        CUDA where there is one, else the CPU, by default.
    seed : int
        Nothing is drawn.

    Raises
    ------
    ImportError
        Without transformers: ``pip install 'm2l-bench[codecs]'``.
    ValueError
        If the checkpoint fuses several crops (``enable_fusion``), which draws them at random.
    """

    sample_rate, window, hop = 48000, 480000, 240000

    def __init__(
        self,
        variant: str = "music",
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        seed: int = 0,
    ) -> None:
        try:
            from transformers import ClapFeatureExtractor, ClapModel
        except ImportError as error:
            raise ImportError("CLAP needs transformers: pip install 'm2l-bench[codecs]'") from error
        if variant not in MODELS:
            raise ValueError(f"variant must be one of {', '.join(MODELS)}, got {variant!r}")
        source = str(_folder(MODELS[variant] if checkpoint is None else checkpoint))
        model = ClapModel.from_pretrained(source, dtype=torch.float32, local_files_only=True)
        if model.config.audio_config.enable_fusion:
            raise ValueError(f"{source}: must not fuse random crops, got enable_fusion = true")
        self.name = "clap" if variant == "music" else f"clap:{variant}"
        self.seed = seed
        self.device = pick_device(device)
        self.batch_size = 1 if self.device.type == "cpu" else 16
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.latent_dim = int(model.config.projection_dim)
        self.extractor = ClapFeatureExtractor.from_pretrained(source, truncation="rand_trunc", local_files_only=True)
        got = (self.extractor.sampling_rate, self.extractor.nb_max_samples)
        if got != (self.sample_rate, self.window):
            raise ValueError(f"{source}: must take 480000 samples at 48000 Hz, got {got[1]} at {got[0]} Hz")
        settings = {"window": self.window, "hop": self.hop}
        self.fingerprint = fingerprint(self.name, settings, checkpoint_sha256=_weights_sha256(self.model))

    def patches(self, signal: np.ndarray) -> np.ndarray:
        """Decibel mel patches: (samples,) at 48 kHz -> float32 (windows, 1, 1001, 64)."""
        windows = list(frames(signal, self.window, self.hop))
        if not windows:
            return np.empty((0, 1, 1 + self.window // self.extractor.hop_length, 64), np.float32)
        features = self.extractor(windows, sampling_rate=self.sample_rate)["input_features"]
        return np.stack(features).astype(np.float32)  # (windows, 1, 1001, 64)

    def vectors(self, patches: torch.Tensor) -> torch.Tensor:
        """(windows, 1, 1001, 64) -> (windows, latent_dim)"""
        output: Any = self.model.get_audio_features(patches)
        # transformers 5 returns the tower's whole output, transformers 4 the vectors alone.
        return output if isinstance(output, torch.Tensor) else output.pooler_output


def _folder(checkpoint: str | Path) -> Path:
    """The user's folder, or the hub's files, trusted on first use; pickled weights are checked before they are loaded."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        small, about = ("config.json", "preprocessor_config.json"), "614 to 776 MB, Apache-2.0"
        try:
            paths = find(None, hub_files(str(checkpoint), (*small, "model.safetensors"), about))
        except CheckpointError:
            find(None, hub_files(str(checkpoint), small, about))  # else nothing of it is there
            # Older revisions have the pickle alone.
            paths = find(None, hub_files(str(checkpoint), (*small, "pytorch_model.bin"), about))
        folder = paths[0].parent
    for pickled in folder.glob("*.bin"):
        check_pickle(pickled)
    return folder


def _weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 of the audio tower's tensors: names in order, each with its type, shape and bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.startswith("audio_"):
            tensor = np.ascontiguousarray(value.cpu().numpy())
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(tensor.tobytes())
    return digest.hexdigest()
