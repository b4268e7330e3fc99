"""musicnn against TensorFlow's recorded numbers and librosa's front end; files do not depend on their neighbours."""

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
from m2l_bench.systems.encoders.embedding import in_batches, refusal

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def embedding():
    return musicnn.Musicnn()


@pytest.fixture(scope="module")
def audios():
    rng = np.random.default_rng(0)
    return [
        0.1 * rng.standard_normal((c, n)).astype(np.float32) for c, n in [(2, 80000), (1, 50000), (2, 3200), (1, 99999)]
    ]


def test_every_layer_equals_tensorflows(embedding):
    golden = np.load(HERE / "golden" / "musicnn.npz")
    with torch.inference_mode():
        layers = embedding.network(torch.from_numpy(golden["patches"].astype(np.float32)))
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


def test_shapes_and_tail_rule(embedding, audios):
    vectors = embedding.embed(audios)
    assert [v.shape for v in vectors] == [(2, 200), (1, 200), (0, 200), (3, 200)]
    assert all(v.dtype == np.float32 for v in vectors)


@pytest.mark.parametrize("extra", [0, 1, 255, 256, 23807])
def test_samples_after_the_last_window_are_ignored(embedding, extra):
    audio = np.random.default_rng(0).standard_normal((1, embedding.window + 23808)).astype(np.float32)
    longer = np.concatenate([audio, np.ones((1, extra), np.float32)], axis=1)
    assert len(embedding.embed([longer])[0]) == 2


def test_a_file_gives_the_same_vectors_alone_and_among_others(embedding, audios):
    together = embedding.embed(audios)
    for audio, vectors in zip(audios, together, strict=True):
        np.testing.assert_array_equal(embedding.embed([audio])[0], vectors)
    for left, right in zip(embedding.embed(audios[::-1]), together[::-1], strict=True):
        np.testing.assert_array_equal(left, right)


def test_threads_and_batch_size_change_no_more_than_rounding(embedding, audios):
    alone, threads = embedding.embed(audios), torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        threaded = embedding.embed(audios)
    finally:
        torch.set_num_threads(threads)
    batched = musicnn.Musicnn()
    batched.batch_size = 4
    for a, b, c in zip(alone, threaded, batched.embed(audios), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)
        np.testing.assert_allclose(c, a, atol=1e-5)


def test_channels_are_averaged(embedding, audios):
    stereo = audios[0]
    np.testing.assert_array_equal(
        embedding.embed([stereo])[0], embedding.embed([stereo.mean(axis=0, keepdims=True)])[0]
    )


def test_the_fingerprint_names_the_checkpoint(embedding, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(musicnn.CHECKPOINT)
    weights["output.bias"] += 1
    save_file(weights, tmp_path / "other.safetensors")
    assert musicnn.Musicnn(tmp_path / "other.safetensors").fingerprint != embedding.fingerprint
    assert musicnn.Musicnn().fingerprint == embedding.fingerprint


@pytest.mark.parametrize("shape", [(80000,), (0, 80000), (1, 1, 80000)])
def test_audio_of_another_shape_is_refused(embedding, shape):
    with pytest.raises(ValueError, match=r"audio must have shape \(channels, samples\), got"):
        embedding.embed([np.zeros(shape, np.float32)])


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (np.full((1, 60000), np.nan), "not finite: 60000 samples"),
        (np.ones((1, 3200)), "too short for musicnn: must last 2.98 s, lasts 0.20 s"),
        (np.zeros((2, 60000)), "silent: every sample is 0"),
        (np.ones((2, 60000)), ""),
    ],
)
def test_refusals_give_their_reason(embedding, audio, reason):
    assert refusal(embedding, audio).startswith(reason)
    assert bool(refusal(embedding, audio)) == bool(reason)


@pytest.mark.parametrize("lengths", [(3, 0, 5), (0, 0), (4,), (8, 8)])
def test_batches_cross_files_at_one_fixed_size(lengths):
    sizes = []

    def network(batch):
        sizes.append(len(batch))
        return torch.from_numpy(batch.numpy().sum(axis=1))

    files = [np.random.default_rng(n).standard_normal((n, 7, 2)) for n in lengths]
    results = in_batches(files, network, batch_size=4, device=torch.device("cpu"))
    assert set(sizes) == {4}
    for file, result in zip(files, results, strict=True):
        np.testing.assert_array_equal(result, file.sum(axis=1))


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
