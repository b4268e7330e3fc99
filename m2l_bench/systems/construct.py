"""Construct a system from a user's class, and complete what the class does not define."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m2l_bench.files.disk import sha256
from m2l_bench.files.fingerprint import fingerprint
from m2l_bench.plugins import one_line
from m2l_bench.systems.base import Codec, Encoder, ReadyMade, System


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
        raise ValueError(f"{name}: its constructor raised {one_line(error)}") from error
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
