"""The registry stays light, names its members, and any autoencoder's latents can listen too."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from m2l_bench.systems.encoders import EMBEDDINGS, Embedding, load
from m2l_bench.systems.encoders.latents import Latents


class Halver:
    """A toy autoencoder: two streams of four-sample frames."""

    name, sample_rate, fingerprint, latent_dim, latent_rate = "halver", 8, "f00d", 4, 2.0

    def encode(self, audio):
        n_frames = audio.shape[1] // 4
        return audio[:, : 4 * n_frames].reshape(len(audio), n_frames, 4).transpose(0, 2, 1)


def test_listing_the_embeddings_imports_neither_torch_nor_transformers():
    code = "import sys; from m2l_bench.systems.encoders import EMBEDDINGS; print({'torch', 'transformers'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"


def test_an_unknown_embedding_is_refused_with_the_choice():
    with pytest.raises(ValueError, match=r"embedding must be one of musicnn, vggish, .*, got 'openl3'"):
        load("openl3")


def test_musicnn_satisfies_the_protocol():
    assert isinstance(load("musicnn"), Embedding)
    assert set(EMBEDDINGS) == {"musicnn", "vggish", "vggish:relu", "clap", "clap:htsat-unfused"}


def test_latents_of_every_stream_become_vectors():
    listener = Latents(Halver())
    assert isinstance(listener, Embedding)
    assert (listener.name, listener.window, listener.dim) == ("latents:halver", 4, 4)
    audio = np.arange(20, dtype=np.float32).reshape(2, 10)
    vectors, none = listener.embed([audio, audio[:, :3]])
    np.testing.assert_array_equal(vectors, [[0, 1, 2, 3], [4, 5, 6, 7], [10, 11, 12, 13], [14, 15, 16, 17]])
    assert none.shape == (0, 4)


def test_a_system_without_sample_rate_cannot_listen():
    system = Halver()
    system.sample_rate = None
    with pytest.raises(ValueError, match="must have a sample rate of its own, got halver without one"):
        Latents(system)
