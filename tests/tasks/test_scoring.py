"""Scores against scikit-learn and mir_eval; weights against copies of items."""

from __future__ import annotations

import mir_eval
import numpy as np
import pytest
from sklearn import metrics

from m2l_bench.tasks import key_score
from m2l_bench.tasks.bpm import CENTRES
from m2l_bench.tasks.intervals import group_contributions
from m2l_bench.tasks.scoring import METRICS, macro_f1
from m2l_bench.tasks.tonality import KEYS, parse_key, score_table


def spell_key(key: str, *, sharps: bool) -> str:
    """A key spelled with sharps or with flats only, such as ``"C# minor"`` or ``"Db minor"``; mir_eval reads both."""
    index = KEYS.index(parse_key(key))
    names = "C C# D D# E F F# G G# A A# B" if sharps else "C Db D Eb E F Gb G Ab A Bb B"
    return f"{names.split()[index % 12]} {'minor' if index >= 12 else 'major'}"


def tags(n: int = 200, t: int = 6, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = (rng.random((n, t)) < np.linspace(0.05, 0.9, t)).astype(int)
    logits = targets + 1.5 * rng.standard_normal((n, t))
    return targets, np.round(logits) if ties else logits


def labels_of(name: str, rng: np.random.Generator) -> np.ndarray:
    """200 targets of a metric of labels: positions, or tempi in bpm."""
    positions = rng.integers(24, size=200)
    return CENTRES[positions] * rng.uniform(0.97, 1.03, 200) if name.startswith("tempo") else positions


def value(name: str, targets: np.ndarray, logits: np.ndarray) -> float:
    return METRICS[name].prepare(targets, logits)(np.ones(len(targets)))


@pytest.mark.parametrize("ties", [False, True])
def test_tag_scores_equal_scikit_learns(ties: bool) -> None:
    targets, logits = tags(ties=ties)
    assert value("roc_auc", targets, logits) == pytest.approx(metrics.roc_auc_score(targets, logits), abs=1e-12)
    expected = metrics.average_precision_score(targets, logits)
    assert value("average_precision", targets, logits) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_a_tags_score_is_that_of_its_known_items_alone(ties: bool) -> None:
    targets, logits = tags(ties=ties)
    rng = np.random.default_rng(2)
    known = rng.random(targets.shape) < [0.8, 0.3, 0.5, 0.2, 0.9, 1.0]
    masked = np.where(known, targets, -1)
    each = [(targets[rows, k], logits[rows, k]) for k, rows in enumerate(known.T)]
    for name, oracle in (("roc_auc", metrics.roc_auc_score), ("average_precision", metrics.average_precision_score)):
        expected = np.mean([oracle(*one) for one in each])
        assert value(name, masked, logits) == pytest.approx(expected, abs=1e-12)
        # Whatever is predicted where a tag is unknown, the score, its interval and what each item adds to it are the same.
        other = np.where(known, logits, 10 * rng.standard_normal(logits.shape))
        groups = np.arange(len(targets)) // 2
        before, after = (METRICS[name].prepare(masked, predicted) for predicted in (logits, other))
        assert METRICS[name].interval.of(before, groups) == METRICS[name].interval.of(after, groups)
        np.testing.assert_array_equal(group_contributions(before, groups), group_contributions(after, groups))


def test_a_tag_with_known_items_of_one_kind_is_left_out() -> None:
    targets, logits = tags()
    masked = targets.copy()
    masked[masked[:, 1] == 0, 1] = masked[masked[:, 4] == 1, 4] = masked[:, 5] = -1
    for name in ("roc_auc", "average_precision"):
        expected = value(name, targets[:, [0, 2, 3]], logits[:, [0, 2, 3]])
        assert value(name, masked, logits) == pytest.approx(expected, abs=1e-12)


def test_tags_that_all_or_none_have_are_left_out() -> None:
    targets, logits = tags()
    targets[:, 1], targets[:, 4] = 0, 1
    kept = [0, 2, 3, 5]
    for name in ("roc_auc", "average_precision"):
        assert value(name, targets, logits) == pytest.approx(value(name, targets[:, kept], logits[:, kept]), abs=1e-12)
        assert np.isnan(value(name, np.zeros((5, 2), int), np.zeros((5, 2))))


def test_constant_logits_give_chance() -> None:
    targets, _ = tags()
    assert value("roc_auc", targets, np.zeros(targets.shape)) == 0.5
    rates = targets.mean(axis=0).mean()
    assert value("average_precision", targets, np.zeros(targets.shape)) == pytest.approx(rates)


def test_class_scores_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    targets, logits = rng.integers(5, size=90), rng.standard_normal((90, 7))  # two labels that the targets lack
    predicted = logits.argmax(axis=1)
    assert value("accuracy", targets, logits) == metrics.accuracy_score(targets, predicted)
    expected = metrics.f1_score(targets, predicted, average="macro", labels=range(5))
    assert value("macro_f1", targets, logits) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", list(METRICS))
def test_weights_are_copies(name: str) -> None:
    rng = np.random.default_rng(1)
    if METRICS[name].prepare is macro_f1 or METRICS[name].per_item:
        targets, logits = labels_of(name, rng), rng.standard_normal((200, 24))
    else:
        targets, logits = tags(ties=True)
        targets[rng.random(targets.shape) < 0.3] = -1
    weights = rng.integers(4, size=200)
    prepared = METRICS[name].prepare(targets, logits)
    copied = METRICS[name].prepare(np.repeat(targets, weights, axis=0), np.repeat(logits, weights, axis=0))
    assert prepared(weights.astype(float)) == pytest.approx(copied(np.ones(weights.sum())), abs=1e-12)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.per_item is not None])
