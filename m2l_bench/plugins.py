"""What a user may bring, by one rule: systems, tasks and other things by a spelling.

Conventions
-----------
A thing is spelled by its registry name, as ``path/to/file.py:Name``, or by the name of an entry point that an installed
package registers in the group ``m2l_bench.KIND`` (``m2l_bench.systems``, ``m2l_bench.tasks``).

A file may import modules and packages that lie in its own folder ("local" ones). They are read from their sources at each
load, never from bytecode caches, and a module whose content has changed is imported again. Local modules stay in
`sys.modules` until another folder's module of the same name replaces them; two files whose folders hold modules of the
same name must therefore import them at the top, not inside functions.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from m2l_bench.files.disk import sha256


class Plugin(NamedTuple):
    """A thing that a user brings, and what a fingerprint must cover.

    ``sources`` has the SHA-256 of the file under ``""`` and of each local module under its path relative to the file's
    folder; or the entry point and its distribution.
    """

    thing: Any
    sources: Mapping[str, str]


def find(kind: str, name: str, known: Iterable[str]) -> Plugin:
    """Find what a user brings.

    Parameters
    ----------
    kind : str
        In the singular, such as ``"system"``.
    name : str
        ``path/to/file.py:Name``, or the name of an entry point.
    known : iterable of str
        Registry names, for the error.

    Raises
    ------
    ValueError
        If there is no such thing (the nearest known name is given), or importing it failed.
    """
    if ".py:" in name:
        return _from_file(kind, name)
    plugins = entry_points(group=f"m2l_bench.{kind}s")
    if name not in plugins.names:
        raise unknown(kind, name, [*known, *sorted(plugins.names)])
    plugin = plugins[name]
    try:
        thing = plugin.load()
    except Exception as error:  # a user's code may raise anything
        raise ValueError(f"{name}: importing {plugin.value} raised {one_line(error)}") from error
    distribution = f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else "unknown"
    return Plugin(thing, {"entry point": plugin.value, "distribution": distribution})


def names(kind: str) -> list[str]:
    """Names that installed packages register for a kind, sorted."""
    return sorted(entry_points(group=f"m2l_bench.{kind}s").names)


def label(name: str) -> str:
    """Name in tables and rows: without the folders of a file.

    Examples
    --------
    >>> label("my/codec.py:Codec"), label("fad:my/encoder.py:Encoder(layer=3)"), label("fad:musicnn")
    ('codec.py:Codec', 'fad:encoder.py:Encoder(layer=3)', 'fad:musicnn')
    """
    kind, path, rest = _parts(name)
    return kind + Path(path).name + rest


def absolute(name: str) -> str:
    """The same spelling with the absolute path of a file."""
    kind, path, rest = _parts(name)
    return kind + str(Path(path).absolute()) + rest if path else name


def _parts(name: str) -> tuple[str, str, str]:
    """``fad:``, the path of a file, and the rest; without a file all is the rest."""
    found = re.fullmatch(r"((?:fad|fad_inf|kad|embedding_distance):)?(.*?\.py)(:.*)", name)
    return (found[1] or "", found[2], found[3]) if found else ("", "", name)


def split_options(text: str) -> tuple[str, dict[str, Any]]:
    """Split a spelling with options: strings, numbers and truth values, as in Python.

    Raises
    ------
    ValueError
        If the options are not ``name=value`` pairs of such values.

    Examples
    --------
    >>> split_options("ae.py:MyAE(keep=64, mode='fast')")
    ('ae.py:MyAE', {'keep': 64, 'mode': 'fast'})
    """
    name, _, rest = text.partition("(")
    if not text.endswith(")"):  # a folder's name may hold a parenthesis
        return text, {}
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("options need names")
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"options must be NAME(option=value, ...), got {text!r}") from error
    if not all(isinstance(value, (str, int, float, bool)) for value in options.values()):
        raise ValueError(f"options must be strings, numbers or truth values, got {text!r}")
    return name, options


def unknown(kind: str, name: str, known: Iterable[str], *, otherwise: str = "") -> ValueError:
    """Make the error of a name that is not known: with the nearest one, else with all, or `otherwise`."""
    spelled = {found.casefold(): found for found in known}
    wanted = name.casefold()
    nearest = difflib.get_close_matches(wanted, spelled, 1) or difflib.get_close_matches(
        wanted.partition(":")[0], spelled, 1
    )
    hint = (
        f"did you mean {spelled[nearest[0]]}?" if nearest else otherwise or f"known are {', '.join(spelled.values())}"
    )
    return ValueError(f"unknown {kind} {name!r}; {hint}")


def one_line(error: BaseException) -> str:
    """An exception's name and message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _from_file(kind: str, name: str) -> Plugin:
    text, _, attribute = name.rpartition(":")
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"{path}: must be a Python file that defines a {kind}, got no such file")
    path = path.resolve()
    try:
        local = _local_modules(path)
        sources = {file.relative_to(path.parent).as_posix(): sha256(file) for files in local.values() for file in files}
        sources[""] = sha256(path)
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        raise ValueError(f"{path}: must be readable Python, got {one_line(error)}") from error
    content = json.dumps([str(path), sources], sort_keys=True)
    module_name = f"m2l_bench_user_{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    module = sys.modules.get(module_name) or _import(module_name, path, set(local))
    if not hasattr(module, attribute):
        code = (inspect.isclass, inspect.isfunction, inspect.ismodule)
        defined = [
            key
            for key, value in vars(module).items()
            if not key.startswith("_")
            and (getattr(value, "__module__", "") == module_name or not any(is_code(value) for is_code in code))
        ]
        raise ValueError(f"{path}: must define {attribute}, got {', '.join(defined) or 'nothing'}")
    return Plugin(getattr(module, attribute), sources)


