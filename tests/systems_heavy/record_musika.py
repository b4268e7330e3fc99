"""Record the golden values of Musika's networks and framing from the original code under TensorFlow.

Run by hand, never by the tests, in an environment of its own::

    pip install "tensorflow-cpu==2.21.*" tf_keras h5py
    TF_USE_LEGACY_KERAS=1 python record_musika.py CHECKOUT_OF_marcoppasini/musika

Writes beside itself: ``golden/musika_small/{enc,enc2,dec,dec2}.h5`` (the original's networks at hop 16, saved by
Keras), ``golden/musika_small.npz``, ``golden/musika_full.json`` (layer names, weight names and shapes of the published
size, in the order of the file) and ``golden/musika_full.npz``. Weights of the full size are not stored: both sides make
them with ``recipes.weight``. The noise layers draw ``recipes.wave`` instead of normal numbers, so that what they add
is compared too.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import recipes  # noqa: E402

SIZES = {"small": {"hop": 16, "latdepth": 8}, "full": {"hop": 256, "latdepth": 64}}
FIXED = {"shape": 128, "window": 64, "sr": 44100, "mel_bins": 16, "mu_rescale": -25.0, "sigma_rescale": 75.0}
NETS = ("enc", "enc2", "dec", "dec2")


def original(checkout: Path) -> types.SimpleNamespace:
    """Import the original's modules; what they import but never call here is replaced by mocks."""
    for name in ("gradio", "librosa", "matplotlib", "matplotlib.pyplot", "tqdm", "huggingface_hub", "pydub"):
        sys.modules.setdefault(name, MagicMock())
    sys.path.insert(0, str(checkout))
    import layers
    import models
    import tensorflow as tf
    import utils

    def shaped(shape: list, **_: object) -> object:
        width = int(shape[2])
        return tf.ones([shape[0], 1, 1, 1]) * tf.constant(recipes.wave(width).reshape(1, 1, width, 1))

    layers.tf = types.SimpleNamespace(
        **{k: getattr(tf, k) for k in ("keras", "shape", "float32")}, random=types.SimpleNamespace(normal=shaped)
    )
    return types.SimpleNamespace(models=models, utils=utils, tf=tf)


def build(code: types.SimpleNamespace, size: str) -> tuple[types.SimpleNamespace, dict]:
    """The four networks with the recipe's weights, and the original's arguments."""
    code.tf.keras.backend.clear_session()
    args = types.SimpleNamespace(mixed_precision=False, datatype=code.tf.float32, **FIXED, **SIZES[size])
    functions = code.models.Models_functions(args)
    # In the order of the original's own `build`, so that the numbers in the layer names are offset as there.
    nets = {"enc": functions.build_encoder(), "dec": functions.build_decoder()}
    nets |= {"enc2": functions.build_encoder2(), "dec2": functions.build_decoder2()}
    for net, model in nets.items():
        for weight in model.weights:
            weight.assign(recipes.weight(f"musika/{net}", weight.name, tuple(weight.shape)))
    return args, nets


def record(code: types.SimpleNamespace, size: str) -> None:
    """Save the layout, the golden inputs and outputs, and (small) the weights of one size."""
    args, nets = build(code, size)
    utils = object.__new__(code.utils.Utils_functions)  # its constructor only makes mel matrices
    utils.args = args
    channels = 2
    audio = recipes.music(channels, 2 * 128 * args.hop + 3 * args.hop)
    frames = [utils.wv2spec(wave, hop_size=args.hop) for wave in audio]
    chunks = [np.stack(np.split(np.asarray(f).T, 2, axis=1))[..., None].astype(np.float32) for f in frames]
    middle = [np.concatenate(list(np.asarray(utils.distribute_enc(c, nets["enc"]))), -2)[0] for c in chunks]
    pairs = [np.stack(np.split(m, 2, axis=0))[:, None] for m in middle]
    latents = [np.concatenate(list(np.asarray(utils.distribute_enc(p, nets["enc2"]))), -2)[0] for p in pairs]
    stacked = code.tf.constant(np.concatenate(latents, -1)[None, None])
    wave = np.asarray(utils.decode_waveform(stacked, nets["dec"], nets["dec2"])).T
    step = 1 if size == "small" else 8
    golden = HERE / "golden"
    np.savez_compressed(
        golden / f"musika_{size}.npz",
        latents=np.stack([z.T for z in latents]),
        wave=wave[:, ::step] if size == "small" else wave[:1, ::step],
        wave_peak=np.abs(wave).max(),
        dec2=np.asarray(nets["dec2"](stacked[:, :, :4, : args.latdepth].numpy().repeat(2, 0)))[0, 0],
        spectrogram=np.asarray(frames[0])[:4],
    )
    if size == "small":
        folder = golden / "musika_small"
        folder.mkdir(exist_ok=True)
        for net in NETS:
            nets[net].save_weights(folder / f"{net}.h5")
    else:
        layout = {n: [[w.name, list(w.shape)] for layer in nets[n].layers for w in layer.weights] for n in NETS}
        names = {n: [layer.name for layer in nets[n].layers] for n in NETS}
        text = json.dumps({"layers": names, "weights": layout})
        (golden / "musika_full.json").write_text(text)
        print({n: sum(int(np.prod(s)) for _, s in w) for n, w in layout.items()})
    print(
        size,
        "latents",
        np.std(latents),
        "wave",
        np.std(wave),
        np.abs(wave).max(),
        "clipped",
        (np.abs(wave) == 1).mean(),
    )


if __name__ == "__main__":
    source = original(Path(sys.argv[1]))
    for which in SIZES:
        record(source, which)
