"""The kinds of jobs: describe, reconstruct, distance, encode, probe, clip; one a module."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from m2l_bench.results import VERSION

# Raised whenever the same inputs would give another result, within one version of the package.
JOB_VERSION = 6


def identity(kind: str, **parts: Any) -> str:
    """SHA-256 of a job's kind, the code's version and everything else its outcome depends on."""
    text = json.dumps({"kind": kind, "version": [VERSION, JOB_VERSION], **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
