"""One worker process for many runs: starting one takes seconds."""

from __future__ import annotations

from m2l_bench.suite.local import LocalEngine


class OneWorker(LocalEngine):
    """Stays open when a run closes it, until :meth:`end`."""

    def close(self) -> None:
        pass

    def end(self) -> None:
        super().close()
