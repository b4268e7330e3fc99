"""Names out of somebody else's run or file: nothing acts on a page, a paper or a terminal.

Tables, figures and the listening page have their own such tests in tests/report; here is what stood outside of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m2l_bench.cli import app
from m2l_bench.files.untrusted import printable
from m2l_bench.report import build as build_module
from m2l_bench.report.build import build
from m2l_bench.results import Row, write_run

HOSTILE = "`</td><script>alert(1)</script><img src=x onerror=alert(1)>[a](javascript:alert(1))|\\input{/etc/passwd}"


@pytest.mark.parametrize(
    "field", ["plan", "name", "commit", "version", "hash", "files", "reason", "card", "fingerprint"]
)
def test_the_index_of_a_foreign_run(field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "all_figures", lambda results, pairs, clips: iter(()))

    def field_of(name: str, usual: str = "x") -> str:
        return HOSTILE if name == field else usual

    row = Row(
        system="a", fingerprint=field_of("fingerprint"), dataset="d", metric="si_sdr", statistic="mean", card=field_of("card"),
        data_hash="h", value=1.0, ci_low=0.5, ci_high=1.5, n_planned=1, n_scored=1, n_failed=0,
    )  # fmt: skip
    git = {"commit": field_of("commit"), "changed_files": field_of("files", "1")}
    record = {
        "plan": field_of("plan"), "suite": {"name": field_of("name")}, "provenance": {"m2l_bench": field_of("version"), "git": git},
        "data": {field_of("name"): {"hash": field_of("hash"), "files": field_of("files", "1")}},
        "unusable_systems": {field_of("name"): field_of("reason")},
    }  # fmt: skip
    write_run(tmp_path, [row], [], record)
    card = {"name": "si_sdr", "title": "SI-SDR", "unit": "dB", "higher_is_better": True, "formula": field_of("reason")}
    (tmp_path / "cards.json").write_text(json.dumps({field_of("card"): card | {"source": field_of("name"), "hash": "x"}}))
    text = build([tmp_path]).read_text(encoding="utf-8")
    assert "<script" not in text and "<img" not in text and "](javascript" not in text.replace("\\](", "")
    assert "&lt;script" in text


def test_a_files_name_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    name = "x\x1b]0;owned\x07\x1b[2J\u202egnp.wav"
    found = CliRunner().invoke(app, ["score", str(tmp_path / name), "a=b"])
    assert found.exit_code == 2 and "owned" not in found.stderr.replace("]0;owned", "")
    found = CliRunner().invoke(app, ["encode", str(tmp_path / name), str(tmp_path / "y"), "--system", "pca"])
    assert found.exit_code == 2 and not set(found.stderr) & set("\x1b\x07\u202e")


def test_printable_keeps_letters() -> None:
    assert printable("späces 中文\x1b[2J\u202e") == "späces 中文 [2J "
