"""What pages are made of: templates, styles and scripts of this package, and data for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2


def template(name: str) -> jinja2.Template:
    """Load a template of this package; it escapes everything and refuses unknown names."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("m2l_bench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def page_sources(*parts: str) -> dict[str, str]:
    """Give the style and the script of a page: what all pages share, then its parts, each of which has one or both."""
    folder = Path(__file__).parent / "templates"
    paths = {kind: [folder / f"{name}.{kind}" for name in ("base", *parts)] for kind in ("css", "js")}
    return {
        kind: "\n".join(path.read_text(encoding="utf-8") for path in found if path.is_file())
        for kind, found in paths.items()
    }


def script_json(data: Any) -> str:
    """Write JSON that can stand in a script element: ASCII alone, and nothing that could end the element early."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def rounded(value: float | None) -> float | None:
    """Give a score with the six digits that pages hold."""
    return None if value is None else float(f"{value:.6g}")
