"""MuQ against what the authors' package gave (``record_muq.py``), on small random weights under the published names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from hub import Hub
from safetensors.torch import load_file, save_file

from m2l_bench.files.hub import CheckpointError, offline
from m2l_bench.reconstruction.metrics import get_metric
from m2l_bench.reconstruction.sets import vectors as sets
from m2l_bench.systems.encoders import muq
from m2l_bench.systems.registry import load, needs_download

REPOSITORY = "OpenMuQ/MuQ-large-msd-iter"
GOLDEN = Path(__file__).parent / "golden" / "muq"
RECORDED = np.load(GOLDEN / "layers.npz")
LENGTHS = sorted(int(name.split("_")[1]) for name in RECORDED if name.startswith("layers_"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("muq")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / name, path)
    return path


def music(channels, n_samples, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, n_samples))).astype(np.float32)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_every_layer_is_the_packages_own(folder, n_samples):
    expected = RECORDED[f"layers_{n_samples}"]
    audio = RECORDED["wave"][None, :n_samples]
    assert min(np.abs(expected[i] - expected[j]).max() for i, j in ((0, 1), (1, 2), (0, 2))) > 0.1
    for layer in (1, 2, 3):
        found = muq.Muq(layer=layer, checkpoint=folder).encode(audio)
        np.testing.assert_allclose(found[0].T, expected[layer - 1], atol=1e-5)
    np.testing.assert_allclose(muq.Muq(checkpoint=folder).encode(audio)[0].T, expected[-1], atol=1e-5)
    mean = muq.Muq(layer="mean", checkpoint=folder).encode(audio)
    np.testing.assert_allclose(mean[0].T, expected.mean(0), atol=1e-5)


def test_the_mel_filters_are_librosas():
    expected = librosa.filters.mel(sr=24_000, n_fft=2048, n_mels=128, fmax=12_000, htk=True, norm=None)
    np.testing.assert_allclose(muq.mel_filters().numpy(), expected, atol=1e-6)


def test_long_files_go_through_in_windows_of_which_the_last_ends_with_the_file(folder):
    encoder, longest = muq.Muq(checkpoint=folder), []
    audio = music(2, 960 * (2 * 750 + 40) - 500)
    hook = encoder.network.register_forward_pre_hook(lambda _, given: longest.append(given[0].shape))
    with hook:
        found = encoder.encode(audio)
    assert longest == [(1, 720_000), (1, 720_000), (1, 719_520)] and found.shape == (1, 16, 1540)
    np.testing.assert_array_equal(found[..., 750:1500], encoder.encode(audio[:, 720_000:1_440_000]))
    tail = encoder.encode(audio[:, 790 * 960 :])
    np.testing.assert_array_equal(found[..., 1500:], tail[..., 710:])
    assert np.abs(found[..., 1500:] - encoder.encode(audio[:, 1500 * 960 :])).max() > 1e-2


@pytest.mark.parametrize("n_samples", [1, 100, 959, 960, 961, 1921, 30_001])
def test_any_length_and_number_of_channels(folder, n_samples):
    encoder = muq.Muq(checkpoint=folder)
    for channels in (1, 2, 3):
        given = music(channels, n_samples)
        found = encoder.encode(given)
        assert found.shape == (1, 16, -(-n_samples // 960)) and found.dtype == np.float32
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, encoder.encode(given.mean(0, keepdims=True)))
    assert encoder.latent_rate == 25


def test_silence_is_finite_and_bad_audio_refused(folder):
    encoder = muq.Muq(checkpoint=folder)
    assert np.isfinite(encoder.encode(np.zeros((2, 30_000), np.float32))).all()
    with pytest.raises(ValueError, match="audio must be finite"):
        encoder.encode(np.full((1, 4000), np.inf, np.float32))


def test_the_same_again_and_another_fingerprint_for_each_layer(folder):
    audio, names = music(2, 30_000), ("muq", "muq:mean", "muq:1", "muq:2")
    found = [load(name, checkpoint=folder) for name in names]
    assert [encoder.name for encoder in found] == ["muq:last", *names[1:]]
    assert len({encoder.fingerprint for encoder in found}) == 4
    for name, encoder in zip(names, found, strict=True):
        again = load(name, checkpoint=folder, seed=5)
        assert again.fingerprint == encoder.fingerprint
        np.testing.assert_array_equal(again.encode(audio), encoder.encode(audio))
    assert load("muq:3", checkpoint=folder).fingerprint == found[0].fingerprint  # the last of three


@pytest.mark.parametrize("layer", ["0", "4", "all"])
def test_a_layer_that_is_not_there_is_named(folder, layer):
    with pytest.raises(ValueError, match="layer must be mean, last or a whole number from 1 to 3, got"):
        muq.Muq(layer=layer, checkpoint=folder)


def test_weights_of_training_are_left_out_and_others_refused(folder, tmp_path):
    state = load_file(GOLDEN / "model.safetensors")
    assert {"model.cls_token", "model.linear.weight", "model.quantizer_melspec_2048.codebook"} <= set(state)
    shutil.copy(GOLDEN / "config.json", tmp_path)
    more = {"model.rvq.quantizers.0.codebook.weight": torch.ones(2), "model.recon_proj.bias": torch.ones(2)}
    audio = music(1, 5000)
    save_file({**state, **more}, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(muq.Muq(checkpoint=tmp_path).encode(audio), muq.Muq(checkpoint=folder).encode(audio))
    save_file({**state, "model.adapter.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"holds unknown weights: 'model\.adapter\.weight'"):
        muq.Muq(checkpoint=tmp_path)
    name = "model.conformer.layers.1.self_attn.linear_q.weight"
    save_file({key: value for key, value in state.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"lacks weights: '{name}'"):
        muq.Muq(checkpoint=tmp_path)
    save_file({**state, name: torch.ones(3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"must have the shape \(16, 16\), got \(3, 3\)"):
        muq.Muq(checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_length": 480}, "hop_length must be 240, got 480"),
        ({"label_rate": 50}, "label_rate must be 25, got 50"),
        ({"is_flash": True}, "is_flash must be False, got True"),
        ({"stat": {}}, "must be MuQ's configuration .*melspec_2048_mean"),
        ({"w2v2_config": None}, "must be MuQ's configuration"),
    ],
)
def test_what_is_not_computed_here_is_refused(folder, tmp_path, change, message):
    shutil.copy(GOLDEN / "model.safetensors", tmp_path)
    config = json.loads((GOLDEN / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=message):
        muq.Muq(checkpoint=tmp_path)


def test_the_published_files_are_downloaded_once(folder, tmp_path, monkeypatch):
    audio = music(1, 5000)
    with Hub({REPOSITORY: folder}) as hub:
        hub.patch(monkeypatch, tmp_path)
        found = load("muq:2")
        assert [path.split("/", 5)[-1] for path in hub.downloads()] == ["config.json", "model.safetensors"]
        assert all(f"{REPOSITORY}/resolve/" in path for path in hub.downloads())
    assert load("muq:2").fingerprint == found.fingerprint
    np.testing.assert_array_equal(found.encode(audio), load("muq:2", checkpoint=folder).encode(audio))


def test_without_the_hub_one_line_says_what_to_do(tmp_path, monkeypatch):
    with Hub({}) as hub:
        hub.patch(monkeypatch, tmp_path)
    with (
        offline(),
        pytest.raises(CheckpointError, match=r"MuQ-large-msd-iter .*about 1\.3 GB, CC BY-NC 4\.0") as caught,
    ):
        load("muq")
    assert "\n" not in str(caught.value)
    assert all(needs_download(name) for name in ("muq", "muq:last", "muq:7"))


def test_a_layer_is_an_embedding_of_the_set_metrics(folder, tmp_path, monkeypatch):
    with Hub({REPOSITORY: folder}) as hub:
        hub.patch(monkeypatch, tmp_path)
        sets.load_encoder.cache_clear()
        encoder = sets.load_encoder("muq:2")
    card = sets.with_encoder(get_metric("kad:muq:2").card, encoder)
    assert encoder.fingerprint in card.model and "24000 Hz" in card.rate_rule
    found = sets.vectors(encoder, music(2, 44_100), 44_100)
    assert found.shape == (25, 16) and found.dtype == np.float32
    sets.load_encoder.cache_clear()
