"""Leaderboard: ranges of ranks, what is never ranked, facts of systems, and which runs it is made of."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from m2l_bench.cli import app
from m2l_bench.report import build as build_module
from m2l_bench.report.board import board_page, rank_ranges
from m2l_bench.report.build import build
from m2l_bench.report.runs import Measurement, read_runs
from m2l_bench.report.significance import Pairs, matrix
from m2l_bench.results import LATENT_SPACE, read_items, read_rows, write_run

from .synthetic import DATASET, HOSTILE, make_run


def state(run: Path, **facts: dict[str, Any]) -> Path:
    """The same run, whose ``run.json`` states facts of some systems."""
    fingerprints = {row.system: row.fingerprint for row in read_rows(run)}
    record = json.loads((run / "run.json").read_text())
    record["systems"] = {label: {"fingerprint": fingerprints[label], **stated} for label, stated in facts.items()}
    write_run(run, read_rows(run), read_items(run), record, others=[run / "cards.json"])
    return run


def two_runs(folder: Path) -> tuple[Path, Path]:
    """Two runs with the identity in common; the first states facts of two systems."""
    one = make_run(folder / "alice", systems=("identity", "opus:12k", "pca", HOSTILE), n_clips=16)
    opus = {"sample_rate": 48000, "licence": "BSD-3-Clause", "compression_ratio": None}
    pca = {"sample_rate": 44100, "licence": "MIT", "compression_ratio": 64.0}
    state(one, **{"opus:12k": opus, "pca": pca})
    return one, state(make_run(folder / "bob", systems=("identity", "opus:48k", "majority"), n_clips=16))


def latent_run(folder: Path) -> Path:
    """A run that measured nothing but latent spaces."""
    run = make_run(folder, systems=("pca",), probes=False)
    rows = [replace(row, task=LATENT_SPACE) for row in read_rows(run)]
    write_run(run, rows, [], json.loads((run / "run.json").read_text()), others=[run / "cards.json"])
    return run


def page_of(*runs: Path) -> str:
    results = read_runs(runs)
    return board_page(results, Pairs(results.items), name="trial", n_clips=0)


def data_of(page: str) -> Any:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)[1])  # type: ignore[index]


def lines_of(page: str, part: str) -> dict[str, list[str]]:
    """System -> the text of each of its cells in one part, its parts apart; the first has the system's facts."""
    section = re.search(rf"<h3 [^>]*>{part}</h3>.*?</section>", page, flags=re.DOTALL)[0]  # type: ignore[index]
    found = re.findall(r'<tr data-system="\d+"><th scope="row" data-name="(.*?)">(.*?)</tr>', section, flags=re.DOTALL)
    return {
        html.unescape(name): [
            html.unescape(" ".join(re.sub("<.*?>", " ", cell).split())) for cell in re.split("</t[hd]>", cells)
        ]
        for name, cells in found
    }


