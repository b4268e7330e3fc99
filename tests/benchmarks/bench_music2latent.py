"""Speed of the core model against the authors' package: same weights, same machine, alternating runs, medians.

Run from the repository's root on an otherwise idle machine:
``python tests/benchmarks/bench_music2latent.py [SECONDS [ROUNDS]]``.
It prints wall and CPU time a second of audio in float32 and, compiled by OpenVINO, in bfloat16, their ratios to the
authors' float32, the largest difference of the outputs, the
share of our time that our products would take at the machine's own convolution rate, measured in the same run, and
which operations our time goes to.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable

import torch
from music2latent import models
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from m2l_bench.music2latent.compiled import CompiledNetwork
from m2l_bench.music2latent.config import PUBLISHED
from m2l_bench.music2latent.keys import from_published
from m2l_bench.music2latent.network import Music2LatentNetwork

Times = tuple[float, float]
SHOWN = 9  # kinds of operation


def timed(function: Callable[[], object]) -> Times:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def convolution_rate(rounds: int) -> Times:
    """Best GFLOP/s, by wall and by CPU time, of a 3x3 convolution of 128 channels, the mid of the network's kinds."""
    x = torch.randn(1, 128, 96, 256).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3).contiguous(memory_format=torch.channels_last)
    work = 2 * 9 * 128 * 128 * 96 * 256 / 1e9
    runs = [timed(lambda: functional.conv2d(x, weight, padding=1)) for _ in range(4 * rounds)]
    return work / min(wall for wall, _ in runs), work / min(cpu for _, cpu in runs)


def work_of(function: Callable[[], object]) -> float:
    """GFLOP of a function."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 1e9


def shares(function: Callable[[], object]) -> dict[str, float]:
    """Share of the profiled time that each kind of operation takes itself, the largest first."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function()
    times = Counter({event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profile.key_averages()})
    return {name: time / times.total() for name, time in times.most_common(SHOWN)}


def networks() -> tuple[nn.Module, Music2LatentNetwork]:
    """The authors' network and ours, of the same random weights."""
    torch.manual_seed(0)
    theirs = models.UNet().eval().requires_grad_(False)
    for parameter in theirs.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    network = Music2LatentNetwork(PUBLISHED).eval().requires_grad_(False)
    network.load_state_dict(from_published(theirs.state_dict(), PUBLISHED))
    return theirs, network


def compare(
    seconds: float, rounds: int, theirs: nn.Module, network: Music2LatentNetwork, half: CompiledNetwork
) -> None:
    """Compare encoder and decoder, one after the other."""
    frames = round(seconds * PUBLISHED.latent_rate) * PUBLISHED.time_downsampling
    seconds = frames * PUBLISHED.hop / PUBLISHED.sample_rate
    x, noise = torch.randn(1, 2, PUBLISHED.bins, frames), 80 * torch.randn(1, 2, PUBLISHED.bins, frames)
    sigma = torch.tensor([80.0])
    with torch.inference_mode():
        code = network.encode(x)

    def decode(ours: Music2LatentNetwork | CompiledNetwork) -> Tensor:
        return ours.denoise(noise, sigma, ours.pyramid(code))

    sides: dict[str, tuple[Callable[[], Tensor], ...]] = {
        "encode": (lambda: theirs.encoder(x), lambda: network.encode(x), lambda: half.encode(x)),
        "decode": (lambda: theirs(code, noise, 80.0), lambda: decode(network), lambda: decode(half)),
    }
    for name, functions in sides.items():
        rate = convolution_rate(rounds)
        with torch.no_grad():
            work, needed = (work_of(function) / seconds for function in functions[:2])
        with torch.inference_mode():
            expected, *found = [function() for function in functions]
            errors = [float((each - expected).abs().max() / expected.abs().max()) for each in found]
            runs = [[timed(function) for function in functions] for _ in range(rounds)]
        print(f"{name}: {seconds:.2f} s of audio, {rounds} alternating rounds, {torch.get_num_threads()} threads")
        print(f"  GFLOP per second of audio: theirs {work:.0f}, ours {needed:.0f}")
        print(f"  largest difference from theirs, of the peak: float32 {errors[0]:.1e}, bfloat16 {errors[1]:.1e}")
        for index, clock in enumerate(("wall", "CPU ")):
            old, new, fast = (statistics.median(run[side][index] for run in runs) / seconds for side in range(3))
            ratios = [statistics.median(run[0][index] / run[side][index] for run in runs) for side in (1, 2)]
            print(
                f"  {clock} s per second of audio: theirs {old:.3f}, float32 {new:.3f} (ratio {ratios[0]:.2f}),"
                f" bfloat16 {fast:.3f} (ratio {ratios[1]:.2f}); at the convolution rate of {rate[index]:.0f} GFLOP/s"
                f" our products in float32 take {needed / rate[index] / new:.0%}"
            )
        with torch.inference_mode():
            taken = shares(functions[1])
        print("  float32 by operation: " + ", ".join(f"{name} {share:.1%}" for name, share in taken.items()))


def main(lengths: list[float], rounds: int) -> None:
    """Compare at each length, in seconds."""
    theirs, network = networks()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # graphs of random weights are not worth keeping
        half = CompiledNetwork(network, "random weights")
        for seconds in lengths:
            compare(seconds, rounds, theirs, network, half)


if __name__ == "__main__":
    main([float(sys.argv[1])] if len(sys.argv) > 1 else [5.0, 1.0], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
