"""Load systems by name: from the table (:mod:`~m2l_bench.systems.catalogue`), a user's file, or an installed package.

A system is spelled ``name``, ``name:variant``, or ``path/to/file.py:ClassName``; on the command line, ``label=`` before it
sets its name in the tables. A system's module is imported when the system is loaded, not when it is listed.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from m2l_bench import plugins
from m2l_bench.results import joined_notes
from m2l_bench.systems.base import System
from m2l_bench.systems.catalogue import SYSTEMS, Entry
from m2l_bench.systems.construct import construct


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
        The system's weights: a file or folder.
    device : str, optional
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; by default CUDA where there is one, else the CPU. Ignored by systems that do
        not compute with PyTorch.
    seed : int
        Random seed.
    **options
        The system's own constructor options.

    Returns
    -------
    System
        Its methods are those of the protocols in :mod:`m2l_bench.systems.base`.

    Raises
    ------
    ValueError
        If the name, the variant or an option is unknown (the message lists the known ones), or a user's class cannot be
        used.

    Examples
    --------
    >>> load("opus:32k").sample_rate
    48000
    """
    cls, fixed, sources = _resolve(name, has_checkpoint=checkpoint is not None)
    clash = sorted(set(fixed) & set(options))
    if clash:
        raise ValueError(f"{name}: the variant already sets {', '.join(clash)}; leave it out")
    given = {**fixed, **options}
    parameters = inspect.signature(cls).parameters.values()
    accepted = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if checkpoint is not None:
        given["checkpoint"] = checkpoint
    if device is not None and "device" in accepted:
        given["device"] = device
    lacking = {p.name for p in parameters if p.name in accepted and p.default is p.empty} - set(given) - {"seed"}
    for verb, wrong in (("got", set(given) - accepted), ("needs", lacking)):
        if wrong:
            takes = ", ".join(sorted(accepted)) or "none"
            raise ValueError(f"{name}: takes the options {takes}, {verb} {', '.join(sorted(wrong))}")
    if sources is not None:
        return construct(name, cls, given, seed=seed, sources=sources, takes_seed="seed" in accepted)
    return cls(**given, seed=seed)


def system_class(name: str) -> Any:
    """Class of a registry name, or one that it derives from, without loading anything; ValueError if there is none."""
    found = _resolve(name, has_checkpoint=False)[0]
    return found if inspect.isclass(found) else inspect.get_annotations(found, eval_str=True)["return"]


def known_names() -> list[str]:
    """Every registry name with its variants, in table order, then those of installed packages."""
    names = []
    for name, entry in SYSTEMS.items():
        names += [f"{name}:{variant}" for variant in (*entry.variants, *entry.shown)] or [name]
    return names + plugins.names("system")


def check_encoder(name: str) -> None:
    """Raise ValueError if no system of that name has latents, before anything is imported."""
    entry, variant = _listed(name)
    if entry is None and ".py:" not in name and name not in plugins.names("system"):
        raise plugins.unknown("encoder", name, [known for known in known_names() if _has_latents(known)])
    if entry is not None:
        _options(name, entry, variant)
        if not _has_latents(name):
            raise ValueError(f"{name} has no latents, and cannot be an encoder")


def caveat(name: str, *, has_checkpoint: bool = False) -> str:
    """Note that is printed under every table with a system of this registry name; empty for most.

    What it says of the listed weights is left out where the user gave others (`has_checkpoint`).
    """
    entry, variant = _listed(name)
    if entry is None:
        return ""
    return joined_notes(entry.caveat, "" if has_checkpoint else entry.caveats.get(variant, ""))


def needs_download(name: str) -> bool:
    """Whether a registry name fetches weights when it is first loaded without a checkpoint."""
    entry, variant = _listed(name)
    if entry is None:
        return False
    in_repository = "*" in entry.download and variant != "" and not variant.startswith(("/", "."))
    return variant in entry.download or in_repository


def entry_of(name: str) -> Entry | None:
    """Entry of the table that a name belongs to, whatever its variant; None for a user's or an installed package's."""
    return _listed(name)[0]


def default_variant(entry: Entry) -> str:
    """Variant of a bare name; empty where there are no variants."""
    return entry.preferred or next(iter((*entry.variants, *entry.shown)), "")


def _listed(name: str) -> tuple[Entry | None, str]:
    """Entry of a name in the table, if any, and the variant, by default the preferred or the first one."""
    base, _, variant = name.partition(":")
    entry = SYSTEMS.get(base)
    if entry and not variant:
        variant = default_variant(entry)
    return entry, variant


def _has_latents(name: str) -> bool:
    entry, _ = _listed(name)
    return entry is None or entry.latents != "-"


def _options(name: str, entry: Entry, variant: str) -> dict[str, Any]:
    """The options that a variant sets."""
    options = {**entry.options, **entry.variants.get(variant, {})}
    if variant and variant not in entry.variants:
        base = name.partition(":")[0]
        if not entry.variant_option:
            raise ValueError(f"{base} has the variants {', '.join(entry.variants) or 'none'}, got {variant!r}")
        options[entry.variant_option] = variant
    return options


def _resolve(name: str, *, has_checkpoint: bool) -> tuple[Any, dict[str, Any], dict[str, str] | None]:
    """A class or function, the options that its variant sets, and the sources of a user's class."""
    entry, variant = _listed(name)
    if entry is None:
        found, sources = plugins.find("system", name, SYSTEMS)
        if not inspect.isclass(found):
            raise ValueError(f"{name}: must be a class, got {type(found).__name__}")
        return found, {}, dict(sources)
    if has_checkpoint and ":" not in name and not entry.variants:
        variant = ""  # a user's checkpoint replaces the default variant
    options = _options(name, entry, variant)
    module, _, cls = entry.place.partition(":")
    return getattr(importlib.import_module(f"m2l_bench.{module}"), options.pop("class", cls)), options, None
