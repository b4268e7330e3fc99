"""The report page of a run: what stands in it, that nothing from outside is taken for markup, and the scores of files."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2l_bench.report import build as build_module
from m2l_bench.report.build import build
from m2l_bench.report.contents import all_figures, all_tables
from m2l_bench.report.render import to_words
from m2l_bench.report.runs import read_runs
from m2l_bench.report.significance import Pairs
from m2l_bench.results import read_items, read_rows, write_run

from .synthetic import CARDS, DATASET, HASH, HOSTILE, SYSTEMS, clip_names, make_audio, make_run

VOID = {"meta", "img", "link", "br"}


class Elements(HTMLParser):
    """Every element of a page with its attributes, and every text with the names of the elements around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("run") / "run", n_clips=16)
    make_audio(folder, n_clips=3, seconds=0.3)
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # figures take most of a build's time: two of them show how they are set
        patch.setattr(build_module, "all_figures", lambda *arguments: islice(all_figures(*arguments), 2))
        build([folder])
    return folder


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "all_figures", lambda results, pairs, clips: iter(()))


@pytest.fixture(scope="module")
def page(run: Path) -> Elements:
    return Elements((run / "index.html").read_text(encoding="utf-8"))


def file_scores(folder: Path, index: int = 0) -> dict[str, Any]:
    text = (folder / "report" / "files" / f"{index}.js").read_text(encoding="ascii")
    return json.loads(re.fullmatch(rf"m2lFiles\({index},(.*)\);\n", text)[1])  # type: ignore[index]


def test_every_table_is_whole_and_every_metric_defined(run: Path, page: Elements) -> None:
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    tables = {path.stem for path in (run / "report" / "tables").glob("*.csv")}
    assert {name.removeprefix("table-") for name in ids if name and name.startswith("table-")} == tables
    assert {f"card-{HASH[name]}" for name in CARDS} <= set(ids)
    inner = {(a["href"] or "").removeprefix("#") for a in page.of("a") if (a["href"] or "").startswith("#")}
    assert inner <= set(ids)
    outer = [a["href"] for a in page.of("a") if not (a["href"] or "").startswith("#")]
    pictures = [a["src"] for a in page.of("img")]
    assert all((run / str(path)).is_file() for path in outer + pictures) and pictures
    assert all(a["alt"] and a["loading"] == "lazy" and a["width"] and a["height"] for a in page.of("img"))
    html = (run / "index.html").read_text(encoding="utf-8")
    section = html[html.index('id="table-reconstruction-noise"') : html.index('id="table-reconstruction-noise-median"')]
    assert section.count("<table") == 1
    lines = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", section)
    assert len(lines) == len(SYSTEMS) and all(line.count("<td") == 5 for line in lines)  # five metrics in one table
    assert "mel_distance, n = 16" in section and "si_sdr, n = 15 to 16" in section
    assert ">one file is silent</li>" in section.replace("a: one", "one")


def test_cells_have_words_and_numbers(run: Path, page: Elements) -> None:
    row = next(r for r in read_rows(run) if (r.system, r.metric, r.statistic) == ("pca", "mel_distance", "mean"))
    cell = next(a for a in page.of("td") if (a.get("title") or "").startswith("pca, Mel distance ↓: "))
    words = str(cell["title"])
    assert float(str(cell["data-value"])) == row.value
    assert re.search(r": (-?[0-9.]+) \(95% interval (-?[0-9.]+) to (-?[0-9.]+)\); 16 of 16 items scored$", words)
    best = [a["title"] or "" for a in page.of("td") if "significantly better" in (a.get("title") or "")]
    assert any(words.startswith(f"{' '.join(HOSTILE.split())}, Mel distance ↓") for words in best)
    html = (run / "index.html").read_text(encoding="utf-8")
    assert html.count("<strong>") == len(best)


def test_what_bold_means_is_in_the_words(run: Path) -> None:
    results = read_runs([run])
    for table in all_tables(results, Pairs(results.items)):
        if table.name in ("reconstruction-noise", "reconstruction-noise-by-bit-rate"):
            mel = next(column.measurement for column in table.columns if column.measurement.metric == "mel_distance")
            words = set(to_words(replace(table, best={(mel, "pca")})).loc["pca"])
            ending = "significantly better than every other" + " of its group" * table.name.endswith("rate")
            assert any(re.fullmatch(rf"[0-9.]+, {ending} \(95% interval [0-9.]+ to [0-9.]+\)", text) for text in words)


def test_summary_and_provenance(run: Path, page: Elements) -> None:
    text = " ".join("".join(page.texts).split())
    assert "5 systems compared on the audio of 1 dataset and in 2 tasks, with 7 metrics." in text
    assert f"{DATASET} (16 files)" in text and "genre/noise (40 test items), key/noise (40 test items) Probes" in text
    assert "1 item (failures.csv has the reasons)" in text
    assert "identity (the originals themselves)" in text
    record = json.loads((run / "run.json").read_text())
    assert record["plan"] in text and "0" * 40 in text
    assert page.of("details") and not any("open" in attributes for attributes in page.of("details"))


