"""musicnn against TensorFlow's recorded numbers and librosa's front end; windows, whole and filled up."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from m2l_bench.files.disk import sha256
from m2l_bench.systems.encoders import musicnn
from m2l_bench.systems.encoders.windowed import WindowEncoder

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def encoder():
    return musicnn.Musicnn()


@pytest.fixture(scope="module")
def audios():
    rng = np.random.default_rng(0)
    return [
        0.1 * rng.standard_normal((c, n)).astype(np.float32) for c, n in [(2, 80000), (1, 50000), (2, 3200), (1, 99999)]
    ]


def test_every_layer_equals_tensorflows(encoder):
    golden = np.load(HERE / "golden" / "musicnn.npz")
    with torch.inference_mode():
        layers = encoder.network(torch.from_numpy(golden["patches"].astype(np.float32)))
    for name, layer in layers.items():
        ours = layer.numpy()
        ours = ours[:, :, ::31].transpose(0, 2, 1) if ours.ndim == 3 else ours
        np.testing.assert_allclose(ours, golden[name], atol=1e-5 * np.abs(golden[name]).max(), err_msg=name)


def test_the_front_end_equals_librosas(audios):
    mel = librosa.feature.melspectrogram(y=audios[1][0], sr=16000, n_fft=512, hop_length=256, n_mels=96)
    np.testing.assert_allclose(musicnn.log_mel(audios[1][0]), np.log10(10000 * mel.T + 1), atol=2e-5)


def test_the_shipped_checkpoint_is_whole():
    assert sha256(musicnn.CHECKPOINT) == "c278acc460e481d67f2896a8cd48b369f1e7c09bf9a66cd8d1a228135cb317b0"
    assert sum(p.numel() for n, p in musicnn.Network().state_dict().items() if "num_batches" not in n) == 792_079


def test_whole_windows_and_a_filled_up_end(encoder, audios):
    assert encoder.window == (musicnn.N_FRAMES - 1) * musicnn.HOP_LENGTH and encoder.hop == 93 * musicnn.HOP_LENGTH
    assert [encoder.whole_windows(audio).shape[2] for audio in audios] == [2, 1, 0, 3]
    assert [encoder.encode(audio).shape[2] for audio in audios] == [3, 2, 1, 4]
    for audio in audios:
        whole, filled = encoder.whole_windows(audio), encoder.encode(audio)
        assert whole.dtype == filled.dtype == np.float32 and whole.shape[:2] == filled.shape[:2] == (1, 200)
        np.testing.assert_array_equal(filled[:, :, : whole.shape[2]], whole)
    exact = audios[0][:, : encoder.window]
    np.testing.assert_array_equal(encoder.encode(exact), encoder.whole_windows(exact))


@pytest.mark.parametrize("extra", [0, 1, 255, 256, 23807])
def test_samples_after_the_last_window_are_ignored(encoder, extra):
    audio = np.random.default_rng(0).standard_normal((1, encoder.window + 23808)).astype(np.float32)
    longer = np.concatenate([audio, np.ones((1, extra), np.float32)], axis=1)
    assert encoder.whole_windows(longer).shape[2] == 2


def test_the_end_of_a_file_is_heard(encoder):
    audio = np.zeros((1, 60_000), np.float32)
    click = audio.copy()
    click[:, -200:] = 0.5
    assert not np.array_equal(encoder.encode(audio), encoder.encode(click))


def test_threads_and_batch_size_change_no_more_than_rounding(encoder, audios):
    alone, threads = encoder.encode(audios[0]), torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        threaded = encoder.encode(audios[0])
    finally:
        torch.set_num_threads(threads)
    batched = musicnn.Musicnn()
    batched.batch_size = 4
    np.testing.assert_allclose(threaded, alone, atol=1e-5)
    np.testing.assert_allclose(batched.encode(audios[0]), alone, atol=1e-5)


def test_channels_are_averaged(encoder, audios):
    stereo = audios[0]
    np.testing.assert_array_equal(encoder.encode(stereo), encoder.encode(stereo.mean(axis=0, keepdims=True)))


def test_the_fingerprint_names_the_checkpoint(encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(musicnn.CHECKPOINT)
    weights["output.bias"] += 1
    save_file(weights, tmp_path / "other.safetensors")
    assert musicnn.Musicnn(tmp_path / "other.safetensors").fingerprint != encoder.fingerprint
    assert musicnn.Musicnn().fingerprint == encoder.fingerprint


@pytest.mark.parametrize("shape", [(80000,), (0, 80000), (1, 1, 80000)])
def test_audio_of_another_shape_is_refused(encoder, shape):
    with pytest.raises(ValueError, match=r"audio must have shape \(channels, samples\), got"):
        encoder.encode(np.zeros(shape, np.float32))


@pytest.mark.parametrize("n_windows", [0, 1, 4, 5, 9])
def test_every_batch_has_one_size(n_windows):
    sizes = []

    class Sums(WindowEncoder):
        latent_dim, batch_size, device = 2, 4, torch.device("cpu")

        def patches(self, signal):
            return signal.reshape(n_windows, 7, 2)

        def vectors(self, patches):
            sizes.append(len(patches))
            return patches.sum(dim=1)

    signal = np.random.default_rng(n_windows).standard_normal((1, n_windows * 14)).astype(np.float32)
    found = Sums().whole_windows(signal)
    assert set(sizes) <= {4}
    np.testing.assert_allclose(found, signal.reshape(n_windows, 7, 2).sum(axis=1).T[None], rtol=1e-5, atol=1e-6)


def test_the_converter_reads_a_leveldb_table_without_tensorflow(tmp_path):
    script = HERE.parents[2] / "scripts" / "convert_musicnn.py"
    spec = importlib.util.spec_from_file_location("convert_musicnn", script)
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    values = np.arange(6, dtype="<f4")
    # dtype 1, shape {2, 3}, offset 4, size 24, a checksum; and a key that shares 6 letters with the one before
    shape = b"\x12\x02\x08\x02" + b"\x12\x02\x08\x03"
    record = b"\x08\x01" + b"\x12" + bytes([len(shape)]) + shape + b"\x20\x04" + b"\x28\x18" + b"\x35abcd"
    other = b"\x08\x09" + b"\x12\x00" + b"\x28\x08"
    block = bytes([0, 8, len(other)]) + b"conv2d/x" + other + bytes([6, 7, len(record)]) + b"/kernel" + record
    block += struct.pack("<II", 0, 1)
    index = bytes([0, 1, 2]) + b"z" + bytes([0, len(block)]) + struct.pack("<II", 0, 1)
    start = len(block) + 5
    footer = bytes([0, 0, start, len(index)]).ljust(40, b"\0") + struct.pack("<Q", converter.TABLE_MAGIC)
    (tmp_path / ".index").write_bytes(block + b"\0crc." + index + b"\0crc." + footer)
    (tmp_path / ".data-00000-of-00001").write_bytes(b"skip" + values.tobytes())
    variables = converter.read_checkpoint(tmp_path)
    assert list(variables) == ["conv2d/kernel"]
    np.testing.assert_array_equal(variables["conv2d/kernel"], values.reshape(2, 3))
