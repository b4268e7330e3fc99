"""Consistency training from a recipe: the shared trainer (:mod:`m2l_bench.training.loop`) with Music2Latent's objective.

References
----------
Pasini, Lattner, Fazekas, "Music2Latent: Consistency Autoencoders for Latent Audio Compression", ISMIR 2024, section 3.4.
"""

from __future__ import annotations

from pathlib import Path

from m2l_bench.training import loop
from m2l_bench.training.loop import Interrupted, NonFiniteError, Trainer, make_crops
from m2l_bench.training.music2latent.recipe import Recipe, read_recipe
from m2l_bench.training.validation import Score

__all__ = ["Interrupted", "NonFiniteError", "Recipe", "Trainer", "make_crops", "read_recipe", "train"]


def train(
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    score: Score | None = None,
    progress: bool = True,
) -> Path:
    """Train a Music2Latent, or go on with a training; `recipe` may be the path of a TOML file.

    The rest, the result and the errors are those of :func:`m2l_bench.training.loop.train`.
    """
    if not isinstance(recipe, Recipe):
        recipe = read_recipe(recipe)
    return loop.train(recipe, out, resume=resume, score=score, progress=progress)
