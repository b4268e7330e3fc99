"""Features to compare latents with: hand-made ones, those of an untrained network, and a constant.

Conventions
-----------
Each encodes the mean of the channels: ``(channels, samples) -> (1, latent_dim, frames)``, with at least one frame for any
length.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.audio import fit_length
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.systems.encoders.windowed import mono

LAYERS = ("latents", "features")
_WINDOW_SECONDS = 12.0  # default of the trained model
RECIPES = Path(__file__).parents[2] / "assets" / "recipes"


class Majority:
    """A constant feature, from which a probe can only learn the frequency of the labels.

    Examples
    --------
    >>> Majority().encode(np.zeros((2, 44100), np.float32)).tolist()
    [[[1.0]]]
    """

    name = "majority"
    sample_rate: int | None = 44100
    latent_dim = 1
    latent_rate = 1.0

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.fingerprint = fingerprint(self.name, {})

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> ones (1, 1, frames), one a second of 44.1 kHz and at least one."""
        return np.ones((1, 1, max(1, audio.shape[-1] // 44100)), dtype=np.float32)


class MfccChroma:
    """20 mel-frequency cepstral coefficients and 12 pitch classes, with librosa.

    22,050 Hz; 4096-sample Hann windows every 1024, centred; 128 Slaney mel bands; chroma of the power spectrum, tuned to
    440 Hz, each frame divided by its largest entry.

    References
    ----------
    McFee et al., "librosa: audio and music signal analysis in Python", 2015.

    Examples
    --------
    >>> MfccChroma().encode(np.zeros((1, 22050), np.float32)).shape
    (1, 32, 22)
    """

    name = "mfcc-chroma"
    sample_rate: int | None = 22_050
    latent_dim = 32
    latent_rate = 22_050 / 1024
    latent_offset = -512 / 22_050  # the first frame is centred on the first sample

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        config = {"mfcc": 20, "chroma": 12, "n_fft": 4096, "hop_length": 1024, "librosa": version("librosa")}
        self.fingerprint = fingerprint(self.name, config)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) at 22,050 Hz -> (1, 32, frames)."""
        from librosa import feature

        signal = mono(audio)
        signal = fit_length(signal, max(4096, len(signal)))
        settings = {"sr": self.sample_rate, "n_fft": 4096, "hop_length": 1024}
        mfcc = feature.mfcc(y=signal, n_mfcc=20, **settings)
        chroma = feature.chroma_stft(y=signal, tuning=0.0, **settings)
        return np.concatenate([mfcc, chroma])[None].astype(np.float32)


class Mel:
    """Log-mel spectrogram of 80 bands, 50 frames a second, with librosa: the plainest features of tasks in time.

    22,050 Hz; 2048-sample Hann windows every 441, centred; Slaney bands of the power spectrum to 11,025 Hz;
    ``log10(1 + 10000 x)``.

    Examples
    --------
    >>> Mel().encode(np.zeros((1, 22050), np.float32)).shape
    (1, 80, 50)
    """

    name = "mel"
    sample_rate: int | None = 22_050
    latent_dim = 80
    latent_rate = 50.0
    latent_offset = -0.01

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.fingerprint = fingerprint(
            self.name, {"bands": 80, "n_fft": 2048, "hop": 441, "librosa": version("librosa")}
        )

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) at 22,050 Hz -> (1, 80, frames)."""
        from librosa import feature

        signal = mono(audio)
        signal = fit_length(signal, max(2048, len(signal)))
        power = feature.melspectrogram(y=signal, sr=self.sample_rate, n_fft=2048, hop_length=441, n_mels=80)
        return np.log10(1 + 1e4 * power[:, : -(-len(signal) // 441)])[None].astype(np.float32)


class Cqt:
    """Constant-Q transform of 84 semitones from C1, 50 frames a second, with librosa.

    22,400 Hz; a hop of 448 samples, centred; magnitude, ``log10(1 + 100 x)``.

    References
    ----------
    Schörkhuber, Klapuri, "Constant-Q transform toolbox for music processing", SMC 2010.

    Examples
    --------
    >>> Cqt().encode(np.zeros((1, 22400), np.float32)).shape
    (1, 84, 50)
    """

    name = "cqt"
    sample_rate: int | None = 22_400
    latent_dim = 84
    latent_rate = 50.0
    latent_offset = -0.01

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.fingerprint = fingerprint(self.name, {"bins": 84, "hop": 448, "librosa": version("librosa")})

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) at 22,400 Hz -> (1, 84, frames)."""
        import librosa

        signal = mono(audio)
        signal = fit_length(signal, max(_CQT_LEAST, len(signal)))
        bins = librosa.cqt(signal, sr=self.sample_rate, hop_length=448, n_bins=84, tuning=0.0)
        return np.log10(1 + 100 * np.abs(bins[:, : -(-len(signal) // 448)]))[None].astype(np.float32)


_CQT_LEAST = 22_400  # librosa warns of a signal that is shorter than its longest filter after downsampling


class Music2LatentFeatures:
    """Music2Latent's feature map before the bottleneck, of which the latents are a projection.

    Parameters
    ----------
    checkpoint : path-like, optional
    variant : str
        Name of a checkpoint, as of ``music2latent``; give one of the two.
    device : str, optional
    precision : str
        As of :class:`~m2l_bench.music2latent.autoencoder.Music2Latent`.
    """

    def __init__(
        self,
        *,
        checkpoint: str | Path | None = None,
        variant: str | None = None,
        device: str | None = None,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        from m2l_bench.music2latent.autoencoder import Music2Latent

        self._model = Music2Latent(checkpoint, variant=variant, device=device, precision=precision)
        self.seed = seed
        self.name = self._model.name.replace("music2latent", "music2latent-features")
        self.sample_rate: int | None = self._model.sample_rate
        self.latent_dim, self.latent_rate = self._model.features_dim, self._model.latent_rate
        self.fingerprint = fingerprint(self.name, {"model": self._model.fingerprint})

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (1, features_dim, frames)."""
        return self._model.features(mono(audio)[None])


class RandomInit:
    """Music2Latent with the random weights from which training starts.

    Parameters
    ----------
    layer : {"latents", "features"}
        The 64 latents, or the map before the bottleneck (``random-init-features``).
    config : Config or "small", optional
        The published architecture by default; ``"small"``: that of the shipped recipe ``music2latent.toml``.
    device : str
        Of torch.
    seed : int
        Seed of the weights.
    """

    def __init__(self, *, layer: str = "latents", config: Any = None, device: str = "cpu", seed: int = 0) -> None:
        import torch

        from m2l_bench.music2latent.config import PUBLISHED, Config
        from m2l_bench.music2latent.inference import Engine
        from m2l_bench.music2latent.network import Music2LatentNetwork
        from m2l_bench.systems.framing import seeded
        from m2l_bench.systems.small.recipes import read_recipe

        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {layer!r}")
        is_small = config == "small"
        if is_small:
            config = Config.from_dict(read_recipe(RECIPES / "music2latent.toml").model)
        config = PUBLISHED if config is None else config
        with seeded(seed, torch.device("cpu")):
            network = Music2LatentNetwork(config).eval().requires_grad_(False).to(device)
        window = round(_WINDOW_SECONDS * config.latent_rate)
        self._engine = Engine(network, torch.device(device), window, 1, torch.float32, seed)
        self._compute = self._engine.latents if layer == "latents" else self._engine.features
        self.seed = seed
        self.name = "random-init" + "-features" * (layer == "features") + ":small" * is_small
        self.sample_rate: int | None = config.sample_rate
        self.latent_rate = config.latent_rate
        self.latent_dim = config.latent_dim if layer == "latents" else config.features_dim
        # The weights drawn for a seed depend on torch's version.
        settings = {"config": config.to_dict(), "seed": seed, "torch": torch.__version__}
        self.fingerprint = fingerprint(self.name, settings)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (1, latent_dim, frames)."""
        import torch

        return self._engine.analyse(torch.from_numpy(mono(audio)[None]), self._compute).cpu().numpy()
