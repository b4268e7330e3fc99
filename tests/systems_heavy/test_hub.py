"""Downloads from a loopback stand-in of the hub: true repository and file names, trust on first use."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import authors_models
import ear_vae_weights
import library_models
import mousai_weights
import numpy as np
import pytest
import recipes
import torch
from hub import Hub

import m2l_bench
from m2l_bench.music2latent.checkpoint import CheckpointError
from m2l_bench.systems.dac import Dac
from m2l_bench.systems.mousai import system as mousai
from m2l_bench.systems.mousai.network import VERSIONS
from m2l_bench.systems.musika.system import Musika

LIBRARY_FILES = ("config.json", "model.safetensors")
GOLDEN = Path(__file__).parent / "golden"
LAYOUT = json.loads((GOLDEN / "mousai.json").read_text())


def write_mousai(folder: Path, version: str) -> None:
    config = mousai_weights.CONFIGS[f"small-{version}"]
    torch.save(mousai_weights.published(LAYOUT[f"small-{version}"], config), folder / "pytorch_model.bin")


REPOSITORIES: dict[str, Callable[[Path], object]] = {
    "marcop/musika_ae": lambda f: shutil.copytree(GOLDEN / "musika_small", f, dirs_exist_ok=True),
    "archinetai/dmae1d-ATC64-v2": lambda f: write_mousai(f, "v2"),
    "archinetai/dmae1d-ATC32-v3": lambda f: write_mousai(f, "v3"),
    "earlab/EAR_VAE": lambda f: ear_vae_weights.write("ear-vae", f / "pretrained_weight" / "ear_vae_44k.pyt"),
    "earlab/EAR_VAE2": lambda f: ear_vae_weights.write("ear-vae2", f / "weights" / "ear_vae2.pt"),
    "descript/dac_44khz": library_models.dac,
    "facebook/encodec_24khz": lambda f: library_models.encodec(f, "24khz"),
    "facebook/encodec_48khz": lambda f: library_models.encodec(f, "48khz"),
    "stabilityai/stable-audio-open-1.0": lambda f: library_models.oobleck(f / "vae"),
    "SonyCSLParis/music2latent": lambda f: authors_models.write("music2latent", f),
    "SonyCSLParis/codicodec": lambda f: authors_models.write("codicodec", f),
}
if sys.version_info >= (3, 11):  # of which the package linear-cae asks
    REPOSITORIES["BernardoTorres/linear_consistency_autoencoders"] = lambda f: authors_models.write_lin_cae(
        f / "1511f18a_weights"
    )


class HubWithPinnedCommits(Hub):
    """The hub, where Moûsai's repositories stand at the commits that the authors' loader names."""

    def commit(self, repo: str) -> str:
        pinned = {file.repo: file.revision for (file,) in mousai.PUBLISHED.values()}
        return pinned.get(repo) or super().commit(repo)


@pytest.fixture(scope="module", autouse=True)
def small_authors_models() -> Iterator[None]:
    """Nor do those of the authors' packages: sizes are in their code."""
    with pytest.MonkeyPatch.context() as patch:
        for package in ("music2latent", "codicodec"):
            authors_models.shrink(package, patch)
        yield


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, write in REPOSITORIES.items():
        folders[name] = tmp_path_factory.mktemp(name.replace("/", "-"))
        write(folders[name])
    return folders


@pytest.fixture
def server(
    repositories: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubWithPinnedCommits]:
    """The hub, with an empty cache and an empty record of what is trusted."""
    with HubWithPinnedCommits(repositories) as running:
        running.patch(monkeypatch, tmp_path)
        yield running


