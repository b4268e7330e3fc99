"""Jobs of the planning: load a system or an encoder once, in a worker, and say what it is. Their outcomes are not stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from m2l_bench.files import hub
from m2l_bench.reconstruction.metrics import METRICS, SetMetric, with_encoder
from m2l_bench.suite.data import Read
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.suite.suite import SystemSpec
from m2l_bench.suite.systems import load_encoder
from m2l_bench.systems.base import Codec, Encoder, ReadyMade


@dataclass(frozen=True, kw_only=True)
class DescribeSystem:
    """Load a system; the outcome has ``fingerprint``, ``reconstructs``, ``encodes``.

    Attributes
    ----------
    spec : SystemSpec
    offline : bool
        Download nothing; the outcome's ``asked`` lists the files of the hub that it asked for, and whether they were there.
    """

    spec: SystemSpec
    offline: bool = False

    id: ClassVar[str] = ""
    kind: ClassVar[str] = "describe"
    batch: ClassVar[int] = 1
    path: ClassVar[None] = None

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.spec.label

    def failed(self, reason: str) -> Outcome:
        """The reason."""
        return Outcome(reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Load it."""
        return _described(self._facts, offline=self.offline)

    def _facts(self) -> dict[str, Any]:
        system = self.spec.load()
        reconstructs = isinstance(system, (Codec, ReadyMade))
        return {
            "fingerprint": system.fingerprint,
            "reconstructs": reconstructs,
            "encodes": isinstance(system, Encoder),
        }


@dataclass(frozen=True, kw_only=True)
class DescribeEncoder:
    """Load an encoder of set metrics; the outcome has ``fingerprint`` and ``cards``, the cards of metrics with it.

    Attributes
    ----------
    name : str
    metrics : tuple of str
        Set metrics that use it.
    device : str, optional
    offline : bool
        As of :class:`DescribeSystem`.
    """

    name: str
    metrics: tuple[str, ...]
    device: str | None = None
    offline: bool = False

    id: ClassVar[str] = ""
    kind: ClassVar[str] = "describe"
    batch: ClassVar[int] = 1
    path: ClassVar[None] = None

    @property
    def label(self) -> str:
        """The encoder's name."""
        return self.name

    def failed(self, reason: str) -> Outcome:
        """The reason."""
        return Outcome(reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Load it."""
        return _described(self._facts, offline=self.offline)

    def _facts(self) -> dict[str, Any]:
        encoder = load_encoder(self.name, self.device)
        metrics = ((name, METRICS[name]) for name in self.metrics)
        cards = {name: asdict(with_encoder(m, encoder).card) for name, m in metrics if isinstance(m, SetMetric)}
        return {"fingerprint": encoder.fingerprint, "cards": cards}


def _described(facts: Callable[[], dict[str, Any]], *, offline: bool) -> Outcome:
    asked: list[tuple[hub.HubFile, bool]] = []
    try:
        if not offline:
            return Outcome(facts())
        with hub.offline() as asked:
            value, reason = facts(), ""
    except (ValueError, ImportError, OSError, TypeError) as error:
        value, reason = {}, " ".join(str(error).split()) or type(error).__name__
    return Outcome(
        value | {"asked": [[file.repo, file.file, file.about, found] for file, found in asked]}, reason=reason
    )
