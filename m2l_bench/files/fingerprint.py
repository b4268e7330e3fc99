"""Identifier of a computation: equal fingerprints mean equal numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(name: str, config: Mapping[str, Any], *, checkpoint_sha256: str | None = None) -> str:
    """Identify a system or an encoder: equal fingerprints mean equal numbers.

    Parameters
    ----------
    name : str
    config : mapping
        Everything that changes its output (options, seed, library versions where they matter); JSON-serialisable.
    checkpoint_sha256 : str, optional
        Hash of the weights.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256 of the canonical JSON of the three.

    Examples
    --------
    >>> fingerprint("identity", {})
    '36973339d375ff50'
    """
    text = json.dumps({"name": name, "config": dict(config), "checkpoint": checkpoint_sha256}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
