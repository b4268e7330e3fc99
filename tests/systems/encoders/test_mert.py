"""MERT against transformers' HubertModel, on a small model with random weights and the published files' names and keys."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import numpy as np
import pytest
import torch
from hub import Hub
from safetensors.torch import save_file
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from m2l_bench.files.hub import CheckpointError, offline
from m2l_bench.reconstruction.metrics import get_metric
from m2l_bench.reconstruction.sets import vectors as sets
from m2l_bench.systems.encoders import mert
from m2l_bench.systems.registry import load, needs_download

REPOSITORY = "m-a-p/MERT-v1-95M"
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "conv_dim": [8] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2], "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
# What MERT-v1-95M's config.json has beside the sizes, as far as it concerns the computation.
BASE = {
    "feat_extract_norm": "group", "do_stable_layer_norm": False, "feat_proj_layer_norm": True, "conv_bias": False,
    "mask_time_prob": 0.05, "apply_spec_augment": True, "layerdrop": 0.1, "hidden_dropout": 0.1, "deepnorm": False,
    "feature_extractor_cqt": False, "feature_extractor_cqt_bins": 336, "attention_relax": -1.0, "sample_rate": 24000,
    "model_type": "mert_model", "auto_map": {"AutoModel": "modeling_MERT.MERTModel"}, "architectures": ["MERTModel"],
}  # fmt: skip
LARGE = BASE | {"do_stable_layer_norm": True, "attention_relax": 32.0, "feat_extract_norm": "layer", "conv_bias": True}


def write(folder, config, *, older_names=True, safetensors=False, **more):
    """A checkpoint as published; `more` are weights that are added."""
    torch.manual_seed(0)
    fields = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
    model = HubertModel(HubertConfig(**SIZES, **fields)).eval().requires_grad_(False)
    for value in model.parameters():  # so that every layer and every gain matters
        value += 0.2 * torch.randn_like(value)
    state = {**model.state_dict(), **more}
    assert "masked_spec_embed" in state
    if older_names:
        names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in names.items():
            state[f"encoder.pos_conv_embed.conv.{old}"] = state.pop(f"encoder.pos_conv_embed.conv.{new}")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SIZES | config))
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=24000, do_normalize=True, return_attention_mask=True)
    extractor.save_pretrained(folder)
    if safetensors:
        save_file(state, folder / "model.safetensors")
    else:
        torch.save(state, folder / "pytorch_model.bin")
    return model


def music(channels, n_samples, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, n_samples)) + 0.05).astype(np.float32)


def states(model, wave):
    """Layers of HubertModel for one input as MERT's documentation computes them: (layers, frames, width)."""
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=24000, do_normalize=True)
    given = extractor(wave, sampling_rate=24000, return_tensors="pt").input_values
    with torch.inference_mode():
        return torch.stack(model(given, output_hidden_states=True).hidden_states)[:, 0].numpy()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mert")
    return folder, write(folder, BASE)


