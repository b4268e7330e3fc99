"""Checkpoints: the authors' pickles without executing them, ours, the hub, and every way in which that can fail."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawing import drawn_state, to_published
from hub import Hub

from m2l_bench.files.disk import sha256
from m2l_bench.music2latent import checkpoint as module
from m2l_bench.music2latent.autoencoder import Music2Latent
from m2l_bench.music2latent.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.network import Music2LatentNetwork

REPO = "SonyCSLParis/music2latent"
ROOT = Path(__file__).parents[2]
# As the published one, with hardly any width: the converter's tests need not write 233 MB each.
NARROW = Config(width=8, embedding_width=16, bottleneck_width=16, bottleneck_blocks=1, latent_dim=8)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return drawn_state(Music2LatentNetwork(NARROW).state_dict())


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(module, "PUBLISHED", NARROW)


def _pickled(state: dict[str, torch.Tensor], **more: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({"gen_state_dict": to_published(state, NARROW), **more}, buffer)
    return buffer.getvalue()


def _renamed(content: bytes, old: bytes, new: bytes) -> bytes:
    """The same archive with another module name inside its pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        for item in source.infolist():
            data = source.read(item)
            target.writestr(item, data.replace(old, new) if item.filename.endswith("data.pkl") else data)
    return out.getvalue()


def _equal(loaded: module.Checkpoint, state: dict[str, torch.Tensor]) -> bool:
    return set(loaded.state) == set(state) and all(torch.equal(loaded.state[name], state[name]) for name in state)


