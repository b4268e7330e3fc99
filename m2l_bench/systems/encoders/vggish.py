"""VGGish, the network of the first published FAD values; its weights (288 MB) are downloaded once, not shipped.

Conventions
-----------
16 kHz, mean of the channels. Log-mel frames: 400-sample periodic Hann, hop 160, 512-point FFT, not centred, magnitude,
64 bands of 125-7500 Hz (triangles on the HTK mel scale itself), ``log(x + 0.01)``. A window is 96 frames (0.96 s),
windows do not overlap. The vector has 128 values. No PCA, no 8-bit quantisation. Two variants: ``vggish`` omits the
last ReLU, as the Music2Latent authors and the released FAD tools do; ``vggish:relu`` applies it.

References
----------
Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section 3.
Kilgour et al., "Fréchet Audio Distance", Interspeech 2019, section 3.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from torch import Tensor, nn

from m2l_bench.files.disk import sha256
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.files.hub import CheckpointError, HubFile, refuse_offline
from m2l_bench.files.weights import fill, read_safetensors, read_weights, tensors_of
from m2l_bench.music2latent.device import pick_device
from m2l_bench.systems.encoders.windowed import WindowEncoder, frames, hann

FRAME, HOP_LENGTH, N_FFT = 400, 160, 512
N_MELS, LOWEST, HIGHEST, N_FRAMES = 64, 125.0, 7500.0, 96
# The converted TensorFlow weights that every PyTorch tool uses; the name carries the first digits of its SHA-256.
URL = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"
SHA256_PREFIX = "10086976"


class Vggish(WindowEncoder):
    """The last layer of VGGish, one vector a window.

    Parameters
    ----------
    checkpoint : path-like, optional
        The published ``.pth`` state dict, or the same as safetensors. Downloaded into the user's cache by default.
    relu : bool
        Keep the network's last ReLU.
    device : str, optional
        CUDA where there is one, else the CPU, by default.
    seed : int
        Nothing is drawn.
    """

    sample_rate, window, hop = 16000, 15600, 15360
    latent_dim = 128

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        relu: bool = False,
        device: str | None = None,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        path = _fetched() if checkpoint is None else Path(checkpoint)
        self.name = "vggish:relu" if relu else "vggish"
        self.relu = relu
        self.device = pick_device(device)
        self.batch_size = 4 if self.device.type == "cpu" else 64
        self.network = Network()
        fill(self.network, _state_dict(path), path)
        self.network.eval().requires_grad_(False).to(self.device)
        config = {"relu": relu, "pca": False, "window": self.window, "hop": self.hop}
        self.fingerprint = fingerprint(self.name, config, checkpoint_sha256=sha256(path))

    def patches(self, signal: np.ndarray) -> np.ndarray:
        """Log-mel patches: (samples,) at 16 kHz -> float32 (windows, 96, 64)."""
        windowed = frames(signal.astype(np.float64), FRAME, HOP_LENGTH) * hann(FRAME)
        spectrum = np.abs(scipy.fft.rfft(windowed, N_FFT))
        log_mel = np.log(spectrum @ mel_filters() + 0.01).astype(np.float32)  # (frames, 64)
        return frames(log_mel, N_FRAMES, N_FRAMES)

    def vectors(self, patches: Tensor) -> Tensor:
        """(windows, 96, 64) -> (windows, 128)"""
        vectors: Tensor = self.network(patches)
        return vectors.relu() if self.relu else vectors


class Network(nn.Module):
    """Six convolutions and three dense layers, 72,141,184 values; its keys are those of the published state dict."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = 1
        for n_out, pooled in ((64, True), (128, True), (256, False), (256, True), (512, False), (512, True)):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pooled else []
            n_in = n_out
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Log-mel patches (windows, 96, 64) -> (windows, 128), before the last ReLU."""
        x = self.features(patches[:, None])  # (windows, 512, 6, 4)
        # The dense weights come from TensorFlow, which flattens with channels last.
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))


@lru_cache(maxsize=1)
def mel_filters() -> np.ndarray:
    """Triangular filters (257, 64), each rising and falling linearly in mel; the bin at 0 Hz belongs to none."""
    bins = _mel(np.linspace(0.0, Vggish.sample_rate / 2, N_FFT // 2 + 1))[:, None]
    edges = np.linspace(_mel(LOWEST), _mel(HIGHEST), N_MELS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[0] = 0.0
    return filters


def _mel(frequency: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


def _state_dict(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    return tensors_of(path, read_weights(path))


def _fetched() -> Path:
    """Path of the published weights in the user's cache, downloaded and checked on first use."""
    import platformdirs

    path = Path(platformdirs.user_cache_dir("m2l_bench")) / "vggish" / Path(URL).name
    if not path.exists():
        refuse_offline(HubFile("harritaylor/torchvggish", path.name, "288 MB, Apache-2.0"))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Writes to a temporary file, compares the hash, then renames.
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256_PREFIX, progress=False)
    if not (found := sha256(path)).startswith(SHA256_PREFIX):
        raise CheckpointError(
            f"{path}: SHA-256 must begin with {SHA256_PREFIX}, got {found}; delete it, and it is downloaded again"
        )
    return path
