"""The rendered tunes: counts, labels, splits."""

from __future__ import annotations

import re
from collections import Counter

import mir_eval.key
import numpy as np
import pytest

from m2l_bench import assets
from m2l_bench.audio import load

ROWS = assets.manifest("tunes")
PLACE = assets.folder("tunes")
TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PROGRAMS = {
    "accordion": "21",
    "banjo": "105",
    "bass": "32",
    "clarinet": "71",
    "flute": "73",
    "guitar": "25",
    "harp": "46",
    "piano": "0",
    "trumpet": "56",
    "violin": "40",
}


def test_the_three_tasks_share_one_manifest() -> None:
    for name in ("key/tunes", "genre/tunes", "tagging/tunes"):
        assert assets.folder(name) == PLACE


def test_every_key_is_equally_frequent() -> None:
    counts = Counter((row["key"], row["split"]) for row in ROWS)
    for tonic in TONICS:
        for mode in ("major", "minor"):
            found = [counts[f"{tonic} {mode}", split] for split in ("train", "valid", "test")]
            assert found == [12, 5, 5]
    assert len(ROWS) == 24 * 22


def test_no_tune_and_no_family_is_heard_twice() -> None:
    assert len({row["tune"] for row in ROWS}) == len(ROWS)
    assert len({row["group"] for row in ROWS}) == len(ROWS)


def test_every_tune_type_is_in_every_split() -> None:
    counts = Counter((row["genre"], row["split"]) for row in ROWS if row["genre"])
    assert {genre for genre, _ in counts} == {"hornpipe", "jig", "reel", "slip jig", "strathspey"}
    assert min(n for (_, split), n in counts.items() if split == "train") >= 20
    assert min(counts.values()) >= 7


def test_every_tag_is_about_as_frequent_in_every_split() -> None:
    for split in ("train", "valid", "test"):
        rows = [row for row in ROWS if row["split"] == split]
        counts = Counter(tag for row in rows for tag in row["tags"].split(";"))
        assert set(counts) == set(PROGRAMS)
        assert min(counts.values()) >= 0.18 * len(rows)
        assert max(counts.values()) <= 0.42 * len(rows)


@pytest.mark.parametrize("row", ROWS[::40], ids=lambda row: row["tune"])
def test_labels_are_consistent(row: dict[str, str]) -> None:
    tags = row["tags"].split(";")
    assert 2 <= len(tags) <= 4
    assert tags == sorted(set(tags))
    assert row["programs"].split(";") == [PROGRAMS[tag] for tag in tags]
    assert row["parts"].split(";").count("melody") == 1
    tonic, mode = row["key"].split()
    printed, printed_mode = row["printed_key"].split()
    assert mode == printed_mode
    assert (TONICS.index(printed) + int(row["transposed_semitones"])) % 12 == TONICS.index(tonic)
    assert re.fullmatch(r"(train|valid|test)/[\w-]+\.opus", row["path"])
    assert row["path"].startswith(row["split"])


@pytest.mark.parametrize("row", ROWS[::20], ids=lambda row: row["tune"])
def test_each_clip_is_eight_finite_seconds_of_mono(row: dict[str, str]) -> None:
    audio, sample_rate = load(PLACE / row["path"])
    assert (audio.shape, sample_rate) == ((1, 384_000), 48_000)
    seconds = np.sqrt(np.mean(audio.reshape(8, -1) ** 2, axis=1))
    assert seconds.min() > 0.01
    assert np.abs(audio).max() <= 1.1


def test_keys_are_spelled_as_mir_eval_accepts() -> None:
    for label in {row["key"] for row in ROWS}:
        mir_eval.key.validate_key(label)
