"""Print the mel distances that the released tools give the shared pair of signals: the recorded values of test_mel.

Needs descript-audiotools 0.7.2, torchaudio, and AudioCodecBench's ``reconstruction_eval/utils.py``, in an
environment of their own (audiotools pins packages that this project does not want)::

    python tests/reconstruction/record_mel.py PATH/TO/utils.py
"""

from __future__ import annotations

import sys
from pathlib import Path

SEVEN = {"window_lengths": [32, 64, 128, 256, 512, 1024, 2048], "n_mels": [5, 10, 20, 40, 80, 160, 320]}


def main(utils: str) -> None:
    import torch
    import torchaudio
    from audiotools import AudioSignal
    from audiotools.metrics.spectral import MelSpectrogramLoss
    from conftest import RATE, coded_version, plucked_chord

    # Its module imports a dozen models; the one function needs none of them.
    source = Path(utils).read_text()
    scope = {"torch": torch, "torchaudio": torchaudio}
    exec(source[source.index("def calculate_mel_distance") :], scope)
    reference = plucked_chord(RATE, 2, seed=0)
    signals = [torch.from_numpy(x) for x in (reference, coded_version(reference))]
    evaluation = MelSpectrogramLoss()
    training = MelSpectrogramLoss(**SEVEN, mel_fmin=[0.0] * 7, mel_fmax=[None] * 7, pow=1.0, mag_weight=0.0)
    for rate in (44_100, 24_000):
        for channel in (0, 1):
            pair = [signal[channel][None, None] for signal in signals]
            for name, loss in (("dac-eval", evaluation), ("dac-train", training)):
                print(rate, channel, name, float(loss(*(AudioSignal(x.clone(), rate) for x in pair))))
            print(rate, channel, "audiocodecbench", scope["calculate_mel_distance"](*(x[0] for x in pair), rate))


if __name__ == "__main__":
    main(sys.argv[1])
