"""Reconstruct one file with one system and let readers encode the reconstruction, for all tasks that have the file.

The reconstruction is made once and not kept. What readers find in it is looked for by :mod:`m2l_bench.suite.jobs.read`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from m2l_bench.audio import AudioError
from m2l_bench.cards import Card
from m2l_bench.suite.jobs import FileJob, identity
from m2l_bench.suite.jobs.encode import PooledAs, keep
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.suite.suite import SystemSpec
from m2l_bench.systems.apply import encode, reconstruct
from m2l_bench.systems.base import Autoencoder, System

SAMPLE_BITS = 16  # of a sample of the original, and of a latent value

COMPRESSION_RATIO = Card(
    name="compression_ratio",
    title="compression ratio",
    higher_is_better=None,
    formula="bits of the original with 16 a sample / bits of what is kept of it: the encoded bytes, or the latents with 16 a "
    "value; of a set: all bits over all bits",
    rate_rule="of the file as given",
    channel_rule="all channels together",
    source="measured from the encoded bytes, or counted from the size of the latents",
)


def array_name(reader: str, pooled_as: PooledAs) -> str:
    """Name of the array of one reader (its fingerprint) and pooling in the outcome of a :class:`ReencodeJob`."""
    return " ".join(map(str, (reader, *pooled_as)))


@dataclass(frozen=True, kw_only=True)
class ReencodeJob(FileJob):
    """Reconstruct one file with one system and encode the reconstruction with all readers.

    Its outcome has ``encoded``: name of an array -> what a task in time needs to know of it (see
    :class:`m2l_bench.suite.jobs.encode.EncodeJob`), or the reason why there is none; ``seconds`` of the file; ``kbps``, the
    measured bit rate, where there is one; ``original_kbps``, that of the file with 16 bits a sample; and ``kept_kbps``, that of
    what the system keeps of it, where that is known.

    Attributes
    ----------
    readers : tuple of (SystemSpec, str)
        With their fingerprints.
    pooled_as : tuple of (str, float or None)
        How latents are kept, for all tasks that have the file.
    max_length_difference : float
        Seconds by which ready-made reconstructions may differ in length.
    """

    readers: tuple[tuple[SystemSpec, str], ...]
    pooled_as: tuple[PooledAs, ...]
    max_length_difference: float = 0.0

    kind: ClassVar[str] = "reencode"
    batch: ClassVar[int] = 8

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(
            self.kind,
            audio=self.item.sha256 or self.item.path,
            stem=self.item.stem,
            system=self.fingerprint,
            readers=[fingerprint for _, fingerprint in self.readers],
            pooled_as=self.pooled_as,
            max_length_difference=self.max_length_difference,
        )

    def failed(self, reason: str) -> Outcome:
        """No reader has anything."""
        return Outcome({"encoded": {}}, reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Reconstruct, then encode; a reader that fails leaves the others what they have."""
        assert read is not None
        system, (reference, rate) = self.spec.load(), read()
        estimate, kbps = reconstruct(
            system, reference, rate, self.item.stem, max_length_difference=self.max_length_difference
        )
        seconds = reference.shape[-1] / rate
        encoded: dict[str, Any] = {}
        arrays: dict[str, np.ndarray] = {}
        reasons = []
        for spec, fingerprint in self.readers:
            names = {array_name(fingerprint, pooled_as): pooled_as for pooled_as in self.pooled_as}
            try:
                reader = spec.load_reader()
                latents, latent_rate = encode(reader, estimate, rate)
                for name, pooled_as in names.items():
                    encoded[name], arrays[name] = keep(reader, latents, latent_rate, seconds, pooled_as)
            except (AudioError, ValueError, TypeError) as error:
                encoded |= dict.fromkeys(names, f"{spec.label}: {error}")
                reasons.append(f"{spec.label}: {error}")
        original = SAMPLE_BITS * len(reference) * rate / 1000
        kept = _latent_kbps(system, reference, rate) if kbps is None else kbps
        value = {"encoded": encoded, "seconds": seconds, "kbps": kbps, "original_kbps": original, "kept_kbps": kept}
        return Outcome(value, arrays, "; ".join(reasons[:1]))


def _latent_kbps(system: System, audio: np.ndarray, rate: int) -> float | None:
    """Size of a system's latents with 16 bits a value; the first second tells how many streams it has."""
    if not isinstance(system, Autoencoder):
        return None
    latents, latent_rate = encode(system, audio[:, :rate], rate)
    return SAMPLE_BITS * latents.shape[0] * latents.shape[1] * latent_rate / 1000
