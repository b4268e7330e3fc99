"""Tasks in time: the grid, the protocol, and encoders of which it is known what they tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from m2l_bench import assets
from m2l_bench.probes import LinearProbe, MLPProbe
from m2l_bench.probes.estimator import FittedOutputs
from m2l_bench.tasks import load_task
from m2l_bench.tasks.annotation import CHORDS, GRID, OUTPUTS, Annotation, chord_runs, estimate, events, targets, thinned
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.frames import Track, frames_of
from m2l_bench.tasks.sources.source import About, Labels, Source, TaskItem
from m2l_bench.tasks.time import MOST_FRAMES, _examples, evaluate_in_time, f_of_events
from m2l_bench.tasks.track_scores import TIME_KINDS, score

SECONDS = 8.0
LOW, HIGH = 50 - 21, 60 - 21  # columns of the pitches of notes and melodies
N = {"train": 12, "valid": 4, "test": 8}
KINDS = list(TIME_KINDS)


def annotation(kind: str, seed: int) -> Annotation:
    """One track: beats of a steady tempo, or events, chords, notes or a melody at random."""
    rng = np.random.default_rng(seed)
    if kind == "beats":
        times = np.arange(rng.uniform(0, 0.3), SECONDS, rng.uniform(0.4, 0.8))
        return Annotation(starts=times, ends=times)
    starts = np.cumsum(rng.uniform(0.3, 0.8, 30))
    starts = np.concatenate([[0.0], starts[starts < SECONDS - 0.3]])
    ends = np.append(starts[1:], SECONDS)
    if kind == "onsets":
        return Annotation(starts=starts, ends=starts)
    if kind == "chords":
        return Annotation(starts=starts, ends=ends, values=rng.choice(CHORDS[:6], len(starts)).astype("<U12"))
    if kind == "notes":
        return Annotation(starts=starts, ends=ends, values=rng.integers(50, 60, len(starts)).astype(float))
    pitch = rng.integers(50, 60, len(starts))
    times = np.arange(0, SECONDS, 0.01)
    value = 440 * 2 ** ((pitch[np.searchsorted(starts, times, side="right") - 1] - 69) / 12)
    return Annotation(starts=times, ends=times, values=np.where(times % 2 < 1.5, value, 0.0))


@dataclass(frozen=True, kw_only=True)
class Made(Source):
    """Tracks made from numbers; what was asked of it is kept."""

    kind: str
    asked: list[str]
    about = About(name="made", version="1", licence="-", size="-", how="-", citation="-")

    def read(self) -> list[tuple[TaskItem, Annotation]]:
        names = [(split, n) for split in N for n in range(N[split])]
        return [
            (TaskItem(f"{split}{n}", Path("-"), split, f"{split}{n}"), annotation(self.kind, k))
            for k, (split, n) in enumerate(names)
        ]

    def labels(self, split: str) -> Labels:
        self.asked.append(split)
        return super().labels(split)


def task_of(kind: str) -> Task:
    return Task(name=f"{kind}/made", kind=kind, source=Made(kind=kind, asked=[]), caveat="Made.")


def truths(task: Task) -> Mapping[str, Annotation]:
    return {item.id: found for item, found in task.source.read()}


def emit(kind: str, found: Annotation, rate: float, *, shift: float = 0.0) -> Track:
    """An encoder that emits the annotation: the targets of all grid steps of each of its frames."""
    n, per_frame = round(SECONDS * rate), max(1, round(GRID / rate))
    starts = np.arange(n)[:, None] / rate + np.arange(per_frame) / GRID - shift
    flat = targets(kind, found, starts.ravel())
    flat = flat[:, LOW:HIGH] if kind in ("notes", "melody") else flat  # the other pitches never sound
    return Track(latents=flat.reshape(n, -1).T, rate=rate, seconds=SECONDS)


def evaluated(kind: str, encoder: Callable[[Annotation, int], Track], probe: Any = None, **options: Any) -> Any:
    task = task_of(kind)
    known = truths(task)
    tracks = {name: encoder(found, k) for k, (name, found) in enumerate(known.items())}
    probe = probe or LinearProbe(l2=(1e-3,))
    return evaluate_in_time(task, tracks.__getitem__, list(tracks), probe, **{"seeds": [0], **options})


@cache
def told(kind: str, rate: float) -> Any:
    """What the linear probe makes of an encoder that emits the annotation: the same for all tests that ask for it."""
    return evaluated(kind, lambda found, _: emit(kind, found, rate))


CEILING = {"beats": 0.99, "onsets": 0.99, "chords": 0.97, "notes": 0.96, "melody": 0.97}


@pytest.mark.parametrize("rate", [50.0, 10.0])
@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_that_emits_the_annotation_reaches_the_ceiling_of_the_grid(kind: str, rate: float) -> None:
    """Events are found to within a grid step, half of it on average; chords and notes lose a step's half at each change."""
    result = told(kind, rate)
    assert result.mean(result.task.main_metric) > CEILING[kind]
    if kind in ("beats", "onsets"):
        assert result.mean(f"{kind[:-1]}_f_20ms") > 0.99
        assert 3 < result.mean(f"{kind[:-1]}_timing") < 7  # ms: a uniform error of 10 ms at most has a median of 5


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_at_chance(kind: str) -> None:
    """No better than an encoder that says nothing at all."""
    rng = np.random.default_rng(0)
    noise = evaluated(kind, lambda found, _: Track(latents=rng.standard_normal((6, 80)), rate=10.0, seconds=SECONDS))
    silent = evaluated(kind, lambda found, _: Track(latents=np.ones((1, 80)), rate=10.0, seconds=SECONDS))
    main = noise.task.main_metric
    spread = np.nanstd(silent.item_values(main, silent.seeds[0])) + np.nanstd(noise.item_values(main, noise.seeds[0]))
    assert noise.mean(main) < silent.mean(main) + spread < CEILING[kind]


