"""Measure the latents of one file: keep them whole; change the audio; disturb them with noise.

The numbers are those of :mod:`m2l_bench.latent.equivariance`. What rests on the latents of all files is in
:mod:`m2l_bench.suite.jobs.latent_sheet` and :mod:`m2l_bench.suite.jobs.quantise`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast, overload

import numpy as np

from m2l_bench.audio import AudioError
from m2l_bench.latent import equivariance
from m2l_bench.latent.equivariance import CARDS, AutoencoderSystem
from m2l_bench.reconstruction.checks import Undefined
from m2l_bench.reconstruction.metrics import Scores
from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.jobs import FileJob, identity
from m2l_bench.suite.jobs.reconstruct import by_label
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store, require
from m2l_bench.systems.apply import at_own_rate, encode

T = TypeVar("T")

LATENTS = "latents"  # name of the array
STD = "std"  # name of the array of a sheet

# What each job measures, by the first part of the names of their cards.
CHANGES = {"gain": ("gain_",), "mixing": ("mixing_",), "shift": ("shift_",)}
NOISE = "noise_"


def card_names(*starts: str) -> list[str]:
    """Names of the cards of the equivariance that begin so."""
    return [name for name in CARDS if name.startswith(starts)]


class StoredFiles(Sequence[T]):
    """Something of the stored latents of each file, read each time it is asked for: those of all files may not fit in memory.

    Parameters
    ----------
    store : Store
    keys : sequence of str
        Identities of the jobs that kept the latents.
    of : callable
        From their outcome.
    """

    def __init__(self, store: Store, keys: Sequence[str], of: Callable[[Outcome], T]) -> None:
        self._store, self._keys, self._of = store, keys, of

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> StoredFiles[T]: ...
    def __getitem__(self, index: int | slice) -> T | StoredFiles[T]:
        if isinstance(index, slice):
            return StoredFiles(self._store, self._keys[index], self._of)
        return self._of(require(self._store, self._keys[index]))


@dataclass(frozen=True, kw_only=True)
class LatentsJob(FileJob):
    """Encode one file and keep its latents: ``latents``, float32 (streams, dim, frames).

    The outcome has ``rate``, frames a second, and ``seconds`` of the audio.
    """

    kind: ClassVar[str] = "latents"
    batch: ClassVar[int] = 8

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(self.kind, audio=self.item.sha256, system=self.fingerprint)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Encode."""
        assert read is not None
        signal, rate = read()
        latents, latent_rate = encode(self.spec.load(), signal, rate)
        facts = {"rate": latent_rate, "seconds": signal.shape[-1] / rate}
        return Outcome(facts, {LATENTS: latents.astype(np.float32, copy=False)})


@dataclass(frozen=True, kw_only=True)
class EquivarianceJob(FileJob):
    """Turn one file up and down, add another, shift it, and see whether latents and decoded audio follow.

    The outcome has ``scores``: name of the card -> number, or the reason why there is none; and ``undefined``: names of those
    that have nothing to measure here -> why.

    Attributes
    ----------
    other : AudioItem or None
        What is added; of more channels or samples than both have, those are left out.
    """

    other: AudioItem | None

    kind: ClassVar[str] = "equivariance"
    batch: ClassVar[int] = 2

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        cards = {name: CARDS[name].hash for name in card_names(*CHANGES)}
        other = self.other.sha256 if self.other else ""
        return identity(self.kind, audio=self.item.sha256, other=other, system=self.fingerprint, cards=cards)

    def failed(self, reason: str) -> Outcome:
        """Every number, with the reason."""
        return _without(card_names(*CHANGES), reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Measure; a change that fails leaves the others what they have."""
        assert read is not None
        system = cast(AutoencoderSystem, self.spec.load())
        signal, rate = at_own_rate(system, *read())

        def mixed() -> Scores:
            if self.other is None:
                raise Undefined("there is no other file to add")
            second, _ = at_own_rate(system, *self.other.load())
            return equivariance.mixing(system, *equivariance.same_shape(signal, second), rate)

        return _measured(
            {
                "gain": lambda: equivariance.gain(system, signal, rate),
                "mixing": mixed,
                "shift": lambda: equivariance.shift(system, signal, rate),
            }
        )


@dataclass(frozen=True, kw_only=True)
class NoiseJob(FileJob):
    """Decode one file's latents with noise; the outcome is as that of an :class:`EquivarianceJob`.

    Attributes
    ----------
    sheet : str
        Identity of the job that has the standard deviation of each dimension over all files.
    latents : str
        Hash of the identities of those files' latents.
    """

    sheet: str
    latents: str

    kind: ClassVar[str] = "noise"
    batch: ClassVar[int] = 2

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        cards = {name: CARDS[name].hash for name in card_names(NOISE)}
        return identity(self.kind, audio=self.item.sha256, system=self.fingerprint, latents=self.latents, cards=cards)

    def failed(self, reason: str) -> Outcome:
        """Every number, with the reason."""
        return _without(card_names(NOISE), reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Measure."""
        assert read is not None
        system, std = cast(AutoencoderSystem, self.spec.load()), require(store, self.sheet).arrays[STD]
        signal, rate = at_own_rate(system, *read())
        return _measured({"noise": lambda: equivariance.noise(system, signal, rate, std)})


def _measured(measurements: Mapping[str, Callable[[], Scores]]) -> Outcome:
    """The outcome of some measurements; one that raises leaves the others what they have."""
    scores: dict[str, float | str] = {}
    undefined: dict[str, str] = {}
    for start, measure in measurements.items():
        try:
            numbers, nothing = by_label(measure())
        except Undefined as nothing_there:
            numbers, nothing = {}, dict.fromkeys(card_names(f"{start}_"), nothing_there.summary)
        except (AudioError, ValueError, TypeError) as error:
            numbers, nothing = dict.fromkeys(card_names(f"{start}_"), str(error)), {}
        scores |= numbers
        undefined |= nothing
    reason = next((score for score in scores.values() if isinstance(score, str)), "")
    return Outcome({"scores": scores, "undefined": undefined}, reason=reason)


def _without(names: list[str], reason: str) -> Outcome:
    value: dict[str, Any] = {"scores": dict.fromkeys(names, reason), "undefined": {}}
    return Outcome(value, reason=reason)
