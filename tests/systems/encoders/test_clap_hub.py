"""CLAP by its published names, from a stand-in of the hub; what goes wrong there is said plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hub import Hub
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems.encoders.clap import MODELS
from m2l_bench.systems.registry import load


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    torch.manual_seed(0)
    audio = {"depths": [1, 1], "num_attention_heads": [1, 2], "patch_embeds_hidden_size": 8, "hidden_size": 16}
    text = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 20,
    }
    config = ClapConfig(audio_config=audio | {"num_hidden_layers": 2}, text_config=text, projection_dim=12)
    path = tmp_path_factory.mktemp("repository")
    ClapModel(config).save_pretrained(path)
    ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14000).save_pretrained(path)
    return path


@pytest.mark.parametrize("variant", MODELS)
def test_the_published_name_loads_what_the_folder_loads(repository, tmp_path, monkeypatch, variant):
    audio = 0.1 * np.random.default_rng(0).standard_normal((1, 480000)).astype(np.float32)
    with Hub({MODELS[variant]: repository}) as hub:
        hub.patch(monkeypatch, tmp_path)
        published = load(f"clap:{variant}")
        assert {path.rsplit("/", 1)[-1] for path in hub.downloads() if "/resolve/" in path} >= {
            "config.json",
            "preprocessor_config.json",
            "model.safetensors",
        }
    local = load(f"clap:{variant}", checkpoint=repository)
    assert published.name == ("clap" if variant == "music" else f"clap:{variant}")
    assert published.fingerprint == local.fingerprint
    np.testing.assert_array_equal(published.encode(audio), local.encode(audio))


def test_a_hub_that_cannot_be_reached_is_said(tmp_path, monkeypatch):
    with Hub({}) as hub:
        hub.patch(monkeypatch, tmp_path)
        with pytest.raises(CheckpointError, match="larger_clap_music"):
            load("clap")
