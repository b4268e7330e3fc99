"""No module runs what a file holds: read off the syntax trees, and tried with hostile files of every kind."""

from __future__ import annotations

import ast
import io
import os
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

from m2l_bench.files.hub import CheckpointError
from m2l_bench.files.weights import read_weights, tensors_of
from m2l_bench.music2latent.checkpoint import load_checkpoint
from m2l_bench.results import read_rows
from m2l_bench.suite.store import Store
from m2l_bench.systems.encoders.clap import _folder
from m2l_bench.systems.encoders.musicnn import Musicnn
from m2l_bench.systems.encoders.vggish import Vggish
from m2l_bench.systems.musika.keras_weights import read_layers
from m2l_bench.systems.pca import load_basis

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for folder in ("m2l_bench", "tasks", "probes", "scripts") for p in (ROOT / folder).rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "os.system", "os.popen", "runpy.run_path", "pd.read_pickle", "pandas.read_pickle",
    "torch.jit.load", "torch.hub.load", "shutil.unpack_archive",
}  # fmt: skip
FORBIDDEN_METHODS = {"extractall", "extract", "unpack_archive", "exec_module", "load_module"}
# Where code that the user names is run, because the user named it.
ALLOWED = {
    ("tasks/__init__.py", "runpy.run_path"),
    ("m2l_bench/plugins.py", "exec_module"),
    ("scripts/record_musicnn.py", "exec_module"),
}


def _faults(path: Path) -> Iterator[str]:
    name = path.resolve().relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (module for module in modules if module.split(".")[0] in FORBIDDEN_MODULES)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "yaml":
                yield f"from {node.module} import"  # called by its name alone, which of its loaders could not be told
        elif isinstance(node, ast.Call):
            yield from (fault for fault in _call_faults(node) if (name, fault) not in ALLOWED)


def _call_faults(node: ast.Call) -> Iterator[str]:
    function = ast.unparse(node.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if function in FORBIDDEN_CALLS:
        yield function
    if function.startswith("yaml.") and function != "yaml.safe_load":
        yield function
    if isinstance(node.func, ast.Attribute) and node.func.attr in FORBIDDEN_METHODS:
        yield node.func.attr
    if function in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
        yield f"{function} without allow_pickle=False"
    if function == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if options.get("shell", "False") != "False" or options.get("trust_remote_code", "False") != "False":
        yield f"{function} with shell or trust_remote_code"
    if options.get("allow_pickle", "False") != "False" or options.get("weights_only", "True") != "True":
        yield f"{function} with allow_pickle or without weights_only"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled_or_run(path: Path) -> None:
    assert list(_faults(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "yaml.load('x')", "from yaml import load", "eval('1')",
        "np.load('x')", "torch.load('x')",
        "torch.load('x', weights_only=False)", "subprocess.run('ls', shell=True)", "tarfile.open('x').extractall()",
        "np.load('x', allow_pickle=True)", "M.from_pretrained('x', trust_remote_code=True)", "runpy.run_path('x')",
    ],
)  # fmt: skip
def test_the_walk_finds_what_it_looks_for(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path.resolve())
    (tmp_path / "module.py").write_text(code)
    assert list(_faults(tmp_path / "module.py"))


def test_torch_load_stands_in_one_place() -> None:
    assert [p.name for p in SOURCES if "torch.load(" in p.read_text(encoding="utf-8")] == ["weights.py"]


class _Malice:
    """Unpickling it writes a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def _hostile(kind: str, witness: Path) -> bytes:
    malice, buffer = _Malice(witness), io.BytesIO()
    if kind == "pickle":
        return pickle.dumps(malice)
    if kind == "torch":
        torch.save({"gen_state_dict": malice, "state_dict": malice}, buffer)
    elif kind == "torch-legacy":
        torch.save({"gen_state_dict": malice}, buffer, _use_new_zipfile_serialization=False)
    elif kind == "npz":
        np.savez(buffer, mean=np.array([malice], dtype=object))
    else:
        np.save(buffer, np.array([malice], dtype=object))
    return buffer.getvalue()


READERS = {
    "model.pt": load_checkpoint,
    "model.ckpt": load_checkpoint,
    "model.safetensors": load_checkpoint,
    "v2.bin": lambda path: tensors_of(path, read_weights(path, mmap=True)),
    "weights.bin": lambda path: _folder(path.parent),
    "vggish.pth": Vggish,
    "vggish.safetensors": Vggish,
    "musicnn.safetensors": Musicnn,
    "enc.h5": read_layers,
    "basis.safetensors": load_basis,
}


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch-legacy", "npz", "npy"])
@pytest.mark.parametrize("name", READERS)
def test_a_hostile_pickle_is_refused_unread(name: str, kind: str, tmp_path: Path) -> None:
    path, witness = tmp_path / name, tmp_path / "executed"
    path.write_bytes(_hostile(kind, witness))
    if (
        name == "weights.bin"
    ):  # looked through only for what allocates; transformers' restricted reader refuses the rest
        pickle_of_weights(path, kind)
    else:
        with pytest.raises(ValueError, match=name):
            READERS[name](path)
    assert not witness.exists()


def pickle_of_weights(path: Path, kind: str) -> None:
    with pytest.raises(CheckpointError, match=path.name):
        read_weights(path)


def test_the_witness_would_tell(tmp_path: Path) -> None:
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    (tmp_path / "x").write_bytes(_hostile("pickle", tmp_path / "executed"))
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=True)
    assert (tmp_path / "executed").is_dir()


def test_a_hostile_pickle_in_place_of_parquet(tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    (tmp_path / "rows.parquet").write_bytes(_hostile("pickle", witness))
    with pytest.raises(ValueError, match=r"rows\.parquet: damaged"):
        read_rows(tmp_path)
    assert not witness.exists()


def test_a_hostile_pickle_in_place_of_a_segment_of_the_store(tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "0.seg").write_bytes(_hostile("pickle", witness))
    assert Store(tmp_path).get("0" * 64) is None
    assert not witness.exists()


class _Bytes:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (1 << 40,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_asks_for_memory_is_refused_before(legacy: bool, tmp_path: Path) -> None:
    torch.save({"a": _Bytes()}, tmp_path / "big.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="bytearray"):
        read_weights(tmp_path / "big.pt")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1 << 20)}, buffer)
    with zipfile.ZipFile(buffer) as given, zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in given.namelist():
            bomb.writestr(name, given.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 20_000
    with pytest.raises(CheckpointError, match="compressed archive"):
        read_weights(tmp_path / "bomb.pt")


def test_an_archive_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "claims.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"0123456789")
    content = (tmp_path / "claims.pt").read_bytes()
    (tmp_path / "claims.pt").write_bytes(content.replace((10).to_bytes(4, "little"), (1 << 30).to_bytes(4, "little")))
    with pytest.raises(CheckpointError, match="claims 1073741824"):
        read_weights(tmp_path / "claims.pt")


def test_a_view_that_repeats_its_storage_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 29)}, tmp_path / "view.pt")
    with pytest.raises(CheckpointError, match="must lie in their storage"):
        read_weights(tmp_path / "view.pt")


@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.ones(3, device="meta")])
def test_tensors_of_other_layouts_are_refused(tensor: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"a": tensor}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd\.pt"):
        read_weights(tmp_path / "odd.pt")