def test_frames_that_are_late_lose_beats() -> None:
    """By 100 ms on the test tracks alone, which no probe can have learned to undo."""
    at_test = sum(N[split] for split in ("train", "valid"))
    late = evaluated("beats", lambda found, k: emit("beats", found, 50.0, shift=-0.1 if k >= at_test else 0.0))
    assert late.mean("beat_f") < 0.1
    learned = evaluated("beats", lambda found, _: emit("beats", found, 50.0, shift=-0.1))
    assert learned.mean("beat_f") < 0.5  # nor can it be learned: the context is a mean over 250 ms


def test_an_offset_that_is_told_is_undone() -> None:
    def encoder(found: Annotation, k: int) -> Track:
        track = emit("beats", found, 10.0, shift=-0.03)
        return Track(latents=track.latents, rate=10.0, seconds=SECONDS, offset=0.03)

    result = evaluated("beats", encoder)
    assert result.mean("beat_f_20ms") > 0.97


@pytest.mark.parametrize("kind", ["beats", "chords", "notes"])
def test_the_same_information_at_another_rate_is_worth_the_same(kind: str) -> None:
    """A fast encoder and its twin, which emits the same numbers in a fifth as many frames."""
    fast, slow = told(kind, 50.0), told(kind, 10.0)
    main = fast.task.main_metric
    assert abs(fast.mean(main) - slow.mean(main)) < 0.01


def test_an_average_loses_what_it_blurs() -> None:
    def averaged(found: Annotation, _: int) -> Track:
        full = emit("beats", found, 50.0)
        return Track(latents=full.latents.reshape(1, -1, 5).mean(2), rate=10.0, seconds=SECONDS)

    fast, slow = told("beats", 50.0), evaluated("beats", averaged)
    assert slow.mean("beat_f") > 0.8  # within 70 ms, a frame of 100 ms says where
    assert slow.mean("beat_timing") > 1.4 * fast.mean("beat_timing")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_mir_evals_on_what_is_stored(kind: str) -> None:
    """The text of an estimate is all of it."""
    result = told(kind, 10.0)
    for number in (0, 7):
        stored = Annotation.parse(kind, str(result.seeds[0].estimates[number]))
        reference = result.references[number]
        for metric, expected in own_scores(kind, reference, stored).items():
            assert result.item_values(metric, result.seeds[0])[number] == pytest.approx(expected, abs=1e-9), metric