@pytest.mark.parametrize("config", [BASE, LARGE], ids=["95M", "330M"])
@pytest.mark.parametrize("n_samples", [1, 400, 24080, 119_999])
def test_every_layer_is_the_models_own(tmp_path, config, n_samples):
    model = write(tmp_path, config)
    audio = music(1, n_samples)
    expected = []
    for layer in (1, 2, 3):
        encoder = mert.Mert(layer=layer, checkpoint=tmp_path)
        found = encoder.encode(audio)
        # One frame for each that begins inside the file: the last one may reach beyond the file, into zeros.
        frames = -(-n_samples // 320)
        normal = ((audio[0] - audio[0].mean()) / np.sqrt(audio[0].var() + 1e-7)).astype(np.float32)
        padded = np.pad(normal, (0, (frames - 1) * 320 + 400 - n_samples))
        with torch.inference_mode():
            whole = model(torch.from_numpy(padded)[None], output_hidden_states=True).hidden_states[layer][0].numpy()
        assert found.shape == (1, 16, frames)
        np.testing.assert_allclose(found[0].T, whole, atol=5e-6)
        expected.append(whole)
    assert min(np.abs(one - other).max() for one, other in itertools.pairwise(expected)) > 0.1


def test_whole_windows_are_what_the_models_documentation_computes(published):
    """375 frames of 5 s need 80 samples more: extractor and model alone, nothing padded."""
    folder, model = published
    audio = music(1, 120_080)
    audio = np.concatenate([audio, music(1, 200_000, seed=1)], 1)
    expected = states(model, audio[0, :120_080])
    assert expected.shape == (4, 375, 16)
    for layer in (1, 3):
        found = mert.Mert(layer=layer, checkpoint=folder).encode(audio)[0, :, :375]
        np.testing.assert_allclose(found.T, expected[layer], atol=5e-6)
    found = mert.Mert(checkpoint=folder).encode(audio)[0, :, :375]
    np.testing.assert_allclose(found.T, expected[1:].mean(0), atol=2e-5)


def test_the_last_window_ends_with_the_file(published):
    folder, model = published
    encoder = mert.Mert(layer=2, checkpoint=folder)
    frames = 2 * 375 + 40
    audio = music(1, (frames - 1) * 320 + 400)[:, : frames * 320]  # the last frame lacks 80 samples
    found = encoder.encode(audio)
    assert found.shape[-1] == frames
    begin = (frames - 375) * 320
    window = audio[0, begin:]
    normal = (window - window.mean()) / np.sqrt(window.var() + 1e-7)
    with torch.inference_mode():
        given = torch.from_numpy(np.pad(normal, (0, 80)).astype(np.float32))[None]
        expected = model(given, output_hidden_states=True).hidden_states[2][0].numpy()
    np.testing.assert_allclose(found[0, :, 750:].T, expected[-40:], atol=2e-5)
    # A window of its own for the 40 frames would give other numbers.
    assert np.abs(found[..., 750:] - encoder.encode(audio[:, 750 * 320 :])).max() > 1e-2


@pytest.mark.parametrize("n_samples", [1, 100, 319, 320, 321, 119_999, 120_001, 133_333])
def test_any_length_and_number_of_channels(published, n_samples):
    encoder = mert.Mert(checkpoint=published[0])
    for channels in (1, 2, 3):
        given = music(channels, n_samples)
        found = encoder.encode(given)
        assert found.shape == (1, 16, -(-n_samples // 320)) and found.dtype == np.float32
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, encoder.encode(given.mean(0, keepdims=True)))
    assert encoder.latent_rate == 75


def test_silence_is_finite_and_loudness_does_not_matter(published):
    encoder = mert.Mert(checkpoint=published[0])
    assert np.isfinite(encoder.encode(np.zeros((2, 30_000), np.float32))).all()
    audio = music(1, 30_000)
    np.testing.assert_allclose(encoder.encode(0.25 * audio), encoder.encode(audio), atol=1e-3)


def test_bad_audio_is_refused(published):
    with pytest.raises(ValueError, match="audio must be finite"):
        mert.Mert(checkpoint=published[0]).encode(np.full((1, 400), np.nan, np.float32))


def test_a_long_file_goes_through_in_windows(published):
    encoder, longest = mert.Mert(layer=1, checkpoint=published[0]), []
    hook = encoder.model.feature_extractor.register_forward_pre_hook(lambda _, given: longest.append(given[0].shape))
    audio = music(2, 24_000 * 61)
    tracemalloc.start()
    with hook:
        encoder.encode(audio)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(longest) == {(1, 120_080)} and len(longest) == 13
    assert peak < 4 * audio.nbytes


def test_the_same_again_and_another_fingerprint_for_each_layer(published):
    audio = music(2, 130_000)
    names = ("mert", "mert:1", "mert:2", "mert:3")
    found = [load(name, checkpoint=published[0]) for name in names]
    assert [encoder.name for encoder in found] == ["mert:mean", *names[1:]]
    assert len({encoder.fingerprint for encoder in found}) == 4
    for name, encoder in zip(names, found, strict=True):
        again = load(name, checkpoint=published[0], seed=5)
        assert again.fingerprint == encoder.fingerprint
        np.testing.assert_array_equal(again.encode(audio), encoder.encode(audio))


def test_both_spellings_of_weight_norm_and_both_kinds_of_file_are_read(published, tmp_path):
    audio = music(1, 5000)
    expected = mert.Mert(checkpoint=published[0]).encode(audio)
    write(tmp_path / "new", BASE, older_names=False)
    write(tmp_path / "safe", BASE, safetensors=True)
    for name in ("new", "safe"):
        np.testing.assert_array_equal(mert.Mert(checkpoint=tmp_path / name).encode(audio), expected)


def test_weights_of_training_are_left_out_and_others_refused(published, tmp_path):
    extra = {"final_proj.weight": torch.ones(2, 16), "label_embs_concat": torch.ones(4, 2), "mask_emb": torch.ones(16)}
    extra |= {"encoder_cqt_model.fc.weight": torch.ones(3), "encoder_mel_model.fc.bias": torch.ones(3)}
    write(tmp_path, BASE, **extra)
    audio = music(1, 5000)
    expected = mert.Mert(checkpoint=published[0]).encode(audio)
    np.testing.assert_array_equal(mert.Mert(checkpoint=tmp_path).encode(audio), expected)
    write(tmp_path, BASE, **{"post_cqt_feature_proj.weight": torch.ones(2)})
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin: holds unknown weights: 'post_cqt_feature_proj\.weight'"
    ):
        mert.Mert(checkpoint=tmp_path)


def test_missing_weights_and_other_shapes_are_refused(published, tmp_path):
    write(tmp_path, BASE)
    state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    bias = state.pop("encoder.layers.2.attention.q_proj.bias")
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"lacks weights: 'encoder\.layers\.2\.attention\.q_proj\.bias'"):
        mert.Mert(checkpoint=tmp_path)
    torch.save({**state, "encoder.layers.2.attention.q_proj.bias": bias[:4]}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"q_proj\.bias' must have the shape \(16,\), got \(4,\)"):
        mert.Mert(checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"feature_extractor_cqt": True}, "feature_extractor_cqt must be false, got True"),
        ("config.json", {"deepnorm": True}, "deepnorm must be false, got True"),
        ("config.json", {"conv_pos_batch_norm": True}, "conv_pos_batch_norm must be false, got True"),
        ("config.json", {"hidden_size": 15}, "no HubertModel has these sizes"),
        ("config.json", {"sample_rate": "24k"}, "sample_rate must be a positive whole number, got '24k'"),
        ("preprocessor_config.json", {"sampling_rate": 16000}, "sampling_rate must be config.json's 24000, got 16000"),
        ("preprocessor_config.json", {"feature_extractor_type": "X"}, "must be Wav2Vec2FeatureExtractor, got 'X'"),
    ],
)
def test_what_hubert_does_not_compute_is_refused(tmp_path, file, change, message):
    write(tmp_path, BASE)
    path = tmp_path / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        mert.Mert(checkpoint=tmp_path)


