"""Jobs of the planning: load a system or an encoder once, in a worker, and say what it is. Their outcomes are not stored."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from m2l_bench.files import hub
from m2l_bench.reconstruction.metrics import get_metric
from m2l_bench.reconstruction.sets.vectors import load_encoder, with_encoder
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.suite.suite import SystemSpec
from m2l_bench.systems.base import Autoencoder, BitstreamCodec, Codec, Encoder, ReadyMade
from m2l_bench.systems.facts import facts_of


@dataclass(frozen=True, kw_only=True)
class _Describe:
    """Loads something once and says what it is; the outcome's ``asked`` lists the files of the hub that an offline one needs."""

    offline: bool = False

    id: ClassVar[str] = ""
    kind: ClassVar[str] = "describe"
    batch: ClassVar[int] = 1
    item: ClassVar[None] = None

    def failed(self, reason: str) -> Outcome:
        """The reason."""
        return Outcome(reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Load it, and download nothing where it is described offline."""
        asked: list[tuple[hub.HubFile, bool]] = []
        reason = ""
        try:
            with hub.offline() if self.offline else nullcontext(asked) as asked:
                value = self.facts()
        except (ValueError, ImportError, OSError, TypeError) as error:
            value, reason = {}, " ".join(str(error).split()) or type(error).__name__
        files = [[file.repo, file.file, file.about, found] for file, found in asked]
        return Outcome(value | {"asked": files}, reason=reason)

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What it is."""


@dataclass(frozen=True, kw_only=True)
class DescribeSystem(_Describe):
    """Load a system; the outcome has ``fingerprint``, ``reconstructs``, ``encodes``, ``decodes``, ``has_bits``, ``stated``."""

    spec: SystemSpec

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.spec.label

    def facts(self) -> dict[str, Any]:
        """Its fingerprint, what it can do, and what is stated about it."""
        system = self.spec.load()
        return {
            "fingerprint": system.fingerprint,
            "reconstructs": isinstance(system, (Codec, ReadyMade)),
            "encodes": isinstance(system, Encoder),
            "decodes": isinstance(system, Autoencoder),
            "has_bits": isinstance(system, BitstreamCodec),
            "stated": facts_of(system, self.spec.system, has_checkpoint=self.spec.checkpoint is not None)._asdict(),
        }


@dataclass(frozen=True, kw_only=True)
class DescribeReader(DescribeSystem):
    """Load an encoder that reads reconstructions; the outcome is that of :class:`DescribeSystem`."""

    def facts(self) -> dict[str, Any]:
        """As of a system; ValueError if it is no encoder."""
        found = super().facts()
        if not found["encodes"]:
            raise ValueError(f"{self.label}: cannot read reconstructions: it has no encode()")
        return found


@dataclass(frozen=True, kw_only=True)
class DescribeEncoder(_Describe):
    """Load an encoder of set metrics; the outcome has ``fingerprint`` and ``cards``, those of its metrics by name.

    Attributes
    ----------
    name : str
    metrics : tuple of str
        Set metrics that use it.
    device : str, optional
    """

    name: str
    metrics: tuple[str, ...]
    device: str | None = None

    @property
    def label(self) -> str:
        """The encoder's name."""
        return self.name

    def facts(self) -> dict[str, Any]:
        """Its fingerprint, and the cards with it."""
        encoder = load_encoder(self.name, self.device)
        cards = [get_metric(name).card for name in self.metrics]
        return {
            "fingerprint": encoder.fingerprint,
            "cards": {card.name: asdict(with_encoder(card, encoder)) for card in cards},
        }
