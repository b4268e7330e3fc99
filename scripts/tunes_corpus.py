"""Fiddle tunes out of music21's corpus: headers, families of one tune's versions, melodies.

Conventions
-----------
Times are in quarter notes from the first full bar; pitches are MIDI numbers. A *family* is every version of a tune,
within a book or across both, as far as shared phrases or equal titles give it away.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

BOOKS = {"ryansMammoth": "ryan", "oneills1850": "oneill"}
TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#"}
# tune type -> what the R: field may say, and the metres it may be in (others are mislabelled or rare: no genre)
GENRES = {
    "reel": ({"reel"}, {"C|", "2/4", "C", "4/4"}),
    "hornpipe": ({"hornpipe"}, {"C|", "2/4", "C", "4/4"}),
    "jig": ({"jig", "double jig"}, {"6/8"}),
    "slip jig": ({"slip jig", "slipjig"}, {"9/8"}),
    "strathspey": ({"strathspey"}, {"C"}),
}
METRES = {"C", "4/4", "C|", "2/4", "3/4", "6/8", "9/8"}
_TYPE_WORDS = {
    "reel",
    "hornpipe",
    "jig",
    "slipjig",
    "strathspey",
    "fling",
    "clog",
    "waltz",
    "march",
    "walk",
    "walkaround",
}
# Songs of the minstrel stage, whose titles and dialect nobody wants to read in a manifest.
_MINSTREL = re.compile(r"walk ?around|zip coon|\bde\b|dark(y|ie)|\bnig|kentucky|possum", re.IGNORECASE)
_GRAM = 8  # intervals in a phrase that two versions of a tune may share
_SHARED = 0.2  # share of the shorter one's phrases


@dataclass
class Tune:
    """A tune as printed; `steps` are its notes as diatonic steps, for comparing versions."""

    name: str
    book: str
    title: str
    tonic: int
    mode: str
    metre: str
    genre: str
    abc: str
    steps: list[int] = field(repr=False)
    family: str = ""


def read_tunes(corpus: Path) -> list[Tune]:
    """Read every tune of both books whose K: field says major or minor and nothing else; sorted by name."""
    tunes = [tune for folder in BOOKS for tune in _read_book(corpus / folder)]
    tunes.sort(key=lambda tune: tune.name)
    _name_families(tunes)
    return tunes


def melody(tune: Tune) -> list[tuple[float, float, int]]:
    """Parse the notes (start, length, pitch) from the first full bar on, without grace notes and lower chord notes."""
    import music21  # in a virtual environment of its own, needed for building alone

    part = music21.converter.parse(tune.abc, format="abc").parts[0].stripTies()
    bar = part.recurse().getElementsByClass(music21.meter.TimeSignature)[0].barDuration.quarterLength
    first = part.getElementsByClass(music21.stream.Measure)[0]
    skip = first.highestTime if first.highestTime < bar else 0.0
    notes = [
        (float(n.offset - skip), float(n.quarterLength), max(p.midi for p in n.pitches))
        for n in part.flatten().notes
        if n.quarterLength > 0 and n.offset >= skip
    ]
    return sorted(notes)


def _read_book(folder: Path) -> Iterator[Tune]:
    for path in sorted(folder.glob("*.abc")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for abc in re.split(r"(?m)^(?=X:)", text)[1:]:
            key = re.fullmatch(r"([A-G])([#b]?)(?: ?(m|[Mm]in|[Mm]inor))?", _field(abc, "K"))
            if key is None or _field(abc, "M") not in METRES or re.search(r"(?m)^K:[\s\S]*(^|\[)[KM]:", abc):
                continue  # modal, spelled oddly, in a rare metre, or changing key or metre on the way
            if _MINSTREL.search(_field(abc, "T")) or "walk" in _field(abc, "R").lower():
                continue
            tonic = key[1] + key[2]
            yield Tune(
                name=f"{BOOKS[folder.name]}-{path.stem}-{_field(abc, 'X')}",
                book=folder.name,
                title=_field(abc, "T"),
                tonic=TONICS.index(_FLATS.get(tonic, tonic)),
                mode="minor" if key[3] else "major",
                metre=_field(abc, "M"),
                genre=_genre(_field(abc, "R").lower(), _field(abc, "M"), _field(abc, "T")),
                abc=abc,
                steps=_steps(abc),
            )


def _field(abc: str, letter: str) -> str:
    match = re.search(rf"(?m)^{letter}:[ \t]*(.*?)[ \t]*(%.*)?$", abc)
    return match[1] if match else ""


def _genre(rhythm: str, metre: str, title: str) -> str:
    """Name the tune type; none where rhythm and metre do not fit, or the title names another type."""
    named = set(re.findall(r"[a-z]+", title.lower())) & _TYPE_WORDS
    for genre, (words, metres) in GENRES.items():
        if rhythm in words and metre in metres:
            return genre if not named or named & {*genre.split(), genre.replace(" ", "")} else ""
    return ""


def _steps(abc: str) -> list[int]:
    body = re.split(r"(?m)^K:.*$", abc, maxsplit=1)[-1]
    body = re.sub(r'(?m)^[A-Za-z]:.*$|%.*$|"[^"]*"|\{[^}]*\}|![^!]*!', "", body)
    steps = []
    for letter, octave in re.findall(r"([A-Ga-g])([,']*)", body):
        octaves = octave.count("'") - octave.count(",") + letter.islower()
        steps.append("CDEFGAB".index(letter.upper()) + 7 * octaves)
    return steps


def _name_families(tunes: list[Tune]) -> None:
    """Join tunes that share a fifth of their phrases or a title, and give each family its first member's name."""
    grams = [_phrases(tune.steps) for tune in tunes]
    holders: dict[object, list[int]] = defaultdict(list)
    for i, tune in enumerate(tunes):
        for gram in grams[i]:
            holders[gram].append(i)
        if _plain(tune.title):
            holders[_plain(tune.title)].append(i)
    parent = list(range(len(tunes)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        parent[max(root(i), root(j))] = min(root(i), root(j))

    for i, tune in enumerate(tunes):
        common = Counter(j for gram in grams[i] for j in holders[gram] if j > i)
        for j, count in common.items():
            if count >= _SHARED * min(len(grams[i]), len(grams[j])):
                join(i, j)
        for j in holders[_plain(tune.title)]:
            join(i, j)
    for i, tune in enumerate(tunes):
        tune.family = tunes[root(i)].name


def _phrases(steps: list[int]) -> set[tuple[int, ...]]:
    intervals = [b - a for a, b in pairwise(steps)]
    return {tuple(intervals[i : i + _GRAM]) for i in range(len(intervals) - _GRAM + 1)}


def _plain(title: str) -> str:
    """Reduce a title to what versions share: no type of tune, no setting, no genitive, no articles, any order."""
    bare = re.sub(r"\b\d(st|nd|rd|th)\b|\bsetting\b|\bno\.? ?\d+|\(.*|'s\b|s'(?= |$)", "", title.lower())
    words = [word.rstrip("s") for word in re.sub(r"[^a-z ]", "", bare).split()]
    return " ".join(sorted(set(words) - {"the", "a", "o", "of", "or"} - _TYPE_WORDS))
