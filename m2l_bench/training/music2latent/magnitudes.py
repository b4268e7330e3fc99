"""Pre-training for short trainings: encoder and decoder learn log magnitudes before the consistency training.

From random weights a short training learns to denoise without the latents: the U-Net ignores them while they carry nothing,
and they learn nothing while they are ignored. Encoder and decoder can learn magnitudes fast and without the U-Net: a 1x1
convolution, discarded afterwards, predicts each bin's log magnitude from the finest map of the pyramid. This is not part of
the published training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.training.optimization import learning_rate

FLOOR = (
    1.3e-4  # STFT magnitude below which a bin counts as silent: 132 dB below a full-scale sinusoid under 2048 samples
)
WARM_UP = 30
NARROWEST = 0.1  # standard deviation of a bin's log magnitude below which it is not stretched


class MagnitudeLoss(nn.Module):
    """How far a linear reading of the finest pyramid map is from the log magnitudes.

    Parameters
    ----------
    network : Music2LatentNetwork
    x : Tensor, (B, 2, F, T)
        Spectrograms of training crops: each bin's log magnitude is measured in standard deviations over these, about
        their mean.
    """

    def __init__(self, network: Music2LatentNetwork, x: Tensor) -> None:
        super().__init__()
        config = network.config
        self.floor = config.beta * FLOOR**config.alpha
        self.network = network
        self.head = nn.Conv2d(config.widths[0], 1, 1)
        level = self._log_magnitudes(x)
        self.register_buffer("mean", level.mean((0, 2))[:, None])
        self.register_buffer("deviation", level.std((0, 2)).clamp_min(NARROWEST)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2, F, T) -> mean absolute error, in standard deviations of each bin."""
        finest = self.network.pyramid(self.network.encode(x))[0]
        target = (self._log_magnitudes(x) - self.get_buffer("mean")) / self.get_buffer("deviation")
        return (self.head(finest)[:, 0] - target).abs().mean()

    def _log_magnitudes(self, x: Tensor) -> Tensor:
        return (x.norm(dim=1) + self.floor).log()


def teach(objective: MagnitudeLoss, read: Callable[[int], Tensor], *, steps: int, peak: float) -> None:
    """Train encoder, decoder and the reading.

    Parameters
    ----------
    objective : MagnitudeLoss
    read : callable
        Step, counted from 0 -> spectrograms (B, 2, F, T).
    steps : int
    peak : float
        Learning rate of RAdam after its warm-up; from there it falls to 0 along half a cosine.
    """
    # Of the network, the U-Net gets no gradient, and RAdam leaves alone what has none.
    optimizer = torch.optim.RAdam(parameter for parameter in objective.parameters() if parameter.requires_grad)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps=steps, peak=peak, final=0.0, warm_up=min(WARM_UP, steps))
        objective(read(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
