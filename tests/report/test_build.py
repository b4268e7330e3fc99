"""The whole report of a run, and the comparison of two of its systems."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2l_bench.report import build as build_module
from m2l_bench.report.build import build
from m2l_bench.report.clips import read_manifest
from m2l_bench.report.compare import compare, comparison_markdown, outliers
from m2l_bench.report.contents import all_figures, all_tables
from m2l_bench.report.figure_spec import FigureSpec
from m2l_bench.report.frames import read_results
from m2l_bench.report.listening import page_data
from m2l_bench.report.runs import read_runs
from m2l_bench.report.significance import Pair, Pairs
from m2l_bench.results import Item, read_items, read_rows, write_run

from .synthetic import DATASET, HASH, HOSTILE, SYSTEMS, make_audio, make_run, row


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module", autouse=True)
def one_figure_of_each_kind() -> Iterator[None]:
    """Drawing takes most of a build's time."""

    def chosen(*arguments: Any) -> Iterator[FigureSpec]:
        kinds: dict[object, FigureSpec] = {}
        for figure in all_figures(*arguments):
            kinds.setdefault(getattr(figure.draw, "func", figure.draw), figure)
        return iter(kinds.values())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "all_figures", chosen)
        yield


@pytest.fixture(scope="module")
def run(one_figure_of_each_kind: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("run") / "run", n_clips=16)
    make_audio(folder, n_clips=3, seconds=0.5)
    build([folder])
    return folder


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here does not depend on them."""
    monkeypatch.setattr(build_module, "all_figures", lambda results, pairs, clips: iter(()))


def test_everything_is_there_and_tied_together(run: Path) -> None:
    names = set(contents(run / "report"))
    for table in (
        "reconstruction-noise",
        "reconstruction-noise-median",
        "reconstruction-noise-by-bit-rate",
        "probes-linear",
    ):
        assert {f"tables/{table}.{suffix}" for suffix in ("md", "tex", "csv", "html", "parquet")} <= names
    stems = {Path(name).stem for name in names if name.startswith("figures/")}
    assert {f"figures/{stem}.{suffix}" for stem in stems for suffix in ("pdf", "png")} <= names
    for part in ("against-bit-rate", "tradeoff-", "probes-linear", "-confusion", "-learning", "-pairs", "spectrograms"):
        assert any(part in stem for stem in stems), part
    assert {"listen/index.html", "listen/clips/2.js", "listen/spectrograms/0-0.png"} <= names
    index = (run / "index.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((report/[^)]+)\)", index)
    assert linked and all((run / link).is_file() for link in linked)
    loaded = ("/clips/", "/spectrograms/", "files/")  # by the pages, when they need them
    assert {f"report/{name}" for name in names if not any(part in name for part in loaded)} == set(linked)
    assert "<img" not in index and "<script" not in index


def test_same_rows_same_bytes(run: Path, tmp_path: Path) -> None:
    again = make_run(tmp_path / "elsewhere", n_clips=16)
    make_audio(again, n_clips=3, seconds=0.5)
    build([again])
    assert contents(again / "report") == contents(run / "report")
    for page in ("index.md", "index.html"):
        assert (again / page).read_bytes() == (run / page).read_bytes()


@pytest.mark.usefixtures("no_figures")
def test_rebuilding_leaves_nothing_old(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    (folder / "report" / "tables" / "stale.md").write_text("old")
    build([folder])
    assert not (folder / "report" / "tables" / "stale.md").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("no_figures")
def test_a_failed_build_leaves_the_old_report(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)

    def broken(*arguments: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(build_module, "write_page", broken)
    before = contents(folder)
    with pytest.raises(OSError, match="disk full"):
        build([folder])
    assert contents(folder) == before


@pytest.mark.usefixtures("no_figures")
def test_merged_runs_go_to_a_folder_of_their_own(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", systems=("identity", "opus:12k"), probes=False)
    two = make_run(tmp_path / "two", systems=("identity", "mp3:64k"), probes=False)
    make_audio(one, systems=("identity", "opus:12k"), n_clips=2, seconds=0.2)
    make_audio(two, systems=("identity", "mp3:64k"), n_clips=2, seconds=0.2)
    index = build([one, two])
    assert index.parent.parent == tmp_path
    assert index.parent.name.startswith("merged-")
    assert not (one / "report").exists()
    text = (index.parent / "report" / "tables" / "reconstruction-noise.md").read_text()
    assert "opus:12k" in text and "mp3:64k" in text
    page = (index.parent / "report" / "listen" / "index.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)[1])  # type: ignore[index]
    assert data["systems"] == ["identity", "opus:12k", "mp3:64k"]
    assert data["clips"][0]["has"] == [True, True, True]
    merged = read_rows(index.parent)
    assert {row.system for row in merged} == {"identity", "opus:12k", "mp3:64k"}
    assert {row.card for row in merged} <= set(json.loads((index.parent / "cards.json").read_text()))
    assert "`failures.csv`" not in index.with_name("index.md").read_text()  # the merged folder has none
    assert 'href="failures.csv"' not in index.read_text()


@pytest.mark.usefixtures("no_figures")
def test_another_folder_and_no_page(run: Path, tmp_path: Path) -> None:
    before = contents(run)
    index = build([run], out=tmp_path / "chosen", listen=False)
    assert index == tmp_path / "chosen" / "index.html" and contents(run) == before
    assert (tmp_path / "chosen" / "rows.csv").read_bytes() == (run / "rows.csv").read_bytes()
    assert not (tmp_path / "chosen" / "report" / "listen").exists()
    assert "Listen:" not in index.with_name("index.md").read_text() and 'href="report/listen' not in index.read_text()


def test_a_biased_distance_is_compared_but_not_tested_and_is_no_score_of_a_clip(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", systems=("identity", "opus:12k", "pca"), n_clips=16, probes=False)
    rng = np.random.default_rng(0)
    rows, items = [r for r in read_rows(folder) if r.metric != "fad:musicnn"], read_items(folder)
    for system, value in (("identity", 0.0), ("opus:12k", 5.0), ("pca", 2.0)):
        added = rng.normal(size=16)
        added += value - added.mean()
        rows.append(row(system, "fad:musicnn", value, statistic="pooled"))
        shared = {"system": system, "fingerprint": rows[-1].fingerprint, "dataset": DATASET, "metric": "fad:musicnn"}
        names = [item.item for item in items if (item.system, item.metric) == (system, "mel_distance")]
        items += [
            Item(**shared, card=HASH["fad:musicnn"], item=name, group=name, value=float(x))
            for name, x in zip(names, added, strict=True)
        ]
    write_run(folder, rows, items, json.loads((folder / "run.json").read_text()))
    results = read_runs([folder])
    table = next(t for t in all_tables(results, Pairs(results.items)) if t.name == "reconstruction-noise")
    assert not {system for measurement, system in table.best if measurement.metric == "fad:musicnn"}  # it is biased
    found = {d.measurement.metric: d for d in compare(read_runs([folder]), "opus:12k", "pca").differences}[
        "fad:musicnn"
    ]
    assert found.value == pytest.approx(3.0) and found.low < 3 < found.high
    assert found.better == "" and np.isnan(found.p_value)
    make_audio(folder, systems=("identity", "opus:12k", "pca"), n_clips=2, seconds=0.2)
    clips = read_manifest(folder / "audio")
    names = [metric["name"] for metric in page_data(results, clips)["metrics"]]
    assert "si_sdr" in names and "fad:musicnn" not in names


def test_systems_of_clips_are_grouped_by_kind_and_unknown_kinds_come_last(tmp_path: Path) -> None:
    systems = ("pca", "unknown", *(f"opus:{rate}k" for rate in (6, 12, 24)), "identity", "codec (2nd)")
    folder = make_run(tmp_path / "run", systems=systems, n_clips=2, probes=False)
    make_audio(folder, systems=systems, n_clips=2, seconds=0.2)
    path = folder / "run.json"
    record = json.loads(path.read_text())
    record["systems"]["unknown"] = {"fingerprint": record["systems"]["unknown"]["fingerprint"]}
    record["systems"]["codec (2nd)"]["kind"] = "codecs"
    path.write_text(json.dumps(record))
    clips = read_manifest(folder / "audio")
    data = page_data(read_runs([folder]), clips)
    codecs = ["opus:6k", "opus:12k", "opus:24k", "codec (2nd)"]
    assert data["systems"] == ["identity", *codecs, "pca", "unknown"]
    assert data["groups"] == [["references", 2], ["codecs", 4], ["autoencoders", 1], ["others", 1]]
    path.write_text(json.dumps(record | {"systems": {}}))
    data = page_data(read_runs([folder]), clips)
    assert (data["systems"], data["groups"]) == (list(systems), [])


@pytest.mark.usefixtures("no_figures")
def test_published_figures_are_read_from_the_checkout(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "_published_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match="must hold CSV files of published figures"):
        build([run], published=True, out=tmp_path / "out")
    (tmp_path / "a.csv").write_text(
        "system,dataset,task,metric,value,source,table,date,conditions\nDAC,x,,si_sdr,8.9,S,T1,2023,44.1 kHz\n"
    )
    index = build([run], published=True, out=tmp_path / "out")
    assert "Published figures, not measured here" in index.read_text()


def test_page_data_cannot_leave_its_script(run: Path) -> None:
    page = (run / "report" / "listen" / "index.html").read_text()
    assert page.count("</script>") == 2
    assert "alert(1)" in page and "<img src=x" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)[1])  # type: ignore[index]
    assert data["systems"] == list(SYSTEMS)
    assert data["clips"][0]["has"] == [True] * 5 + [False]
    assert data["metrics"][0]["name"] == "si_sdr"
    assert data["clips"][1]["scores"][0][0] == 100.0
    assert not re.search(r"https?://", page)


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.json: must be a run's JSON file"):
        build([tmp_path])


def test_compare(run: Path) -> None:
    found = {
        (d.measurement.dataset, d.measurement.metric): d
        for d in compare(read_runs([run]), "pca", "opus:12k").differences
    }
    mel = found["reconstruction/noise", "mel_distance"]
    results = read_runs([run])
    values = {
        s: [i.value for i in results.items if (i.system, i.metric) == (s, "mel_distance")] for s in ("pca", "opus:12k")
    }
    assert mel.value == pytest.approx(np.mean(values["pca"]) - np.mean(values["opus:12k"]))
    assert mel.low < mel.value < mel.high < 0
    assert (len(mel.pair.items), mel.better) == (16, "a")
    assert found["reconstruction/noise", "lag"].better == ""
    assert np.isnan(found["reconstruction/noise", "lag"].p_value)
    assert len(found["genre/noise", "accuracy"].pair.items) == 40  # seeds are averaged first
    mirrored = {
        d.measurement.metric: d
        for d in compare(read_runs([run]), "opus:12k", "pca").differences
        if not d.measurement.task
    }["mel_distance"]
    assert mirrored.value == pytest.approx(-mel.value)
    assert (mirrored.p_value, mirrored.better) == (mel.p_value, "b")


def test_comparison_reads_well(run: Path) -> None:
    text = comparison_markdown(compare(read_runs([run]), "opus:12k", HOSTILE))
    assert "| Mel distance ↓ | 16 |" in text
    assert "| SI-SDR (dB) ↑  | 15 |" in text  # one file failed on one side
    assert "<script" not in text and "<img" not in text
    assert text == comparison_markdown(compare(read_runs([run]), "opus:12k", HOSTILE))


def test_a_comparison_as_a_frame(run: Path) -> None:
    found = read_results(run).compare("pca", "opus:12k")
    frame = found.to_frame()
    assert (
        len(frame) == len(found.differences) and frame[["difference", "ci_low", "ci_high"]].dtypes.eq("float64").all()
    )
    mel = frame[frame.metric == "mel_distance"].iloc[0]
    assert mel.difference == pytest.approx(mel.a - mel.b) and (mel.n, mel.better) == (16, "pca")
    assert repr(found).startswith("Comparison(pca minus opus:12k, ") and "pca better in" in repr(found)
    assert len(repr(found)) < 300


def test_outliers_stand_out() -> None:
    b = np.linspace(0, 1, 30)
    a = b + 1.0 + 0.01 * np.sin(np.arange(30))
    a[7] += 5.0
    pair = Pair(tuple(map(str, range(30))), tuple(map(str, range(30))), a, b)
    assert outliers(pair) == [7]
    same = Pair(pair.items, pair.groups, b + 1, b)
    assert outliers(same) == []


def test_compare_refuses(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown system 'opus'; did you mean opus:48k"):
        compare(read_runs([run]), "pca", "opus")
    with pytest.raises(ValueError, match="must be two systems, got 'pca' twice"):
        compare(read_runs([run]), "pca", "pca")
    results = read_runs([run])
    write_run(tmp_path, list(results.rows), [replace(i, value=float("nan"), target="") for i in results.items], {})
    (tmp_path / "cards.json").write_text((run / "cards.json").read_text())
    with pytest.raises(ValueError, match="must have scores on at least two common items"):
        compare(read_runs([tmp_path]), "pca", "opus:12k")
