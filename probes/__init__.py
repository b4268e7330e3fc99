"""Probes: small classifiers trained on frozen features, independent of audio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from m2l_bench.plugins import unknown

__all__ = ["LinearProbe", "MLPProbe", "fit_seeds", "load_probe"]

PROBES = ("linear", "mlp")
"""Names on the command line and in rows."""

if TYPE_CHECKING:
    from m2l_bench.probes.linear import LinearProbe
    from m2l_bench.probes.mlp import MLPProbe
    from m2l_bench.probes.selection import Probe, fit_seeds


def load_probe(name: str) -> Probe:
    """Make the probe of a name, ``"linear"`` or ``"mlp"``, with its default grid.

    Examples
    --------
    >>> load_probe("linear")
    LinearProbe()
    """
    from m2l_bench.probes.linear import LinearProbe
    from m2l_bench.probes.mlp import MLPProbe

    if name not in PROBES:
        raise unknown("probe", name, PROBES)
    return LinearProbe() if name == "linear" else MLPProbe()


def __getattr__(name: str) -> Any:
    # Lazy: listing probes must not import scikit-learn.
    import importlib

    modules = {"LinearProbe": "linear", "MLPProbe": "mlp", "fit_seeds": "selection"}
    if name in modules:
        return getattr(importlib.import_module(f"m2l_bench.probes.{modules[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