def test_ranges_of_a_known_matrix() -> None:
    better = np.zeros((5, 5), bool)
    better[0, 2:] = True  # a beats c, d, e
    better[1, 3:] = True  # b beats d, e
    better[2, 4] = True  # c beats e
    assert rank_ranges(better) == [(1, 2), (1, 3), (2, 4), (3, 5), (4, 5)]
    assert rank_ranges(np.triu(np.ones((3, 3), bool), 1)) == [(1, 1), (2, 2), (3, 3)]
    assert rank_ranges(np.zeros((4, 4), bool)) == [(1, 4)] * 4
    assert rank_ranges(np.zeros((0, 0), bool)) == []
    chosen = better[np.ix_([0, 3, 4], [0, 3, 4])]  # of a, d and e alone
    assert rank_ranges(chosen) == [(1, 1), (2, 3), (2, 3)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """To read."""
    return two_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(runs: tuple[Path, Path]) -> str:
    return page_of(*runs)


def test_lines_ranks_and_facts(page: str) -> None:
    lines = lines_of(page, "reconstruction/noise")
    # Sorted by SI-SDR, the best first, which a rising mean makes the later ones; the anchors apart.
    assert list(lines) == [HOSTILE, "pca", "opus:12k", "opus:48k", "identity", "majority"]
    heads = re.findall(r'<button type="button">(.*?)</button>', page)[1:]
    assert [head.replace("\u00a0", " ") for head in heads[1:3]] == ["SI-SDR (dB) ↑", "Mel distance ↓"]
    assert {system: cells[2].split()[0] for system, cells in lines.items()} == {
        HOSTILE: "1",
        "pca": "2",
        "opus:12k": "3\N{EN DASH}4",  # both runs have equal values of the two
        "opus:48k": "3\N{EN DASH}4",
        "identity": "100.0",  # no rank
        "majority": "6.8",
    }
    assert lines["opus:12k"][0] == "opus:12k 48 kHz · BSD-3-Clause · alice"
    assert lines["pca"][0] == "pca 64x · 44.1 kHz · MIT · alice"
    assert lines["opus:48k"][0] == "opus:48k compression, rate, licence unknown · bob"
    assert lines["identity"][0] == "identity alice · bob"
    assert 'data-value="100.0">100.0' in page and "<img src=x" not in page and not re.search("https?://", page)


def test_what_has_no_rank_says_why(page: str) -> None:
    lines = lines_of(page, "reconstruction/noise")
    assert lines["pca"][1] == "3.0 [2.8, 3.2]" and lines["pca"][4].startswith("0.93")  # FAD, lag
    assert re.findall(r"<li>No rank: (.*?)\.</li>", page)[:3] == [
        "FAD-musicnn (its bias differs between kinds of distortion, so that no test is valid)",
        "Lag (it only describes: neither direction is better)",
        "bit rate (a condition, not a result)",
    ]
    # The predictions of a macro F1 are no scores of items.
    assert page.count("No rank: Macro F1 (it has no value for single items that a paired test could compare).") == 2


def test_what_filters_know_of_the_systems(page: str) -> None:
    data, systems = data_of(page), ["identity", "opus:12k", "pca", HOSTILE, "opus:48k", "majority"]
    assert dict(zip(systems, data["systems"], strict=True))["pca"] == {
        "compression": ["32 to 64 x"],
        "rate": ["44.1 kHz"],
        "licence": ["MIT"],
        "run": ["alice"],
    }
    assert [found["compression"][0] for found in data["systems"]] == [
        "unknown",
        "not stated",
        "32 to 64 x",
        *["unknown"] * 3,
    ]
    assert data["systems"][0]["run"] == ["alice", "bob"]
    assert [bits[0] for bits in data["sections"][0]["bits"]] == [
        "not measured",
        "up to 16 kbit/s",
        *["not measured"] * 2,
        "32 to 64 kbit/s",
        "not measured",
    ]
    options = re.findall(r'class="filter" id="(\w+)">(.*?)</select>', page, flags=re.DOTALL)
    assert {key: re.findall('value="(.+?)"', found) for key, found in options} == {
        "compression": ["32 to 64 x", "not stated", "unknown"],
        "bits": ["up to 16 kbit/s", "32 to 64 kbit/s", "not measured"],
        "rate": ["44.1 kHz", "48 kHz", "unknown"],
        "licence": ["BSD-3-Clause", "MIT", "unknown"],
        "run": ["alice", "bob"],
    }
    better = {int(place): set(found) for place, found in data["sections"][0]["better"]["1"].items()}
    assert better == {3: {1, 2, 4}, 2: {1, 4}, 1: set(), 4: set()}  # of SI-SDR; places in `systems`


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "any rate · licence not stated"),
        ({"sample_rate": None, "licence": "", "compression_ratio": None}, "any rate · licence not stated"),
        ({"sample_rate": "44100", "licence": 3, "compression_ratio": "64"}, "any rate · 3"),  # somebody's own file
        ({"sample_rate": -1, "licence": "<b>", "compression_ratio": float("nan")}, "any rate · <b>"),
        ({"sample_rate": 22050, "licence": "MIT / MIT", "compression_ratio": 2.5}, "2.5x · 22.05 kHz · MIT / MIT"),
    ],
)
def test_facts_that_a_run_states(tmp_path: Path, facts: dict[str, Any], text: str) -> None:
    run = state(make_run(tmp_path / "run", systems=("pca",), probes=False), pca=facts)
    assert lines_of(page_of(run), "reconstruction/noise")["pca"][0] == f"pca {text} · run"