def _local_modules(path: Path) -> dict[str, list[Path]]:
    """Top-level name -> files of each local module that a file imports, directly or through other local ones."""
    folder, found, waiting = path.parent, {}, [path]
    while waiting:
        for name in _imported_names(waiting.pop()):
            if name in found or name == "m2l_bench" or name in sys.stdlib_module_names:
                continue
            module, package = folder / f"{name}.py", folder / name
            # As in Python's own search: a package before a module, a folder without __init__.py after it.
            if (package / "__init__.py").is_file() or (package.is_dir() and not module.is_file()):
                found[name] = sorted(package.rglob("*.py"))
            elif module.is_file():
                found[name] = [module]
            waiting += found.get(name, [])
    return {name: files for name, files in found.items() if files}


def _imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


class _SourceLoader(SourceFileLoader):
    """Compiles the source each time: a bytecode cache cannot tell two edits within one second apart."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


class _LocalFinder:
    """Finds the local modules of the file that was loaded last."""

    def __init__(self) -> None:
        self.folder, self.names = Path(), set[str]()

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As :class:`importlib.abc.MetaPathFinder`."""
        if name.partition(".")[0] not in self.names:
            return None
        for place in [str(self.folder)] if path is None else list(path):
            spec = FileFinder(place, (_SourceLoader, SOURCE_SUFFIXES)).find_spec(name)
            if spec is not None:
                return spec
        return None


_FINDER = _LocalFinder()


def _import(name: str, path: Path, local: set[str]) -> ModuleType:
    """Import a file under a name, and its local modules again."""
    for loaded in [key for key in sys.modules if key.partition(".")[0] in local]:
        origin = getattr(sys.modules[loaded], "__spec__", None)
        places = [getattr(origin, "origin", None), *(getattr(origin, "submodule_search_locations", None) or [])]
        mine = isinstance(getattr(origin, "loader", None), _SourceLoader) or loaded.partition(".")[0] in _FINDER.names
        if not mine and not any(place and Path(place).is_relative_to(path.parent) for place in places):
            raise ValueError(
                f"{path}: the module {loaded} beside it must be renamed, an installed package has its name"
            )
        del sys.modules[loaded]
    _FINDER.folder, _FINDER.names = path.parent, local
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: must be a Python file, got one that cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's code may raise anything
        del sys.modules[name]
        raise ValueError(f"{path}: importing it raised {one_line(error)}") from error
    return module
