"""Results as DataFrames: the values of the files, the texts of the report, and one clear error for a wrong name."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import m2l_bench
from m2l_bench.report.frames import Results
from m2l_bench.report.render import terminal_table
from m2l_bench.report.runs import RunData
from m2l_bench.results import Item, read_items, read_rows

from .synthetic import CARDS_BY_HASH, DATASET, make_run, row


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "run", n_clips=16)


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return m2l_bench.read_results(folder)


def test_frames_hold_what_the_files_hold(folder: Path, results: Results) -> None:
    pd.testing.assert_frame_equal(results.rows, pd.DataFrame([asdict(row) for row in read_rows(folder)]))
    items = read_items(folder)
    assert len(results.items) == len(items)
    assert results.rows[["value", "ci_low", "ci_high"]].dtypes.eq(np.float64).all()
    assert results.rows[["seed", "n_planned", "n_scored", "n_failed"]].dtypes.eq(np.int64).all()
    failed = {(item.system, item.item, item.reason) for item in items if item.reason}
    found = results.failures[["system", "item", "reason"]].itertuples(index=False, name=None)
    assert failed and failed == set(found)
    assert set(results.rows.card) <= set(results.cards.index)
    assert list(results.cards.columns[:2]) == ["name", "title"]


def test_a_table_has_the_texts_of_the_report(results: Results) -> None:
    table = results.table("mel_distance", "si_sdr", dataset=DATASET)
    assert list(table.columns) == ["Mel distance ↓", "SI-SDR (dB) ↑"] and tuple(table.index) == results.systems
    text = terminal_table(
        [row for row in results._data.rows if row.dataset == DATASET],
        results._data.cards,
        ["mel_distance", "si_sdr"],
        systems=results.systems,
    )
    assert all(cell in text for cell in table.to_numpy().ravel() if cell != "-")
    assert "\\begin{tabular}" in table.to_latex()


def test_scores_of_single_files(results: Results) -> None:
    scores = results.per_file("si_sdr")
    rows = results.rows[(results.rows.metric == "si_sdr") & (results.rows.statistic == "mean")].set_index("system")
    assert scores.columns.name == "SI-SDR (dB)" and set(scores.columns) <= set(results.systems)
    first = next(iter(scores))
    chosen = results.items[(results.items.metric == "si_sdr") & (results.items.system == first)]
    assert len(rows) and np.array_equal(
        scores[first].dropna().to_numpy(), chosen.sort_values("item").value.dropna().to_numpy()
    )


def test_seeds_of_a_task_are_averaged() -> None:
    place = {"dataset": "t", "task": "t", "probe": "linear", "split": "test"}
    rows = [row("x", "accuracy", 0.5, seed=seed, statistic="score", **place) for seed in (0, 1)]
    common = {"system": "x", "fingerprint": "", "metric": "accuracy", "card": "c", **place}
    values = {("a", 0): 1.0, ("a", 1): 0.0, ("b", 0): 1.0, ("b", 1): 1.0}
    items = [Item(**common, item=name, seed=seed, value=value) for (name, seed), value in values.items()]
    found = Results(RunData(tuple(rows), tuple(items), CARDS_BY_HASH, ("x",), {})).per_file("accuracy")
    assert found["x"].to_dict() == {"a": 0.5, "b": 1.0} and found.columns.name == "Accuracy"


@pytest.mark.parametrize(
    ("metric", "name"),
    [("fad:musicnn", "jackknife pseudo-value of FAD-musicnn"), ("embedding_distance:musicnn", "FAD-musicnn")],
)
def test_what_a_file_adds_to_a_distance_of_sets_is_named_so(metric: str, name: str) -> None:
    common = {"system": "x", "fingerprint": "", "metric": metric, "card": "c", "dataset": "d"}
    items = [Item(**common, item=name, value=value) for name, value in (("a", 1.0), ("b", 3.0))]
    pooled = replace(row("x", "fad:musicnn", 2.0, dataset="d", statistic="pooled"), metric=metric)
    found = Results(RunData((pooled,), tuple(items), CARDS_BY_HASH, ("x",), {})).per_file(metric)
    assert found.columns.name == name
    assert found["x"].mean() == pooled.value


def test_wrong_names_are_one_clear_error(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown metric 'si_sd'; did you mean si_sdr"):
        results.table("si_sd")
    with pytest.raises(ValueError, match="unknown dataset 'nowhere'"):
        results.table(dataset="nowhere")
    with pytest.raises(ValueError, match="unknown dataset 'nowhere'"):
        results.per_file("si_sdr", dataset="nowhere")
    with pytest.raises(
        ValueError, match="must name one of several that have accuracy, got genre/noise linear, key/noise"
    ):
        results.per_file("accuracy")
    with pytest.raises(ValueError, match=r"run\.json"):
        m2l_bench.read_results(tmp_path)
    with pytest.raises(ValueError, match="at least one run"):
        m2l_bench.read_results()
