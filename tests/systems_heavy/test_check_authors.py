"""``m2l-bench check`` against the authors' packages, with shrunk models and random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import authors_models
import pytest
import torch

from m2l_bench.conformity import authors, subject
from m2l_bench.conformity.subject import Subject
from m2l_bench.music2latent import checkpoint
from m2l_bench.music2latent.config import Config
from m2l_bench.suite.suite import SystemSpec
from m2l_bench.systems.registry import load

SHRUNK = Config(width=8, embedding_width=16, bottleneck_width=16, bottleneck_blocks=1)  # as the package's


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("weights")
        patch.setattr(subject, "SHORT", 2.5)
        patch.setattr(checkpoint, "PUBLISHED", SHRUNK)
        patch.setenv("XDG_CACHE_HOME", str(folder))
        found = {"snac": authors_models.write_snac(tmp_path_factory.mktemp("snac"))}
        for package in ("music2latent", "codicodec"):
            authors_models.shrink(package, patch)
            found[package] = authors_models.write(package, folder)
        yield found


SYSTEMS = {
    "music2latent": ("music2latent", ["latents", "audio"]),
    "music2latent-authors": ("music2latent", ["latents", "audio"]),
    "snac": ("snac", ["audio"]),
    "codicodec": ("codicodec", ["audio"]),
    "codicodec:tokens": ("codicodec", ["audio"]),
}


def checked(name: str, path: Path) -> Subject:
    spec = SystemSpec(system=name, checkpoint=str(path))
    return Subject(load(name, checkpoint=path, device="cpu"), spec)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_each_equals_its_package(name: str, checkpoints: dict[str, Path]) -> None:
    package, parts = SYSTEMS[name]
    findings = authors.authors(checked(name, checkpoints[package]))
    assert [(finding.name, finding.verdict) for finding in findings] == [
        (f"authors' package, {part}", "pass") for part in parts
    ]
    assert all(finding.values["difference (dB)"] < -60 for finding in findings)


def test_a_weight_of_its_own_is_a_fault(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked("snac", checkpoints["snac"])
    original = found.system.decode
    monkeypatch.setattr(found.system, "decode", lambda latents, n_samples: original(latents * 1.01, n_samples))
    (finding,) = authors.authors(found)
    assert finding.verdict == "fail" and "must be what the package snac makes of the same weights" in finding.meaning


def test_without_the_package_it_says_so(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked("snac", checkpoints["snac"])
    monkeypatch.setattr(authors.importlib.util, "find_spec", lambda name: None)
    (finding,) = authors.authors(found)
    assert finding.verdict == "note" and finding.meaning.endswith("(pip install snac).")


def test_other_systems_have_nothing_to_be_compared_with() -> None:
    assert authors.authors(Subject(load("identity"))) == []
    assert authors.authors(Subject(load("music2latent:small", device="cpu"))) == []
    assert torch.is_grad_enabled()
