"""m2l_bench: Music2Latent, and the place where audio autoencoders are compared.

>>> import m2l_bench
>>> system = m2l_bench.load("identity")
>>> system.name
'identity'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["check", "latents", "load", "probe", "read_results"]

if TYPE_CHECKING:
    from m2l_bench.conformity.check import check
    from m2l_bench.latent.measure import latents
    from m2l_bench.report.frames import read_results
    from m2l_bench.suite.jobs.probe import probe
    from m2l_bench.systems.registry import load


def __getattr__(name: str) -> Any:
    # Lazy: `import m2l_bench` must stay free of NumPy and torch.
    if name == "check":
        from m2l_bench.conformity.check import check

        return check
    if name == "latents":
        from m2l_bench.latent.measure import latents

        return latents
    if name == "load":
        from m2l_bench.systems.registry import load

        return load
    if name == "probe":
        from m2l_bench.suite.jobs.probe import probe

        return probe
    if name == "read_results":
        from m2l_bench.report.frames import read_results

        return read_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