@pytest.mark.parametrize("layer", ["0", "4", "-1", "all", "1.0", "²", ""])
def test_a_layer_that_is_not_there_is_named(published, layer):
    with pytest.raises(ValueError, match="layer must be mean, last or a whole number from 1 to 3, got"):
        mert.Mert(layer=layer, checkpoint=published[0])


def test_a_pickle_is_not_executed(published, tmp_path):
    write(tmp_path, BASE)

    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"a": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read without executing code"):
        mert.Mert(checkpoint=tmp_path)


def test_the_published_files_are_downloaded_once(published, tmp_path, monkeypatch):
    audio = music(1, 5000)
    with Hub({REPOSITORY: published[0]}) as hub:
        hub.patch(monkeypatch, tmp_path)
        found = load("mert:2")
        files = [path.split("/", 5)[-1] for path in hub.downloads()]
        assert files == ["config.json", "preprocessor_config.json", "pytorch_model.bin"]
        assert all(f"{REPOSITORY}/resolve/" in path for path in hub.downloads())
    assert load("mert:2").fingerprint == found.fingerprint
    np.testing.assert_array_equal(found.encode(audio), load("mert:2", checkpoint=published[0]).encode(audio))


def test_without_the_hub_one_line_says_what_to_do(tmp_path, monkeypatch):
    with Hub({}) as hub:
        hub.patch(monkeypatch, tmp_path)
    with offline(), pytest.raises(CheckpointError, match=r"MERT-v1-95M .*378 MB, CC BY-NC 4\.0") as caught:
        load("mert")
    assert "\n" not in str(caught.value)
    assert all(needs_download(name) for name in ("mert", "mert:mean", "mert:7"))


def test_a_layer_is_an_embedding_of_the_set_metrics(published, tmp_path, monkeypatch):
    with Hub({REPOSITORY: published[0]}) as hub:
        hub.patch(monkeypatch, tmp_path)
        sets.load_encoder.cache_clear()
        metric = get_metric("fad:mert:2")
        encoder = sets.load_encoder("mert:2")
    card = sets.with_encoder(metric.card, encoder)
    assert encoder.fingerprint in card.model and "24000 Hz" in card.rate_rule
    found = sets.vectors(encoder, music(2, 44_100), 44_100)
    assert found.shape == (75, 16) and found.dtype == np.float32
    sets.load_encoder.cache_clear()


def test_a_missing_extra_is_named(published, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'm2l-bench\[codecs\]'"):
        mert.Mert(checkpoint=published[0])
