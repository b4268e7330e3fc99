"""A user's own system: what it must define, and that its fingerprint follows every file it depends on."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from m2l_bench.systems.base import Codec
from m2l_bench.systems.registry import load

MINIMAL = """
class Gain:
    def reconstruct(self, audio):
        return 0.5 * audio
"""
HELPED = """
import helper
from parts.inner import SIGN

class Gain:
    def __init__(self, checkpoint=None, factor=1.0):
        self.factor = factor

    def reconstruct(self, audio):
        from lazily import OFFSET
        return SIGN * helper.GAIN * self.factor * audio + OFFSET
"""
AUDIO = np.ones((1, 3), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    for name, text in {
        "ae.py": HELPED,
        "helper.py": "from deeper import GAIN\n",
        "deeper.py": "GAIN = 2\n",
        "lazily.py": "OFFSET = 0\n",
        "parts/__init__.py": "",
        "parts/inner.py": "from .sign import SIGN\n",
        "parts/sign.py": "SIGN = 1\n",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def _load(folder: Path, **options):
    return load(f"{folder}/ae.py:Gain", **options)


def test_a_class_needs_neither_name_nor_rate_nor_seed_nor_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "ae.py").write_text(MINIMAL)
    system = _load(tmp_path)
    assert isinstance(system, Codec)
    assert (system.name, system.sample_rate, system.seed) == ("Gain", None, 0)
    assert len(system.fingerprint) == 16
    assert system.fingerprint == _load(tmp_path).fingerprint
    assert _load(tmp_path, seed=3).seed == 3


def test_an_edit_changes_the_numbers_and_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "ae.py").write_text(MINIMAL)
    before = _load(tmp_path)
    (tmp_path / "ae.py").write_text(MINIMAL.replace("0.5", "0.0"))  # the same length, within the same second
    after = _load(tmp_path)
    assert before.fingerprint != after.fingerprint
    assert before.reconstruct(AUDIO).sum() == 1.5
    assert after.reconstruct(AUDIO).sum() == 0.0


@pytest.mark.parametrize(
    ("name", "text", "result"),
    [
        ("deeper.py", "GAIN = 4\n", 4),
        ("helper.py", "GAIN = 3\n", 3),
        ("lazily.py", "OFFSET = 5\n", 7),
        ("parts/sign.py", "SIGN = -1\n", -2),
    ],
)
def test_an_edit_of_a_local_module_does_too(folder: Path, name: str, text: str, result: float) -> None:
    before = _load(folder)
    assert before.reconstruct(AUDIO)[0, 0] == 2
    (folder / name).write_text(text)
    after = _load(folder)
    assert before.fingerprint != after.fingerprint
    assert after.reconstruct(AUDIO)[0, 0] == result


def test_other_files_beside_it_do_not_matter(folder: Path) -> None:
    before = _load(folder).fingerprint
    (folder / "unused.py").write_text("X = 1\n")
    assert _load(folder).fingerprint == before


def test_options_seed_and_checkpoints_matter(folder: Path) -> None:
    weights = folder / "weights.bin"
    prints = {_load(folder).fingerprint, _load(folder, factor=2.0).fingerprint, _load(folder, seed=1).fingerprint}
    for content in (b"1", b"2"):
        weights.write_bytes(content)
        prints.add(_load(folder, checkpoint=weights).fingerprint)
        prints.add(_load(folder, checkpoint=str(folder)).fingerprint)
    assert len(prints) == 7
    assert _load(folder, checkpoint=str(weights)).fingerprint == _load(folder, checkpoint=weights).fingerprint


def test_a_fingerprint_of_its_own_is_combined_with_the_files(tmp_path: Path) -> None:
    own = MINIMAL + '    fingerprint = "0123456789abcdef"\n'
    (tmp_path / "ae.py").write_text(own)
    first = _load(tmp_path).fingerprint
    (tmp_path / "ae.py").write_text(own + "# edited\n")
    assert first != _load(tmp_path).fingerprint != "0123456789abcdef"


@pytest.mark.parametrize(
    "head",
    [
        "    __slots__ = ()\n",
        "    fingerprint = property(lambda self: 'abc')\n    name = property(lambda self: 'mine')\n",
    ],
)
def test_a_class_that_cannot_take_attributes_gets_them_all_the_same(tmp_path: Path, head: str) -> None:
    (tmp_path / "ae.py").write_text(MINIMAL.replace("class Gain:\n", "class Gain:\n" + head))
    system = _load(tmp_path)
    assert system.name in ("Gain", "mine") and len(system.fingerprint) == 16 and system.seed == 0
    assert system.reconstruct(AUDIO).sum() == 1.5


def test_two_folders_may_have_a_module_of_one_name(tmp_path: Path) -> None:
    systems = []
    for gain in (1, 2):
        folder = tmp_path / str(gain)
        folder.mkdir()
        (folder / "ae.py").write_text("import helper\n" + MINIMAL.replace("0.5", "helper.GAIN"))
        (folder / "helper.py").write_text(f"GAIN = {gain}\n")
        systems.append(_load(folder))
    assert [system.reconstruct(AUDIO)[0, 0] for system in systems] == [1, 2]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("class Gain: pass", {}, r"ae\.py:Gain: must have the method reconstruct\(\), encode\(\) or find\(\)"),
        ("class Gain:\n def encode(self, audio): ...", {}, "must have latent_dim and latent_rate beside encode"),
        ("class Gain:\n def __init__(self): 1 / 0", {}, "its constructor raised ZeroDivisionError: division by zero"),
        ("class Gain:\n def __init__(self):\n  raise OSError('a\\nb')", {}, "its constructor raised OSError: a b"),
        ("class Gain:\n def __init__(self, weights): ...", {}, "takes the options weights, needs weights"),
        (MINIMAL, {"factor": 2}, "takes the options none, got factor"),
        (MINIMAL + "    sample_rate = '44k'\n", {}, r"sample_rate must be a positive whole number \(Hz\) or None"),
        (MINIMAL + "    name = 7\n", {}, "name must be text, got 7"),
        ("class Gain(:", {}, r"ae\.py: must be readable Python, got SyntaxError"),
    ],
)
def test_mistakes_give_one_line(tmp_path: Path, text: str, options: dict, message: str) -> None:
    (tmp_path / "ae.py").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        _load(tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_a_local_module_with_the_name_of_a_loaded_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ae.py").write_text("import soundfile\n" + MINIMAL)
    (tmp_path / "soundfile.py").write_text("")
    __import__("soundfile")
    with pytest.raises(ValueError, match="the module soundfile beside it must be renamed"):
        _load(tmp_path)


def test_the_version_of_an_installed_package_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "installed_gain.py").write_text(MINIMAL)
    about = tmp_path / "installed_gain-1.dist-info"
    about.mkdir()
    (about / "entry_points.txt").write_text("[m2l_bench.systems]\ninstalled-gain = installed_gain:Gain\n")
    prints = set()
    for version in ("1.0", "1.1"):
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: installed-gain\nVersion: {version}\n")
        assert metadata.version("installed-gain") == version
        prints.add(load("installed-gain").fingerprint)
    sys.modules.pop("installed_gain")
    assert len(prints) == 2


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"unknown system 'opsu:32k'; did you mean opus\?"):
        load("opsu:32k")
