"""VGGish: front end and network against TensorFlow's recorded numbers, its two variants, and fetching the weights."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from m2l_bench.systems.encoders import vggish

GOLDEN = np.load(Path(__file__).parent / "golden" / "vggish.npz")


def flat_state_dict():
    """The true keys and shapes in a small file: each row of a tensor is one number, stored once."""
    generator = torch.Generator().manual_seed(0)
    shapes = {key: value.shape for key, value in vggish.Network().to("meta").state_dict().items()}
    rows = {key: torch.randn(shape[0], generator=generator) / shape[1:].numel() ** 0.5 for key, shape in shapes.items()}
    return {key: rows[key].reshape(-1, *[1] * (len(shape) - 1)).expand(shape) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("vggish") / "vggish-10086976.pth"
    torch.save(flat_state_dict(), path)
    return path


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return vggish.Vggish(checkpoint)


@pytest.fixture
def server(checkpoint):
    """A web server on this machine that holds the checkpoint and counts what is asked of it."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            requests.append(self.path)

    handler = functools.partial(Handler, directory=str(checkpoint.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/{checkpoint.name}", requests
        running.shutdown()
        thread.join()


def tensorflow_weights():
    """The weights that scripts/record_vggish.py drew, laid out as the published state dict."""
    rng = np.random.default_rng(1)
    state = {}
    for key, value in vggish.Network().to("meta").state_dict().items():
        shape = value.shape
        if key.endswith("bias"):
            shape, scale = (1, *shape), 2.0
        elif len(shape) == 4:
            shape, scale = (3, 3, shape[1], shape[0]), 2 / (9 * shape[1])
        else:
            shape, scale = shape[::-1], 2 / shape[1]
        drawn = torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(np.sqrt(scale)))
        state[key] = drawn.permute(3, 2, 0, 1) if drawn.ndim == 4 else drawn[0] if key.endswith("bias") else drawn.T
    return state


def test_the_front_end_equals_tensorflows(encoder):
    ours = encoder.patches(GOLDEN["signal"])
    assert ours.shape == (2, 96, 64)
    np.testing.assert_allclose(ours, GOLDEN["patches"], atol=2e-5)


def test_the_network_equals_tensorflows():
    network = vggish.Network()
    network.load_state_dict(tensorflow_weights(), assign=True)
    with torch.inference_mode():
        vectors = network(torch.from_numpy(GOLDEN["patches"])).numpy()
    np.testing.assert_allclose(vectors, GOLDEN["vectors"], atol=1e-5 * np.abs(GOLDEN["vectors"]).max())
    assert sum(value.numel() for value in network.state_dict().values()) == 72_141_184


def test_the_keys_are_those_of_the_published_state_dict():
    convolutions, dense = (0, 3, 6, 8, 11, 13), (0, 2, 4)
    names = [f"features.{i}" for i in convolutions] + [f"embeddings.{i}" for i in dense]
    assert set(vggish.Network().to("meta").state_dict()) == {
        f"{n}.{part}" for n in names for part in ("weight", "bias")
    }


def test_windows_and_tail_rule(encoder):
    assert encoder.window == vggish.FRAME + (vggish.N_FRAMES - 1) * vggish.HOP_LENGTH
    assert encoder.hop == vggish.N_FRAMES * vggish.HOP_LENGTH
    audios = [np.zeros((2, n), np.float32) for n in (15599, 15600, 30959, 30960, 48000)]
    assert [encoder.whole_windows(audio).shape for audio in audios] == [(1, 128, n) for n in (0, 1, 1, 2, 3)]
    assert [encoder.encode(audio).shape for audio in audios] == [(1, 128, n) for n in (1, 1, 2, 2, 4)]


def test_the_variant_with_relu_is_the_other_one_rectified(encoder, checkpoint):
    audio = np.random.default_rng(0).standard_normal((1, 16000)).astype(np.float32)
    rectified = vggish.Vggish(checkpoint, relu=True)
    plain = encoder.whole_windows(audio)
    assert plain.min() < 0
    np.testing.assert_array_equal(rectified.whole_windows(audio), np.maximum(plain, 0))
    assert (rectified.name, encoder.name) == ("vggish:relu", "vggish")
    assert rectified.fingerprint != encoder.fingerprint


def test_weights_are_fetched_once_and_checked(server, checkpoint, tmp_path, monkeypatch):
    url, requests = server
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    monkeypatch.setattr(vggish, "URL", url)
    monkeypatch.setattr(vggish, "SHA256_PREFIX", hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:8])
    first, second = vggish.Vggish(), vggish.Vggish()
    assert len(requests) == 1
    assert first.fingerprint == second.fingerprint == vggish.Vggish(checkpoint).fingerprint


def test_weights_with_another_hash_are_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    monkeypatch.setattr(vggish, "URL", server[0])
    with pytest.raises(RuntimeError, match='invalid hash value \\(expected "10086976"'):
        vggish.Vggish()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_safetensors_are_read_too(encoder, tmp_path):
    from safetensors.torch import save_file

    small = {key: value.clone() for key, value in encoder.network.state_dict().items() if "features" in key}
    save_file(small, tmp_path / "part.safetensors")
    assert set(vggish._state_dict(tmp_path / "part.safetensors")) == set(small)


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    torch.save({"weights": pytest.raises}, tmp_path / "bad.pth")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        vggish.Vggish(tmp_path / "bad.pth")
