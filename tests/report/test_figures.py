"""Figures: the data behind each, that each draws them, and that the same data give the same bytes."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from m2l_bench.report import figure_data, figures, style, time_figures
from m2l_bench.report.curves import draw_training, training_data
from m2l_bench.report.runs import Measurement, RunData, read_runs
from m2l_bench.report.significance import Pairs, matrix
from m2l_bench.report.style import COLOURS, MARKERS, Interval, Point, save
from m2l_bench.results import Item
from m2l_bench.tasks.annotation import Annotation

from .synthetic import CARDS_BY_HASH, DATASET, HOSTILE, SYSTEMS, make_run, row


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return read_runs([make_run(tmp_path_factory.mktemp("run"), n_clips=16)])


def test_data_of_rate_quality() -> None:
    rows = [
        row("opus:12k", "bit_rate", 13.0, half=0.5),
        row("opus:12k", "si_sdr", 3.0, half=1.0),
        row("pca", "si_sdr", 4.0),
        row("opus:12k", "si_sdr", 99.0, statistic="median"),
    ]
    made = RunData(tuple(rows), (), CARDS_BY_HASH, ("pca", "opus:12k"), {})
    x, y = (figure_data.whole(made, DATASET, metric) for metric in ("bit_rate", "si_sdr"))
    points = figure_data.points(made, x, y)
    assert points == [Point("opus:12k", "opus", Interval(13.0, 12.5, 13.5), Interval(3.0, 2.0, 4.0))]


def test_data_of_tradeoff_and_bars(results: RunData) -> None:
    main = figure_data.main_measurements(results)
    assert [m[:5] for m in main] == [
        ("genre/noise", "genre/noise", "linear", "test", "accuracy"),
        ("key/noise", "key/noise", "linear", "test", "accuracy"),
    ]
    points = figure_data.points(results, figure_data.whole(results, DATASET, "mel_distance"), main[0])
    assert [point.system for point in points] == list(SYSTEMS)
    scores = [
        r.value
        for r in results.rows
        if (r.system, r.task, r.metric, r.split) == ("pca", "genre/noise", "accuracy", "test")
    ]
    assert len(scores) == 3  # seeds
    assert points[4].y.value == pytest.approx(np.mean(scores))
    groups = figure_data.probe_groups(results, "linear")
    assert list(groups) == ["genre/noise\nAccuracy", "key/noise\nAccuracy"]
    assert groups["genre/noise\nAccuracy"]["pca"] == points[4].y


def test_data_of_confusion(results: RunData) -> None:
    genre = Measurement("genre/noise", "genre/noise", "linear", "test", "accuracy", "score")
    counts, labels = figure_data.confusion_counts(results.items, genre, "pca")
    assert labels == ["jig", "reel", "waltz"]
    assert counts.sum() == pytest.approx(40)  # tunes, whatever the number of seeds
    accuracy = np.mean(
        [
            r.value
            for r in results.rows
            if (r.system, r.task, r.metric, r.split) == ("pca", "genre/noise", "accuracy", "test")
        ]
    )
    assert np.trace(counts) / 40 == pytest.approx(accuracy)
    assert counts[0, 2] == counts[1, 0] == counts[2, 1] == 0  # wrong answers are always the next class


def test_data_of_learning_curves(results: RunData) -> None:
    main = figure_data.main_measurements(results)[0]
    curves = figure_data.learning_curves(results, main)
    assert list(curves) == [system for system in SYSTEMS if system in curves] and "pca" in curves
    assert [n for n, _ in curves["pca"]] == [10, 20, 40]
    assert curves["pca"][0][1] == pytest.approx((0.5, 0.45, 0.55))


def test_data_of_the_significance_matrix(results: RunData) -> None:
    systems = ["opus:12k", "opus:48k", "pca"]
    for metric, higher in (("si_sdr", True), ("mel_distance", False)):
        differences, p_values = matrix(
            Pairs(results.items), Measurement(DATASET, metric=metric), systems, higher_is_better=higher
        )
        assert np.array_equal(np.sign(differences[np.triu_indices(3, 1)]), [-1, -1, -1])
        assert np.array_equal(differences, -differences.T, equal_nan=True)
        assert np.array_equal(p_values, p_values.T, equal_nan=True)
        assert (p_values[np.triu_indices(3, 1)] < 0.05).all()


def test_data_of_a_spectrogram() -> None:
    rate = 16000
    time = np.arange(rate) / rate
    sine = np.sin(2 * np.pi * 2000 * time).astype(np.float32)
    levels = figure_data.spectrogram(np.stack([sine, sine]), rate, frames=20, bins=256)
    assert levels.shape == (256, 20)
    place = 256 * np.log(2000 / figure_data.LOWEST) / np.log(8000 / figure_data.LOWEST)  # of 2 kHz up to 8 kHz
    assert np.all(np.abs(np.argmax(levels[:, 2:-2], axis=0) - place) <= 1)
    assert levels[:, 2:-2].max() == pytest.approx(0.0, abs=0.1)
    ticks, names = figure_data.frequency_ticks(8000.0)
    assert names == ["0.1", "1"] and ticks[1] * 256 == pytest.approx(place - 256 * np.log(2) / np.log(160))
    assert (figure_data.spectrogram(np.zeros((1, 10), dtype=np.float32), rate) == -100).all()
    with pytest.raises(ValueError, match="must have shape"):
        figure_data.spectrogram(np.zeros(10, dtype=np.float32), rate)


def drawn() -> dict[str, matplotlib.figure.Figure]:
    """Every kind of figure once, hostile names included."""
    rng = np.random.default_rng(0)
    names = ["music2latent:small", "pca", HOSTILE, "$x^2$ _a_", *(f"system {i}" for i in range(8))]

    def near(value: float) -> Interval:
        return Interval(value, value - 0.05, value + 0.04)

    points = [Point(name, name[:3], near(10.0 + 5 * i), near(rng.random())) for i, name in enumerate(names)]
    grids = {name: rng.uniform(-90, -10, (16, 20)) for name in names[:3]}
    differences = np.subtract.outer(np.arange(12.0), np.arange(12.0))
    return {
        "rate": figures.rate_quality(points, x_label="bit rate (kbit/s)", y_label="SI-SDR (dB) ↑"),
        "tradeoff": figures.tradeoff(points, x_label="SI-SDR (dB) ↑", y_label="Accuracy ↑"),
        "bars": figures.probe_bars({"key": dict(zip(names, map(near, rng.random(12)), strict=True))}, y_label="score"),
        "confusion": figures.confusion(rng.integers(0, 9, (12, 12)), names, title=HOSTILE),
        "learning": figures.learning_curves(
            {n: [(10.0, near(0.3)), (100.0, near(0.5))] for n in names}, y_label="score"
        ),
        "spectrograms": time_figures.spectrogram_grid(grids, duration=2.0, max_frequency=8000, title=HOSTILE),
        "pairs": figures.significance(differences, np.full((12, 12), 0.01), names, title="SI-SDR"),
        "training": figures.training_curves(
            {"loss": {"small": ([1, 10, 100], [9.0, 1.0, 0.1])}, "SI-SDR (dB)": {"small": ([1, 100], [-50.0, 1.0])}}
        ),
    }


def test_same_data_same_bytes_whatever_the_settings(tmp_path: Path) -> None:
    chosen = ("tradeoff", "spectrograms")  # every kind is written twice where whole reports are compared
    for name, figure in drawn().items():
        if name in chosen:
            save(figure, tmp_path / "a" / name)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.facecolor": "red"}):
        for name, figure in drawn().items():
            if name in chosen:
                save(figure, tmp_path / "b" / name)
    written = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert written == sorted(f"{name}.{suffix}" for name in chosen for suffix in ("pdf", "png"))
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    for name in chosen:
        content = (tmp_path / "a" / f"{name}.pdf").read_bytes()
        assert content.startswith(b"%PDF") and b"CreationDate" not in content


def test_figures_fit_a_column_and_show_their_data() -> None:
    figures_ = drawn()
    for name, figure in figures_.items():
        assert figure.get_figwidth() <= 6.9, name
    matrix_texts = [text.get_text() for text in figures_["pairs"].axes[0].texts]
    assert (matrix_texts.count("+1.0"), matrix_texts.count("\N{MINUS SIGN}11")) == (11, 1)  # the differences themselves
    assert len(matrix_texts) == 12 * 11
    bars = figures_["bars"].axes[0].patches
    assert len(bars) == 12
    line = figures_["training"].axes[0].lines[0]
    assert list(line.get_ydata()) == [9.0, 1.0, 0.1]
    assert figures_["training"].axes[0].get_yscale() == "log"
    assert figures_["training"].axes[1].get_yscale() == "linear"


def test_every_system_of_the_tradeoff_has_a_look_of_its_own() -> None:
    places = np.random.default_rng(1).random((20, 2))
    points = [Point(f"system-{i}", "x", Interval(x, x, x), Interval(y, y, y)) for i, (x, y) in enumerate(places)]
    figure = figures.tradeoff(points, x_label="x", y_label="y")
    figure.canvas.draw()
    drawn = figure.axes[0].containers
    looks = {(bar.lines[0].get_color(), bar.lines[0].get_marker()) for bar in drawn}
    (named,) = figure.legends
    assert len(looks) == len(drawn) == 20
    assert [text.get_text() for text in named.get_texts()] == [point.system for point in points]
    assert not named.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_a_system_keeps_its_look_in_all_figures() -> None:
    looks = style.looks(["opus:12k", "opus:24k", "pca", "mine"])
    assert (looks["opus"], looks["opus:24k"], looks["pca"], looks["pca, quantised"]) == (0, 1, 2, 2)

    def found(figure: matplotlib.figure.Figure) -> dict[str, str]:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        return {name: handle.lines[0].get_color() for name, handle in zip(labels, handles, strict=True)}

    one = Interval(1.0, 0.9, 1.1)
    points = [Point(name, name, one, one) for name in ("mine", "pca")]
    alone = found(figures.tradeoff(points[:1], x_label="x", y_label="y", looks=looks))
    both = found(figures.tradeoff(points[::-1], x_label="x", y_label="y", looks=looks))
    curve = {"pca, quantised": ([Point("pca", "pca", one, one)], one)}
    rates = found(figures.rate_quality(points[:1], x_label="x", y_label="y", quantised=curve, looks=looks))
    assert alone["mine"] == both["mine"] == rates["mine"] == style.COLOURS[3]
    assert both["pca"] == rates["pca, quantised"] == style.COLOURS[2]
    bars = figures.probe_bars({"key": {"mine": one}}, y_label="score", looks=looks).axes[0].patches
    assert matplotlib.colors.to_hex(bars[0].get_facecolor()).upper() == style.COLOURS[3]


def test_bars_have_the_level_of_chance() -> None:
    groups = {
        "key": {"pca": Interval(0.5, 0.4, 0.6), "majority": Interval(0.2, 0.1, 0.3)},
        "genre": {"pca": Interval(0.5, 0.4, 0.6)},
    }
    figure = figures.probe_bars(groups, y_label="score", chance="majority")
    (line,) = [c for c in figure.axes[0].collections if c.get_label() == "level of majority"]
    assert [segment.tolist() for segment in line.get_segments()] == [[[-0.45, 0.2], [0.45, 0.2]]]


def test_a_poor_system_does_not_hide_the_others() -> None:
    def curve(*values: float) -> list[Point]:
        return [Point("a", "a", Interval(2.0**k, 1, 1), Interval(v, v, v)) for k, v in enumerate(values)]

    codec = [Point("opus:12k", "opus", Interval(12.0, 12, 12), Interval(0.5, 0.4, 0.6))]
    quantised = {"a, quantised": (curve(6.0, 5.0), Interval(4.9, 4.8, 5.0))}
    axes = figures.rate_quality(codec, x_label="bit rate", y_label="mel", quantised=quantised).axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_legend_handles_labels()[1] == ["opus", "a, quantised"]
    near = {"a, quantised": (curve(0.7, 0.6), None)}
    assert figures.rate_quality(codec, x_label="x", y_label="y", quantised=near).axes[0].get_yscale() == "linear"
    wide = [*codec, Point("b", "b", Interval(0.5, 0.5, 0.5), Interval(1, 1, 1))]
    assert figures.tradeoff(wide, x_label="mel", y_label="score").axes[0].get_xscale() == "log"


def test_numbers_side_by_side_show_what_is_infinite_at_the_edge() -> None:
    values = {"a": Interval(0.5, 0.2, np.inf), "b": Interval(np.inf, 0.7, np.inf), "c": Interval(0.1, np.nan, np.nan)}
    axes = figures.dots({"half-life (s)": values}).axes[0]
    markers = [container.lines[0] for container in axes.containers]
    assert [float(marker.get_xdata()[0]) for marker in markers] == pytest.approx([0.5, 1.15 * 0.7, 0.1])
    assert [marker.get_markerfacecolor() == "white" for marker in markers] == [False, True, False]
    assert axes.get_xlim()[1] < 1


def luminance(colour: str) -> float:
    """Relative luminance of ``#RRGGBB`` (WCAG 2.1): 0 for black, 1 for white."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_colours_can_be_told_apart_by_brightness_or_marker() -> None:
    assert luminance("#FFFFFF") == pytest.approx(1.0) and luminance("#000000") == 0.0
    assert (
        len(set(COLOURS)) == len(COLOURS) == len(set(MARKERS))
    )  # two systems of near brightness differ in their marker
    for colour in COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) > 2, f"{colour} has too little contrast on white"
    first, second = sorted(luminance(colour) for colour in COLOURS[:2])
    assert (second + 0.05) / (first + 0.05) > 1.2  # the most common case, two systems, also differs in brightness


