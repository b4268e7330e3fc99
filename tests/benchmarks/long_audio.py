"""The published model on long audio: peak memory at two lengths, and the same numbers however much is computed at once.

``PYTHONPATH=. python tests/benchmarks/long_audio.py [ENCODE_MINUTES [DECODE_MINUTES]]``: random weights of the published
size; each measurement in a process of its own. Encoding takes about a third of the audio's duration on two cores, decoding
almost twice it, so that decoding is asked for less by default.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CHILD = """
import json, sys, time
import numpy as np
import torch
from m2l_bench.audio import load
from m2l_bench.music2latent.autoencoder import Music2Latent
from tests.peak_memory import peak_memory
action, source, target, checkpoint, batch = sys.argv[1:]
system = Music2Latent(checkpoint, device="cpu", batch_size=int(batch))
start = time.perf_counter()
if action == "encode":
    np.save(target, system.encode(load(source)[0]), allow_pickle=False)
else:
    np.save(target, system.decode(np.load(source, allow_pickle=False)), allow_pickle=False)
print(json.dumps([peak_memory() / 2**20, time.perf_counter() - start]))
"""


def measure(action: str, source: Path, target: Path, checkpoint: Path, batch: int) -> tuple[float, float]:
    """Peak memory in MiB and seconds."""
    arguments = [action, str(source), str(target), str(checkpoint), str(batch)]
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=True)
    peak, seconds = json.loads(done.stdout)
    return peak, seconds


def main(encode_minutes: int, decode_minutes: int) -> None:
    """Measure encoding and decoding."""
    import numpy as np
    import torch

    from m2l_bench import audio as files
    from m2l_bench.music2latent.checkpoint import save_checkpoint
    from m2l_bench.music2latent.config import PUBLISHED
    from m2l_bench.music2latent.network import Music2LatentNetwork

    torch.manual_seed(0)
    network = Music2LatentNetwork(PUBLISHED)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data.normal_(0, 0.02)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = folder / "random.safetensors"
        save_checkpoint(checkpoint, network.state_dict(), PUBLISHED)
        for action, minutes in (("encode", encode_minutes), ("decode", decode_minutes)):
            peaks = []
            for length in (1, minutes):
                noise = np.random.default_rng(0).standard_normal((1, length * 60 * 44100), dtype=np.float32) / 10
                files.write(folder / f"{length}.wav", noise.clip(-1, 1), 44100, subtype="PCM_16")
                source = folder / f"{length}.wav"
                if action == "decode":
                    source = folder / f"{length}.npy"
                    frames = int(length * 60 * PUBLISHED.latent_rate)
                    random = np.random.default_rng(1)
                    np.save(source, random.standard_normal((1, 64, frames), dtype=np.float32), allow_pickle=False)
                peak, seconds = measure(action, source, folder / "one.npy", checkpoint, 1)
                peaks.append(peak)
                print(f"{action} {length} min: peak {peak:.0f} MiB, {seconds:.0f} s", flush=True)
                if length == 1:
                    measure(action, source, folder / "two.npy", checkpoint, 2)
                    one, two = (np.load(folder / f"{name}.npy") for name in ("one", "two"))
                    error = np.abs(one - two).max() / np.abs(one).max()
                    print(f"{action} 1 min, two windows at once: {error:.1e} of the peak differs", flush=True)
            print(f"{action}: {minutes} min take {peaks[1] / peaks[0]:.3f} times the memory of 1 min")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 2)
