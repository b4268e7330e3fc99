"""CLAP: real loading code over a small model of the same classes; the front end against librosa; nothing is random."""

from __future__ import annotations

import json

import librosa
import numpy as np
import pytest
import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from m2l_bench.systems.encoders import clap


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with every file that the published one has, of the same classes, in small."""
    torch.manual_seed(0)
    audio = {
        "depths": [1, 1], "num_attention_heads": [1, 2], "patch_embeds_hidden_size": 8, "hidden_size": 16,
        "num_hidden_layers": 2,
    }  # fmt: skip
    text = {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 20,
        "max_position_embeddings": 8,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("clap")
    ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=12, hidden_size=16)).save_pretrained(path)
    extractor = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14000)
    extractor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return clap.Clap(checkpoint=folder)


@pytest.fixture(scope="module")
def audios():
    rng = np.random.default_rng(0)
    return [0.1 * rng.standard_normal((c, n)).astype(np.float32) for c, n in [(2, 480000), (1, 960001), (1, 479999)]]


def test_windows_tail_rule_and_unit_length(encoder, audios):
    vectors = [encoder.whole_windows(audio) for audio in audios]
    assert [v.shape for v in vectors] == [(1, 12, 1), (1, 12, 3), (1, 12, 0)]
    assert encoder.encode(audios[2]).shape == (1, 12, 1)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(vectors, axis=2), axis=1), 1, atol=1e-6)


def test_each_vector_is_the_models_own_answer_to_ten_seconds(encoder, audios, folder):
    model, extractor = ClapModel.from_pretrained(folder).eval(), ClapFeatureExtractor.from_pretrained(folder)
    window = audios[1][0, 240000:720000]
    with torch.inference_mode():
        expected = model.get_audio_features(**extractor(window, sampling_rate=48000, return_tensors="pt"))
    expected = getattr(expected, "pooler_output", expected).numpy()[0]
    np.testing.assert_allclose(encoder.whole_windows(audios[1])[0, :, 1], expected, atol=1e-6)


def test_the_front_end_equals_librosas(encoder, audios):
    power = librosa.feature.melspectrogram(
        y=audios[0].mean(0), sr=48000, n_fft=1024, hop_length=480, n_mels=64, fmin=50, fmax=14000, pad_mode="reflect"
    )
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    np.testing.assert_allclose(encoder.patches(audios[0].mean(0))[0, 0], expected.T, atol=1e-3)  # dB


def test_nothing_is_random(encoder, audios):
    np.random.seed(1)  # noqa: NPY002 - the generator that the model's cropping would draw from
    first = encoder.encode(audios[1])
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(encoder.encode(audios[1]), first)


def test_the_fingerprint_follows_the_weights_not_the_folder(encoder, folder, tmp_path):
    model = ClapModel.from_pretrained(folder)
    ClapFeatureExtractor.from_pretrained(folder).save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert clap.Clap(checkpoint=tmp_path).fingerprint == encoder.fingerprint
    with torch.no_grad():
        model.audio_projection.linear1.bias += 1
    model.save_pretrained(tmp_path)
    assert clap.Clap(checkpoint=tmp_path).fingerprint != encoder.fingerprint


def altered(folder, tmp_path, name, change):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((tmp_path / name).read_text())
    change(content)
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_a_model_that_fuses_random_crops_is_refused(tmp_path):
    audio = {"depths": [1, 1], "num_attention_heads": [1, 2], "patch_embeds_hidden_size": 8, "hidden_size": 16}
    audio |= {"enable_fusion": True, "fusion_type": "aff_2d", "num_hidden_layers": 2}
    text = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 20,
    }
    ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=12)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must not fuse random crops"):
        clap.Clap(checkpoint=tmp_path)


def test_a_front_end_of_another_length_is_refused(folder, tmp_path):
    changed = altered(
        folder, tmp_path, "preprocessor_config.json", lambda c: c.update(max_length_s=5, nb_max_samples=0)
    )
    with pytest.raises(ValueError, match="must take 480000 samples at 48000 Hz, got 240000 at 48000 Hz"):
        clap.Clap(checkpoint=changed)


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match="variant must be one of music, htsat-unfused, got 'fused'"):
        clap.Clap("fused")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'm2l-bench\[codecs\]'"):
        clap.Clap()
