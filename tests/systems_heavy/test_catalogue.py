"""What ``m2l-bench list systems`` says of a system: the size of its download, and its parameters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import library_models
import pytest
import torch
from transformers import ClapConfig, ClapModel, DacConfig, DacModel, EncodecConfig, EncodecModel

import m2l_bench
from m2l_bench.files.hub import CheckpointError, offline
from m2l_bench.listing import entries
from m2l_bench.music2latent.config import PUBLISHED, Config
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.systems.encoders.features import RECIPES
from m2l_bench.systems.registry import SYSTEMS, known_names, needs_download
from m2l_bench.systems.small.recipes import read_recipe
from tests.hub import Hub

DOWNLOADED = [name for name in known_names() if needs_download(name)]
# Of laion/larger_clap_music, the larger of HTSAT's two sizes; the smaller one is the library's default.
LARGER_CLAP = {"hidden_size": 1024, "patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2]}


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with Hub({}) as hub:
        hub.patch(monkeypatch, tmp_path)
        yield
        assert hub.downloads() == []


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("name", DOWNLOADED)
def test_listed_size_is_that_of_the_message(name: str) -> None:
    with offline() as asked, pytest.raises((CheckpointError, ImportError)) as caught:
        m2l_bench.load(name)
    if caught.type is ImportError:
        pytest.skip(str(caught.value))
    size = SYSTEMS[name.partition(":")[0]].size
    assert size
    for source, _ in asked:
        assert source.about.startswith((f"{size}, ", f"{size} (")), source


def test_every_download_has_its_size_in_the_list() -> None:
    sizes = {line["name"]: line["download"] for line in entries("systems")}
    assert sorted(name for name, size in sizes.items() if size != "-") == sorted(DOWNLOADED)
    assert all(size[-3:] in (" MB", " GB") for size in sizes.values() if size != "-")
    assert sizes["dac:44khz"] == "307 MB" and sizes["music2latent:small"] == "-"


def test_every_neural_system_has_its_parameters() -> None:
    entries = {name.partition(":")[0] for name in DOWNLOADED}
    assert sorted(name for name in entries if SYSTEMS[name].parameters == "-") == []


def clap(**audio: object) -> list[torch.nn.Module]:
    model = ClapModel(ClapConfig(audio_config=audio))
    return [model.audio_model, model.audio_projection]


def lin_cae() -> list[torch.nn.Module]:
    """The configuration of the package's repository."""
    if sys.version_info < (3, 11):
        pytest.skip("the package linear-cae needs Python 3.11")
    from linear_cae.components.generator import UNet

    layers = {"layers_list": [2] * 5, "layers_list_encoder": [1] * 5, "bottleneck_base_channels": 512}
    return [UNet(**layers, base_channels=64, cond_channels=256, num_bottleneck_layers=4, hop=512, data_channels=2)]


def small() -> Config:
    return Config.from_dict(read_recipe(RECIPES / "music2latent.toml").model)


@pytest.mark.parametrize(
    ("name", "place", "modules"),
    [
        ("clap", 0, lambda: clap(**LARGER_CLAP)),
        ("clap", 1, clap),
        ("dac", 0, lambda: [DacModel(DacConfig())]),
        ("encodec", 0, lambda: [EncodecModel(EncodecConfig())]),
        ("encodec", 1, lambda: [EncodecModel(EncodecConfig(**library_models.ENCODEC_48KHZ))]),
        ("lin-cae", 0, lin_cae),
        ("music2latent", 1, lambda: [Music2LatentNetwork(PUBLISHED)]),
        ("music2latent-authors", 0, lambda: [Music2LatentNetwork(PUBLISHED)]),
        ("random-init", 0, lambda: [Music2LatentNetwork(PUBLISHED).encoder]),
        ("random-init-features", 0, lambda: [Music2LatentNetwork(PUBLISHED).encoder]),
        ("random-init-features", 1, lambda: [Music2LatentNetwork(small()).encoder]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_listed_parameters_are_those_of_the_published_sizes(
    name: str, place: int, modules: Callable[[], list[torch.nn.Module]]
) -> None:
    with torch.device("meta"):
        count = sum(value.numel() for module in modules() for value in module.parameters()) / 1e6
    assert SYSTEMS[name].parameters.split("; ")[place].rpartition(" ")[2] == f"{count:.2f}"
