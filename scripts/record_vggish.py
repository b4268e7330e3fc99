"""Record VGGish's front end and network as TensorFlow computes them: tests/systems/encoders/golden/vggish.npz.

Run once, in an environment of its own:

    pip install tensorflow-cpu==2.21.0
    python scripts/record_vggish.py tests/systems/encoders/golden/vggish.npz

The front end is built from ``tf.signal``; the network, with seeded random weights in TensorFlow's layout, from
``tf.nn``. The test draws the same weights and lays them out as the published PyTorch state dict has them.
"""

import sys

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
signal = (0.2 * rng.standard_normal(31360) * np.linspace(0, 1, 31360)).astype(np.float32)  # two windows and a tail

spectrum = tf.abs(tf.signal.stft(signal, 400, 160, 512, window_fn=tf.signal.hann_window))
filters = tf.signal.linear_to_mel_weight_matrix(64, 257, 16000, 125.0, 7500.0, dtype=tf.float64)
log_mel = np.log(spectrum.numpy().astype(np.float64) @ filters.numpy() + 0.01)
patches = np.stack([log_mel[:96], log_mel[96:192]]).astype(np.float32)

x = tf.constant(patches[..., None])
rng = np.random.default_rng(1)


def weight(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))


n_in = 1
for n_out, pooled in ((64, True), (128, True), (256, False), (256, True), (512, False), (512, True)):
    x = tf.nn.relu(tf.nn.conv2d(x, weight(3, 3, n_in, n_out), 1, "SAME") + weight(1, n_out)[0])
    x = tf.nn.max_pool2d(x, 2, 2, "SAME") if pooled else x
    n_in = n_out
x = tf.reshape(x, (2, -1))
for i, (n_in, n_out) in enumerate(((12288, 4096), (4096, 4096), (4096, 128))):
    x = x @ weight(n_in, n_out) + weight(1, n_out)[0]
    x = tf.nn.relu(x) if i < 2 else x
np.savez_compressed(sys.argv[1], signal=signal, patches=patches, vectors=x.numpy())
