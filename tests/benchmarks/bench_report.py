"""Report of 1,000 clips x 10 systems: seconds to build it, and to open its pages and a table.

Run from the checkout's root: ``python tests/benchmarks/bench_report.py [CLIPS]`` (needs Chromium for the last lines).
Clips last 2 s, 16 kHz, one channel. The baseline is a naive page: one HTML file that holds an <audio> element and a score
for every cell, opened by the same browser in the same run.
"""

from __future__ import annotations

import html
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from m2l_bench.report.build import build
from tests.report import browser as chromium
from tests.report.synthetic import make_audio, make_run

SYSTEMS = (
    "identity",
    *(f"opus:{rate}k" for rate in (12, 24, 48, 96)),
    *(f"mp3:{r}k" for r in (48, 64, 128)),
    "pca",
    "small",
)


def opened(browser: object, path: Path, ready: str) -> float:
    """Median seconds of three loads until the page is loaded and `ready` holds."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        browser.get(path.as_uri())  # type: ignore[attr-defined]
        assert browser.execute_script(f"return {ready}")  # type: ignore[attr-defined]
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def naive_page(path: Path, n_clips: int) -> Path:
    cells = "".join(f"<td>{system}<audio controls preload=none src='x.flac'></audio></td>" for system in SYSTEMS)
    rows = "".join(f"<tr><th>{html.escape(str(i))}</th>{cells}</tr>" for i in range(n_clips))
    path.write_text(f"<!doctype html><table>{rows}</table>", encoding="utf-8")
    return path


def main() -> None:
    n_clips = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", systems=SYSTEMS, n_clips=n_clips, probes=False)
        make_audio(run, systems=SYSTEMS, n_clips=n_clips, seconds=2.0)
        started, cpu = time.perf_counter(), time.process_time()
        build([run])
        print(f"built: {time.perf_counter() - started:.1f} s ({time.process_time() - cpu:.1f} s of processor time)")
        browser = chromium.start(width=1280, height=900, downloads=Path(folder))
        try:
            files = "(document.getElementById('files').scrollIntoView(), document.querySelectorAll('table.sortable').length > 2)"
            report = opened(browser, run / "index.html", files)
            page = opened(
                browser, run / "report/listen/index.html", "document.querySelectorAll('#rows tr').length >= 40"
            )
            table = opened(
                browser, run / "report/tables/reconstruction-noise.html", "document.querySelectorAll('tr').length > 10"
            )
            peer = opened(
                browser, naive_page(Path(folder) / "naive.html", n_clips), "document.readyState === 'complete'"
            )
        finally:
            browser.quit()
        print(f"report page opens in {report:.2f} s")
        print(
            f"listening page opens in {page:.2f} s, table in {table:.2f} s, naive page in {peer:.2f} s (ratio {peer / page:.1f})"
        )


if __name__ == "__main__":
    main()
