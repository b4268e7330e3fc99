"""Tempi: Accuracy1 and Accuracy2 of analytic cases and of mir_eval, and the grid of classes."""

from __future__ import annotations

import dataclasses

import mir_eval
import numpy as np
import pytest
from made_up import MadeUp, task

from m2l_bench.probes import LinearProbe, MLPProbe
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.bpm import CENTRES, CLASSES, OCTAVES, nearest_class, parse_tempo, tempo_hits
from m2l_bench.tasks.protocol import evaluate
from m2l_bench.tasks.scoring import METRICS


class Dances(MadeUp):
    """Items with tempi of three dances, each within 1.9 % of a class' centre, which their features tell."""

    TEMPI = (87.4, 121.7, 174.2)

    def label(self, k: int) -> float:
        return self.TEMPI[self._y[k]]


@pytest.mark.parametrize(
    ("estimate", "one", "two"),
    [
        (120.0, 1, 1), (124.79, 1, 1), (124.9, 0, 0), (115.21, 1, 1), (115.1, 0, 0),  # 4 % above and below
        (60.0, 0, 1), (240.0, 0, 1), (40.0, 0, 1), (360.0, 0, 1),  # half, double, a third, three times
        (62.39, 0, 1), (62.5, 0, 0), (374.39, 0, 1), (374.5, 0, 0), (38.41, 0, 1), (38.3, 0, 0),  # 4 % of those
        (180.0, 0, 0), (90.0, 0, 0), (80.0, 0, 0), (30.0, 0, 0), (480.0, 0, 0),  # other ratios
    ],
)  # fmt: skip
def test_analytic_cases(estimate: float, one: int, two: int) -> None:
    reference = np.array(120.0)
    assert tempo_hits(reference, np.array(estimate)) == one
    assert tempo_hits(reference, np.array(estimate), factors=OCTAVES) == two


def test_accuracies_equal_mir_evals_detection() -> None:
    rng = np.random.default_rng(0)
    reference = rng.uniform(50, 200, 400)
    estimate = reference * rng.choice(OCTAVES, 400) * rng.uniform(0.93, 1.07, 400)

    def detected(tempo: float, found: float) -> bool:  # one tempo, with all the weight
        return mir_eval.tempo.detection(np.array([tempo, 0.0]), 1.0, np.array([found, 0.0]), tol=0.04)[1]

    for factors in ((1.0,), OCTAVES):
        pairs = zip(reference, estimate, strict=True)
        expected = [any(detected(factor * tempo, found) for factor in factors) for tempo, found in pairs]
        np.testing.assert_array_equal(tempo_hits(reference, estimate, factors=factors), expected)
        assert 0.05 < np.mean(expected) < 0.95


def test_the_right_class_is_always_a_hit() -> None:
    tempi = np.linspace(30, 300, 100_001)
    centres = CENTRES[nearest_class(tempi)]
    assert np.abs(centres / tempi - 1).max() < 0.0195 and tempo_hits(tempi, centres).all()
    np.testing.assert_array_equal(nearest_class(CENTRES), np.arange(len(CLASSES)))
    np.testing.assert_allclose(CENTRES[18:], 2 * CENTRES[:-18])
    assert len(set(CLASSES)) == len(CLASSES) and CLASSES[0] == "30.0"


@pytest.mark.parametrize("text", ["0.0", "29.9", "301", "nan", "inf", "fast", ""])
def test_what_is_no_tempo_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"tempo must be a number of bpm from 30 to 300, got {text!r}"):
        parse_tempo(text)


@pytest.mark.parametrize(
    "probe", [LinearProbe(l2=(1e-2,)), MLPProbe(hidden_size=16, max_epochs=15, batch_size=16, learning_rates=(1e-2,))]
)
def test_tempi_are_predicted_through_classes_and_scored_as_annotated(probe: LinearProbe | MLPProbe) -> None:
    source = Dances(noise=0.3)
    result = evaluate(task(source, kind="tempo", labels=CLASSES), source.features(), probe, seeds=(0,))
    (seed,) = result.seeds
    assert set(result.targets) == set(Dances.TEMPI) and seed.scores == {"tempo_accuracy1": 1, "tempo_accuracy2": 1}
    assert seed.validation_score == 1 and seed.intervals["tempo_accuracy1"][0] < 1
    classes = nearest_class(np.array(Dances.TEMPI))
    assert set(np.flatnonzero(np.isfinite(seed.logits).all(axis=0))) == set(classes)
    confusion = result.confusion()
    assert confusion.trace() == confusion.sum() == 37 and set(np.flatnonzero(confusion.diagonal())) == set(classes)
    assert {result.names(target) for target in result.targets} == {CLASSES[k] for k in classes}
    assert result.names(result.decide(seed.logits[0])) == result.names(result.targets[0])
    np.testing.assert_array_equal(result.item_values("tempo_accuracy2", seed), np.ones(37))


def test_half_the_tempo_scores_0_and_1() -> None:
    source = Dances(noise=0.3)
    result = evaluate(
        task(source, kind="tempo", labels=CLASSES), source.features(), LinearProbe(l2=(1e-2,)), seeds=(0,)
    )
    halved = dataclasses.replace(result, targets=result.targets / 2)
    for metric, expected in (("tempo_accuracy1", 0.0), ("tempo_accuracy2", 1.0)):
        np.testing.assert_array_equal(halved.item_values(metric, result.seeds[0]), np.full(37, expected))
        score = METRICS[metric].prepare(halved.targets, result.seeds[0].logits)
        low, high = METRICS[metric].interval.of(score, np.arange(37))
        assert low < high and score(np.ones(37)) == expected


def test_a_tempo_that_training_lacks_is_wrong_and_no_label_to_be_named() -> None:
    class OneFast(Dances):
        def label(self, k: int) -> float:
            return 209.0 if k == 149 else super().label(k)

    source = OneFast(noise=0.3)
    result = evaluate(
        task(source, kind="tempo", labels=CLASSES), source.features(), LinearProbe(l2=(1e-2,)), seeds=(0,)
    )
    values = result.item_values("tempo_accuracy1", result.seeds[0])
    missed = [item.id for item, hit in zip(result.items, values, strict=True) if not hit]
    assert missed == ["i149"] and result.mean("tempo_accuracy1") == pytest.approx(36 / 37)
    assert (
        result.labels == CLASSES and not result.note and result.confusion()[nearest_class(np.array(209.0))].sum() == 1
    )


def test_bad_tasks_and_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels of a tempo task must be m2l_bench\.tasks\.bpm\.CLASSES, got \(\)"):
        Task(name="x", kind="tempo", source=Dances())
    source = MadeUp()
    with pytest.raises(ValueError, match=r"made/up: label of 'i\d+': tempo must be a number of bpm .* got '[abc]'"):
        task(source, kind="tempo", labels=CLASSES).split_labels("train")
