"""``m2l-bench doctor``: what an installation has and lacks, without the network."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

import m2l_bench
from m2l_bench import doctor
from m2l_bench.cli import app

sys.path.insert(0, str(Path(__file__).parent))
from hub import Hub


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_a_sound_installation_needs_nothing_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network must not be used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    result = invoke()
    assert result.exit_code == 0, result.output
    for text in (f"m2l_bench {m2l_bench.__version__}", f"torch {torch.__version__.partition('+')[0]}", "libsndfile: "):
        assert text in result.stdout
    assert "nothing that the built-in systems need" in result.stdout
    assert "hub        not asked, see --online" in result.stdout


def test_json_has_sizes_of_caches_in_bytes(tmp_path: Path) -> None:
    data = tmp_path / "home" / "mir_datasets" / "gtzan_genre"
    data.mkdir(parents=True)
    (data / "a.wav").write_bytes(b"x" * 1000)
    (data / "b.wav").symlink_to(data / "a.wav")  # as in the hub's cache, whose links point at the files
    found = json.loads(invoke("--json").stdout)
    folder, size = found["caches"]["datasets"]
    assert folder == str(tmp_path / "home" / "mir_datasets")
    assert 1000 < size < 2000
    assert found["caches"]["finished jobs"] == [str(tmp_path / "results" / "runs" / ".store"), 0]
    assert found["free_disk"][str(tmp_path)] > 0
    assert found["missing"] == [] and found["hub"] is None


def test_missing_and_old_packages_are_named_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=999", "no-such-package>=1.2", "tomli>=2; python_version < '3.11'"]
    extras = ["no-such-codec>=3; extra == 'codecs'", "rich>=13; extra == 'codecs'", "pytest; extra == 'test'"]
    monkeypatch.setattr(doctor, "requires", lambda name: wanted + extras)
    result = invoke()
    assert result.exit_code == 2
    text = " ".join(result.stdout.split())
    assert "missing the package numpy>=999 (here is " in text
    assert "the package no-such-package>=1.2: pip install -U 'no-such-package>=1.2'" in text
    assert "codecs: missing no-such-codec>=3; pip install 'm2l-bench[codecs]'" in text
    assert "tomli" not in text and "test:" not in text


def test_a_library_without_opus_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundfile.check_format", lambda container, codec: codec != "OPUS")
    result = invoke()
    assert result.exit_code == 2
    assert "missing    libsndfile cannot write Opus: version 1.1 or later is needed" in result.stdout


def test_a_torch_that_cannot_be_imported_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = invoke()
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert "missing    torch cannot be imported: ModuleNotFoundError" in result.stdout


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert doctor.examine().missing == [f"{tmp_path} cannot be written: runs need another folder, given by --out"]


def test_cuda_devices_have_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    about = SimpleNamespace(name="Some GPU", total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    assert doctor.examine().devices[1:] == [f"cuda:{k}: Some GPU, 24.0 GiB of memory" for k in range(2)]


def test_the_hub_is_asked_only_with_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub({"SonyCSLParis/music2latent": {"music2latent.pt": b"x"}}) as hub:
        hub.patch(monkeypatch, tmp_path)
        assert json.loads(invoke("--json").stdout)["hub"] is None
        assert hub.requests == []
        assert json.loads(invoke("--json", "--online").stdout)["hub"] == "reachable"
        assert hub.downloads() == []
        hub.status = 503
        result = invoke("--online")
        assert result.exit_code == 0 and "hub        not reachable: " in result.stdout


@pytest.mark.parametrize(
    ("got", "wanted", "fits"),
    [
        ("2.10.0", "x>=2.9", True),
        ("2.9", "x>=2.10", False),
        ("2.6.0+cpu", "x>=2.6", True),
        ("1", "x", True),
        ("2", "x>=2.0.0", True),
    ],
)
def test_versions_are_compared_by_their_numbers(got: str, wanted: str, fits: bool) -> None:
    assert doctor._at_least(got, wanted) is fits
