"""Initial weights at which the latents reach the U-Net at unit variance.

With PyTorch's default weights a signal loses about two thirds of its variance in every layer without normalisation. Between
the latents and the U-Net there are six such layers, so the latents arrive at about a hundredth of the noisy input they are
added to, and a short training learns to denoise without them. A long training recovers by itself.

References
----------
Mishkin, Matas, "All You Need is a Good Init", ICLR 2016, algorithm 1 (layer-sequential unit variance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from m2l_bench.music2latent.network import Music2LatentNetwork

QUIETEST = 1e-2  # standard deviation below which a bin is not made louder
CODE = 0.5  # standard deviation of the code, well inside its tanh


def give_unit_variance(network: Music2LatentNetwork, x: Tensor) -> None:
    """Set the encoder's gain, then scale, one after the other, the layers from its last to the cross connections.

    Parameters
    ----------
    network : Music2LatentNetwork
        Changed in place.
    x : Tensor, (B, 2, F, T)
        Spectrograms of training crops; only what differs from crop to crop and frame to frame counts as signal.
    """
    with torch.no_grad():
        _whiten(network, x)
        _scale(network.encoder.conv_out, network.encoder.conv_out, lambda: network.encode(x), CODE)
        code = network.encode(x)
        for module, conv in _stages(network):
            _scale(module, conv, lambda: network.pyramid(code), 1.0)
        pyramid = network.pyramid(code)
        for level, conv in _crosses(network):
            output = functional.conv2d(pyramid[level], conv.weight.transpose(2, 3))
            conv.weight.div_(_deviation(output, time=3))


def _whiten(network: Music2LatentNetwork, x: Tensor) -> None:
    """Let the encoder's gain make every frequency bin as loud as any other.

    Bass is a thousand times louder than the highest bins; normalised together, those would be constant.
    """
    encoder = network.encoder
    encoder.conv_in.get_parameter("bias").zero_()
    maps = encoder.conv_in(x.transpose(2, 3))  # (B, C, T, F)
    encoder.gain.copy_(1 / maps.std((0, 1, 2)).clamp_min(QUIETEST))


def _stages(network: Music2LatentNetwork) -> Iterator[tuple[nn.Module, nn.Module]]:
    """The decoder's layers that no normalisation precedes, in the order of the signal: whose output, whose weight."""
    decoder = network.decoder
    for conv in (decoder.conv_in, decoder.project):
        yield conv, conv
    for up in reversed(list(decoder.ups.children())):
        yield up, up.get_submodule("conv")


def _crosses(network: Music2LatentNetwork) -> Iterator[tuple[int, nn.Conv2d]]:
    unet = network.unet
    for side in (unet.down_cross, unet.up_cross):
        for level, convs in enumerate(side.children()):
            for conv in convs.children():
                if isinstance(conv, nn.Conv2d):
                    yield level, conv
    yield 0, unet.cross_out


def _scale(module: nn.Module, conv: nn.Module, run: Callable[[], object], target: float) -> None:
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    run()
    handle.remove()
    factor = target / _deviation(outputs[0], time=2)
    conv.get_parameter("weight").mul_(factor)
    conv.get_parameter("bias").zero_()


def _deviation(x: Tensor, *, time: int) -> Tensor:
    """Standard deviation about the mean over samples and frames, of all channels and rows together."""
    return (x - x.mean((0, time), keepdim=True)).std().clamp_min(1e-8)
