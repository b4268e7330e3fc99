"""What OpenVINO makes of the networks, in one thread: ``python tests/benchmarks/bench_openvino.py [NAME]... [--rounds N]``.

Run from the repository's root, with ``PYTHONPATH=.`` and ``OMP_NUM_THREADS=1``. Each network runs in PyTorch and as a graph in
float32 and in bfloat16, in alternating rounds. Printed are medians of processor (wall) seconds of PyTorch, medians of the ratios
to it, the largest difference from PyTorch's output over its peak, and the SI-SDR of the outputs. Published networks have random
weights. "system" is all that a system does, in bfloat16 by its own option (of musicnn: in float32).

``excerpts`` prints the SI-SDR between the reconstructions of music2latent:small in both precisions, on the embedded excerpts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m2l_bench import audio, load
from m2l_bench.graphs import Graphs
from m2l_bench.music2latent.representation import stft
from m2l_bench.reconstruction.pair.si_sdr import si_sdr
from m2l_bench.systems.musika.network import Noise, by_windows, log_spectrogram

sys.path.insert(0, str(Path(__file__).parents[1] / "systems_heavy"))
import full_size
import recipes

EXCERPTS = Path(__file__).parents[2] / "m2l_bench" / "assets" / "reconstruction" / "wesnoth"
FAMILIES = ("musika-style", "latmusic-style", "mousai-style", "dac-style")
OPTIONAL = ("dac", "stable-audio", "kvae-audio", "musika", "mousai-v2", "mousai-v3")  # systems with the option
PUBLISHED = (*OPTIONAL, "encodec:24khz", "encodec:48khz", "codicodec")
SECONDS = 1  # of music that a system gets
Function = Callable[..., Any]
Times = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """A function of a network, inputs to trace and to run it with, and the axis whose length is free."""

    what: str
    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    examples: tuple[Tensor, ...]
    axis: int | None = -1


def load_any(name: str, **options: Any) -> Any:
    """A system on the processor, with what it has beyond the attributes of all systems."""
    return load(name, device="cpu", **options)


def part(what: str, function: Callable[..., Tensor], x: Tensor, length: int, axis: int = -1) -> Case:
    """A function of one input, traced with the first of it."""
    return Case(what, function, (x,), (x.narrow(axis, 0, length).clone(),), axis)


def fixed(what: str, function: Callable[..., Tensor], *inputs: Tensor) -> Case:
    """A function of inputs of fixed shapes."""
    return Case(what, function, inputs, inputs, None)


def music(channels: int, n_samples: int, rate: int) -> Tensor:
    """(1, channels, samples)."""
    second = recipes.music(2, rate)[:channels]
    return torch.from_numpy(np.tile(second, (1, -(-n_samples // rate)))[None, :, :n_samples].copy())


def no_noise(layer: int, length: int) -> Tensor:
    return torch.zeros(1, 1, 1)


def musika_parts(networks: Any, wave: Tensor, hop: int) -> Iterator[Case]:
    """Both ways of Musika, published or in its style, between the spectrogram and the heads; windows go through together."""
    spectrogram = log_spectrogram(torch.nn.functional.pad(wave, (3 * hop, 0)), hop)
    noise: Noise = no_noise

    def encode(x: Tensor) -> Tensor:
        return by_windows(networks.latent_encoder, networks.encoder(x), 16)

    def decode(z: Tensor) -> Tensor:
        frames = by_windows(lambda x: networks.latent_decoder(x, noise), z, 4)
        return by_windows(lambda x: networks.decoder(x, noise), frames, 64)

    yield part("encode", encode, spectrogram, 64)
    yield part("decode", decode, encode(spectrogram), 12)


def family(name: str) -> Iterator[Case]:
    """A built-in family, without its spectrogram."""
    network = load_any(f"{name}:small").network
    frames, step = 16, network.config.samples_per_latent
    wave = music(1, frames * step, 44100)[0]
    if name == "musika-style":
        yield from musika_parts(network, wave, network.config.hop)
    elif name == "latmusic-style":
        padded = torch.nn.functional.pad(wave, (network.margin, 0))
        spectrogram = stft(padded, network.config.spectrogram).flatten(1, 2)
        yield part("encode", network.encoder, spectrogram, 32)
        yield part("decode", network.decoder, network.encoder(spectrogram), 4)
    elif name == "mousai-style":
        yield from mousai_parts(network.net, wave[:, None], 4 * step)
    else:
        yield part("encode", network.unquantised, wave, 4 * step)
        yield part("decode", network.decoder, network.encode(wave), 4)


def mousai_parts(network: Any, wave: Tensor, n_samples: int) -> Iterator[Case]:
    """Encoder without its spectrogram, and one step of the decoder."""
    spectrum, few = (network.encoder.spectrum(x).flatten(1, 2) for x in (wave, wave[..., :n_samples]))
    yield Case("encode", network.encoder.latents, (spectrum,), (few,))
    z, sigma = network.encoder.latents(spectrum), torch.ones(1)
    noise = torch.randn(wave.shape)
    traced = noise[..., :n_samples].clone(), sigma, z[..., : z.shape[-1] * n_samples // wave.shape[-1]].clone()
    yield Case("decode, a step", network.unet, (noise, sigma, z), traced)


def published(name: str, system: Any) -> Iterator[Case]:
    """Functions of a published network."""
    rate, channels = system.sample_rate, 1 + system.pairs
    second = music(channels, rate, rate)
    if name == "dac":
        wave = second[..., : rate // system.hop * system.hop]
        yield part("encode", system.model.encoder, wave, 4 * system.hop)
        yield part("decode", system.model.decoder, system.model.encoder(wave), 4)
    elif name in ("stable-audio", "kvae-audio"):
        layout, model, hop = system._layout, system.model, system._hop
        wave = second[..., : rate // hop * hop]
        yield part("encode", lambda x: layout.encode(model, x), wave, 4 * hop)
        z = layout.whole(model, layout.encode(model, wave))
        yield part("decode", lambda x: model.decode(x).sample, z, 4)
    elif name.startswith("encodec"):
        yield fixed("encode", system.model.encoder, second)
        yield fixed("decode", system.model.decoder, system.model.encoder(second))
    elif name == "musika":
        yield from musika_parts(system, music(1, 16 * 4096, rate)[0], 256)
    elif name.startswith("mousai"):
        yield from mousai_parts(system.network, music(channels, 2**16, rate), 2**14)
    else:
        model = system.model
        system.set_precision()
        chunk = torch.randn(1, 4, 1024, 32)
        yield fixed("encode, a chunk", lambda x: model.encoder_forward(x, dont_quantize=True), chunk)
        z = model.encoder_forward(chunk.repeat(1, 1, 1, 2), dont_quantize=True)
        yield fixed("decode, maps of two chunks", lambda z: model.pre_decoder_forward(z)[0], z)
        maps, noise = model.pre_decoder_forward(z), 80 * torch.randn(1, 4, 1024, 64)
        yield fixed(
            "decode, a step of two chunks",
            lambda x, z, *maps: model.decoder_forward(x, z, list(maps), sigma_left=80.0, sigma_right=80.0),
            noise,
            z,
            *maps,
        )


def timed(function: Callable[[], object]) -> Times:
    """Processor and wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def line(name: str, what: str, sides: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Compare the sides with the first, in alternating rounds, and print a line of the table."""
    with torch.inference_mode():
        outputs = {side: np.array(function(), np.float64) for side, function in sides.items()}
        runs = [{side: timed(function) for side, function in sides.items()} for _ in range(rounds)]
    first = next(iter(sides))
    expected = outputs[first]
    columns = ["{:.4f} ({:.4f})".format(*(statistics.median(run[first][clock] for run in runs) for clock in (0, 1)))]
    for side in ("float32", "bfloat16"):
        if side not in sides:
            columns += ["-", "-", "-"]
            continue
        ratios = [statistics.median(run[first][clock] / run[side][clock] for run in runs) for clock in (0, 1)]
        difference = np.abs(outputs[side] - expected).max() / np.abs(expected).max()
        distance = float(np.mean(si_sdr(expected.reshape(1, -1), outputs[side].reshape(1, -1))))
        columns += ["{:.2f} ({:.2f})".format(*ratios), f"{difference:.1e}", f"{distance:.0f}"]
    print(f"| {name} | {what} | {' | '.join(columns)} |", flush=True)


def compare(name: str, case: Case, rounds: int) -> None:
    """Print a line of a case, or why it cannot be exported."""
    sides: dict[str, Callable[[], Any]] = {"PyTorch": lambda: case.function(*case.inputs)}
    try:
        for precision in ("float32", "bfloat16"):
            graph = Graphs(precision, {}).compiled("case", case.function, *case.examples, axis=case.axis)
            sides[precision] = partial(graph, *case.inputs)
            with torch.inference_mode():
                sides[precision]()
    except Exception as error:  # exporters raise of many kinds
        reasons = [text for text in str(error).splitlines() if text.strip()]
        print(f"| {name} | {case.what} | not exported: {type(error).__name__}: {reasons[0][:120]} |", flush=True)
        return
    line(name, case.what, sides, rounds)


def systems(name: str, rounds: int, **options: Any) -> None:
    """Print lines of a system as a whole."""
    plain, fast = load_any(name, **options), load_any(name, precision="bfloat16", **options)
    wave = music(1 + plain.pairs, plain.sample_rate * SECONDS, plain.sample_rate)[0].numpy()
    z = plain.encode(wave)
    encode = {"PyTorch": lambda: plain.encode(wave), "bfloat16": lambda: fast.encode(wave)}
    decode = {"PyTorch": lambda: plain.decode(z, wave.shape[-1]), "bfloat16": lambda: fast.decode(z, wave.shape[-1])}
    line(name, "system, encode", encode, rounds)
    line(name, "system, decode", decode, rounds)


def musicnn(rounds: int) -> None:
    """Print lines of musicnn: a window, and a file of ten seconds."""
    plain, fast = load_any("musicnn"), load_any("musicnn", backend="openvino")
    wave = music(1, 160_000, 16_000)[0].numpy()
    window = torch.from_numpy(plain.patches(wave[0])[:1].copy())
    compare("musicnn", fixed("a window", plain.network.vectors, window), rounds)
    line(
        "musicnn",
        "system, encode",
        {"PyTorch": lambda: plain.encode(wave), "float32": lambda: fast.encode(wave)},
        rounds,
    )


def excerpts() -> None:
    """SI-SDR of bfloat16 to float32, of the mean over channels of each excerpt."""
    full, half = (load_any("music2latent:small", precision=p) for p in ("float32", "bfloat16"))
    found = []
    for path in sorted(EXCERPTS.glob("*.ogg")):
        signal, rate = audio.load(path)
        sides = [system.reconstruct(signal, sample_rate=rate) for system in (full, half)]
        found.append(float(np.mean(si_sdr(*sides))))
    print(
        f"{len(found)} excerpts, SI-SDR of bfloat16 to float32: mean {np.mean(found):.1f} dB, least {min(found):.1f} dB"
    )


def main(names: list[str], rounds: int) -> None:
    """Print the table of some networks."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{rounds} alternating rounds, one thread; seconds and ratios of processor (wall) time")
    sides = ("float32", "bfloat16")
    print(
        "| network | what | PyTorch, s |" + "".join(f" {p}, ratio | largest difference | SI-SDR, dB |" for p in sides)
    )
    print("|---|---|---:|" + "---:|" * 6, flush=True)
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache  # graphs of random weights are not worth keeping
            if name == "musicnn":
                musicnn(rounds)
            elif name in FAMILIES:
                with torch.inference_mode():
                    cases = list(family(name))
                for case in cases:
                    compare(name, outside(case), rounds)
            else:
                run_published(name, Path(cache), rounds)


def run_published(name: str, folder: Path, rounds: int) -> None:
    """Print the lines of a published network."""
    full_size.write(name, folder)
    steps = {"num_steps": 1} if name.startswith(("mousai", "codicodec")) else {}
    with torch.inference_mode():
        cases = list(published(name, load_any(name, checkpoint=folder, **steps)))
    for case in cases:
        compare(name, outside(case), rounds)
    if name in OPTIONAL:
        systems(name, rounds, checkpoint=folder, **steps)


def outside(case: Case) -> Case:
    """The case with tensors that may be traced, which those of inference mode may not."""
    inputs, examples = (tuple(each.clone() for each in given) for given in (case.inputs, case.examples))
    return Case(case.what, case.function, inputs, examples, case.axis)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["musicnn", *FAMILIES, *PUBLISHED, "excerpts"])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    main([name for name in asked.names if name != "excerpts"], asked.rounds)
    if "excerpts" in asked.names:
        excerpts()