def test_a_filter_of_one_value_is_left_out(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", systems=("identity", "pca", "other"), probes=False))
    assert 'class="filter"' not in page and 'id="metric"' in page


def test_runs_without_anything_to_rank(tmp_path: Path) -> None:
    page = page_of(latent_run(tmp_path / "run"))
    assert "These runs have no numbers that are compared here" in page and "<form" not in page


def test_what_readers_find_has_the_bit_rate_beside_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", systems=("identity", "opus:12k", "pca"), n_clips=16)
    task = {"dataset": "key/noise", "task": "key/noise"}
    rows = [replace(r, reader="clap") for r in read_rows(run) if r.task == "key/noise"]
    rows += [replace(r, **task) for r in read_rows(run) if r.metric == "bit_rate"]
    items = [replace(i, reader="clap") for i in read_items(run) if i.task == "key/noise"]
    write_run(run, rows, items, json.loads((run / "run.json").read_text()), others=[run / "cards.json"])
    page = page_of(run)
    assert re.findall("<h3 [^>]*>(.*?)</h3>", page) == ["key/noise, read by clap"]  # a bit rate alone is no part
    lines = lines_of(page, "key/noise, read by clap")
    assert {system: cells[1].split()[0] for system, cells in lines.items()} == {
        "pca": "1\N{EN DASH}2",
        "opus:12k": "1\N{EN DASH}2",
        "identity": "0.32",
    }
    assert [lines[system][3].split()[0] for system in lines] == ["-", "13.3", "-"]


def test_a_system_no_better_than_chance_is_better_than_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", systems=("opus:12k", "opus:48k", "pca"), n_clips=16, probes=False)
    chance = replace(next(r for r in read_rows(run) if r.metric == "si_sdr"), system="chance", fingerprint="chance")
    # The SI-SDR of the systems are about 0.8, 3.8 and 6.8.
    rows = [*read_rows(run), replace(chance, value=2.0, ci_low=1.0, ci_high=5.0)]
    record = json.loads((run / "run.json").read_text())
    write_run(run, rows, read_items(run), record, others=[run / "cards.json"])
    lines = lines_of(page_of(run), "reconstruction/noise")
    assert {system: cells[2].split()[0] for system, cells in lines.items()} == {
        "pca": "1",
        "opus:48k": "2\N{EN DASH}3",  # far better than opus:12k, but within chance's interval
        "opus:12k": "2\N{EN DASH}3",
        "chance": "2.00",
    }


def test_the_tests_are_corrected_over_all_systems(runs: tuple[Path, Path], page: str) -> None:
    results = read_runs(runs)
    pairs = Pairs(results.items)
    measurement = Measurement(DATASET, metric="mel_distance", statistic="mean")
    systems = [system for system in results.systems if system not in ("identity", "majority")]
    _, p_values = matrix(pairs, measurement, systems, higher_is_better=False)
    data = data_of(page)
    wanted = {(a, b) for a, b in np.argwhere(p_values < 0.05).tolist() if a < b}
    found = data["sections"][0]["better"]["2"]
    places = [results.systems.index(system) for system in systems]
    assert wanted == {
        tuple(sorted((places.index(int(place)), places.index(other)))) for place, row in found.items() for other in row
    }


def test_a_board_of_one_run_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "all_figures", lambda results, pairs, clips: iter(()))
    one, two = two_runs(tmp_path)
    several = build([one, two], out=tmp_path / "board")
    assert (several.parent / "board.html").is_file() and 'href="board.html"' in several.read_text()
    assert "[board.html](board.html)" in several.with_name("index.md").read_text()
    for page in (build([one]), build([one], out=tmp_path / "board"), build([one, one], out=tmp_path / "again")):
        assert not page.with_name("board.html").exists() and "board.html" not in page.read_text()
        assert "board.html" not in page.with_name("index.md").read_text()


def test_the_command_prints_both_pages_or_one_line_of_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "all_figures", lambda results, pairs, clips: iter(()))
    one, two = two_runs(tmp_path)
    command = ["report", str(one), str(two), "--out", str(tmp_path / "board")]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0
    assert found.output.split() == [str(tmp_path / "board" / name) for name in ("index.html", "board.html")]
    with (two / "rows.csv").open("a") as file:
        file.write("made up\n")
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2 and refused.stderr.count("\n") == 1
    assert "bob/rows.csv: must have the SHA-256 in" in refused.stderr
