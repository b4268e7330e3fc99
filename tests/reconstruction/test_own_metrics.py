"""A user's own metric: a function in a file, scored, described and refused like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m2l_bench.reconstruction.checks import SILENT_RULE, Unscorable
from m2l_bench.reconstruction.metrics import get_metric, score_pair

EXAMPLE = f"{Path(__file__).parents[1]}/examples/my_metric.py:crest"
SIGNAL = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
CODE = '''
import numpy as np
from m2l_bench.cards import Card

def error(reference, estimate, sample_rate):
    """Mean absolute error."""
    return {value}

error.higher_is_better = False

def carded(reference, estimate, sample_rate):
    """Mean absolute error."""
    return np.abs(reference - estimate).mean(axis=1)

carded.card = Card(name="x", title="MAE", higher_is_better=False, formula="mean |e - r|", source="me", version=3)

def two(reference, estimate):
    """Takes two."""

def mute(reference, estimate, sample_rate):
    return 1.0

NUMBER = 3
'''


def _file(folder: Path, value: str = "np.abs(reference - estimate).mean()") -> str:
    (folder / "mine.py").write_text(CODE.replace("{value}", value))
    return f"{folder}/mine.py"


def test_the_example_gives_what_it_says() -> None:
    assert score_pair(SIGNAL, 0.5 * SIGNAL, 44100, [EXAMPLE]) == {EXAMPLE: pytest.approx(0.0, abs=1e-5)}
    peak = np.abs(SIGNAL).max(axis=1, keepdims=True)
    (score,) = score_pair(SIGNAL, np.clip(SIGNAL, -peak / 2, peak / 2), 44100, [EXAMPLE]).values()
    assert -6.03 < score < -5
    card = get_metric(EXAMPLE).card
    assert (card.name, card.title, card.unit, card.higher_is_better) == (
        "my_metric.py:crest",
        "Crest factor",
        "dB",
        None,
    )


def test_one_number_or_one_for_each_channel(tmp_path: Path) -> None:
    estimate = SIGNAL + np.float32([[1.0], [3.0]])
    names = [f"{_file(tmp_path)}:error", f"{tmp_path}/mine.py:carded", "si_sdr"]
    scores = score_pair(SIGNAL, estimate, 44100, names)
    assert list(scores) == names
    assert scores[names[0]] == pytest.approx(2.0, rel=1e-5) and scores[names[1]] == pytest.approx(2.0, rel=1e-5)


def test_channels_silent_in_the_reference_are_left_out_and_the_card_says_so(tmp_path: Path) -> None:
    name = f"{_file(tmp_path)}:carded"
    reference = SIGNAL * np.float32([[1.0], [0.0]])
    assert score_pair(reference, SIGNAL, 44100, [name]) == {name: 0.0}
    assert get_metric(name).card.channel_rule.startswith(SILENT_RULE)


def test_the_card_follows_the_source(tmp_path: Path) -> None:
    first = get_metric(f"{_file(tmp_path)}:error").card
    assert first.formula == "Mean absolute error." and first.higher_is_better is False
    second = get_metric(f"{_file(tmp_path, '2.0')}:error").card
    assert first.hash != second.hash
    assert get_metric(f"{tmp_path}/mine.py:carded").card.version == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1 / 0", "mine.py:error raised ZeroDivisionError: division by zero"),
        ("np.nan", "must give a finite number, or one for each channel, got nan"),
        ("np.zeros(3)", "must give a finite number, or one for each channel, got .0. 0. 0."),
        ("'text'", "mine.py:error raised ValueError"),
    ],
)
def test_a_failing_metric_fails_alone(tmp_path: Path, value: str, message: str) -> None:
    name = f"{_file(tmp_path, value)}:error"
    scores = score_pair(SIGNAL, SIGNAL, 44100, [name, "si_sdr"])
    assert isinstance(scores[name], Unscorable) and scores["si_sdr"] == 100.0
    with pytest.raises(Unscorable, match=message):
        raise scores[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two", "must take .reference, estimate, sample_rate., got too many positional arguments"),
        ("mute", "must be a function .* with a docstring"),
        ("NUMBER", "must be a function"),
        ("none", "must define none, got error, carded, two, mute, NUMBER"),
    ],
)
def test_what_cannot_be_used_is_one_clear_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_metric(f"{_file(tmp_path)}:{name}")
