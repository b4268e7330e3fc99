"""Sphinx extension: pages that are written from the code at build time, and a check that no page loads from the network.

The lists and facts are those of ``m2l-bench list`` and ``m2l-bench show``. The pages lie in ``docs/generated/``, which git
ignores.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from pygments.lexers.special import TextLexer

from m2l_bench.cli import app as command_line
from m2l_bench.description import Description, describe
from m2l_bench.listing import entries

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / "docs" / "generated"

_NAME = "\0"

# Kind -> title, first sentence, kinds of its descriptions, columns of the list.
LISTS = {
    "metrics": (
        "Metrics",
        "The definition of every metric, from its card. A row of a run holds the hash of its card.",
        ("metric",),
        ("name", "what", "source", "download"),
    ),
    "systems": (
        "Systems",
        "Autoencoders, codecs and encoders that can be named. Weights are downloaded at the first use, under their own licence.",
        ("system", "encoder"),
        ("name", "what", "bit rate (kbit/s)", "parameters (M)", "licence (code / weights)", "download"),
    ),
    "tasks": (
        "Tasks",
        "What probes predict from latents. Data that are not embedded are never downloaded automatically.",
        ("task",),
        ("name", "what", "kind", "metric", "licence", "download"),
    ),
    "probes": ("Probes", "Classifiers that are fitted on frozen latents.", ("probe",), ("name", "what")),
    "latents": (
        "Numbers of latents",
        "The definition of every number that `m2l-bench latents` measures, from its card.",
        ("number of latents",),
        ("name", "title", "unit"),
    ),
    "audio": (
        "Audio sets",
        "Music to reconstruct, by name. Published sets are read from your folder.",
        ("audio set",),
        ("name", "what", "files", "licence", "download"),
    ),
    "suites": (
        "Suites",
        "What `m2l-bench run NAME` compares. The files are in `suites/`; yours are of the same form.",
        ("suite",),
        ("name", "what", "download"),
    ),
}
# Module -> what it is for. Those without __all__ show every public name that they define.
MODULES = {
    "m2l_bench": "The names to begin with",
    "m2l_bench.report.frames": "Results as DataFrames",
    "m2l_bench.reconstruction": "Reconstruction metrics",
    "m2l_bench.cards": "Definitions of metrics",
    "m2l_bench.statistics": "Intervals and tests",
    "m2l_bench.systems.base": "Protocols of systems",
    "m2l_bench.conformity.check": "Checks of a system",
    "m2l_bench.tasks": "Tasks",
    "m2l_bench.tasks.base": "Parts of a task",
    "m2l_bench.probes": "Probes",
    "m2l_bench.latent.measure": "Latent spaces",
    "m2l_bench.latent.sheet": "Latent spaces: scale, rank, smoothness",
    "m2l_bench.latent.equivariance": "Latent spaces: gain, mixing, shift, noise",
    "m2l_bench.latent.rate": "Latent spaces: bit rate",
    "m2l_bench.suite.suite": "Suites",
    "m2l_bench.suite.run": "Running a suite",
    "m2l_bench.report.figures": "Figures",
    "m2l_bench.report.figure_data": "Data of figures",
    "m2l_bench.report.style": "Style of figures",
    "m2l_bench.audio": "Audio files",
    "m2l_bench.assets": "Embedded data",
}


def list_page(kind: str) -> str:
    """Markdown of all entries of a kind: a table, then everything of each."""
    title, first, singular, columns = LISTS[kind]
    found = entries(kind)
    sections: dict[str, list[str]] = {}  # text -> the names that share it: variants of a system
    table = []
    for line in found:
        (text,) = (_section(each) for each in describe(line["name"]) if each.kind in singular)
        sections.setdefault(text, []).append(line["name"])
        name, *rest = (_plain(line.get(column) or "-") for column in columns)
        table.append([f"[{name}](#{kind}-{list(sections).index(text)})", *rest])
    texts = [
        f"({kind}-{number})=\n\n## {_plain(', '.join(names))}\n\n{text.replace(_NAME, names[0])}"
        for number, (text, names) in enumerate(sections.items())
    ]
    return "\n\n".join([f"# {title}", first, _table(columns, table), *texts])


def _section(found: Description) -> str:
    """Everything of an entry but its name, for which its commands have a sign."""
    facts = dict(found.facts)  # several commands to use it: the last label wins, so they are taken from the list
    commands = [text.replace(found.name, _NAME) for label, text in found.facts if label == "use"]
    lines = [f"- **{label}**: {_plain(text)}" for label, text in facts.items() if label not in ("what", "use")]
    use = "\n".join(["```console", *(f"$ {command}" for command in commands), "```"]) if commands else ""
    return "\n\n".join(filter(None, [_plain(facts.get("what", "")), "\n".join(lines), use]))


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _plain(text: str) -> str:
    """Text without Markdown; files of the package without the folder that it lies in."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", text.replace(f"{ROOT}/", "")).replace("\n", " ")


