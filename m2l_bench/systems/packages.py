"""Packages of other authors that one system alone needs: imported when it is named, their licence told once.

Each is an extra of this package (``pyproject.toml``) and not shipped with it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from typing import Any

_told: set[str] = set()


def load_package(module: str, *, extra: str, licence: str) -> Any:
    """Import a package, and print its licence to stderr the first time in a process; worker processes print nothing.

    Parameters
    ----------
    module : str
        Of the package, such as ``"codicodec.inference"``.
    extra : str
        That installs it.
    licence : str
        Of its code.

    Returns
    -------
    module
        The package itself, with that module imported.

    Raises
    ------
    ImportError
        Without it; the message says what to install.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"the package {package} ({licence}) is needed: pip install 'm2l-bench[{extra}]'") from error
    if package not in _told and multiprocessing.parent_process() is None:
        _told.add(package)
        print(f"{package}: another author's package, licence {licence}", file=sys.stderr)
    return sys.modules[package]
