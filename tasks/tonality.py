"""Spelling of keys, and the MIREX key score.

Conventions
-----------
There are 24 keys, written as tonic, space, mode: ``"C major"``, ``"Eb minor"``. :data:`KEYS` has one spelling of each;
:func:`parse_key` reads every other (enharmonic) spelling, so that scores do not depend on spelling. The reference comes
first.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

_TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
KEYS = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in _TONICS)
"""Twelve major keys ascending from C, then twelve minor keys: the index is ``tonic + 12 * minor``."""

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_MODES = {"": 0, "major": 0, "maj": 0, "dur": 0, "ionian": 0, "minor": 1, "min": 1, "m": 1, "moll": 1, "aeolian": 1}
_PATTERN = re.compile(r"([A-Ga-g])(##|#|bb|b|)[\s:_-]*([A-Za-z]*)")
_ACCIDENTALS = str.maketrans({"♯": "#", "♭": "b", "𝄪": "##", "𝄫": "bb"})

RULES = ("mirex", "mirex-2017")


def parse_key(text: str) -> str:
    """Read any spelling of a major or minor key.

    Parameters
    ----------
    text : str
        Tonic letter, accidentals (``#``, ``b``, also doubled, also as signs) and mode (``major``, ``maj``, ``minor``,
        ``min``, ``m``, ...; major if missing), in any case; ``M`` alone is ambiguous and refused.

    Returns
    -------
    str
        One of :data:`KEYS`.

    Raises
    ------
    ValueError
        If the text is not a single major or minor key.

    Examples
    --------
    >>> parse_key("D#:min"), parse_key("Cb Major"), parse_key("E♯ minor")
    ('Eb minor', 'B major', 'F minor')
    """
    match = _PATTERN.fullmatch(text.strip().translate(_ACCIDENTALS))
    if match is None or match[3].lower() not in _MODES or match[3] == "M":
        raise ValueError(f"key must be a tonic and major or minor, such as 'Eb minor', got {text!r}")
    shift = {"": 0, "#": 1, "##": 2, "b": -1, "bb": -2}[match[2]]
    return KEYS[(_LETTERS[match[1].upper()] + shift) % 12 + 12 * _MODES[match[3].lower()]]


def key_score(reference: str, estimate: str, *, rule: str = "mirex") -> float:
    """Weighted MIREX score of an estimated key.

    Parameters
    ----------
    reference, estimate : str
        Any spelling that :func:`parse_key` reads.
    rule : {"mirex", "mirex-2017"}
        The second also credits the fifth below.

    Returns
    -------
    float
        1.0 the same key; 0.5 the same mode, a perfect fifth above the reference (under ``"mirex-2017"`` also a fifth
        below); 0.3 the relative major or minor; 0.2 the parallel major or minor; else 0.0.

    References
    ----------
    MIREX, "Audio Key Detection", evaluation procedures of 2005 and of 2017.
    Raffel et al., "mir_eval: a transparent implementation of common MIR metrics", 2014.

    Examples
    --------
    >>> key_score("C major", "G major"), key_score("C major", "F major")
    (0.5, 0.0)
    >>> key_score("C major", "F major", rule="mirex-2017")
    0.5
    """
    return float(score_table(rule)[KEYS.index(parse_key(reference)), KEYS.index(parse_key(estimate))])


@cache
def score_table(rule: str) -> np.ndarray:
    """Scores of all pairs of keys.

    Returns
    -------
    np.ndarray, (24, 24)
        Reference by estimate, in the order of :data:`KEYS`; under ``"mirex"`` the scores of ``mir_eval.key``.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    from mir_eval.key import weighted_score

    table = np.array([[weighted_score(reference, estimate) for estimate in KEYS] for reference in KEYS])
    if rule == "mirex-2017":  # mir_eval credits the fifth above alone
        index = np.arange(24)
        same_mode = (index[:, None] >= 12) == (index >= 12)
        table[same_mode & ((index - index[:, None]) % 12 == 5)] = 0.5
    table.setflags(write=False)
    return table