def command_page() -> str:
    """Markdown with the help of every command."""
    group: Any = typer.main.get_command(command_line)
    parts = [
        "# Command line",
        "The help of each command, as `m2l-bench COMMAND --help` prints it.",
        _help(group, "m2l-bench"),
    ]
    for name, command in group.commands.items():
        parts += [f"## m2l-bench {name}", _help(command, f"m2l-bench {name}")]
    return "\n\n".join(parts)


def _help(command: Any, name: str) -> str:
    text = command.get_help(command.context_class(command, info_name=name, terminal_width=100))
    return f"```text\n{text.strip()}\n```"


def public_names(module: str) -> list[str]:
    """Names in ``__all__``, or the public functions and classes that a module defines."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "__all__"):
        return list(loaded.__all__)
    return [
        name
        for name, thing in vars(loaded).items()
        if not name.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == module
    ]


def module_page(module: str) -> str:
    """reStructuredText of a module: a table of its names, its docstring, and the docstring of each name."""
    loaded, names = importlib.import_module(module), public_names(module)
    title = f"{MODULES[module]}: ``{module}``"
    table = [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names)]
    every = [f".. automodule:: {module}", ""]
    for name in names:  # one by one: the module's :members: do not see what it imports when asked
        is_class = inspect.isclass(getattr(loaded, name))
        every += [f".. autoclass:: {name}", "   :members:", ""] if is_class else [f".. autofunction:: {name}", ""]
    return "\n".join([title, "=" * len(title), "", f".. currentmodule:: {module}", "", *table, "", *every])


def modules_page() -> str:
    """Markdown that leads to the page of each module."""
    first = "Audio is float32 of shape `(channels, samples)` in [-1, 1], everywhere."
    return "\n".join(
        ["# Python API", "", first, "", "```{toctree}", ":maxdepth: 1", "", *(f"api/{m}" for m in MODULES), "```"]
    )


def write_pages(app: Any) -> None:
    """Write every page; one whose text stays is left alone, so that Sphinx does not read it again."""
    pages = {f"{kind}.md": list_page(kind) for kind in LISTS} | {"cli.md": command_page(), "api.md": modules_page()}
    pages |= {f"api/{module}.rst": module_page(module) for module in MODULES}
    for name, text in pages.items():
        path = GENERATED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text + "\n":
            path.write_text(text + "\n", encoding="utf-8")


def flatten_headings(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make headings in a module's docstring bold lines: the names that follow do not belong to them."""
    if what == "module":
        text = re.sub(r"^(\S.*)\n-{3,}$", r"**\1**\n", textwrap.dedent("\n".join(lines)), flags=re.MULTILINE)
        lines[:] = [*text.splitlines(), ""]


_LOADED = re.compile(
    r"""<(?:script|img|iframe|audio|video|source|link)\b[^>]*?\b(?:src|href)\s*=\s*["'](?:https?:)?//[^"']*["'][^>]*>"""
    r"""|(?:@import\s+|url\()\s*(?:url\()?["']?(?:https?:)?//[^"')]+"""
)


def refuse_network(app: Any, error: Exception | None) -> None:
    """Fail if a page or style sheet loads anything from the network."""
    paths = [path for path in Path(app.outdir).rglob("*") if path.suffix in (".html", ".css")]
    found = {path: match[0] for path in paths if error is None and (match := _LOADED.search(path.read_text("utf-8")))}
    if found:
        raise ValueError(
            "\n".join(f"{path}: must load nothing from the network, got {text}" for path, text in found.items())
        )


def setup(app: Any) -> dict[str, Any]:
    app.add_lexer("csv", TextLexer)
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", flatten_headings, priority=100)
    app.connect("build-finished", refuse_network)
    return {"parallel_read_safe": True}