def test_a_score_is_the_mean_of_the_items(name: str) -> None:
    rng = np.random.default_rng(1)
    targets, logits = labels_of(name, rng), rng.standard_normal((200, 24))
    assert 0 < value(name, targets, logits) < 1
    assert value(name, targets, logits) == pytest.approx(METRICS[name].per_item(targets, logits).mean())


def test_all_576_pairs_of_keys_equal_mir_evals() -> None:
    for reference in KEYS:
        for estimate in KEYS:
            expected = mir_eval.key.weighted_score(spell_key(reference, sharps=True), spell_key(estimate, sharps=False))
            assert key_score(reference, estimate) == expected
            interval = (KEYS.index(estimate) - KEYS.index(reference)) % 12
            below = reference.split()[1] == estimate.split()[1] and interval == 5
            assert key_score(reference, estimate, rule="mirex-2017") == (0.5 if below else expected)


def test_how_often_each_score_stands_in_the_table() -> None:
    for rule, fifths in (("mirex", 24), ("mirex-2017", 48)):
        values, counts = np.unique(score_table(rule), return_counts=True)
        assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {
            0.0: 576 - 72 - fifths, 0.2: 24, 0.3: 24, 0.5: fifths, 1.0: 24
        }  # fmt: skip


def test_enharmonic_and_sloppy_spellings() -> None:
    same = {
        "B major": ["Cb major", "cb Major", "B:maj", "B", "B♮".replace("♮", ""), "A## major", "C♭ MAJOR"],
        "F minor": ["E# minor", "e# min", "Fm", "f:minor", "E♯_minor", "Gbb minor"],
        "E major": ["Fb major", "fb", "E-dur", "D## major"],
        "C minor": ["B# minor", "c minor ", "Cm", "C aeolian", "Dbb min"],
        "Eb minor": ["D# minor", "Eb moll", "d#m"],
        "F# major": ["Gb major", "F# Major", "F♯ ionian"],
    }
    for key, spellings in same.items():
        for spelling in spellings:
            assert parse_key(spelling) == key
            assert key_score(key, spelling) == 1.0
    for key in KEYS:
        for sharps in (True, False):
            assert parse_key(spell_key(key, sharps=sharps)) == key
            mir_eval.key.validate_key(spell_key(key, sharps=sharps))


@pytest.mark.parametrize(
    "text", ["Nonsense", "", "H major", "C dorian", "C major / A minor", "X", "-", "CM", "C### major"]
)
def test_other_texts_are_not_keys(text: str) -> None:
    with pytest.raises(ValueError, match="key must be a tonic and major or minor"):
        parse_key(text)


def test_unknown_rule() -> None:
    with pytest.raises(ValueError, match="rule must be one of mirex, mirex-2017, got 'mirex-2005'"):
        key_score("C", "C", rule="mirex-2005")


def test_every_card_has_its_own_hash() -> None:
    assert len({metric.card.hash for metric in METRICS.values()}) == len(METRICS)
    assert all(metric.card.name == name for name, metric in METRICS.items())
