"""A figure as data, and the names of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureSpec:
    """A figure: file name without suffix, caption, and the function that draws it."""

    name: str
    caption: str
    draw: Callable[[], Figure]


def slug(*parts: str) -> str:
    """Turn names into a part of a file name; several are joined by hyphens.

    >>> slug("reconstruction/wesnoth"), slug("fad:musicnn", "pairs")
    ('reconstruction-wesnoth', 'fad.musicnn-pairs')
    """
    if len(parts) > 1:
        return "-".join(slug(part) for part in parts)
    text = parts[0].replace("/", "-").replace(":", ".")
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "-" for sign in text).strip("-.")
    if plain == text and len(text) <= 80:
        return plain
    return f"{plain[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-.")
