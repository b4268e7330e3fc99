"""musicnn: a small network trained to tag music (MagnaTagATune), whose weights ship with the package.

Conventions
-----------
16 kHz, mean of the channels. Log-mel frames: 512-sample periodic Hann, hop 256, centred (zeros outside), power, 96
Slaney bands to 8 kHz, ``log10(10000 x + 1)``. A window is 187 frames (2.99 s). Tensors are ``(windows, features,
frames)`` behind the front end. The vector is the penultimate layer, 200 values; windows overlap by half. The model
sees nothing above 8 kHz, and was trained on MagnaTagATune with its labels: say so wherever it is probed there.

References
----------
Pons, Serra, "musicnn: Pre-trained convolutional neural networks for music audio tagging", ISMIR late-breaking, 2019.
Pons et al., "End-to-end Learning for Music Audio Tagging at Scale", ISMIR 2018, section 3.2 (front end, back end).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from torch import Tensor, nn
from torch.nn import functional

from m2l_bench import graphs
from m2l_bench.files.disk import sha256
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.files.weights import fill, read_safetensors
from m2l_bench.music2latent.device import pick_device
from m2l_bench.systems.encoders.windowed import WindowEncoder, frames, hann

N_FFT, HOP_LENGTH, N_MELS, N_FRAMES = 512, 256, 96, 187
CHECKPOINT = Path(__file__).parents[2] / "assets" / "musicnn" / "mtt.safetensors"
# The original's batch_normalization layers; torch's own default is 1e-5.
EPSILON = 1e-3
BACKENDS = ("pytorch", "openvino")


class Musicnn(WindowEncoder):
    """The penultimate layer of musicnn, one vector a window.

    It was trained on MagnaTagATune's training clips *and labels*: its row in ``tagging/magnatagatune`` leaks.

    Parameters
    ----------
    checkpoint : path-like, optional
        A safetensors file as ``scripts/convert_musicnn.py`` writes it; the one that ships by default.
    device : str, optional
        CUDA where there is one, else the CPU, by default.
    seed : int
        Nothing is drawn.
    backend : {"pytorch", "openvino"}
        What computes the network. ``"openvino"`` (``pip install 'm2l-bench[openvino]'``) is for a CPU, faster there, gives the
        same vectors but for rounding, under another fingerprint.

    Examples
    --------
    >>> encoder, short = Musicnn(), np.zeros((2, 3200), np.float32)
    >>> encoder.encode(short).shape, encoder.whole_windows(short).shape
    ((1, 200, 1), (1, 200, 0))
    """

    name = "musicnn"
    sample_rate, window, hop = 16000, 47616, 23808
    latent_dim = 200

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        seed: int = 0,
        backend: str = "pytorch",
    ) -> None:
        self.seed = seed
        path = CHECKPOINT if checkpoint is None else Path(checkpoint)
        self.device = pick_device(device)
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        if backend == "openvino" and self.device.type != "cpu":
            raise ValueError(f"backend must be pytorch on {self.device.type}, got {backend!r}")
        # On a processor one window at a time is fastest (its filter answers, 9 MB, stay in the cache).
        self.batch_size = 1 if self.device.type == "cpu" else 32
        self.network = Network()
        fill(self.network, read_safetensors(path)[0], path)
        self.network.eval().requires_grad_(False).to(self.device)
        config: dict[str, object] = {"layer": "penultimate", "window": self.window, "hop": self.hop}
        weights = sha256(path)
        self._compute: Callable[[Tensor], Tensor] = self.network.vectors
        if backend == "openvino":
            compiler = graphs.Graphs("float32", {"weights": weights}, [Path(__file__)])
            example = torch.zeros(self.batch_size, N_FRAMES, N_MELS)
            self._compute = compiler.compiled("musicnn", self.network.vectors, example, axis=None)
            config["openvino"] = compiler.version
        self.fingerprint = fingerprint(self.name, config, checkpoint_sha256=weights)

    def patches(self, signal: np.ndarray) -> np.ndarray:
        """Log-mel frames: (samples,) at 16 kHz -> (windows, 187, 96)."""
        if len(signal) < self.window:
            return np.empty((0, N_FRAMES, N_MELS), np.float32)
        return frames(log_mel(signal), N_FRAMES, self.hop // HOP_LENGTH)

    def vectors(self, patches: Tensor) -> Tensor:
        """(windows, 187, 96) -> (windows, 200)"""
        return self._compute(patches)


class Network(nn.Module):
    """The original's graph, ``MTT_musicnn`` of musicnn 0.1.0; layer names are those of our checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, EPSILON)
        self.timbral = nn.ModuleList([Front(204, (7, 38)), Front(204, (7, 67))])
        self.temporal = nn.ModuleList([Front(51, (length, 1)) for length in (128, 64, 32)])
        self.middle = nn.ModuleList([Middle(561), Middle(64), Middle(64)])
        self.pooled_norm = nn.BatchNorm1d(1506, EPSILON)
        self.hidden = nn.Linear(1506, 200)
        self.hidden_norm = nn.BatchNorm1d(200, EPSILON)
        self.output = nn.Linear(200, 50)  # tags

    def vectors(self, patches: Tensor) -> Tensor:
        """(windows, frames, bands) -> the penultimate layer, (windows, 200)."""
        return self(patches)["penultimate"]

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Log-mel patches (windows, frames, bands) -> every named layer."""
        x = self.input_norm(patches[:, None])  # (windows, 1, frames, bands)
        timbral = torch.cat([front(x) for front in self.timbral], dim=1)  # (windows, 408, frames)
        temporal = torch.cat([front(x) for front in self.temporal], dim=1)  # (windows, 153, frames)
        front = torch.cat([timbral, temporal], dim=1)
        cnn1 = self.middle[0](front)
        cnn2 = self.middle[1](cnn1) + cnn1
        cnn3 = self.middle[2](cnn2) + cnn2
        features = torch.cat([front, cnn1, cnn2, cnn3], dim=1)  # (windows, 753, frames)
        max_pool, mean_pool = features.amax(dim=2), features.mean(dim=2)
        # The dense layer reads them interleaved: max of feature 0, mean of feature 0, max of feature 1, ...
        pooled = self.pooled_norm(torch.stack([max_pool, mean_pool], dim=2).flatten(1))
        penultimate = self.hidden_norm(functional.relu(self.hidden(pooled)))
        logits = self.output(penultimate)
        return {
            "timbral": timbral,
            "temporal": temporal,
            "cnn1": cnn1,
            "cnn2": cnn2,
            "cnn3": cnn3,
            "mean_pool": mean_pool,
            "max_pool": max_pool,
            "penultimate": penultimate,
            "logits": logits,
            "tags": logits.sigmoid(),
        }


class Front(nn.Module):
    """A tall (timbral) or long (temporal) filter bank, its answer pooled over all bands."""

    def __init__(self, n_filters: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, n_filters, kernel)
        self.norm = nn.BatchNorm1d(n_filters, EPSILON)
        # TensorFlow's 'same': of an odd number of frames, the larger half is at the end.
        self.padding = (0, 0, (kernel[0] - 1) // 2, kernel[0] // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, 1, frames, bands) -> (windows, filters, frames)"""
        # Rectifying and normalising are monotone, so they may follow the maximum over bands, on far fewer values; a
        # negative slope turns the maximum into the minimum, which is the maximum of the negated filter, negated.
        sign = torch.where(self.norm.weight >= 0, 1.0, -1.0)
        weight, bias = self.conv.weight * sign[:, None, None, None], self.conv.get_parameter("bias") * sign
        bands = functional.conv2d(functional.pad(x, self.padding), weight, bias)  # (windows, filters, frames, bands)
        extreme = bands.amax(dim=3) * sign[:, None]
        return self.norm(functional.relu(extreme))


class Middle(nn.Module):
    """A convolution over time that sees all features."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_features, 64, 7, padding=3)
        self.norm = nn.BatchNorm1d(64, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, features, frames) -> (windows, 64, frames)"""
        return self.norm(functional.relu(self.conv(x)))


def log_mel(signal: np.ndarray) -> np.ndarray:
    """Log-mel frames of a mono signal at 16 kHz: (samples,) -> float32 (1 + samples // 256, 96)."""
    padded = np.pad(np.asarray(signal, np.float32), N_FFT // 2)
    spectrum = scipy.fft.rfft(frames(padded, N_FFT, HOP_LENGTH) * hann(N_FFT).astype(np.float32))
    power = spectrum.real**2 + spectrum.imag**2
    return np.log10(10000.0 * (power @ _filters()) + 1.0)


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    from librosa.filters import mel

    return np.ascontiguousarray(mel(sr=Musicnn.sample_rate, n_fft=N_FFT, n_mels=N_MELS).T)
