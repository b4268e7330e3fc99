"""The layout and the import rules of docs/architecture.md, read off the code itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "m2l_bench"
# Who may import whom: a part may use those further down, and parts beside it as long as nothing comes back.
LAYERS = [
    {"cli", "console", "running", "converting", "listing", "description", "doctor", "progress", "__main__"},
    {"conformity"},
    {"suite", "report"},
    {"tasks", "probes", "latent", "reconstruction", "systems"},
    {"music2latent", "training"},
    {"results", "statistics", "cards", "plugins", "assets"},
    {"audio", "files", "loudness", "memory", "graphs", "checksums"},
]
FORBIDDEN = [
    ("probes", "audio"),
    ("probes", "systems"),
    ("probes", "tasks"),
    ("latent", "probes"),
    ("latent", "tasks"),
    ("reconstruction", "latent"),
    ("systems", "latent"),
    ("systems", "reconstruction"),
    ("report", "systems"),
    ("report", "latent"),
    ("report", "reconstruction"),
    ("report", "suite"),
    ("suite", "report"),
]


def _modules() -> dict[str, Path]:
    """Dotted name below the package -> file, without the package's own ``__init__``."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
    names = (path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".") for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


MODULES = _modules()


def _imports(path: Path) -> set[str]:
    """Modules of the package that a module imports anywhere, inside functions too, but for type checking alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # What is imported may be a module itself, or stand in one.
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        own = name.removeprefix("m2l_bench.")
        if own != name:
            found.add(own if own in MODULES else own.rpartition(".")[0])
    return found & MODULES.keys()


GRAPH = {name: _imports(path) - {name} for name, path in MODULES.items()}


def _level(module: str) -> int:
    return next(level for level, parts in enumerate(LAYERS) if module.partition(".")[0] in parts)


def test_every_part_has_a_layer() -> None:
    parts = {name.partition(".")[0] for name in MODULES}
    assert parts <= set().union(*LAYERS), "a new part needs its place in LAYERS and in docs/architecture.md"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    part = module.partition(".")[0]
    for other in GRAPH[module]:
        assert _level(module) <= _level(other), f"{module} must not import {other}"
        assert (part, other.partition(".")[0]) not in FORBIDDEN, f"{module} must not import {other}"


@pytest.mark.parametrize("of_parts", [False, True], ids=["modules", "parts"])
def test_no_imports_go_round_in_a_circle(of_parts: bool) -> None:
    left: dict[str, set[str]] = {}
    for module, others in GRAPH.items():
        name = module.partition(".")[0] if of_parts else module
        left.setdefault(name, set()).update(other.partition(".")[0] if of_parts else other for other in others)
    for name, others in left.items():
        others.discard(name)
    while free := {name for name, others in left.items() if not others & left.keys()}:
        for name in free:
            del left[name]
    assert not left, f"these import each other: {', '.join(sorted(left))}"


def test_the_graph_sees_what_is_there() -> None:
    assert "suite.store" in GRAPH["suite.engine"] and "files.disk" in GRAPH["audio"]
    assert len(MODULES) > 100


def test_module_names_say_one_thing() -> None:
    """A name may stand twice where the modules have one role in two packages."""
    one_role = {"__main__", "network", "system", "base", "dac", "musika", "mousai", "recipe", "tables"}
    names = [name.rpartition(".")[2] for name, path in MODULES.items() if path.name != "__init__.py"]
    twice = {name for name in names if names.count(name) > 1} - one_role
    assert not twice


@pytest.mark.parametrize("name", ["tasks", "probes"])
def test_the_links_are_there(name: str) -> None:
    link = PACKAGE / name
    assert link.is_symlink() and link.resolve() == ROOT / name, (
        f"m2l_bench/{name} must be a link to ../{name}: the checkout lost its symbolic links "
        "(on Windows: git config core.symlinks true, then git checkout again)"
    )


@pytest.mark.parametrize(
    "pattern", ["import pickle", "weights_only=False", "sqrtm(", "trust_remote_code=True", "shell=True"]
)
def test_promises_are_kept_in_the_source(pattern: str) -> None:
    found = [path.relative_to(ROOT).as_posix() for path in MODULES.values() if pattern in path.read_text()]
    assert not found