@pytest.mark.parametrize("numpy_module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_authors_file_with_numpy_numbers(tmp_path: Path, state: dict[str, torch.Tensor], numpy_module: bytes) -> None:
    content = _pickled(
        state, fid=np.float64(1.5), it=np.int64(7), epoch=np.float32(3), best=np.int32(2), flag=np.bool_(True)
    )
    ours = (
        b"numpy._core.multiarray"
        if b"numpy._core" in zipfile.ZipFile(io.BytesIO(content)).read("archive/data.pkl")
        else b"numpy.core.multiarray"
    )
    path = tmp_path / "music2latent.pt"
    path.write_bytes(_renamed(content, ours, numpy_module))
    loaded = load_checkpoint(path)
    assert _equal(loaded, state) and loaded.config == NARROW and loaded.name == "music2latent"
    assert loaded.sha256 == sha256(path)


def test_authors_file_is_converted_once(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(_pickled(state))
    first = load_checkpoint(path)
    monkeypatch.setattr(module, "read_published", lambda path: pytest.fail("read again"))
    assert _equal(load_checkpoint(path), state) and load_checkpoint(path).sha256 == first.sha256


def test_damaged_copy_is_made_anew(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(_pickled(state))
    load_checkpoint(path)
    (copy,) = (tmp_path / "cache").rglob("*.safetensors")
    copy.write_bytes(copy.read_bytes()[:1000])
    assert _equal(load_checkpoint(path), state)
    assert copy.stat().st_size > 1000


class _Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('executed')",)


def test_code_in_a_pickle_is_refused_not_executed(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "evil.pt"
    path.write_bytes(_pickled(state, note=_Malice()))
    with pytest.raises(CheckpointError, match=r"evil\.pt: cannot be read without executing code"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(_Malice()))
    with pytest.raises(CheckpointError, match="cannot be read without executing code"):
        load_checkpoint(path)


def test_wrong_tensors_are_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    published = to_published(state, NARROW)
    published["extra.weight"] = published.pop("conv_out.bias")
    torch.save({"gen_state_dict": published}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"missing 1 \(conv_out\.bias\), unknown 1 \(extra\.weight\)"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save({"weights": published}, tmp_path / "other2.pt")
    with pytest.raises(CheckpointError, match="must be a dictionary holding 'gen_state_dict'"):
        load_checkpoint(tmp_path / "other2.pt")


def test_tensors_of_another_size_are_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    save_checkpoint(tmp_path / "m.safetensors", {**state, "unet.conv_out.bias": torch.zeros(3)}, NARROW)
    with pytest.raises(
        CheckpointError, match=r"checkpoint 'm' does not fit its config: size mismatch for unet\.conv_out\.bias"
    ):
        Music2Latent(tmp_path / "m.safetensors")


def test_our_file_holds_its_config(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    save_checkpoint(tmp_path / "a.safetensors", state, NARROW, metadata={"data": "none"})
    assert _equal(load_checkpoint(str(tmp_path / "a.safetensors")), state)
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"b\.safetensors: must hold its config in its metadata, got none"):
        load_checkpoint(tmp_path / "b.safetensors")
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(tensors, tmp_path / "b.safetensors", metadata={"config": '{"depth": 1}'})
    with pytest.raises(CheckpointError, match=r"config must hold known keys only \(.*\), got depth"):
        load_checkpoint(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.pt", None, r"one of published, small, or a \.pt or \.safetensors file; nothing at .*nothing\.pt"),
        ("model.bin", b"x", r"must be a \.pt or \.safetensors file, got \.bin"),
        ("empty.safetensors", b"", r"empty\.safetensors: must be a readable safetensors file"),
        ("empty.pt", b"", "or is damaged"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / name)


@pytest.fixture
def hub(tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub({REPO: {"music2latent.pt": _pickled(state)}}) as hub:
        hub.patch(monkeypatch, tmp_path)
        yield hub


def test_first_download_is_recorded_and_the_cache_used_ever_after(
    hub: Hub, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    loaded = load_checkpoint("published")
    assert _equal(loaded, state) and loaded.name == "published" and len(hub.downloads()) == 1
    record = json.loads((tmp_path / "data" / "m2l-bench" / "trusted-checkpoints.json").read_text())
    assert record == {f"{REPO}/music2latent.pt": {"revision": hub.commit(REPO), "sha256": loaded.sha256}}
    hub.stop()
    assert load_checkpoint("published").sha256 == loaded.sha256


def test_a_later_revision_is_not_taken(hub: Hub, state: dict[str, torch.Tensor]) -> None:
    first = load_checkpoint("published")
    hub.repos[REPO]["music2latent.pt"] = _pickled(state, epoch=np.int64(1))
    assert load_checkpoint("published").sha256 == first.sha256
    assert len(hub.downloads()) == 1


def test_a_file_that_changed_is_refused(hub: Hub, tmp_path: Path) -> None:
    load_checkpoint("published")
    (cached,) = (tmp_path / "huggingface").rglob("snapshots/*/music2latent.pt")
    record = tmp_path / "data" / "m2l-bench" / "trusted-checkpoints.json"
    record.write_text(record.read_text().replace(sha256(cached), "0" * 64))
    with pytest.raises(
        CheckpointError, match=rf"has sha256 {sha256(cached)}, the first download had {'0' * 64}; delete"
    ):
        load_checkpoint("published")


def test_a_download_other_than_promised_is_removed(hub: Hub, tmp_path: Path) -> None:
    hub.promised["music2latent.pt"] = "f" * 64
    with pytest.raises(CheckpointError, match=f"the hub promises sha256 {'f' * 64}, got .* removed, try again"):
        load_checkpoint("published")
    del hub.promised["music2latent.pt"]
    assert load_checkpoint("published").name == "published"


def test_an_interrupted_download_leaves_nothing_behind_that_is_used(hub: Hub, state: dict[str, torch.Tensor]) -> None:
    hub.limit = 1000
    with pytest.raises(
        CheckpointError,
        match=r"checkpoint music2latent\.pt of SonyCSLParis/music2latent .* is neither cached nor reachable",
    ):
        load_checkpoint("published")
    hub.limit = None
    assert _equal(load_checkpoint("published"), state)


@pytest.mark.parametrize("trouble", ["off", "out of order", "no such repository"])
def test_offline_says_what_is_missing_and_how_to_get_it(hub: Hub, trouble: str) -> None:
    if trouble == "off":
        hub.stop()
    elif trouble == "out of order":
        hub.status = 500
    else:
        hub.repos.clear()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("published")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("music2latent.pt", REPO, "233 MB, CC BY-NC 4.0", "give its path as the checkpoint"):
        assert part in message


def test_nothing_is_asked_of_the_hub_unless_its_checkpoint_is_named(
    hub: Hub, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    save_checkpoint(tmp_path / "mine.safetensors", state, NARROW)
    Music2Latent(tmp_path / "mine.safetensors")
    assert hub.requests == []


def test_a_damaged_record_is_named(hub: Hub, tmp_path: Path) -> None:
    record = tmp_path / "data" / "m2l-bench" / "trusted-checkpoints.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    with pytest.raises(CheckpointError, match=r"trusted-checkpoints\.json: must be JSON"):
        load_checkpoint("published")


def test_a_new_process_reaches_the_hub_through_its_environment(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    script = "\n".join(
        [
            "import os",
            "from pathlib import Path",
            "from huggingface_hub import hf_hub_download",
            f"print(len(Path(hf_hub_download({REPO!r}, 'music2latent.pt')).read_bytes()))",
        ]
    )
    content = _pickled(state)
    with Hub({REPO: {"music2latent.pt": content}}) as hub:
        environment = {"PATH": "", "PYTHONPATH": str(ROOT), **hub.environment(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
    assert int(done.stdout) == len(content)


def test_half_precision_is_storage_alone(tmp_path: Path, tiny: Config) -> None:
    network = Music2LatentNetwork(tiny)
    halves = {name: tensor.half() for name, tensor in network.state_dict().items()}
    save_checkpoint(tmp_path / "half.safetensors", halves, tiny)
    save_checkpoint(tmp_path / "full.safetensors", network.state_dict(), tiny)
    half, full = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("half", "full"))
    assert all(torch.equal(half.state[name], tensor.half().float()) for name, tensor in full.state.items())
    assert half.network().encode(torch.ones(1, 2, tiny.bins, 8)).dtype == torch.float32
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "full.safetensors").stat().st_size
