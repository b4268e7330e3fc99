"""Probes: small classifiers trained on frozen features, independent of audio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from m2l_bench import plugins

__all__ = ["LinearProbe", "MLPProbe", "fit_seeds", "load_probe"]

PROBES = ("linear", "mlp")
"""Names on the command line and in rows."""

if TYPE_CHECKING:
    from m2l_bench.probes.linear import LinearProbe
    from m2l_bench.probes.mlp import MLPProbe
    from m2l_bench.probes.selection import fit_seeds


def load_probe(name: Any) -> Any:
    """Make a probe.

    Parameters
    ----------
    name : str or classifier
        ``"linear"`` or ``"mlp"``, with its default grid; ``"path/to/file.py:NAME"`` or the name of an entry point
        (``m2l_bench.probes``), a scikit-learn classifier or its class; or the classifier itself.

    Raises
    ------
    ValueError
        If there is no such probe, or it is not a classifier.

    Examples
    --------
    >>> load_probe("linear")
    LinearProbe()
    """
    from m2l_bench.probes.estimator import is_classifier
    from m2l_bench.probes.linear import LinearProbe
    from m2l_bench.probes.mlp import MLPProbe

    if name in PROBES:
        return LinearProbe() if name == "linear" else MLPProbe()
    found = plugins.find("probe", name, PROBES).thing if isinstance(name, str) else name
    try:
        probe = found() if isinstance(found, type) else found
    except Exception as error:  # anybody's code
        raise ValueError(f"{name}: its constructor raised {plugins.one_line(error)}") from error
    if not is_classifier(probe):
        raise ValueError(f"{name}: must be a scikit-learn classifier, got {type(probe).__name__}")
    return probe


def __getattr__(name: str) -> Any:
    # Lazy: listing probes must not import scikit-learn.
    import importlib

    modules = {"LinearProbe": "linear", "MLPProbe": "mlp", "fit_seeds": "selection"}
    if name in modules:
        return getattr(importlib.import_module(f"m2l_bench.probes.{modules[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