def own_scores(kind: str, reference: Annotation, found: Annotation) -> dict[str, float]:
    """mir_eval's documented calls."""
    if kind == "beats":
        scores = mir_eval.beat.evaluate(reference.starts, found.starts, min_beat_time=0.0)
        names = {"beat_f": "F-measure", "beat_cemgil": "Cemgil", "beat_cmlt": "Correct Metric Level Total"}
        return {ours: scores[theirs] for ours, theirs in names.items()}
    if kind == "onsets":
        return {"onset_f": mir_eval.onset.evaluate(reference.starts, found.starts)["F-measure"]}
    if kind == "chords":
        spans = (np.stack([a.starts, a.ends], 1) for a in (reference, found))
        given, estimated = spans
        scores = mir_eval.chord.evaluate(
            given, list(map(str, reference.values)), estimated, list(map(str, found.values))
        )
        return {f"chord_{name}": scores[name] for name in ("majmin", "root", "thirds", "mirex")}
    if kind == "melody":
        scores = mir_eval.melody.evaluate(reference.starts, reference.values, found.starts, found.values)
        return {"melody_accuracy": scores["Overall Accuracy"], "melody_chroma": scores["Raw Chroma Accuracy"]}
    times = np.arange(0, SECONDS, 0.01)
    lists = [
        [440 * 2 ** ((a.values[(a.starts <= t + 1e-9) & (a.ends > t + 1e-9)] - 69) / 12) for t in times]
        for a in (reference, found)
    ]
    return {"note_accuracy": mir_eval.multipitch.evaluate(times, lists[0], times, lists[1])["Accuracy"]}


@pytest.mark.parametrize(
    "probe", [LinearProbe(l2=(1e-3,)), MLPProbe(hidden_size=64, learning_rates=(3e-3,), weight_decays=(0.0,))]
)
@pytest.mark.parametrize("kind", ["beats", "chords"])
def test_both_probes(kind: str, probe: Any) -> None:
    result = evaluated(kind, lambda found, _: emit(kind, found, 10.0), probe, seeds=[0, 1])
    assert result.mean(result.task.main_metric) > 0.9 and len(result.seeds) == 2
    assert repr(result).startswith(f"TimeResult({kind}/made, {type(probe).__name__}: ")
    frame = result.to_frame()
    assert (
        frame.shape == (2 * len(result.task.metrics), 5) and frame.value[0] == result.seeds[0].scores[frame.metric[0]]
    )
    assert result.spread(result.task.main_metric) >= 0


@pytest.mark.parametrize("kind", ["beats", "chords", "notes"])
def test_any_classifier(kind: str) -> None:
    found = evaluated(kind, lambda found, _: emit(kind, found, 10.0), DecisionTreeClassifier())
    assert found.mean(found.task.main_metric) > (0.6 if kind == "notes" else 0.9)
    again = evaluated(kind, lambda found, _: emit(kind, found, 10.0), DecisionTreeClassifier())
    assert found.seeds[0].estimates == again.seeds[0].estimates


def test_outputs_that_never_change_are_known() -> None:
    x = np.arange(20.0)[:, None]
    y = np.stack([np.zeros(20), np.ones(20), x[:, 0] > 9, np.full(20, 0.5)], axis=1)
    logits = FittedOutputs(DecisionTreeClassifier(), x, y, 0, 0).logits(x)
    assert (logits[:, [0, 3]] == -np.inf).all() and (logits[:, 1] == np.inf).all()
    np.testing.assert_array_equal(logits[:, 2] > 0, x[:, 0] > 9)
    chosen = np.eye(3)[[0, 2] * 10]
    logits = FittedOutputs(DecisionTreeClassifier(), np.tile([[0.0], [1.0]], (10, 1)), chosen, 0, 1).logits(x[:2])
    assert logits.argmax(axis=1).tolist() == [0, 2] and (logits[:, 1] == -np.inf).all()


def test_test_annotations_are_read_after_everything_is_estimated() -> None:
    task = task_of("beats")
    known, read = truths(task), []

    def tracks(name: str) -> Track:
        if name.startswith("test"):
            read.append(("test", list(task.source.asked)))
        return emit("beats", known[name], 10.0)

    evaluate_in_time(task, tracks, list(known), LinearProbe(l2=(1e-3,)), seeds=[0])
    assert all("test" not in asked for _, asked in read) and len(read) == N["test"]
    assert task.source.asked[-1] == "test"


def test_tracks_without_latents_are_counted() -> None:
    task = task_of("beats")
    known = truths(task)
    there = [name for name in known if name not in ("test3", "train1")]
    result = evaluate_in_time(task, lambda name: emit("beats", known[name], 10.0), there, LinearProbe(), seeds=[0])
    assert result.failures == (("test3", "no latents"),) and len(result.items) == N["test"] - 1
    assert result.n_train == N["train"] - 1
    with pytest.raises(ValueError, match="the valid split must have tracks with latents and an annotation, got none"):
        evaluate_in_time(task, tracks_of(known), [n for n in known if "valid" not in n], LinearProbe())


def tracks_of(known: Mapping[str, Annotation]) -> Callable[[str], Track]:
    return lambda name: emit("beats", known[name], 10.0)


