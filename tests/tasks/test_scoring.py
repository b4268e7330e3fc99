"""Scores against scikit-learn and mir_eval; bootstrap by weights against bootstrap by copying."""

from __future__ import annotations

import mir_eval
import numpy as np
import pytest
from sklearn import metrics

from m2l_bench.tasks import key_score
from m2l_bench.tasks.scoring import METRICS, group_bootstrap, group_contributions, macro_f1
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


def value(name: str, targets: np.ndarray, logits: np.ndarray) -> float:
    return METRICS[name].prepare(targets, logits)(np.ones(len(targets)))


@pytest.mark.parametrize("ties", [False, True])
def test_tag_scores_equal_scikit_learns(ties: bool) -> None:
    targets, logits = tags(ties=ties)
    assert value("roc_auc", targets, logits) == pytest.approx(metrics.roc_auc_score(targets, logits), abs=1e-12)
    expected = metrics.average_precision_score(targets, logits)
    assert value("average_precision", targets, logits) == pytest.approx(expected, abs=1e-12)


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
        targets, logits = rng.integers(24, size=200), rng.standard_normal((200, 24))
    else:
        targets, logits = tags(ties=True)
    weights = rng.integers(4, size=200)
    prepared = METRICS[name].prepare(targets, logits)
    copied = METRICS[name].prepare(np.repeat(targets, weights, axis=0), np.repeat(logits, weights, axis=0))
    assert prepared(weights.astype(float)) == pytest.approx(copied(np.ones(weights.sum())), abs=1e-12)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.per_item is not None])
def test_a_score_is_the_mean_of_the_items(name: str) -> None:
    rng = np.random.default_rng(1)
    targets, logits = rng.integers(24, size=200), rng.standard_normal((200, 24))
    assert value(name, targets, logits) == pytest.approx(METRICS[name].per_item(targets, logits).mean())


def test_the_interval_of_a_mean_is_as_wide_as_theory_says_and_groups_widen_it() -> None:
    rng = np.random.default_rng(0)
    targets, logits = rng.integers(2, size=400), rng.standard_normal((400, 2))
    metric = METRICS["accuracy"].prepare(targets, logits)
    (low, high), _ = group_bootstrap([metric, metric], np.arange(400))
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 400), rel=0.1)
    right = np.repeat(rng.integers(2, size=40), 10)  # whole groups right or wrong
    grouped = METRICS["accuracy"].prepare(targets, np.eye(2)[np.where(right, targets, 1 - targets)])
    ((low2, high2),) = group_bootstrap([grouped], np.repeat(np.arange(40), 10))
    assert high2 - low2 > 2.5 * (high - low)
    assert np.isnan(group_bootstrap([metric], np.zeros(400))).all()
    assert np.array_equal(group_bootstrap([metric], np.arange(400)), [(low, high)])


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


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_contributions_of_items_average_to_the_score_whatever_the_groups(name: str) -> None:
    rng = np.random.default_rng(2)
    targets = (rng.random((40, 5)) < 0.4).astype(int)
    metric = METRICS[name].prepare(targets, targets + rng.normal(size=(40, 5)))
    for groups in (np.arange(40), np.arange(40) // 3):
        found = group_contributions(metric, groups)
        assert found.mean() == pytest.approx(metric(np.ones(40)), rel=1e-12)
        assert all(len(np.unique(found[groups == group])) == 1 for group in np.unique(groups))
    assert np.isnan(group_contributions(metric, np.zeros(40))).all()


def test_contributions_to_an_accuracy_are_the_hits() -> None:
    rng = np.random.default_rng(4)
    targets, logits = rng.integers(3, size=30), rng.normal(size=(30, 3))
    metric = METRICS["accuracy"]
    found = group_contributions(metric.prepare(targets, logits), np.arange(30))
    np.testing.assert_allclose(found, metric.per_item(targets, logits), atol=1e-12)
