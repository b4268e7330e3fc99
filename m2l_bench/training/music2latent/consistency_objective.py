"""Music2Latent's objective for the trainer: pairs of noise levels, and its measures on held-out excerpts.

Conventions
-----------
As :mod:`m2l_bench.training.objective` says. In validation noise is drawn once, from the recipe's seed.

References
----------
Pasini, Lattner, Fazekas, "Music2Latent: Consistency Autoencoders for Latent Audio Compression", ISMIR 2024, section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.music2latent.representation import from_spectrogram, to_spectrogram
from m2l_bench.training.crops import Crops, Examples
from m2l_bench.training.music2latent.consistency_recipe import ConsistencyRecipe, ValidationSection
from m2l_bench.training.music2latent.initialisation import give_unit_variance
from m2l_bench.training.music2latent.loss import ConsistencyLoss, cumulative_weights, positions, pseudo_huber, step_size
from m2l_bench.training.music2latent.magnitudes import MagnitudeLoss, teach
from m2l_bench.training.objective import fixed_noise

INITIAL_CROPS = 16  # on whose spectrograms spreads are measured


class ConsistencyObjective:
    """The network of a recipe, with random weights, and its consistency loss."""

    has_stages = False

    def __init__(self, recipe: ConsistencyRecipe) -> None:
        self.recipe, self.config = recipe, recipe.config
        self.network = Music2LatentNetwork(recipe.config)
        self.loss = ConsistencyLoss(self.network)
        noise = recipe.noise
        self.cumulative = cumulative_weights(recipe.config, mean=noise.mean, std=noise.std, bins=noise.bins)
        validation = recipe.validation
        self.sigmas = validation.sigmas if isinstance(validation, ValidationSection) else ()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def begin(self, crops: Crops) -> int:
        """Prepare the weights by initialisation and by learning magnitudes first, where the recipe asks for it."""

        def read(first: int, count: int) -> Tensor:
            audio = torch.stack([crops[first + index].audio for index in range(count)])
            return to_spectrogram(audio.to(self.device), self.config, padded=False)

        optimization = self.recipe.optimization
        batch, steps = optimization.batch, optimization.magnitude_steps
        if optimization.unit_variance:
            give_unit_variance(self.network, read(0, INITIAL_CROPS))
        if steps:
            loss = MagnitudeLoss(self.network, read(0, INITIAL_CROPS)).to(self.device)
            teach(loss, lambda step: read(step * batch, batch), steps=steps, peak=optimization.learning_rate)
        return steps * batch

    def inputs(self, examples: Examples, progress: float) -> tuple[Tensor, Tensor, Tensor, float]:
        """Spectrograms, noise, positions on the grid of noise levels, and the distance of the pairs there."""
        noise = self.recipe.noise
        dt = step_size(progress, start_exponent=noise.start_exponent, end_exponent=noise.end_exponent)
        x = to_spectrogram(examples.audio, self.config, padded=False)
        u = positions(examples.uniforms, self.cumulative.to(x.device)).float()
        return x, examples.noise, u, dt

    def measure(self, excerpts: Tensor) -> dict[str, float]:
        """Mean distance of the estimate from the clean spectrogram at each noise level, and whether latents matter.

        ``latents_heard`` is by how much the distance at the highest level grows, relatively, with another excerpt's
        latents: 0 if the model ignores them.
        """
        spectrograms = [to_spectrogram(excerpt[None].to(self.device), self.config) for excerpt in excerpts]
        codes = [self.network.encode(x) for x in spectrograms]
        others = codes[-1:] + codes[:-1]
        total, strange = dict.fromkeys(self.sigmas, 0.0), 0.0
        for number, (x, code, other) in enumerate(zip(spectrograms, codes, others, strict=True)):
            noise = self._noise(x, number)
            pyramid = self.network.pyramid(code)
            for sigma in self.sigmas:
                total[sigma] += self._distance(x, noise, sigma, pyramid)
            strange += self._distance(x, noise, max(self.sigmas), self.network.pyramid(other))
        row = {f"distance@{sigma:g}": value / len(codes) for sigma, value in total.items()}
        return {**row, "latents_heard": strange / total[max(self.sigmas)] - 1}

    def reconstruct(self, excerpt: Tensor) -> np.ndarray:
        """Encode and decode in one step: (samples,) -> (samples,)."""
        x = to_spectrogram(excerpt[None].to(self.device), self.config)
        noise = self.config.sigma_max * self._noise(x, 0)
        sigma = torch.full((1,), self.config.sigma_max, device=x.device)
        estimate = self.network.denoise(noise, sigma, self.network.pyramid(self.network.encode(x))).float()
        return from_spectrogram(estimate, self.config, n_samples=excerpt.shape[-1])[0].cpu().numpy()

    def _distance(self, x: Tensor, noise: Tensor, sigma: float, pyramid: Sequence[Tensor]) -> float:
        estimate = self.network.denoise(x + sigma * noise, torch.full((1,), sigma, device=x.device), pyramid)
        # Per root value, so that the length of an excerpt does not matter.
        return float(pseudo_huber(estimate.float(), x) / x[0].numel() ** 0.5)

    def _noise(self, x: Tensor, number: int) -> Tensor:
        return fixed_noise(x.shape, self.recipe.seed, number).to(x.device)
