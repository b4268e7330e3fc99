"""Scores of single files, as the report page shows them: one script file for each dataset.

Conventions
-----------
A page opened from the disk may load scripts and nothing else, so ``N.js`` hands the scores of dataset N to the page. Metrics
are those that score a file by itself: what a file adds to a number of the whole set (FAD, ROC AUC) is no score of the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from m2l_bench.cards import REPEATABILITY
from m2l_bench.files.disk import write_atomic
from m2l_bench.report import figure_data
from m2l_bench.report.clips import ClipFiles
from m2l_bench.report.compare import median_distances
from m2l_bench.report.listening import FIRST_METRICS
from m2l_bench.report.runs import Measurement, RunData, measurement_of, natural_key
from m2l_bench.report.significance import CONDITIONS, Pairs
from m2l_bench.report.sources import rounded, script_json
from m2l_bench.report.tables import heading
from m2l_bench.results import LATENT_SPACE
from m2l_bench.tasks.scoring import METRICS as TASK_METRICS

# Conditions come last.
_ORDER = {name: place for place, name in enumerate(FIRST_METRICS)} | dict.fromkeys(CONDITIONS, len(FIRST_METRICS) + 1)


def write_file_scores(
    folder: Path, results: RunData, pairs: Pairs, clips: Sequence[ClipFiles], *, beside: Path
) -> list[dict[str, Any]]:
    """Write the scores of each dataset, and give what the page must know before it loads them.

    Parameters
    ----------
    folder : Path
    results : RunData
    pairs : Pairs
        Scores of the files in `results`.
    clips : sequence of ClipFiles
        In the order of the listening page.
    beside : Path
        Folder of the page: clips in it can be played there.

    Returns
    -------
    list of dict
        ``name`` of the dataset, number of ``files``, and its ``metrics``: ``title`` and ``better`` (true, false or None).
    """
    cards = {m._replace(statistic=""): card for m, card in results.measured.items() if _is_of_files(m, card)}
    by_dataset: dict[str, list[Measurement]] = defaultdict(list)
    for measurement in sorted(pairs.measured(), key=_is_of_task):  # reconstruction first
        if measurement in cards:
            by_dataset[measurement.dataset].append(measurement)
    reasons = _reasons(results)
    datasets = []
    for index, (dataset, measurements) in enumerate(by_dataset.items()):
        measurements.sort(key=lambda m: _ORDER.get(m.metric, len(FIRST_METRICS)))
        several = {(m.split, m.task) for m in measurements}
        titles = [_title(m, cards[m], named=len(several) > 1) for m in measurements]
        content = _scores(results.systems, pairs, measurements, reasons)
        place = {name: at for at, name in enumerate(content["items"])}
        content["clips"] = [
            {"item": place[clip.id], "number": number, **_audio(clip, results.systems, beside)}
            for number, clip in enumerate(clips)
            if clip.dataset == dataset and clip.id in place
        ]
        write_atomic(folder / f"{index}.js", f"m2lFiles({index},{script_json(content)});\n".encode())
        metrics = [
            {"title": title, "better": cards[m]["higher_is_better"]}
            for title, m in zip(titles, measurements, strict=True)
        ]
        datasets.append({"name": dataset, "files": len(place), "metrics": metrics})
    return datasets


def _is_of_task(measurement: Measurement) -> bool:
    return measurement.task not in ("", LATENT_SPACE)


def _is_of_files(measurement: Measurement, card: Mapping[str, Any]) -> bool:
    """Whether the number is made of scores that files have by themselves, of the whole test split and unquantised latents."""
    if _is_of_task(measurement):
        metric = TASK_METRICS.get(measurement.metric)
        own = metric is None or metric.per_item is not None
        return own and measurement.statistic == "score" and not figure_data.is_learning_curve(measurement)
    apart = card.get("group") == REPEATABILITY or bool(measurement.split)
    return measurement.statistic == "mean" and not apart


def _title(measurement: Measurement, card: Mapping[str, Any], *, named: bool) -> str:
    task = [measurement.task] if named and measurement.task != measurement.dataset else []
    return ", ".join(filter(None, (heading(card), *task, measurement.reader, measurement.probe)))


def _reasons(results: RunData) -> dict[Measurement, list[tuple[str, str, str]]]:
    """Measurement -> item, system and reason of what could not be scored."""
    found: dict[Measurement, dict[tuple[str, str], str]] = defaultdict(dict)
    for item in results.items:
        if item.reason:
            found[measurement_of(item)].setdefault((item.item, item.system), item.reason)
    return {m: [(*key, reason) for key, reason in failed.items()] for m, failed in found.items()}


def _scores(
    systems: Sequence[str],
    pairs: Pairs,
    measurements: Sequence[Measurement],
    reasons: Mapping[Measurement, Sequence[tuple[str, str, str]]],
) -> dict[str, Any]:
    """Items, then for each measurement the values of each system in their order, outliers, and reasons of failures."""
    names = {item for m in measurements for scores in pairs.scores(m).values() for item in scores}
    names |= {item for m in measurements for item, _, _ in reasons.get(m, ())}
    items = sorted(names, key=lambda name: (natural_key(name), name))
    place, column = ({name: at for at, name in enumerate(several)} for several in (items, systems))
    values = [[[pairs.scores(m).get(s, {}).get(name) for name in items] for s in systems] for m in measurements]
    return {
        "items": items,
        "values": [[[rounded(value) for value in line] for line in lines] for lines in values],
        "outliers": [
            [[] if m.metric in TASK_METRICS else _outliers(line) for line in lines]  # a wrong prediction is no outlier
            for m, lines in zip(measurements, values, strict=True)
        ],
        "failed": [[(place[i], column[s], r) for i, s, r in reasons.get(m, ()) if s in column] for m in measurements],
    }


def _outliers(values: Sequence[float | None]) -> list[int]:
    """Places of values that stand out from the others of the same system."""
    known = [at for at, value in enumerate(values) if value is not None]
    numbers = np.array([values[at] for at in known], dtype=np.float64)
    if not known:
        return []
    distance, limit = median_distances(numbers)
    return [known[at] for at in np.flatnonzero(distance > limit)]


def _audio(clip: ClipFiles, systems: Sequence[str], beside: Path) -> dict[str, Any]:
    """Addresses of a clip's files, where they lie in the folder of the page."""

    def address(path: str | None) -> str | None:
        if path is None or not Path(path).resolve().is_relative_to(folder):
            return None
        return quote(Path(path).resolve().relative_to(folder).as_posix())

    folder = beside.resolve()
    return {"reference": address(clip.reference), "systems": [address(clip.systems.get(s)) for s in systems]}
