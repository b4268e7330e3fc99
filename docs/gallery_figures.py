"""Sphinx extension: draw the figures of gallery.md with the code that the page shows."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def code_blocks(page: str) -> list[str]:
    """Return the Python blocks of a Markdown page."""
    return re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def draw(app: Any) -> None:
    """Run the blocks in order, in the folder of the repository; each that ends in ``save`` leaves its figure."""
    (HERE / "generated" / "gallery").mkdir(parents=True, exist_ok=True)
    names: dict[str, Any] = {}
    with contextlib.chdir(HERE.parent):
        for block in code_blocks((HERE / "gallery.md").read_text(encoding="utf-8")):
            exec(compile(block, "gallery.md", "exec"), names)


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True}
