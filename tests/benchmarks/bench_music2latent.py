"""Speed of the core model against the authors' package: same weights, same machine, alternating runs, medians.

Run from the repository's root on an otherwise idle machine:
``python tests/benchmarks/bench_music2latent.py [SECONDS [ROUNDS]]``.
Each contestant has a process of its own: the authors' network, ours as it is called from Python, ours where freed memory is
kept, as in the workers of a run, and so in bfloat16, compiled by OpenVINO. Printed are wall and CPU time a second of audio, the
ratios of the authors' to each, the largest difference from the authors' output, and which operations our time goes to.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from music2latent import models
from torch import Tensor

from m2l_bench.memory import keep_freed_memory
from m2l_bench.music2latent.compiled import CompiledNetwork
from m2l_bench.music2latent.config import PUBLISHED
from m2l_bench.music2latent.keys import from_published
from m2l_bench.music2latent.network import Music2LatentNetwork

Times = tuple[float, float]
KEEPING = ("ours in a worker", "ours in bfloat16")  # contestants that keep freed memory
CONTESTANTS = ("theirs", "ours", *KEEPING)
SHOWN = 9  # kinds of operation


def timed(function: Callable[[], object]) -> Times:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def shares(function: Callable[[], object]) -> dict[str, float]:
    """Share of the profiled time that each kind of operation takes itself, the largest first."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function()
    times = Counter({event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profile.key_averages()})
    return {name: time / times.total() for name, time in times.most_common(SHOWN)}


def networks() -> tuple[Any, Music2LatentNetwork]:
    """The authors' network and ours, of the same random weights."""
    torch.manual_seed(0)
    theirs = models.UNet().eval().requires_grad_(False)
    for parameter in theirs.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    network = Music2LatentNetwork(PUBLISHED).eval().requires_grad_(False)
    network.load_state_dict(from_published(theirs.state_dict(), PUBLISHED))
    return theirs, network


def jobs(contestant: str, frames: int) -> dict[str, Callable[[], Tensor]]:
    """What a contestant does: encode and decode; weights, spectrogram and noise are the same for all."""
    theirs, network = networks()
    ours: Music2LatentNetwork | CompiledNetwork = network
    if contestant == "ours in bfloat16":
        ours = CompiledNetwork(network, "random weights")
    x, noise = torch.randn(1, 2, PUBLISHED.bins, frames), 80 * torch.randn(1, 2, PUBLISHED.bins, frames)
    sigma = torch.tensor([80.0])
    code = torch.randn(1, PUBLISHED.latent_dim, frames // PUBLISHED.time_downsampling).tanh()
    if contestant == "theirs":
        return {"encode": lambda: theirs.encoder(x), "decode": lambda: theirs(code, noise, 80.0)}
    return {
        "encode": lambda: ours.encode(x),
        "decode": lambda: ours.denoise(noise, sigma, ours.pyramid(code)),
    }


def serve(connection: Connection, contestant: str, frames: int) -> None:
    """Answer the name of a job with its output, a repetition with its times, and "shares" with those of operations."""
    if contestant in KEEPING:
        keep_freed_memory()
    with torch.inference_mode():
        functions = jobs(contestant, frames)
        while request := connection.recv():
            name, what = request
            if what == "output":
                connection.send(functions[name]().numpy())
            else:
                connection.send(timed(functions[name]) if what == "times" else shares(functions[name]))


def compare(seconds: float, rounds: int) -> None:
    """Compare encoder and decoder, one after the other."""
    frames = round(seconds * PUBLISHED.latent_rate) * PUBLISHED.time_downsampling
    seconds = frames * PUBLISHED.hop / PUBLISHED.sample_rate
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for contestant in CONTESTANTS:
        pipes[contestant], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, contestant, frames), daemon=True).start()

    def ask(contestant: str, name: str, what: str) -> Any:
        pipes[contestant].send((name, what))
        return pipes[contestant].recv()

    for name in ("encode", "decode"):
        expected, *found = [ask(contestant, name, "output") for contestant in CONTESTANTS]
        runs = [[ask(contestant, name, "times") for contestant in CONTESTANTS] for _ in range(rounds)]
        print(f"{name}: {seconds:.2f} s of audio, {rounds} alternating rounds, {torch.get_num_threads()} threads")
        for side, contestant in enumerate(CONTESTANTS):
            wall, cpu = (statistics.median(run[side][clock] for run in runs) / seconds for clock in (0, 1))
            line = f"  {contestant}: wall {wall:.3f}, CPU {cpu:.3f} s per second of audio"
            if side:
                ratios = [statistics.median(run[0][clock] / run[side][clock] for run in runs) for clock in (0, 1)]
                error = abs(found[side - 1] - expected).max() / abs(expected).max()
                line += f"; theirs / it: wall {ratios[0]:.2f}, CPU {ratios[1]:.2f}; largest difference of the peak {error:.1e}"
            print(line)
        taken = ask("ours in a worker", name, "shares")
        print("  float32 by operation: " + ", ".join(f"{name} {share:.1%}" for name, share in taken.items()))
    for pipe in pipes.values():
        pipe.send(None)


def main(lengths: list[float], rounds: int) -> None:
    """Compare at each length, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # graphs of random weights are not worth keeping
        for seconds in lengths:
            compare(seconds, rounds)


if __name__ == "__main__":
    main([float(sys.argv[1])] if len(sys.argv) > 1 else [5.0, 1.0], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
