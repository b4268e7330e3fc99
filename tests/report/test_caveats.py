"""A dataset's caveat names its dataset in a table over several; a system's stands once."""

from __future__ import annotations

from m2l_bench.report.caveats import name_datasets
from m2l_bench.results import Row, joined_notes


def _row(system: str, dataset: str, *notes: str) -> Row:
    return Row(
        system=system,
        fingerprint="f",
        dataset=dataset,
        metric="accuracy",
        statistic="score",
        card="c",
        data_hash="d",
        value=0.5,
        n_planned=1,
        n_scored=1,
        n_failed=0,
        note=joined_notes(*notes),
    )


def test_notes_are_joined_and_taken_apart() -> None:
    assert _row("a", "x", "One.", "", "Two.").notes == ("One.", "Two.")
    assert _row("a", "x").notes == ()


def test_a_datasets_caveat_names_it_and_a_systems_stands_once() -> None:
    cells = [
        [_row("small", "x", "Rendered.", "Small.")],
        [_row("small", "y", "Recorded.", "Small.")],
        [_row("pca", "x", "Rendered.")],
        [_row("pca", "y", "Recorded.")],
    ]
    name_datasets(cells)
    assert [row.notes for (row,) in cells] == [
        ("x: Rendered.", "Small."),
        ("y: Recorded.", "Small."),
        ("x: Rendered.",),
        ("y: Recorded.",),
    ]


def test_a_caveat_of_some_of_a_systems_datasets_names_them() -> None:
    cells = [
        [_row("a", "x", "Stopped.")],
        [_row("a", "y", "Stopped.")],
        [_row("a", "z")],
        [_row("b", "x")],
    ]
    name_datasets(cells)
    assert [row.notes for (row,) in cells] == [("x: Stopped.",), ("y: Stopped.",), (), ()]
