"""Record what the original musicnn computes in TensorFlow: tests/systems/encoders/golden/musicnn.npz.

Run once, in an environment of its own, with the unpacked wheel of musicnn 0.1.0:

    pip install tensorflow-cpu==2.21.0 tf_keras
    TF_USE_LEGACY_KERAS=1 python scripts/record_musicnn.py UNPACKED_WHEEL tests/systems/encoders/golden/musicnn.npz

Only the original's ``models.py`` is imported; the input is a seeded log-mel patch.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import tensorflow as tf

wheel, output = Path(sys.argv[1]), Path(sys.argv[2])
tf.compat.v1.disable_eager_execution()

package = types.ModuleType("musicnn")
package.configuration = types.SimpleNamespace(N_MELS=96)
sys.modules["musicnn"] = package
spec = importlib.util.spec_from_file_location("musicnn.models", wheel / "musicnn" / "models.py")
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)

rng = np.random.default_rng(0)
smooth = np.cumsum(rng.standard_normal((2, 187, 96)), axis=1) * 0.2 + np.linspace(3, 0.5, 96)
patches = np.clip(smooth, 0, 5).astype(np.float16).astype(np.float32)  # float16 values: a small file, exact in float32

x = tf.compat.v1.placeholder(tf.float32, [None, 187, 96])
names = ["logits", "timbral", "temporal", "cnn1", "cnn2", "cnn3", "mean_pool", "max_pool", "penultimate"]
outputs = models.define_model(x, tf.constant(False), "MTT_musicnn", 50)
with tf.compat.v1.Session() as session:
    tf.compat.v1.train.Saver().restore(session, f"{wheel}/musicnn/MTT_musicnn/")
    values = session.run([*outputs, tf.nn.sigmoid(outputs[0])], {x: patches})
recorded = {name: np.squeeze(value) for name, value in zip([*names, "tags"], values, strict=True)}
for name in ("timbral", "temporal", "cnn1", "cnn2", "cnn3"):
    recorded[name] = recorded[name][:, ::31]  # every 31st frame: first and last among them
np.savez_compressed(output, patches=patches.astype(np.float16), **recorded)
