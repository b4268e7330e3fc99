"""The systems by name: the table (:mod:`~m2l_bench.systems.catalogue`), the user's own files, and the entry points of
installed packages.

A spelling is ``name``, ``name:variant``, or ``path/to/file.py:ClassName``; ``name=`` before it relabels it in the tables
on the command line. Loading is lazy: a system's module is imported when it is asked for, never to list it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from m2l_bench.systems.base import System
from m2l_bench.systems.catalogue import SYSTEMS

ENTRY_POINT_GROUP = "m2l_bench.systems"


def load(
    name: str,
    /,
    checkpoint: str | Path | None = None,
    *,
    device: str | None = None,
    seed: int = 0,
    **options: Any,
) -> System:
    """Load a system by its registry name.

    Parameters
    ----------
    name : str
        ``"music2latent:small"``, ``"opus:32k"``, ``"path/to/file.py:ClassName"``, ...; ``m2l-bench list systems`` lists them.
    checkpoint : path-like, optional
        The system's weights, where it has any.
    device : str, optional
        Such as ``"cuda"``; the best one available by default, for systems that use one.
    seed : int
        Seeds what is random in it.
    **options
        The system's own constructor options.

    Returns
    -------
    System
        See :mod:`m2l_bench.systems.base` for what it can do.

    Raises
    ------
    ValueError
        If the name, the variant or an option is unknown; the message lists the known ones.

    Examples
    --------
    >>> load("opus:32k").sample_rate
    48000
    """
    cls, given = _resolve(name, has_checkpoint=checkpoint is not None)
    clash = sorted(set(given) & set(options))
    if clash:
        raise ValueError(f"{name}: the variant already sets {', '.join(clash)}; leave it out")
    given.update(options)
    accepted = _accepted(cls)
    given["seed"] = seed
    if checkpoint is not None:
        given["checkpoint"] = checkpoint
    if device is not None and "device" in accepted:
        given["device"] = device
    unknown = sorted(set(given) - accepted)
    if unknown:
        raise ValueError(f"{name}: takes the options {', '.join(sorted(accepted)) or 'none'}, got {', '.join(unknown)}")
    return cls(**given)


def system_class(name: str) -> Any:
    """The class behind a registry name, nothing loaded; ValueError where there is none."""
    return _resolve(name, has_checkpoint=False)[0]


def known_names() -> list[str]:
    """Every registry name with its variants, in table order, then those of installed packages."""
    names = []
    for name, entry in SYSTEMS.items():
        names += [f"{name}:{variant}" for variant in (*entry.variants, *entry.shown)] or [name]
    return names + sorted(entry_points(group=ENTRY_POINT_GROUP).names)


def caveat(name: str) -> str:
    """What must stand under every table that has a system of this registry name; mostly nothing."""
    base, _, variant = name.partition(":")
    entry = SYSTEMS.get(base)
    return entry.caveats.get(variant or entry.default, "") if entry else ""


def needs_download(name: str) -> bool:
    """Whether a registry name fetches weights when it is first loaded without a checkpoint."""
    base, _, variant = name.partition(":")
    entry = SYSTEMS.get(base)
    return entry is not None and (variant or entry.default) in entry.download


def _resolve(name: str, *, has_checkpoint: bool) -> tuple[Any, dict[str, Any]]:
    """Spelling -> class and the options that its variant means."""
    if ".py:" in name:
        path, _, attribute = name.rpartition(":")
        return _from_file(Path(path), attribute), {}
    base, _, variant = name.partition(":")
    entry = SYSTEMS.get(base)
    if entry is None:
        plugin = entry_points(group=ENTRY_POINT_GROUP)
        if name in plugin.names:
            return plugin[name].load(), {}
        raise ValueError(f"unknown system {name!r}; known are {', '.join([*SYSTEMS, *sorted(plugin.names)])}")
    # A checkpoint given apart stands in the default variant's place.
    variant = variant or ("" if has_checkpoint and not entry.variants else entry.default)
    options = dict(entry.options)
    if variant in entry.variants:
        options.update(entry.variants[variant])
    elif variant and entry.variant_option:
        options[entry.variant_option] = variant
    elif variant:
        raise ValueError(f"{base} has the variants {', '.join(entry.variants) or 'none'}, got {variant!r}")
    attribute = options.pop("attribute", entry.attribute)
    return getattr(importlib.import_module(entry.module), attribute), options


def _from_file(path: Path, attribute: str) -> Any:
    if not path.is_file():
        raise ValueError(f"{path}: must be a Python file with a system, got nothing of that kind there")
    module_name = f"m2l_bench_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise ValueError(f"{path}: cannot be imported as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise ValueError(f"{path}: importing it raised {type(error).__name__}: {error}") from error
    found = getattr(sys.modules[module_name], attribute, None)
    if not inspect.isclass(found):
        classes = [key for key, value in vars(sys.modules[module_name]).items() if inspect.isclass(value)]
        raise ValueError(f"{path}: must define the class {attribute}, got {', '.join(classes) or 'no class'}")
    return found


def _accepted(cls: Any) -> set[str]:
    parameters = inspect.signature(cls).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD}
