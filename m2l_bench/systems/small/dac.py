"""dac-style: transformers' DAC with small sizes, trained with the multi-scale mel loss and its quantiser's losses.

Its discriminators are those of complex spectra alone (:mod:`~m2l_bench.systems.small.adversarial`), where the recipe
asks for any.

Conventions
-----------
As :mod:`~m2l_bench.systems.small.family` says. Latents are the quantised ones: ``latent_dim`` values a frame that
``n_codebooks`` codes of ``log2(codebook_size)`` bits say whole.

References
----------
Kumar, Seetharaman, Luebs, Kumar and Kumar, "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from m2l_bench.systems.small.adversarial import AdversarialLoss, in_training
from m2l_bench.systems.small.family import FamilyConfig, FamilyLoss, FamilyNetwork, inside, silent, without_noise
from m2l_bench.systems.small.spectral import mel_distance
from m2l_bench.training.objective import Losses

# Weights of the published recipe.
_MEL, _COMMITMENT, _CODEBOOK = 15.0, 0.25, 1.0


@dataclass(frozen=True, kw_only=True)
class DacStyleConfig(FamilyConfig):
    """Sizes; the names are those of transformers' ``DacConfig``.

    Attributes
    ----------
    downsampling_ratios : tuple of int
        Even; their product is the samples per latent.
    encoder_hidden_size : int
        Channels at the waveform's rate; each level has twice as many.
    decoder_hidden_size : int
        Channels at the latents' rate; each level has half as many.
    n_codebooks, codebook_size, codebook_dim : int
    """

    downsampling_ratios: tuple[int, ...] = (8, 8, 8, 8)
    encoder_hidden_size: int = 8
    decoder_hidden_size: int = 192
    n_codebooks: int = 16
    codebook_size: int = 256
    codebook_dim: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(ratio % 2 for ratio in self.downsampling_ratios):
            raise ValueError(f"downsampling_ratios must be even, got {self.downsampling_ratios}")
        if self.codebook_size & (self.codebook_size - 1) or self.codebook_size < 2:
            raise ValueError(f"codebook_size must be a power of two of at least 2, got {self.codebook_size}")

    @property
    def samples_per_latent(self) -> int:
        return prod(self.downsampling_ratios)

    @property
    def bits_per_code(self) -> int:
        """Bits of one code."""
        return self.codebook_size.bit_length() - 1

    @property
    def bit_rate(self) -> float:
        """Bits a second of one channel.

        Examples
        --------
        >>> round(DacStyleConfig().bit_rate)
        1378
        """
        return self.n_codebooks * self.bits_per_code * self.sample_rate / self.samples_per_latent


class DacStyle(FamilyNetwork):
    """Waveform -> quantised latents -> waveform."""

    config: DacStyleConfig

    def __init__(self, config: DacStyleConfig) -> None:
        super().__init__()
        try:
            from transformers import DacConfig, DacModel
        except ImportError as error:
            raise ImportError("dac-style needs transformers: pip install 'm2l-bench[codecs]'") from error
        self.config = config
        sizes = DacConfig(
            encoder_hidden_size=config.encoder_hidden_size,
            downsampling_ratios=list(config.downsampling_ratios),
            decoder_hidden_size=config.decoder_hidden_size,
            n_codebooks=config.n_codebooks,
            codebook_size=config.codebook_size,
            codebook_dim=config.codebook_dim,
            sampling_rate=config.sample_rate,
        )
        sizes.hidden_size = config.latent_dim  # which DacConfig itself ties to the encoder's width
        model = DacModel(sizes)
        for module in model.modules():  # DAC's own start, standard deviation 0.02, loses the signal in layers so narrow
            if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d, nn.Embedding)):
                module.reset_parameters()
        self.encoder, self.quantizer, self.decoder = model.encoder, model.quantizer, model.decoder

    def encode(self, audio: Tensor) -> Tensor:
        return self.quantizer(self.unquantised(audio))[0]

    def synthesise(self, latents: Tensor, noise: Tensor) -> Tensor:
        return self.decoder(latents)[:, 0].float()

    def unquantised(self, audio: Tensor) -> Tensor:
        """(batch, frames * samples_per_latent) -> what is quantised, (batch, latent_dim, frames)."""
        return self.encoder(audio[:, None])

    def quantise(self, latents: Tensor) -> Tensor:
        """(batch, latent_dim, frames) -> codes, whole numbers (batch, n_codebooks, frames)."""
        return self.quantizer(latents)[1]

    def from_codes(self, codes: Tensor) -> Tensor:
        """(batch, n_codebooks, frames) -> quantised latents."""
        return self.quantizer.from_codes(codes)[0]


class DacLoss(FamilyLoss):
    """15 times the mel distance, a quarter of the commitment loss, the codebooks' loss, and the adversarial one if asked for.

    Parameters
    ----------
    network : DacStyle
    adversarial : AdversarialLoss, optional
    """

    network: DacStyle

    def __init__(self, network: DacStyle, *, adversarial: AdversarialLoss | None = None) -> None:
        super().__init__(network)
        self.adversarial = adversarial

    def forward(self, audio: Tensor, uniforms: Tensor, noise: Tensor, progress: float) -> Losses:
        latents, _, _, commitment, codebook = self.network.quantizer(self.network.unquantised(audio))
        estimate = self.network.decode(latents, silent(audio))
        x, y = inside(self.network, estimate, audio)
        mel = mel_distance(x, y, self.network.config.sample_rate)
        loss = _MEL * mel + _COMMITMENT * commitment + _CODEBOOK * codebook
        return without_noise(loss + in_training(self.adversarial, x, y))
