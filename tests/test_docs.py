"""Every code block of the tutorials runs, in order, and prints what the page shows; every command of the docs parses.

Conventions
-----------
A page starts in a folder of its own, with the clips that install.md cuts. A ``console`` block holds commands after ``$`` and
what each prints; a ``text`` block is what the block above it prints. ``...`` stands for any text, and spaces do not count. A
block whose first line is a file name in a comment is written to that file. ``<!-- not run: REASON -->`` above a block: its
commands are parsed only.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import typer
from one_worker import OneWorker
from typer.testing import CliRunner

from m2l_bench import audio, cli
from m2l_bench.console import WIDTH
from m2l_bench.reconstruction.metrics import HEADLINE_METRICS, SPARE_METRICS
from m2l_bench.report.render import terminal_table
from m2l_bench.results import read_rows
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import CHANCE, DEMO, make_suite, read_suite

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = ["install.md", *sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "tutorials").glob("*.md"))]
_BLOCK = re.compile(r"(?:^<!-- not run: (.+) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A code block; `reason` is why it is not run."""

    reason: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*match.groups(default="")) for match in _BLOCK.finditer(page)]


def commands(block: Block) -> list[tuple[str, str]]:
    """Commands of a console block, each with what it prints."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not parts[0], "a console block begins with a command"
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts[1:])]


def parse(command: str) -> None:
    """Check the options of a command without running it; of other programs only what belongs to this repository."""
    program, *arguments = shlex.split(command, comments=True)
    if program == "m2l-bench":
        group: Any = typer.main.get_command(cli.app)
        group.commands[arguments[0]].make_context(arguments[0], arguments[1:])
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in arguments), command
    elif program == "python":
        assert (ROOT / arguments[0]).is_file(), command
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        assert set(re.findall(r"\[(.*?)\]", command)) <= set(extras), command
    else:
        assert program == "git", command


def run_block(block: Block, names: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Run a block in the working folder: what was run, what it should print, what it prints."""
    if block.language == "console":
        done = []
        for command, expected in commands(block):
            program, *arguments = shlex.split(command, comments=True)
            assert program == "m2l-bench", f"{command}: mark the block as not run"
            result = CliRunner().invoke(cli.app, arguments)
            assert result.exit_code == (2 if "error: " in expected else 0), f"{command}\n{result.output}"
            done.append((command, expected, result.stdout + result.stderr))
        return done
    if first := re.match(r"# (\S+\.(?:py|toml))\n", block.text):
        Path(first[1]).write_text(block.text, encoding="utf-8")
        return []
    assert block.language == "python", f"```{block.language}: only console, python and files"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, "block", "exec"), names)
    return [(block.text, "", printed.getvalue())]


def run_page(name: str) -> list[tuple[str, str, str]]:
    """Run a page in the working folder."""
    done: list[tuple[str, str, str]] = []
    names: dict[str, Any] = {}
    for block in blocks((DOCS / name).read_text(encoding="utf-8")):
        if block.reason:
            for command, _ in commands(block):
                parse(command)
        elif block.language == "text":
            done[-1] = (done[-1][0], block.text, done[-1][2])
        else:
            done += run_block(block, names)
    return done


@pytest.fixture(scope="module")
def worker() -> Iterator[OneWorker]:
    engine = OneWorker()
    yield engine
    engine.end()


@pytest.mark.usefixtures("coarse_figures")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_prints_what_it_shows(
    page: str, worker: OneWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no datasets there
    monkeypatch.setattr(cli, "_local", lambda **limits: worker)
    if page != "install.md":
        (clips,) = [block for block in blocks((DOCS / "install.md").read_text()) if block.language == "python"]
        run_block(clips, {})
    same = doctest.OutputChecker().check_output
    for code, expected, printed in run_page(page):
        expected, printed = expected.replace("<BLANKLINE>", "").strip(), printed.strip()
        assert same(expected, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), f"{code}\n{printed}"


def test_the_code_of_the_readme_runs(
    worker: OneWorker, music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = {"systems": ["opus:32k"], "audio": [str(music_folder)], "metrics": ["si_sdr", "mel_distance"]}
    run_suite(make_suite(suite), out=tmp_path / "results" / "runs" / "my-run", engine=worker)
    names: dict[str, Any] = {"reference": audio.load(audio.list_audio(music_folder)[0])[0]}
    (block,) = [b for b in blocks((ROOT / "README.md").read_text(encoding="utf-8")) if b.language == "python"]
    (notes, *_) = [b for b in blocks((DOCS / "tutorials" / "probe.md").read_text()) if b.language == "python"]
    run_block(notes, {})
    # A fifth of the notes; the page on probes runs the task itself.
    assert block.text.count('"instrument/tonejs"') == 1
    run_block(block._replace(text=block.text.replace("instrument/tonejs", "my/notes/labels.csv")), names)
    assert names["estimate"].shape == names["reference"].shape and names["result"].mean("accuracy") > 0.5


def _cells(line: str) -> list[str]:
    """Cells of a line of a table, without its footnotes."""
    return [re.sub(r" \(\w(,\w)*\)$", "", cell.strip()) for cell in line.split("|")]


def test_the_demo_prints_the_values_of_the_reference() -> None:
    """The page shows a whole run, which takes minutes: its cells are compared with the rows of the reference results."""
    reference = ROOT / "results" / "reference"
    rows, cards = read_rows(reference), json.loads((reference / "cards.json").read_text(encoding="utf-8"))
    suite = read_suite(DEMO)
    systems = [*(spec.label for spec in suite.systems), CHANCE]
    ours = [row for row in rows if row.system in systems and row.probe in ("", *suite.probes)]
    of_files = [row for row in ours if row.dataset in suite.audio and not row.task]
    probed = [row for row in ours if row.task in suite.tasks and row.split == "test"]
    look: dict[str, Any] = {"systems": systems, "width": WIDTH}
    tables = [
        terminal_table(of_files, cards, HEADLINE_METRICS, spare=SPARE_METRICS, **look),
        terminal_table(probed, cards, ["accuracy"], **look),
    ]
    lines = [line for table in tables for line in table.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + 10 + 6
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    shown = [line for line in page[page.index("## The demo") :].splitlines() if re.match(r"\| [^*]", line)]
    assert sorted(map(_cells, shown)) == sorted(map(_cells, lines))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    cells = re.findall(r"-?[\d.]+†? \[-?[\d.]+, -?[\d.]+\]", readme)
    assert len(cells) >= 18 and set(cells) <= {cell.strip() for line in lines for cell in line.split("|")}


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('<a href="https://example.org">elsewhere</a> <script src="_static/own.js"></script>', False),
        ('<script defer src="https://example.org/maths.js"></script>', True),
        ('<link rel="stylesheet" href="//example.org/fonts.css">', True),
        ("<style>@font-face { src: url(https://example.org/font.woff2) }</style>", True),
    ],
)
def test_a_page_that_loads_from_the_network_is_refused(
    text: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    from from_code import refuse_network

    (tmp_path / "page.html").write_text(text)
    with pytest.raises(ValueError, match="nothing from the network") if refused else contextlib.nullcontext():
        refuse_network(SimpleNamespace(outdir=tmp_path), None)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted(DOCS.glob("*.md")))])
def test_the_commands_of_a_page_parse(page: str) -> None:
    for block in blocks((ROOT / page).read_text(encoding="utf-8")):
        for line, _ in commands(block) if block.language == "console" else []:
            for command in re.split(r"; |&& ", line):
                if command.startswith("m2l-bench "):
                    parse(command)