@pytest.fixture
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published repositories hold no sizes of ours, so the small weights need the small sizes in the code."""
    sizes = {version: mousai_weights.CONFIGS[f"small-{version}"] for version in VERSIONS}
    monkeypatch.setattr(mousai, "VERSIONS", sizes)
    ear_vae_weights.shrink(monkeypatch)


@pytest.mark.usefixtures("small_sizes")
@pytest.mark.parametrize(
    ("name", "options", "files"),
    [
        ("musika", {}, [f"marcop/musika_ae/{f}" for f in ("enc.h5", "enc2.h5", "dec.h5", "dec2.h5")]),
        ("mousai-v2", {"num_steps": 1}, ["archinetai/dmae1d-ATC64-v2/pytorch_model.bin"]),
        ("mousai-v3", {"num_steps": 1}, ["archinetai/dmae1d-ATC32-v3/pytorch_model.bin"]),
        ("ear-vae", {}, ["earlab/EAR_VAE/pretrained_weight/ear_vae_44k.pyt"]),
        ("ear-vae2", {}, ["earlab/EAR_VAE2/weights/ear_vae2.pt"]),
        ("dac", {}, [f"descript/dac_44khz/{f}" for f in LIBRARY_FILES]),
        ("encodec:24khz", {}, [f"facebook/encodec_24khz/{f}" for f in LIBRARY_FILES]),
        ("encodec:48khz", {}, [f"facebook/encodec_48khz/{f}" for f in LIBRARY_FILES]),
        (
            "stable-audio",
            {},
            [
                f"stabilityai/stable-audio-open-1.0/vae/{f}"
                for f in ("config.json", "diffusion_pytorch_model.safetensors")
            ],
        ),
        ("music2latent-authors", {}, ["SonyCSLParis/music2latent/music2latent.pt"]),
        pytest.param(
            "lin-cae:m2l",
            {},
            [
                f"BernardoTorres/linear_consistency_autoencoders/1511f18a_weights/{f}"
                for f in (
                    "autoencoder_inference_model_last.pth",
                    *(f"{part}_kwargs_last.yaml" for part in ("frontend", "generator", "diffusion")),
                )
            ],
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="the package linear-cae needs Python 3.11"),
        ),
        ("codicodec:tokens", {"num_steps": 1}, ["SonyCSLParis/codicodec/codicodec.pt"]),
    ],
)
def test_published_checkpoints_are_downloaded_once(
    name: str, options: dict, files: list[str], server: HubWithPinnedCommits
) -> None:
    """Encode and decode through the documented call; a second load needs no hub."""
    system = m2l_bench.load(name, **options)
    assert [re.sub("/resolve/[^/]+/", "/", path) for path in server.downloads()] == files
    audio = recipes.music(2, 5000)
    back = system.reconstruct(audio)
    assert back.shape == audio.shape and np.isfinite(back).all()
    server.stop()
    assert m2l_bench.load(name, **options).fingerprint == system.fingerprint


def test_mousai_comes_from_the_commit_that_its_authors_name(server: HubWithPinnedCommits, small_sizes: None) -> None:
    m2l_bench.load("mousai-v3")
    assert "/resolve/3d43b811b83fa395d5ccd6cf58b796b85fddd1d2/" in server.downloads()[0]


def test_a_changed_file_is_not_trusted(server: HubWithPinnedCommits, tmp_path: Path) -> None:
    Musika()
    shutil.rmtree(tmp_path / "huggingface")
    trusted = tmp_path / "data" / "m2l-bench" / "trusted-checkpoints.json"
    record = json.loads(trusted.read_text())
    assert len(record) == 4
    record["marcop/musika_ae/dec.h5"]["sha256"] = "0" * 64
    trusted.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"marcop/musika_ae/dec\.h5: .* the first download had 000"):
        Musika()


def test_a_later_revision_is_not_taken(server: HubWithPinnedCommits) -> None:
    first = Musika().fingerprint
    server.repos["marcop/musika_ae"]["enc.h5"] += b"0"
    assert Musika().fingerprint == first


def test_a_damaged_download_is_removed(server: HubWithPinnedCommits, tmp_path: Path) -> None:
    server.promised["model.safetensors"] = "f" * 64
    with pytest.raises(CheckpointError, match=r"descript/dac_44khz/model\.safetensors: .*damaged download was removed"):
        Dac()
    assert not list(tmp_path.rglob("model.safetensors"))


def test_without_the_hub_the_message_says_what_to_do(server: HubWithPinnedCommits) -> None:
    server.stop()
    with pytest.raises(CheckpointError, match=r"config\.json of descript/dac_44khz .*307 MB, MIT"):
        Dac()


def test_the_users_own_folder_needs_no_hub(server: HubWithPinnedCommits, repositories: dict[str, Path]) -> None:
    m2l_bench.load("musika", checkpoint=repositories["marcop/musika_ae"])
    weights = repositories["archinetai/dmae1d-ATC32-v3"] / "pytorch_model.bin"
    with pytest.raises(ValueError, match="checkpoint lacks 80 weights"):  # the small one is not of the published size
        m2l_bench.load("mousai-v3", checkpoint=weights)
    assert not server.requests
