"""Build a wheel and check its contents, licence and start."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from m2l_bench import assets

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_everything_that_is_needed_is_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        inside = set(content.namelist())
    package = ROOT / "m2l_bench"
    wanted = {
        f"m2l_bench/{path.relative_to(package).as_posix()}"
        for folder in (package, *(package / name for name in ("tasks", "probes")))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".gitattributes"
    }
    assert wanted - inside == set()
    for part in ("report/templates/listen.html.j2", "report/templates/listen.css", "report/templates/listen.js",
                 "report/templates/page.html.j2", "report/templates/base.css", "report/templates/base.js",
                 "tasks/manifests/gtzan_fault_filtered.csv", "probes/linear.py", "tasks/key.py", "py.typed"):  # fmt: skip
        assert f"m2l_bench/{part}" in inside, part
    for name in set(assets.FOLDERS.values()):
        assert {f"m2l_bench/assets/{name}/{file}" for file in ("manifest.csv", "LICENSE", "NOTICE.md")} <= inside
    assert not [name for name in inside if not name.startswith(("m2l_bench/", "m2l_bench-"))]


def test_the_licence_is_that_of_all_that_ships(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(content.read(name))
        files = {path for path in content.namelist() if ".dist-info/licenses/" in path}
    assert set(metadata["License-Expression"].split(" AND ")) == {"MIT", "GPL-2.0-or-later", "CC-BY-3.0", "ISC"}
    shipped = [p for p in (ROOT / "m2l_bench" / "assets").rglob("*") if re.match("LICENSE|COPYRIGHT|NOTICE", p.name)]
    assert len(shipped) >= 9 and len(files) == len(shipped) + 1


def test_it_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    code = "import m2l_bench, sys; print(m2l_bench.__file__); from m2l_bench.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "systems"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site")) and "music2latent" in done.stdout
