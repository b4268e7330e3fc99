"""All checks of one system, in order.

>>> import m2l_bench
>>> checked = m2l_bench.check("identity")  # doctest: +SKIP
>>> checked.to_frame()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from m2l_bench.conformity import authors, behaviour, promises
from m2l_bench.conformity.finding import Finding
from m2l_bench.conformity.subject import Subject, load_spec
from m2l_bench.plugins import one_line
from m2l_bench.suite.suite import SystemSpec, parse_system

if TYPE_CHECKING:
    import pandas as pd

    from m2l_bench.systems.base import System

CHECKS: dict[str, Callable[[Subject], list[Finding]]] = {
    "repeats": promises.repeats,  # first, while the system is fresh
    "shape": promises.shapes,
    "levels": promises.levels,
    "batches": promises.batches,
    "round trip": promises.round_trip,
    "latents": promises.latents,
    "alignment": behaviour.alignment,
    "seams": behaviour.seams,
    "generation loss": behaviour.generations,
    "peak memory": behaviour.memory,
    "speed": behaviour.speed,
    "authors' package": authors.authors,
    "system": behaviour.identity,
}


@dataclass(frozen=True, repr=False)
class Checked:
    """What the checks of a system found.

    Attributes
    ----------
    system : str
        Its name.
    results : tuple of Finding
    """

    system: str
    results: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that are faults."""
        return tuple(finding for finding in self.results if finding.verdict == "fail")

    def summary(self) -> str:
        """How many checks passed, are notes, and failed."""
        counts = {word: sum(f.verdict == word for f in self.results) for word in ("pass", "note", "fail")}
        return ", ".join(f"{n} {word}" for word, n in counts.items())

    def __repr__(self) -> str:
        faults = f"; failed: {', '.join(finding.name for finding in self.failed)}" if self.failed else ""
        return f"Checked({self.system}: {self.summary()}{faults})"

    def to_frame(self) -> pd.DataFrame:
        """One check a row: name, verdict, figure, meaning, values."""
        import pandas as pd

        return pd.DataFrame([asdict(finding) for finding in self.results])


def check(
    system: System | str,
    *,
    checkpoint: str | None = None,
    seed: int = 0,
    device: str | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> Checked:
    """Check a system: what its protocols promise, and how it behaves.

    Parameters
    ----------
    system : str or System
        As ``--system`` spells it, or an object; an object cannot be loaded again, so that seeds and peak memory are not
        checked.
    checkpoint, seed, device
        As for :func:`m2l_bench.load`; for a spelling only.
    on_done : callable
        Called after each of `CHECKS`.

    Raises
    ------
    ValueError, ImportError, OSError
        If the system cannot be loaded, or computes nothing.

    Examples
    --------
    >>> check("opus:32k").failed  # doctest: +SKIP
    ()
    """
    subject = Subject(system) if not isinstance(system, str) else _loaded(system, checkpoint, seed, device)
    results: list[Finding] = []
    for name, function in CHECKS.items():
        try:
            results += function(subject)
        except Exception as error:  # a user's code may raise anything
            meaning = f"raised {one_line(error)}"
            if any(found.name.startswith("shape") and found.verdict == "fail" for found in results):
                results.append(Finding(name, "note", "-", f"Not checked, for the shape is wrong: {meaning}"))
            else:
                results.append(Finding(name, "fail", "-", meaning))
        on_done()
    return Checked(subject.name, tuple(results))


def _loaded(spelling: str, checkpoint: str | None, seed: int, device: str | None) -> Subject:
    given: dict[str, Any] = {"checkpoint": checkpoint, "seed": seed, "device": device}
    spec = SystemSpec.model_validate(parse_system(spelling).model_dump() | given)
    return Subject(load_spec(spec), spec)