def test_curves_of_trainings_from_their_logs(tmp_path: Path) -> None:
    for name, loss in (("one", 9.0), ("two", 5.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text(f"step,loss,learning_rate\n10,{loss},0.1\n20,{loss / 2},0.1\n")
    (tmp_path / "one" / "validation.csv").write_text("step,loss,distance@0.1,distance@80,si_sdr\n20,7,0.1,0.4,nan\n")
    data = training_data([tmp_path / "one", tmp_path / "two"])
    assert data == {
        "training loss": {"one": ([10, 20], [9.0, 4.5]), "two": ([10, 20], [5.0, 2.5])},
        "held-out loss": {"one": ([20], [7.0])},
        "held-out distance": {"one sigma 0.1": ([20], [0.1]), "one sigma 80": ([20], [0.4])},
    }
    assert draw_training([tmp_path / "one"]) == tmp_path / "one" / "training-curves.png"
    assert (tmp_path / "one" / "training-curves.pdf").read_bytes().startswith(b"%PDF")
    (tmp_path / "two" / "log.csv").write_text("loss\nx\n")
    with pytest.raises(ValueError, match=r"log\.csv: must be a training's CSV"):
        training_data([tmp_path / "two"])


def of(kind: str, text: str) -> Annotation:
    return Annotation.parse(kind, text)


def test_data_of_chord_confusion() -> None:
    """Four seconds each: right, a fifth up, the parallel minor; of a minor chord, half nothing and half its relative major."""
    item = Item(
        system="pca",
        fingerprint="f",
        dataset="chord/x",
        metric="chord_majmin",
        card="c",
        item="a",
        value=0.5,
        target="0,12,D:maj;12,16,A:min",
        prediction="0,4,D:maj;4,8,A:maj;8,12,D:min;12,14,N;14,16,C:maj",
    )
    shares = figure_data.chord_confusion([item])
    assert shares.shape == (2, 25) and np.count_nonzero(shares) == 5
    np.testing.assert_allclose(shares[0, [0, 7, 12]], 1 / 3)
    np.testing.assert_allclose(shares[1, [3, 24]], 0.5)  # C is three semitones above A


TIMELINES = {
    "beats": ("0.5;1", "0.51;1.4"),
    "onsets": ("0;1", ""),
    "chords": ("0,1,C:maj;1,2,A:min", "0,2,N"),
    "notes": ("0,1,60;0.5,2,64", ""),
    "melody": ("0.01,440;0.03,0", "0.01,0;0.03,220"),
}


@pytest.mark.parametrize("kind", list(TIMELINES))
@pytest.mark.parametrize("with_audio", [True, False])
def test_a_timeline_has_a_panel_a_line(kind: str, with_audio: bool) -> None:
    lines = dict(zip(("annotation", HOSTILE), (of(kind, text) for text in TIMELINES[kind]), strict=True))
    levels = np.zeros((8, 20), np.float32) if with_audio else None
    figure = time_figures.timeline(kind, lines, levels, duration=2.0, max_frequency=22_050.0, title="t")
    axes = figure.axes
    assert len(axes) == 2 + with_audio
    assert [len(one.images) for one in axes] == [1] * with_audio + [0, 0]
    given = axes[with_audio]
    if kind == "chords":
        assert [text.get_text() for text in given.texts] == ["C", "Am"]
    elif kind == "melody":
        np.testing.assert_allclose(given.lines[0].get_xydata(), [[0.01, 69]])
        np.testing.assert_allclose(axes[-1].lines[0].get_xydata(), [[0.03, 57]])
    else:
        drawn = [path.vertices for path in given.collections[0].get_paths()]
        expected = lines["annotation"]
        np.testing.assert_allclose([line[0, 0] for line in drawn], expected.starts)
        np.testing.assert_allclose([line[1, 0] for line in drawn], expected.ends)
