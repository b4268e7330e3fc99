"""One rule for what a user brings: entry points of every kind, names that are nearly right, options."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from m2l_bench import plugins
from m2l_bench.probes import load_probe
from m2l_bench.reconstruction.metrics import get_metric
from m2l_bench.reconstruction.sets.vectors import load_encoder
from m2l_bench.suite.suite import make_suite
from m2l_bench.tasks import load_task, task_names


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that registers a metric, a probe, a task and something broken."""
    points = EntryPoints(
        EntryPoint(name, value, f"m2l_bench.{kind}s")
        for kind, name, value in (
            ("metric", "their-metric", "m2l_bench.reconstruction.pair.si_sdr:si_sdr"),
            ("metric", "broken", "m2l_bench.no_such_module:x"),
            ("system", "their-encoder", "m2l_bench.systems.encoders.features:MfccChroma"),
            ("probe", "their-probe", "sklearn.neighbors:KNeighborsClassifier"),
            ("task", "their/task", "m2l_bench.tasks.genre:TASKS"),
        )
    )
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.select(group=group))


@pytest.mark.usefixtures("installed")
def test_entry_points_of_every_kind() -> None:
    metric = get_metric("their-metric")
    assert metric.card.name == "their-metric" and metric.card.constants["sources"]["entry point"].endswith(":si_sdr")
    assert get_metric("fad:their-encoder").card.title == "FAD-their-encoder"
    assert load_encoder("their-encoder").latent_dim == 32
    with pytest.raises(ValueError, match=r"unknown encoder 'their-encodr'; did you mean their-encoder\?"):
        get_metric("kad:their-encodr")
    assert type(load_probe("their-probe")).__name__ == "KNeighborsClassifier"
    assert task_names()[-1] == "their/task"
    with pytest.raises(ValueError, match="their/task: must be a Task, got tuple"):
        load_task("their/task")
    suite = make_suite({"metrics": ["their-metric"], "probes": ["their-probe", "linear"]})
    assert suite.metrics == ("their-metric",) and suite.probes == ("their-probe", "linear")
    with pytest.raises(ValueError, match=r"broken: importing m2l_bench.no_such_module:x raised ModuleNotFoundError"):
        get_metric("broken")
    with pytest.raises(ValueError, match=r"unknown metric 'their-metrics'; did you mean their-metric\?"):
        get_metric("their-metrics")


@pytest.mark.parametrize(
    ("load", "name", "nearest"),
    [
        (get_metric, "mel_distanc", "mel_distance"),
        (load_probe, "linaer", "linear"),
        (load_task, "genre/tune", "genre/tunes"),
    ],
)
def test_a_name_that_is_nearly_right_gets_the_nearest(load, name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}'; did you mean {nearest}\?"):
        load(name)


def test_spellings_with_a_file_lose_their_folders_and_keep_their_options() -> None:
    spelling = "fad_inf:my/encoder.py:Encoder(layer=3, mode='a/b')"
    assert plugins.label(spelling) == "fad_inf:encoder.py:Encoder(layer=3, mode='a/b')"
    assert plugins.absolute(spelling) == f"fad_inf:{Path.cwd()}/my/encoder.py:Encoder(layer=3, mode='a/b')"
    assert plugins.label("embedding_distance:my/e.py:E(n=3)@side") == "embedding_distance:e.py:E(n=3)@side"
    assert plugins.absolute("/a/x.py:f") == "/a/x.py:f" and plugins.absolute("x.py:f") == f"{Path.cwd()}/x.py:f"
    for name in ("fad:musicnn", "music2latent:small", "genre/tunes"):
        assert plugins.label(name) == plugins.absolute(name) == name


def test_names_of_metrics_and_probes_differ() -> None:
    for kind in ("metrics", "probes"):
        with pytest.raises(ValueError, match=f"{kind}: "):
            make_suite({kind: ["/a/x.py:f", "/b/x.py:f"]})
