"""From a suite to a run's folder with its report, for the commands that compute."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2l_bench import console
from m2l_bench.progress import progress

if TYPE_CHECKING:
    from m2l_bench.suite.engine import Engine
    from m2l_bench.suite.plan import Plan
    from m2l_bench.suite.run import RunResult
    from m2l_bench.suite.suite import Suite


def run_and_report(
    suite: Suite,
    out: Path | None,
    make_engine: Callable[[], Engine],
    clips: int,
    *,
    retry_failed: bool = False,
    mirror: str | None = None,
) -> tuple[Path, bool]:
    """Run a suite, or find it finished, and write its report.

    Parameters
    ----------
    suite : Suite
    out : Path or None
        The run's folder; None for one that is named after what is run.
    make_engine : callable
        Makes what runs the jobs, if there are any.
    clips : int
        On the listening page: an odd number from 3, or 0.
    retry_failed, mirror
        As :func:`m2l_bench.suite.run.run_suite` takes them.

    Returns
    -------
    folder : Path
    fresh : bool
        Whether anything was computed.

    Raises
    ------
    ValueError
        If `clips` is another number.
    """
    from m2l_bench.suite.finished import recall

    if clips and (clips < 3 or clips % 2 == 0):
        raise ValueError(f"--clips must be odd and at least 3, or 0, got {clips}")
    if not (retry_failed or mirror) and (folder := recall(suite, out)) is not None:
        return folder, False
    return _computed(suite, out, make_engine, clips, retry_failed=retry_failed, mirror=mirror)


def _computed(
    suite: Suite, out: Path | None, make_engine: Callable[[], Engine], clips: int, **how: Any
) -> tuple[Path, bool]:
    """Run a suite and write its report: the run's folder, and whether anything was computed."""
    from m2l_bench.results import PAGE
    from m2l_bench.suite.run import run_suite

    with closing(make_engine()) as engine:
        with progress("planning") as shown:

            def on_plan(plan: Plan) -> None:
                for line in console.left_out(plan):
                    shown.say(line)
                shown.plan(plan)

            hooks = {"on_plan": on_plan, "on_started": shown.start, "on_finished": shown.finish}
            result = run_suite(suite, out=out, engine=engine, **how | hooks)
        if result.fresh or not (result.folder / PAGE).is_file():
            _report(result, clips, engine)
    return result.folder, result.fresh


def _report(result: RunResult, n_clips: int, engine: Engine) -> None:
    """Write a run's clips, chosen by the mel distance or else by another pair metric, and its report."""
    from m2l_bench.checksums import add_checksums
    from m2l_bench.reconstruction.metrics import HEADLINE_METRICS, METRICS, PairMetric
    from m2l_bench.report.build import build
    from m2l_bench.report.clips import Clip, choose_clips, write_clips
    from m2l_bench.results import REPORTED
    from m2l_bench.suite.run import render_clips

    measured = [name for name in ("mel_distance", *HEADLINE_METRICS) if name in result.cards]
    metric = next((name for name in measured if isinstance(METRICS.get(name), PairMetric)), None)
    if metric and n_clips and result.plan.data:
        better = bool(result.cards[metric].higher_is_better)
        clips = (
            Clip(id=item.id, dataset=data.name, sample_rate=rate, reference=reference, estimates=estimates)
            for data in result.plan.data
            for item, rate, reference, estimates in render_clips(
                result,
                data.name,
                choose_clips(result.items, dataset=data.name, metric=metric, higher_is_better=better, n=n_clips),
                engine=engine,
            )
        )
        write_clips(result.folder / "audio", clips, systems=list(result.plan.codecs))
    build([result.folder])
    add_checksums(result.folder, REPORTED)
