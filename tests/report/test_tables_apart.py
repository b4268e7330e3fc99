"""Metrics of stereo, and of another seed, have tables of their own; the note on differences that a seed could make."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from m2l_bench.cards import REPEATABILITY, SEED_CHANGE, STEREO
from m2l_bench.report.clips import read_manifest
from m2l_bench.report.compare import compare, comparison_markdown
from m2l_bench.report.contents import all_figures, all_tables
from m2l_bench.report.listening import page_data
from m2l_bench.report.render import to_markdown
from m2l_bench.report.runs import RunData, read_runs
from m2l_bench.report.significance import Pairs
from m2l_bench.report.tables import Table
from m2l_bench.results import Item, read_items, read_rows, write_run

from .synthetic import DATASET, card, card_hash, clip_names, make_audio, make_run, row

SYSTEMS = ("identity", "opus:12k", "opus:48k", "mp3:64k", "pca")  # mean SI-SDR: 100, then 3 dB apart
NEW = {
    "repeatability": ("repeatability", "dB", True, REPEATABILITY),
    f"{SEED_CHANGE}:si_sdr": ("change of SI-SDR with the seed", "dB", False, REPEATABILITY),
    f"{SEED_CHANGE}:lag": ("change of lag with the seed", "samples", False, REPEATABILITY),
    "si_sdr_side": ("SI-SDR side", "dB", True, STEREO),
}
NAME = "reconstruction-noise"
START = "Differences smaller than what another seed changes in a file (mean of 4 files): "


def run_with(folder: Path, values: dict[tuple[str, str], float]) -> RunData:
    """A synthetic run with more measurements, (system, metric) -> value; those of another seed are of four of its eight files."""
    make_run(folder, systems=SYSTEMS, probes=False)
    rows, items = read_rows(folder), read_items(folder)
    record, cards = (json.loads((folder / name).read_text()) for name in ("run.json", "cards.json"))
    for (system, metric), value in values.items():
        title, unit, better, group = NEW[metric]
        content = card(metric, title, unit, better) | {"group": group}
        cards[card_hash(content)] = content
        names, statistics = clip_names(8), ("mean", "median")
        if group == REPEATABILITY:
            names, statistics = names[::2], ("mean",)
        fields = {"metric": metric, "card": card_hash(content)}
        counts = {"n_planned": len(names), "n_scored": len(names), "data_hash": f"{len(names):016x}"}
        like = row(system, "si_sdr", value)
        rows += [replace(like, statistic=statistic, **fields, **counts) for statistic in statistics]
        named = fields | {"system": system, "fingerprint": like.fingerprint, "dataset": DATASET}
        items += [Item(**named, item=name, group=name, value=value + k) for k, name in enumerate(names)]
    (folder / "cards.json").write_text(json.dumps(cards))
    write_run(folder, rows, items, record)
    return read_runs([folder])


def tables_of(results: RunData) -> dict[str, Table]:
    return {table.name: table for table in all_tables(results, Pairs(results.items))}


def notes_of(results: RunData) -> dict[str, list[str]]:
    """The notes on seeds under each table that has one."""
    found = {
        name: [s for s in table.caption if s.startswith("Differences smaller")]
        for name, table in tables_of(results).items()
    }
    return {name: notes for name, notes in found.items() if notes}


def test_nothing_else_notices_the_metrics_of_another_seed(tmp_path: Path) -> None:
    """All other tables, figures, scores of clips and comparisons are those of a run without them."""
    seeds = {(s, m): 1e-6 for s in ("opus:12k", "pca") for m in NEW if NEW[m][3] == REPEATABILITY}
    plain, repeated = run_with(tmp_path / "plain", {}), run_with(tmp_path / "repeated", seeds)
    before, after = tables_of(plain), tables_of(repeated)
    table = after.pop(f"{NAME}-repeatability")
    assert {name: to_markdown(t) for name, t in after.items()} == {name: to_markdown(t) for name, t in before.items()}
    assert table.title == f"{DATASET}: decoding with another seed"
    assert [column.title for column in table.columns] == [NEW[name][0] for name in NEW if name != "si_sdr_side"]
    assert list(table.groups) == ["opus:12k", "pca"]
    drawn = [[figure.name for figure in all_figures(run, Pairs(run.items), [])] for run in (plain, repeated)]
    assert drawn[0] and drawn[0] == drawn[1]
    compared = [comparison_markdown(compare(run, "opus:12k", "pca")) for run in (plain, repeated)]
    assert compared[0] == compared[1]
    clips = read_manifest(make_audio(tmp_path / "repeated", systems=SYSTEMS, n_clips=3, seconds=0.2))
    shown = [page_data(run, clips)["metrics"] for run in (plain, repeated)]
    assert shown[0] and shown[0] == shown[1]


def test_repeatability_is_not_ranked(tmp_path: Path) -> None:
    results = run_with(tmp_path / "run", {("opus:12k", "repeatability"): 60.0, ("pca", "repeatability"): -20.0})
    table = tables_of(results)[f"{NAME}-repeatability"]
    pairs = Pairs(results.items)
    assert pairs.test(table.columns[0].measurement, "opus:12k", "pca")[0] == 80.0, "there is something to rank"
    assert not table.best and not any(sentence.startswith("Bold") for sentence in table.caption)


def test_stereo_has_a_second_table_of_means_and_of_medians(tmp_path: Path) -> None:
    stereo = {(system, "si_sdr_side"): 10.0 * k for k, system in enumerate(SYSTEMS)}
    before, after = (tables_of(run_with(tmp_path / name, values)) for name, values in (("a", {}), ("b", stereo)))
    means, medians = after.pop(f"{NAME}-stereo"), after.pop(f"{NAME}-stereo-median")
    assert means.title == f"{DATASET}: stereo and phase, mean over files"
    assert medians.title == f"{DATASET}: stereo and phase, median over files"
    assert [[column.title for column in table.columns] for table in (means, medians)] == [["SI-SDR side"]] * 2
    assert {system for _, system in means.best} == {"pca"} and not medians.best
    assert {name: to_markdown(t) for name, t in after.items()} == {name: to_markdown(t) for name, t in before.items()}


def test_a_difference_that_another_seed_could_make_is_named_under_tables_of_means(tmp_path: Path) -> None:
    """SI-SDR of Opus at 12k and 48k differs by 3 dB, of 12k and the MP3 by 6; one seed to another changes 4 dB."""
    results = run_with(tmp_path / "run", {("opus:12k", f"{SEED_CHANGE}:si_sdr"): 4.0})
    (column,) = [c.measurement for c in tables_of(results)[NAME].columns if c.measurement.metric == "si_sdr"]
    values = {r.system: r.value for r in results.rows if (r.metric, r.statistic) == (column.metric, "mean")}
    difference = values["opus:48k"] - values["opus:12k"]
    assert difference < 4.0 < values["mp3:64k"] - values["opus:12k"]
    note = f"{START}SI-SDR of opus:12k and opus:48k ({difference:.2g} dB of 4 dB)."
    assert notes_of(results) == {NAME: [note]}, "not under medians, nor where the bands of bit rates set the two apart"


@pytest.mark.parametrize(
    "values",
    [
        {("opus:12k", f"{SEED_CHANGE}:si_sdr"): 2.0},  # smaller than every difference
        {("identity", f"{SEED_CHANGE}:si_sdr"): 200.0},  # not ranked
        {("opus:12k", f"{SEED_CHANGE}:lag"): 1e4},  # has no better direction
        {("opus:12k", "repeatability"): -20.0},
    ],
    ids=["small", "anchor", "undirected", "no change"],
)
def test_no_note_where_no_difference_is_that_small(tmp_path: Path, values: dict[tuple[str, str], float]) -> None:
    assert notes_of(run_with(tmp_path / "run", values)) == {}


def test_three_pairs_are_named_and_the_others_counted(tmp_path: Path) -> None:
    results = run_with(
        tmp_path / "run", {("pca", f"{SEED_CHANGE}:si_sdr"): 50.0, ("mp3:64k", f"{SEED_CHANGE}:si_sdr"): 50.0}
    )
    (note,) = notes_of(results)[NAME]
    assert note.startswith(START) and note.endswith("; and 2 more.")
    pairs = [part.partition(" (")[0] for part in note.removeprefix(START).split("; ")[:3]]
    assert pairs == [f"SI-SDR of {two}" for two in ("opus:12k and mp3:64k", "opus:12k and pca", "opus:48k and mp3:64k")]
    assert "identity" not in note
