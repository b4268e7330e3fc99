"""The kinds of jobs, one or several a module."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from m2l_bench.results import VERSION
from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.store import Outcome
from m2l_bench.suite.suite import SystemSpec

# Raised whenever the same inputs would give another result, within one version of the package.
JOB_VERSION = 7


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """Base class of the jobs that pass one file through one system.

    Attributes
    ----------
    spec : SystemSpec
    fingerprint : str
        Of the system.
    item : AudioItem
    """

    spec: SystemSpec
    fingerprint: str
    item: AudioItem

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.spec.label

    def failed(self, reason: str) -> Outcome:
        """The reason."""
        return Outcome(reason=reason)


def identity(kind: str, **parts: Any) -> str:
    """SHA-256 of a job's kind, the code's version and everything else its outcome depends on."""
    text = json.dumps({"kind": kind, "version": [VERSION, JOB_VERSION], **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