@pytest.mark.parametrize("rate", [0.67, 1.0, 7.5, 10.77, 21.5, 43.07, 50.0, 75.0, 86.13])
def test_every_grid_step_has_the_output_that_covers_it(rate: float) -> None:
    n = max(1, int(np.ceil(SECONDS * rate)))
    frames = frames_of(Track(latents=np.arange(n)[None].astype(float), rate=rate, seconds=SECONDS))
    assert (
        frames.places.shape == (400, 2) and frames.starts.shape[1] == int(np.ceil(GRID / max(rate, 0) - 1e-9))
    ) or rate > 50
    begins = frames.starts[frames.places[:, 0], frames.places[:, 1]]
    centres = (np.arange(400) + 0.5) / GRID
    assert np.abs(begins + 0.5 / GRID - centres).max() <= 0.5 / GRID + 1e-6
    assert len(np.unique(frames.places, axis=0)) == 400


def test_features_are_the_frame_and_its_context() -> None:
    """Equal in seconds: 250 ms are two frames at 10 Hz, twelve at 50 Hz, none at 1 Hz."""
    ramp = np.arange(40.0)[None]
    slow = frames_of(Track(latents=ramp, rate=10.0, seconds=4.0)).features
    np.testing.assert_allclose(slow[10], [10, 8.5, 11.5])
    np.testing.assert_allclose(slow[0], [0, 0, 1.5])
    np.testing.assert_allclose(slow[39], [39, 37.5, 39])
    fast = frames_of(Track(latents=np.arange(200.0)[None], rate=50.0, seconds=4.0)).features
    np.testing.assert_allclose(fast[100], [100, 93.5, 106.5])
    np.testing.assert_allclose(frames_of(Track(latents=ramp, rate=1.0, seconds=40.0)).features[5], [5, 5, 5])


def test_fast_latents_are_averaged_onto_the_grid() -> None:
    frames = frames_of(Track(latents=np.arange(100.0)[None], rate=100.0, seconds=1.0))
    np.testing.assert_allclose(frames.features[:, 0], np.arange(50) * 2 + 0.5)


def test_training_frames_are_bounded_and_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    from m2l_bench.tasks import time

    monkeypatch.setattr(time, "MOST_FRAMES", 300)
    task = task_of("beats")
    known = truths(task)
    items = [item for item in task.items() if item.split == "train"]

    def tracks(name: str) -> Track:
        return Track(latents=np.full((1, 400), float(re.sub(r"\D", "", name))), rate=50.0, seconds=SECONDS)

    x, y, total = _examples("beats", tracks, items, known, 0)
    assert (len(x), len(y), total) == (300, 300, 12 * 400)
    counts = np.bincount(x[:, 0].astype(int), minlength=12)
    assert counts.min() > 8 and counts.max() < 50  # 25 each on average
    again, _, _ = _examples("beats", tracks, items, known, 0)
    other, _, _ = _examples("beats", tracks, items, known, 1)
    np.testing.assert_array_equal(again, x)
    assert not np.array_equal(other, x)
    result = evaluate_in_time(task, tracks, list(known), LinearProbe(l2=(1e-2,)), seeds=[0, 1])
    assert "Trained on 300 of 4,800 frames, drawn by the seed." in result.note
    assert "Selected on 1 of 4 validation tracks, drawn once." in result.note
    assert MOST_FRAMES == 200_000


def test_quick_f_is_mir_evals() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        given, found = (np.sort(rng.uniform(0, 3, rng.integers(1, 12))) for _ in range(2))
        assert f_of_events(given, found, 0.07) == pytest.approx(mir_eval.beat.f_measure(given, found))


def test_decoding_rules() -> None:
    p = np.zeros(100)
    p[[10, 14, 40, 70, 71]] = [0.6, 0.9, 0.5, 0.8, 0.8]
    np.testing.assert_allclose(events("beats", p, 0.5), (np.array([14, 40, 71]) + 0.5) / GRID)
    np.testing.assert_allclose(events("onsets", p, 0.5), (np.array([10, 14, 40, 71]) + 0.5) / GRID)
    assert not len(events("beats", p, 0.95))
    columns = np.array([0] * 20 + [3] * 5 + [1] * 30)
    runs = chord_runs(columns)
    assert runs.values.tolist() == ["C:maj", "C#:maj"] and runs.starts.tolist() == [0, 20 / GRID]
    held = np.zeros((6, OUTPUTS["notes"].size))
    held[1:4, 40] = held[3:6, 41] = 0.9
    notes = estimate("notes", held, 0.5)
    assert list(zip(notes.starts, notes.ends, notes.values, strict=True)) == [(0.02, 0.08, 61.0), (0.06, 0.12, 62.0)]


