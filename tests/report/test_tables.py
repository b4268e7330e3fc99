"""Tables: what they hold, what they refuse, and how they read in every format."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from m2l_bench.report import render
from m2l_bench.report.compare import compare
from m2l_bench.report.render import terminal_table
from m2l_bench.report.runs import Published, RunData, measurement_of, read_published, read_runs
from m2l_bench.report.significance import Pairs, winners
from m2l_bench.report.tables import (
    Table,
    bands,
    grouped,
    make_table,
    name_datasets,
    with_published,
)
from m2l_bench.results import Item, Row, joined_notes

from .synthetic import CARDS_BY_HASH, DATASET, HASH, HOSTILE, make_run, row

GOLDEN = Path(__file__).parent / "golden"
FIGURE = Published(
    system="DAC_2 <b>",
    dataset="90 clips",
    task="",
    metric="si_sdr",
    value="8.9",
    source="Nobody & Sons 2023",
    table="Table 3",
    date="2023-06-11",
    conditions="44.1 kHz, 10 s; 50% speech",
)


def small_table(systems: tuple[str, ...] = ("identity", "opus:12k", "pca")) -> Table:
    rows = [
        row(system, metric, value + place, half=half, note="small checkpoint" if system == "pca" else "")
        for place, system in enumerate(systems)
        for metric, value, half in (("si_sdr", -3.456, 0.4), ("mel_distance", 1.2345, 0.03), ("lag", 0.0, 0.0))
    ]
    rows[0] = replace(rows[0], n_scored=7, n_failed=1)
    rows.append(row("opus:12k", "bit_rate", 13.31, half=0.1))
    columns = sorted({measurement_of(r) for r in rows})
    bold = {(measurement_of(rows[6]), systems[-1])}
    table = make_table(rows, CARDS_BY_HASH, columns, systems=systems)
    return replace(table, name="small", title="A & B", best=bold)


def texts(table: Table) -> dict[str, str]:
    return {
        "md": render.to_markdown(table),
        "tex": render.to_latex(table),
        "csv": render.to_csv(table),
        "html": render.to_html(table),
    }


@pytest.mark.parametrize("suffix", ["md", "tex", "csv", "html"])
def test_reads_as_recorded(suffix: str) -> None:
    table = with_published(small_table(), [FIGURE])
    assert texts(table)[suffix] == (GOLDEN / f"small.{suffix}").read_text(encoding="utf-8")


def test_markdown_fits_80_columns_and_keeps_every_line() -> None:
    text = render.to_markdown(small_table())
    grids = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(grids) == 2
    for grid in grids:
        assert {len(line) for line in grid.splitlines()} == {len(grid.splitlines()[0])}
        assert len(grid.splitlines()[0]) <= 80
        assert len(grid.splitlines()) == 5


def test_decimals_follow_the_interval() -> None:
    assert render.decimals([(12.0, 11.0, 13.0)]) == 1
    assert render.decimals([(12.0, 11.97, 12.03)]) == 2
    assert render.decimals([(0.74, 0.70, 0.77), (5.9, 5.5, 6.3)]) == 2
    assert render.decimals([(64.36, 64.3600, 64.3601), (25.7, 25.6, 25.8)]) == 2
    assert render.decimals([(0.05, 0.0499, 0.0501)]) == 4
    assert render.decimals([(1234.0, 1000.0, 1500.0)]) == 0
    assert render.decimals([(0.0, 0.0, 0.0)]) == 2
    assert render.number_text(-0.001, 2) == "0.00"


def test_refuses_two_cards_and_names_both() -> None:
    rows = [row("a", "si_sdr", 1.0), replace(row("b", "si_sdr", 2.0), card="0123456789ab")]
    with pytest.raises(ValueError, match=f"must have one card, got {HASH['si_sdr']} and 0123456789ab"):
        terminal_table(rows, CARDS_BY_HASH, ["si_sdr"], systems=["a", "b"])
    rows = [row("a", "si_sdr", 1.0), row("b", "si_sdr", 2.0, data_hash="f" * 16)]
    with pytest.raises(ValueError, match=f"must have one data_hash, got {'d' * 16} and {'f' * 16}"):
        terminal_table(rows, CARDS_BY_HASH, ["si_sdr"], systems=["a", "b"])


def test_a_system_that_failed_on_an_item_does_not_stop_the_table() -> None:
    rows = [row("a", "si_sdr", 1.0), row("b", "si_sdr", 2.0, n_scored=7, n_failed=1)]
    text = terminal_table(rows, CARDS_BY_HASH, ["si_sdr"], systems=["a", "b"])
    assert "Items planned / scored / failed, SI-SDR: 8 / 8 / 0 for a, 8 / 7 / 1 for b." in text


def test_every_metric_shows_its_own_counts() -> None:
    # Four files are too few for FAD: it fails for all, while SI-SDR lost one file of one system.
    systems = ["a", "b", "c"]
    rows = [row(s, "si_sdr", 1.0, n_planned=4, n_scored=3 if s == "b" else 4, n_failed=int(s == "b")) for s in systems]
    lost = {"statistic": "pooled", "n_planned": 4, "n_scored": 0, "n_failed": 4}
    rows += [row(s, "fad:musicnn", float("nan"), **lost) for s in systems]
    text = terminal_table(rows, CARDS_BY_HASH, ["si_sdr", "fad:musicnn"], systems=systems)
    assert "Items planned / scored / failed, SI-SDR: 4 / 3 / 1 for b, 4 / 4 / 0 for the others." in text
    assert "Items planned / scored / failed, FAD-musicnn: 4 / 0 / 4 for every system." in text
    same = [replace(r, n_scored=4, n_failed=0) for r in rows]
    text = terminal_table(same, CARDS_BY_HASH, ["si_sdr", "fad:musicnn"], systems=systems)
    assert "- Items planned / scored / failed: 4 / 4 / 0 for every system." in text


def test_seeds_become_one_cell_with_their_spread_apart() -> None:
    rows = [
        row("a", "accuracy", value, half=0.1, seed=seed, statistic="score")
        for seed, value in enumerate((0.5, 0.6, 0.7))
    ]
    table = make_table(rows, CARDS_BY_HASH, [measurement_of(rows[0])], systems=["a"])
    (cell,) = table.cells.to_dict("records")
    found = [cell[name] for name in ("seeds", "value", "ci_low", "ci_high", "seed_deviation")]
    assert found == pytest.approx([3, 0.6, 0.5, 0.7, 0.1])
    assert "0.60 [0.50, 0.70] ±0.10" in render.to_markdown(table)


def test_failed_and_missing_are_told_apart() -> None:
    lost = replace(row("a", "si_sdr", float("nan"), n_scored=0, n_failed=8), ci_low=float("nan"), ci_high=float("nan"))
    text = terminal_table(
        [lost, row("b", "si_sdr", 1.0), row("b", "lag", 2.0)], CARDS_BY_HASH, ["si_sdr", "lag"], systems=["a", "b"]
    )
    line = next(line for line in text.splitlines() if line.startswith("| a "))
    assert re.split(r"\s*\|\s*", line.strip("| ")) == ["a", "failed", "-"]


def test_a_table_without_columns_is_still_a_table() -> None:
    text = terminal_table([row("a", "si_sdr", 1.0)], CARDS_BY_HASH, ["lag"], systems=["a"])
    assert text.splitlines()[:2] == ["| system |", "|--------|"]


def test_bold_only_what_survives() -> None:
    def items(system: str, shift: float, n: int) -> list[Item]:
        return [
            Item(
                system=system,
                fingerprint=system,
                dataset=DATASET,
                metric="si_sdr",
                card=HASH["si_sdr"],
                item=f"{i}",
                value=shift + (i % 3) * 0.01,
            )
            for i in range(n)
        ]

    def won(n: int, gap: float) -> set[str]:
        shifts = {"identity": 100.0, "a": 1.0, "b": 2.0, "c": 2.0 + gap}
        rows = [row(system, "si_sdr", shift) for system, shift in shifts.items()]
        pairs = Pairs(item for system, shift in shifts.items() for item in items(system, shift, n))
        table = make_table(rows, CARDS_BY_HASH, [measurement_of(rows[0])], systems=list(shifts))
        return {system for _, system in winners(table, pairs)}

    assert won(20, 1.0) == {"c"}
    assert won(20, 0.0) == set()  # a tie at the top
    assert won(4, 1.0) == set()  # too few files to tell


def test_nothing_is_bold_without_scores_of_single_files() -> None:
    rows = [row(s, "fad:musicnn", v, statistic="pooled") for s, v in (("a", 1.0), ("b", 5.0))]
    table = make_table(rows, CARDS_BY_HASH, [measurement_of(rows[0])], systems=["a", "b"])
    assert winners(table, Pairs([])) == set()


def test_bands_and_groups() -> None:
    groups = bands({"c": 500.0, "a": 16.0, "b": 16.1, "d": float("nan")}, [16, 64, 128], "kbit/s")
    assert groups == {"up to 16 kbit/s": ["a"], "16 to 64 kbit/s": ["b"], "above 128 kbit/s": ["c"]}
    table = grouped(small_table(("c", "b", "a", "z")), groups)
    assert list(table.groups.items()) == [
        ("a", "up to 16 kbit/s"),
        ("b", "16 to 64 kbit/s"),
        ("c", "above 128 kbit/s"),
        ("z", ""),
    ]
    check_latex(render.to_latex(table))
    html = render.to_html(table)
    assert html.index("<th>16 to 64 kbit/s</th>") < html.index("<th>b</th>") < html.index("<th>others</th>")
    assert "*others*" in render.to_markdown(table)


def test_published_figures_stay_apart() -> None:
    probe = replace(FIGURE, task="key/giantsteps", metric="accuracy")
    table = with_published(small_table(), [FIGURE, probe])
    assert table.published == (FIGURE,)
    assert "DAC_2" not in "".join(table.groups)
    text = render.to_markdown(table)
    assert text.index(render.PUBLISHED_HEADING) > text.index("| pca")
    assert "Nobody & Sons 2023, Table 3, 2023-06-11" in text
    assert [line["origin"] for line in csv.DictReader(io.StringIO(render.to_csv(table)))].count("published") == 1


def test_a_metric_under_its_sources_name_follows_the_figures_of_its_table() -> None:
    theirs = replace(FIGURE, metric="MR-STFT", value="0.5")
    others = [
        replace(theirs, source="Nobody 2024"),
        replace(theirs, task="key/giantsteps"),
        replace(FIGURE, metric="visqol"),
    ]
    table = with_published(small_table(), [theirs, FIGURE, *others])
    assert table.published == (theirs, FIGURE)
    assert "| MR-STFT | 0.5 |" in " ".join(render.to_markdown(table).split())
    assert with_published(small_table(), [theirs]).published == ()


def test_published_figures_are_escaped_once() -> None:
    table = with_published(small_table(), [replace(FIGURE, system="A*[<b>")])
    assert r"| A\*\[&lt;b&gt; " in render.to_markdown(table)
    assert r"A*{[}\textless{}b\textgreater{} &" in render.to_latex(table)
    assert "<th>A*[&lt;b&gt;</th>" in render.to_html(table)


def test_published_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold CSV files of published figures, got none"):
        read_published(tmp_path)
    path = tmp_path / "a.csv"
    path.write_text(
        "system,dataset,task,metric,value,source,table,date,conditions\nx,d,,si_sdr,8.9,,T1,2023,44.1 kHz\n"
    )
    with pytest.raises(ValueError, match="line 2: must state source, got nothing"):
        read_published(tmp_path)
    path.write_text("system,value\nx,1\n")
    with pytest.raises(ValueError, match="must have the columns system, dataset"):
        read_published(tmp_path)
    path.write_text(
        "system,dataset,task,metric,value,source,table,date,conditions\nx,d,,si_sdr,8.9,S,T1,2023,44.1 kHz\n"
    )
    assert read_published(tmp_path)[0].value == "8.9"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_hostile_names_are_escaped_everywhere() -> None:
    hostile = HOSTILE + " $x^2_i$ \\input{/etc/passwd} #~ {|} `code` \u202e\x07"
    rows = [row(hostile, "si_sdr", 1.0, note=hostile), row("b", "si_sdr", 2.0)]
    table = make_table(rows, CARDS_BY_HASH, [measurement_of(rows[0])], systems=[hostile, "b"])
    table = replace(table, title=hostile)
    parser = _Tags()
    parser.feed(render.to_html(table))
    assert "table" in parser.tags and not {"img", "script"} & set(parser.tags)
    text = render.to_markdown(table)
    assert "<" not in text
    assert "\u202e" not in text and "\x07" not in text
    assert {line.count(" | ") for line in text.splitlines() if line.startswith("| ")} == {1}
    check_latex(render.to_latex(table))
    assert "\\input" not in render.to_latex(table).replace("\\textbackslash{}input", "")
    assert next(csv.DictReader(io.StringIO(render.to_csv(table))))["system"] == hostile


def check_latex(text: str) -> None:
    """Braces and environments balance, every line of a tabular has its number of cells, and all is plain ASCII."""
    assert text.isascii()
    bare = re.sub(r"\\[&%$#_{}\\^~]", "  ", text)
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"[#%~^]", bare.replace("#1", ""))
    assert len(re.findall(r"\$", bare)) % 2 == 0
    stack: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    tabulars = re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", text, flags=re.DOTALL)
    assert tabulars
    for spec, body in tabulars:
        columns = len(re.sub(r"\{[^}]*\}", "", spec))
        lines = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len(lines) > 1
        assert [len(re.findall(r"(?<!\\)&", line)) for line in lines] == [columns - 1] * len(lines)


def test_latex_keeps_accents_and_says_the_code_point_of_what_it_lacks() -> None:
    names = ["Moûsai v2", "Dvořák", "Ñandú ß ø Łódź", "中文", "e\u0301", "a\N{EN DASH}b \N{MULTIPLICATION SIGN} …"]
    rows = [row(name, "si_sdr", 1.0) for name in names]
    table = make_table(rows, CARDS_BY_HASH, [measurement_of(rows[0])], systems=names)
    text = render.to_latex(table)
    check_latex(text)
    for expected in (
        r"Mo\^{u}sai v2",
        r"Dvo\v{r}\'{a}k",
        r"\~{N}and\'{u} \ss{} \o{} \L{}\'{o}d\'{z}",
        "{[}U+4E2D]{[}U+6587]",
    ):
        assert f"{expected} &" in text, expected
    assert "a--b $\\times$ \\ldots{} &" in text


def test_latex_of_a_whole_run_parses(tmp_path: Path) -> None:
    results = read_runs([make_run(tmp_path / "run")])
    columns = sorted({measurement_of(r) for r in results.rows})
    table = make_table(results.rows, results.cards, columns, systems=results.systems)
    check_latex(render.to_latex(with_published(replace(table, title=HOSTILE), [FIGURE])))


def test_parquet_holds_numbers() -> None:
    read = pq.read_table(io.BytesIO(render.to_parquet(small_table()))).to_pylist()
    assert len(read) == 10
    assert isinstance(read[0]["value"], float)
    assert {r["card"] for r in read} <= set(CARDS_BY_HASH)


def test_a_system_that_could_not_be_loaded_has_a_line_with_its_reason(tmp_path: Path) -> None:
    from m2l_bench.report.contents import all_figures, all_tables

    folder = make_run(tmp_path / "run", systems=("identity", "opus:12k", "opus:48k"))
    results = read_runs([folder])
    nan, reason = float("nan"), "no such module: lost_package"
    lost = {
        replace(r, system="lost", fingerprint="", seed=0, value=nan, ci_low=nan, ci_high=nan, n_scored=0,
                n_failed=r.n_planned, note=reason)
        for r in results.rows
    }  # fmt: skip
    results = replace(results, rows=(*results.rows, *lost), systems=(*results.systems, "lost"))
    pairs = Pairs(results.items)
    tables = {table.name: table for table in all_tables(results, pairs)}
    for name in ("reconstruction-noise", "reconstruction-noise-by-bit-rate", "probes-linear", "probes-genre-noise"):
        text = render.to_markdown(tables[name])
        lines = [line for line in text.splitlines() if line.startswith("| lost")]
        assert lines and all(set(re.findall(r"failed|[0-9]", line)) == {"failed"} for line in lines), name
        assert re.search(rf"^- [a-z]: {reason}$", text, flags=re.MULTILINE), name
    assert "/ 0 / 40 for lost" in render.to_markdown(tables["probes-linear"])
    specs = list(all_figures(results, pairs, ()))
    assert len(specs) > 5
    for spec in specs:
        figure = spec.draw()
        shown = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert "lost" not in shown, spec.name


def test_systems_scored_on_different_files_are_compared_on_common_ones(tmp_path: Path) -> None:
    from m2l_bench.report.contents import all_tables

    results = read_runs([make_run(tmp_path / "run", n_clips=16, probes=False)])  # one system lost a file in SI-SDR
    table = next(t for t in all_tables(results, Pairs(results.items)) if t.name == "reconstruction-noise")
    text = render.to_markdown(table)
    assert "compared on those that both have (SI-SDR (dB): 15 to 16)." in text
    whole = read_runs([make_run(tmp_path / "whole", systems=("identity", "pca"), n_clips=16, probes=False)])
    table = next(t for t in all_tables(whole, Pairs(whole.items)) if t.name == "reconstruction-noise")
    assert "both have" not in render.to_markdown(table)


def noted(system: str, dataset: str, *notes: str) -> Row:
    return Row(
        system=system,
        fingerprint="f",
        dataset=dataset,
        metric="accuracy",
        statistic="score",
        card="c",
        data_hash="d",
        value=0.5,
        n_planned=1,
        n_scored=1,
        n_failed=0,
        note=joined_notes(*notes),
    )


def test_notes_are_joined_and_taken_apart() -> None:
    assert noted("a", "x", "One.", "", "Two.").notes == ("One.", "Two.")
    assert noted("a", "x").notes == ()


def test_a_datasets_caveat_names_it_and_a_systems_stands_once() -> None:
    cells = [
        [noted("small", "x", "Rendered.", "Small.")],
        [noted("small", "y", "Recorded.", "Small.")],
        [noted("pca", "x", "Rendered.")],
        [noted("pca", "y", "Recorded.")],
    ]
    name_datasets(cells)
    assert [row.notes for (row,) in cells] == [
        ("x: Rendered.", "Small."),
        ("y: Recorded.", "Small."),
        ("x: Rendered.",),
        ("y: Recorded.",),
    ]


def test_a_caveat_of_some_of_a_systems_datasets_names_them() -> None:
    cells = [
        [noted("a", "x", "Stopped.")],
        [noted("a", "y", "Stopped.")],
        [noted("a", "z")],
        [noted("b", "x")],
    ]
    name_datasets(cells)
    assert [row.notes for (row,) in cells] == [("x: Stopped.",), ("y: Stopped.",), (), ()]


def test_what_is_no_better_than_chance_is_marked_and_never_ahead() -> None:
    rows = [row(s, "si_sdr", v) for s, v in (("a", -40.2), ("b", -30.0), ("chance", -40.0))]  # half-width 0.5
    rows += [row(s, "mel_distance", v) for s, v in (("a", 2.0), ("b", 3.0), ("chance", 2.6))]
    columns = sorted({measurement_of(r) for r in rows})
    table = make_table(rows, CARDS_BY_HASH, columns, systems=["a", "b", "chance"])
    assert {(m.metric, system) for m, system in table.at_chance} == {("si_sdr", "a"), ("mel_distance", "b")}
    text = render.to_markdown(table)
    assert "-40.2† [-40.7, -39.7]" in text and "3.0† [2.5, 3.5]" in text and "-30.0 [" in text and "2.0 [" in text
    assert "- chance: another track of the set in the place of each reconstruction; †: no better than that." in text
    check_latex(render.to_latex(table))
    items = [
        Item(
            system=s,
            fingerprint=s,
            dataset=DATASET,
            metric="si_sdr",
            card=HASH["si_sdr"],
            item=f"{i}",
            value=v + i % 3 / 100,
        )
        for s, v in (("a", -40.2), ("c", -45.0), ("chance", -40.0))
        for i in range(20)
    ]
    rows = [row(s, "si_sdr", v) for s, v in (("a", -40.2), ("c", -45.0), ("chance", -40.0))]
    table = make_table(rows, CARDS_BY_HASH, [measurement_of(rows[0])], systems=["a", "c", "chance"])
    assert winners(table, Pairs(items)) == set()
    found = compare(RunData(tuple(rows), tuple(items), CARDS_BY_HASH, ("a", "c", "chance"), {}), "a", "c")
    assert found.differences[0].p_value < 0.001 and found.differences[0].better == ""
