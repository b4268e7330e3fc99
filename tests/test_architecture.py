"""The layout and the import rules of docs/architecture.md, read off the code itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "m2l_bench"
# Who may import whom: a part may use those further down, and its own modules.
LAYERS = [
    {"cli", "console", "__main__"},
    {"suite", "report"},
    {"tasks", "probes", "reconstruction", "systems"},
    {"music2latent", "embeddings", "latents", "shards", "results", "statistics", "assets"},
    {"training"},
    {"hub", "pickles", "mirror"},
    {"audio", "fingerprint"},
    {"trust"},
]
FORBIDDEN = [
    ("probes", "audio"),
    ("probes", "systems"),
    ("probes", "tasks"),
    ("reconstruction", "systems"),
    ("report", "systems"),
    ("report", "reconstruction"),
    ("report", "suite"),
    ("suite", "report"),
]


def _part(module: str) -> str:
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def _imports(path: Path) -> set[str]:
    """Parts of the package that a module imports anywhere, inside functions too, but for type checking alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    parts = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            parts |= {_part(name.name) for name in node.names if name.name.startswith("m2l_bench.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("m2l_bench"):
            whole = node.module == "m2l_bench"
            parts |= {name.name for name in node.names} if whole else {_part(node.module)}
    return parts


def _level(part: str) -> int:
    return next(level for level, parts in enumerate(LAYERS) if part in parts)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_downwards(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for part in _imports(path) - {own, "__version__"}:
        assert _level(own) <= _level(part), f"{own} must not import {part}"
        assert (own, part) not in FORBIDDEN, f"{own} must not import {part}"


def test_every_part_has_a_layer() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in _modules()}
    assert parts <= set().union(*LAYERS), "a new part needs its place in LAYERS and in docs/architecture.md"


@pytest.mark.parametrize("name", ["tasks", "probes"])
def test_the_links_are_there(name: str) -> None:
    link = PACKAGE / name
    assert link.is_symlink() and link.resolve() == ROOT / name, (
        f"m2l_bench/{name} must be a link to ../{name}: the checkout lost its symbolic links "
        "(on Windows: git config core.symlinks true, then git checkout again)"
    )


def test_modules_stay_one_idea() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): n for path in _modules() if (n := len(path.read_text().splitlines())) > 400
    }
    assert not long


@pytest.mark.parametrize(
    "pattern", ["import pickle", "weights_only=False", "sqrtm(", "trust_remote_code=True", "shell=True"]
)
def test_promises_are_kept_in_the_source(pattern: str) -> None:
    found = [path.relative_to(ROOT).as_posix() for path in _modules() if pattern in path.read_text()]
    assert not found