def test_nothing_from_outside_is_markup(run: Path, page: Elements) -> None:
    html = (run / "index.html").read_text(encoding="utf-8")
    assert html.count("</script>") == 2 and len(page.of("script")) == 2
    assert not any("onerror" in attributes for _, attributes in page.found)
    assert not [a for a in page.of("img") if not str(a["src"]).startswith("report/figures/")]
    assert any("<img src=x onerror=alert(1)>" in text for text in page.texts)
    assert "\u202e" not in html and not re.search(r"https?://", html)
    scores = (run / "report" / "files" / "0.js").read_text(encoding="ascii")
    assert "<" not in scores and "alert(1)" in scores
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, flags=re.DOTALL)[1])  # type: ignore[index]
    assert data["systems"] == list(SYSTEMS)
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none';") and "http" not in policy


@pytest.mark.usefixtures("no_figures")
def test_hostile_cards_provenance_and_groups_are_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    cards = {
        name: card | {"title": f"{card['title']}{evil}", "formula": evil, "constants": {evil: evil}, "source": evil}
        for name, card in CARDS.items()
    }
    folder = make_run(tmp_path / "run", n_clips=4, probes=False, cards=cards)
    record = json.loads((folder / "run.json").read_text())
    record["provenance"] = {
        "m2l_bench": evil,
        "command": [evil],
        "packages": {evil: evil},
        "git": {"commit": evil, "changed_files": evil},
    }
    record["plan"], record["suite"]["name"] = evil, evil
    record["data"], record["unusable_systems"] = {evil: {"hash": evil, "files": evil}}, {evil: evil}
    write_run(folder, read_rows(folder), read_items(folder), record)
    html = build([folder]).read_text(encoding="utf-8")
    assert html.count("<script") == 2 and evil not in html
    assert evil in "".join(Elements(html).texts)


@pytest.mark.usefixtures("no_figures")
def test_a_record_without_provenance(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", n_clips=4, probes=False)
    write_run(folder, read_rows(folder), read_items(folder), {"suite": {"name": "bare"}})
    html = build([folder]).read_text(encoding="utf-8")
    assert "Report: bare" in html and "Run ?:" in html and "SHA-256 of run.json" in html


def test_scores_of_files(run: Path) -> None:
    html = (run / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, flags=re.DOTALL)[1])  # type: ignore[index]
    titles = {s["name"]: [metric["title"] for metric in s["metrics"]] for s in data["datasets"]}
    assert titles[DATASET] == ["SI-SDR (dB) ↑", "Mel distance ↓", "Lag (samples)"]
    assert titles["genre/noise"] == ["Accuracy ↑, linear"]
    scores = file_scores(run, [s["name"] for s in data["datasets"]].index(DATASET))
    assert sorted(scores["items"]) == sorted(clip_names(16))
    items = {(i.system, i.metric, i.item): i for i in read_items(run) if i.dataset == DATASET}
    for at, metric in enumerate(("si_sdr", "mel_distance")):
        for s, system in enumerate(SYSTEMS):
            for place, name in enumerate(scores["items"]):
                value, wanted = scores["values"][at][s][place], items[system, metric, name]
                assert (value is None and wanted.reason) or value == pytest.approx(wanted.value, rel=1e-5)
    assert scores["failed"][0] == [[scores["items"].index(clip_names(1)[0]), 5, "silent reference"]]
    by_name = {scores["items"][clip["item"]]: clip for clip in scores["clips"]}
    assert set(by_name) == set(clip_names(3)) and sorted(clip["number"] for clip in scores["clips"]) == [0, 1, 2]
    paths = [path for clip in scores["clips"] for path in (clip["reference"], *clip["systems"]) if path]
    assert len(paths) == 3 * 7 - 1 and all((run / path).is_file() for path in paths)


@pytest.mark.usefixtures("no_figures")
def test_outliers_are_marked_but_not_among_right_and_wrong(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", systems=("identity", "pca"), n_clips=16)
    rows, items = read_rows(folder), read_items(folder)
    name = clip_names(16)[7]
    items = [
        replace(i, value=i.value + 50) if (i.system, i.metric, i.item) == ("pca", "si_sdr", name) else i for i in items
    ]
    write_run(folder, rows, items, json.loads((folder / "run.json").read_text()))
    build([folder])
    paths = sorted((folder / "report" / "files").iterdir(), key=lambda path: int(path.stem))
    found = [file_scores(folder, int(path.stem)) for path in paths]
    noise = next(scores for scores in found if name in scores["items"])
    assert noise["outliers"][0] == [[], [noise["items"].index(name)]]
    others = [scores for scores in found if scores is not noise]
    right_share = [np.mean(line) for scores in others for line in scores["values"][0]]
    assert others and any(0 < share < 1 for share in right_share)
    assert all(marks == [] for scores in others for several in scores["outliers"] for marks in several)


@pytest.mark.usefixtures("no_figures")
def test_clips_of_another_folder_are_linked_but_not_played_here(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    index = build([folder], out=tmp_path / "out")
    scores = next(found for n in range(3) if (found := file_scores(index.parent, n))["clips"])
    assert [clip["reference"] for clip in scores["clips"]] == [None] * 3
    assert {path for clip in scores["clips"] for path in clip["systems"]} == {None}
    assert 'href="failures.csv"' not in index.read_text(encoding="utf-8")