def test_targets_of_chords_and_notes() -> None:
    chords = Annotation(starts=np.array([0.0, 0.05]), ends=np.array([0.05, 0.1]), values=np.array(["C:maj", "A:min7"]))
    columns = targets("chords", chords, np.arange(6) / GRID).argmax(1)
    assert [CHORDS[column] for column in columns] == ["C:maj", "C:maj", "C:maj", "A:min", "A:min", "N"]
    notes = Annotation(starts=np.array([0.0, 0.02]), ends=np.array([0.05, 0.04]), values=np.array([60.0, 21.0]))
    made = targets("notes", notes, np.arange(4) / GRID)
    assert made[:, 60 - 21].tolist() == [1, 1, 0, 0] and made[:, 0].tolist() == [0, 1, 0, 0]


def test_empty_estimates_score_zero() -> None:
    empty = Annotation(starts=np.empty(0), ends=np.empty(0), values=np.empty(0))
    for kind in ("beats", "onsets", "notes"):
        found = score(kind, annotation(kind, 0), empty, SECONDS)
        assert found[TIME_KINDS[kind][0]] == 0
    assert np.isnan(score("beats", annotation("beats", 0), empty, SECONDS)["beat_timing"])


def test_long_tracks_lose_their_first_five_seconds() -> None:
    beats = Annotation(starts=np.arange(0, 30, 0.5), ends=np.arange(0, 30, 0.5))
    half = Annotation(starts=beats.starts[10:], ends=beats.starts[10:])
    assert score("beats", beats, half, 30.0)["beat_f"] == 1.0
    assert score("beats", beats, half, 8.0)["beat_f"] < 1.0


@pytest.mark.parametrize(
    ("name", "kind"), [("beat", "beats"), ("onset", "onsets"), ("chord", "chords"), ("notes", "notes")]
)
def test_embedded_annotations(name: str, kind: str) -> None:
    task = load_task(f"{name}/tunes")
    assert task.kind == kind and task.in_time and len(task.items()) == 528
    found = task.split_annotations("test")
    assert len(found) == 120 and all(a.starts.min() >= 0 and a.ends.max() <= 8.0001 for a in found.values())
    rows = {row["path"]: row for row in assets.manifest("tunes")}
    if kind == "beats":
        for path, beats in found.items():
            np.testing.assert_allclose(np.diff(beats.starts), 60 / float(rows[path]["beats_per_minute"]), atol=2e-3)
    if kind == "onsets":
        assert min(np.diff(a.starts).min() for a in found.values()) >= 0.03 - 1e-9
    if kind == "chords":
        assert {label for a in found.values() for label in a.values} <= set(CHORDS[:24])
        assert all(
            a.ends[-1] == pytest.approx(8.0) and np.allclose(a.starts[1:], a.ends[:-1], atol=2e-4)
            for a in found.values()
        )


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_read_back_exactly(kind: str) -> None:
    given = annotation(kind, 3)
    if kind == "chords":
        given.values[0] = "C:maj(9,11)"
    found = Annotation.parse(kind, str(given))
    assert found == given and found.values.dtype.kind == given.values.dtype.kind
    empty = Annotation.parse(kind, "")
    assert not len(empty.starts) and not len(empty.ends) and not len(empty.values)


def test_onsets_of_a_chord_are_one() -> None:
    assert thinned([0.0, 0.01, 0.1]).tolist() == [0.0, 0.1]


def test_few_groups_have_no_interval_and_bounded_scores_bounded_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told("beats", 50.0)
    assert all(np.isnan(found.seeds[0].intervals[metric]).all() for metric in found.task.metrics)
    assert "8 tracks in the test: too few for an interval." in found.note
    monkeypatch.setitem(N, "test", 12)
    found = evaluated("beats", lambda found, _: emit("beats", found, 50.0))
    low, high = found.seeds[0].intervals["beat_f"]
    assert 0.9 < low <= found.mean("beat_f") <= high <= 1.0
    assert found.seeds[0].intervals["beat_timing"][1] > 1.0  # ms
    assert "interval" not in found.note


def test_notes_that_mir_eval_refuses_are_left_out() -> None:
    held = Annotation(starts=np.zeros(3), ends=np.ones(3), values=np.array([10.0, 60.0, 120.0]))
    found = Annotation(starts=np.zeros(1), ends=np.ones(1), values=np.array([60.0]))
    assert score("notes", held, found, 1.0)["note_f"] == 1.0
