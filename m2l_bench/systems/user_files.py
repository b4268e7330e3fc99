"""Systems from a user's own Python file: the import, and a fingerprint that follows every file it depends on.

Conventions
-----------
A file may import modules and packages that lie in its own folder ("local" ones). They are read from their sources at each
load, never from bytecode caches, and a module whose content has changed is imported again. Local modules stay in
`sys.modules` until another folder's module of the same name replaces them; two systems whose folders hold modules of the
same name must therefore import them at the top of their files, not inside functions.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from m2l_bench.files.disk import sha256
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.systems.base import Codec, Encoder, ReadyMade, System


def import_class(path: Path, attribute: str) -> tuple[Any, dict[str, str]]:
    """Import a class from a Python file; ValueError if the file cannot be imported or has no such class.

    Beside the class it gives the SHA-256 of the file, under ``""``, and of each local module, under its path relative to the
    file's folder.
    """
    if not path.is_file():
        raise ValueError(f"{path}: must be a Python file that defines a system, got no such file")
    path = path.resolve()
    try:
        local = _local_modules(path)
        sources = {file.relative_to(path.parent).as_posix(): sha256(file) for files in local.values() for file in files}
        sources[""] = sha256(path)
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        raise ValueError(f"{path}: must be readable Python, got {_one_line(error)}") from error
    content = json.dumps([str(path), sources], sort_keys=True)
    name = f"m2l_bench_user_{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    module = sys.modules.get(name) or _import(name, path, set(local))
    found = getattr(module, attribute, None)
    if not inspect.isclass(found):
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise ValueError(f"{path}: must define the class {attribute}, got {', '.join(classes) or 'no class'}")
    return found, sources


def construct(
    name: str, cls: Any, given: Mapping[str, Any], *, seed: int, sources: Mapping[str, str], takes_seed: bool
) -> System:
    """Construct a user's system and add the attributes that it does not define: name, sample rate, seed and fingerprint.

    The fingerprint covers `sources` (hashes or versions of the code), the options in `given` (files are hashed by content, and
    so is a folder given as `checkpoint`), the seed, and the class's own fingerprint where it has one. ValueError, which names
    the system's spelling `name`, if the constructor raises or the instance cannot be evaluated.
    """
    options = {key: _content(value, folders=key == "checkpoint") for key, value in given.items()}
    try:
        system = cls(**given, **({"seed": seed} if takes_seed else {}))
        own = {key: getattr(system, key, None) for key in ("name", "sample_rate", "fingerprint")}
    except Exception as error:  # a user's code may raise anything
        raise ValueError(f"{name}: its constructor raised {_one_line(error)}") from error
    label = own["name"] or cls.__name__
    _check(name, system, own)
    code = {"class": cls.__qualname__, "sources": sources, "own": own["fingerprint"]}
    own["fingerprint"] = fingerprint(label, {**code, "options": options, "seed": seed})
    for key, value in {**own, "name": label, "seed": getattr(system, "seed", seed)}.items():
        _set(system, key, value)
    return system


def _check(name: str, system: Any, own: Mapping[str, Any]) -> None:
    if hasattr(system, "encode") and not isinstance(system, Encoder):
        raise ValueError(f"{name}: must have latent_dim and latent_rate beside encode(), got an object without them")
    if not isinstance(system, (Codec, Encoder, ReadyMade)):
        raise ValueError(f"{name}: must have the method reconstruct(), encode() or find(), got an object without them")
    for key in ("name", "fingerprint"):
        if own[key] is not None and not isinstance(own[key], str):
            raise ValueError(f"{name}: {key} must be text, got {own[key]!r}")
    rate = own["sample_rate"]
    if rate is not None and not (isinstance(rate, int) and rate > 0):
        raise ValueError(f"{name}: sample_rate must be a positive whole number (Hz) or None, got {rate!r}")


def _set(system: Any, key: str, value: Any) -> None:
    """Set an attribute; where the class forbids it (a property, ``__slots__``), its instance gets a subclass with it."""
    if getattr(system, key, None) == value and hasattr(system, key):
        return
    try:
        object.__setattr__(system, key, value)  # frozen dataclasses and torch modules guard their own __setattr__
    except AttributeError:
        cls = type(system)
        slots = {} if hasattr(system, "__dict__") else {"__slots__": ()}
        system.__class__ = type(cls.__name__, (cls,), {**slots, key: value, "__module__": cls.__module__})


def _content(value: Any, *, folders: bool) -> Any:
    """An option as JSON: the path of a file (or folder) by its content, anything else by its value."""
    if isinstance(value, (str, Path)):
        path = Path(value)
        try:
            if path.is_file():
                return {"sha256": sha256(path)}
            if folders and path.is_dir():
                files = sorted(file for file in path.rglob("*") if file.is_file())
                return {file.relative_to(path).as_posix(): sha256(file) for file in files}
        except ValueError:  # a null character
            pass
    return json.loads(json.dumps(value, default=repr))


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


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
        raise ValueError(f"{path}: importing it raised {_one_line(error)}") from error
    return module
