"""The registry of embeddings is light, and each entry agrees with its class."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from m2l_bench.systems.encoders import EMBEDDINGS, Embedding, load, musicnn, vggish
from m2l_bench.systems.encoders.musicnn import Musicnn
from m2l_bench.systems.encoders.vggish import Vggish


def test_listing_the_embeddings_imports_neither_torch_nor_transformers():
    code = "import sys; from m2l_bench.systems.encoders import EMBEDDINGS; print({'torch', 'transformers'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"


def test_an_unknown_embedding_is_refused_with_the_choice():
    with pytest.raises(ValueError, match=r"embedding must be one of musicnn, vggish, .*, got 'openl3'"):
        load("openl3")


def test_musicnn_satisfies_the_protocol():
    assert isinstance(load("musicnn"), Embedding)
    assert set(EMBEDDINGS) == {"musicnn", "vggish", "vggish:relu", "clap", "clap:htsat-unfused"}


def test_windows_follow_from_the_front_ends():
    assert Musicnn.window == (musicnn.N_FRAMES - 1) * musicnn.HOP_LENGTH and Musicnn.hop == 93 * musicnn.HOP_LENGTH
    assert Vggish.window == vggish.FRAME + (vggish.N_FRAMES - 1) * vggish.HOP_LENGTH
    assert Vggish.hop == vggish.N_FRAMES * vggish.HOP_LENGTH


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_every_entry_names_a_class_with_its_window(name):
    entry = EMBEDDINGS[name]
    module, _, attribute = entry.place.partition(":")
    cls = getattr(importlib.import_module(f"m2l_bench.systems.encoders.{module}"), attribute)
    assert (cls.sample_rate, cls.window, cls.hop) == (entry.sample_rate, entry.window, entry.hop)
    assert set(entry.options) <= set(inspect.signature(cls).parameters)
