"""Names from an untrusted run or file cannot change a page, a paper or a terminal.

Tests of tables, figures and the listening page are in tests/report; these are the other places.
"""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m2l_bench.cli import app
from m2l_bench.files.untrusted import printable
from m2l_bench.report import build as build_module
from m2l_bench.report.build import build
from m2l_bench.results import Row, write_run

HOSTILE = "`</td><script>alert(1)</script><img src=x onerror=alert(1)>[a](javascript:alert(1))|\\input{/etc/passwd}"


class Elements(HTMLParser):
    """What a browser would make of a page: elements, attributes, links and the text of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data


@pytest.mark.parametrize(
    "field", ["plan", "name", "commit", "version", "hash", "files", "reason", "card", "fingerprint"]
)
def test_the_index_of_a_foreign_run(field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "all_figures", lambda results, pairs, clips: iter(()))

    def name_in(name: str, usual: str = "x") -> str:
        return HOSTILE if name == field else usual

    row = Row(
        system="a", fingerprint=name_in("fingerprint"), dataset="d", metric="si_sdr", statistic="mean", card=name_in("card"),
        data_hash="h", value=1.0, ci_low=0.5, ci_high=1.5, n_planned=1, n_scored=1, n_failed=0,
    )  # fmt: skip
    git = {"commit": name_in("commit"), "changed_files": name_in("files", "1")}
    record = {
        "plan": name_in("plan"), "suite": {"name": name_in("name")}, "provenance": {"m2l_bench": name_in("version"), "git": git},
        "data": {name_in("name"): {"hash": name_in("hash"), "files": name_in("files", "1")}},
        "unusable_systems": {name_in("name"): name_in("reason")},
    }  # fmt: skip
    write_run(tmp_path, [row], [], record)
    card = {"name": "si_sdr", "title": "SI-SDR", "unit": "dB", "higher_is_better": True, "formula": name_in("reason")}
    (tmp_path / "cards.json").write_text(json.dumps({name_in("card"): card | {"source": name_in("name"), "hash": "x"}}))
    page = build([tmp_path])
    text = page.with_name("index.md").read_text(encoding="utf-8")
    assert "<script" not in text and "<img" not in text and "](javascript" not in text.replace("\\](", "")
    assert "&lt;script" in text
    found = Elements()
    found.feed(page.read_text(encoding="utf-8"))
    assert "onerror" not in found.attributes and "img" not in found.names  # the page's own scripts are the only ones
    assert "alert(1)" not in [code.strip() for code in found.scripts]
    assert not [link for link in found.links if link.startswith("javascript:")]


def test_a_files_name_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    name = "x\x1b]0;owned\x07\x1b[2J\u202egnp.wav"
    found = CliRunner().invoke(app, ["score", str(tmp_path / name), "a=b"])
    assert found.exit_code == 2 and "owned" not in found.stderr.replace("]0;owned", "")
    found = CliRunner().invoke(app, ["encode", str(tmp_path / name), str(tmp_path / "y"), "--system", "pca"])
    assert found.exit_code == 2 and not set(found.stderr) & set("\x1b\x07\u202e")


def test_printable_keeps_letters() -> None:
    assert printable("späces 中文\x1b[2J\u202e") == "späces 中文 [2J "
