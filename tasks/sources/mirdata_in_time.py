"""Datasets with beats, chords, notes or melodies that mirdata has a loader for, one small class each.

Conventions
-----------
mirdata reads and checks the annotations; times are in seconds and are not changed. A track without an annotation has no label.
One whose annotation mirdata refuses has none either, and a warning names it. Notes are MIDI pitches, melodies Hz (0: none).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.tasks.annotation import Annotation, chord_column
from m2l_bench.tasks.sources.gtzan import Gtzan
from m2l_bench.tasks.sources.mirdata import HOW, Mirdata, mirdata_about
from m2l_bench.tasks.sources.source import SPLITS, IncompleteSplit, Label, Labels, TaskItem, hashed_split

DOWNLOAD = (
    'Run python -c "import mirdata; mirdata.initialize({0!r}).download({1})" (add data_home=... for another folder).'
)


class InTime(Mirdata):
    """Base class: a subclass gives ``_data`` in place of ``_label``. Annotations are read once for each split."""

    def _data(self, track: Any) -> Any:
        """Annotation of mirdata's track, of one of the types in :func:`annotation_of`; None where there is none."""
        raise NotImplementedError

    def labels(self, split: str) -> Labels:
        """Annotations of one split, read track by track the first time."""
        if split not in self._known:
            self._known[split] = super().labels(split)
        return self._known[split]

    @cached_property
    def _known(self) -> dict[str, Labels]:
        return {}

    def _label(self, track: Any) -> Label | None:
        return _read(self, track.track_id, lambda: self._data(track))


def _read(source: Mirdata, name: str, load: Callable[[], Any]) -> Annotation | None:
    """Load an annotation; None, with a warning, where mirdata or mir_eval refuse it."""
    try:
        return annotation_of(load())
    except FileNotFoundError as error:
        raise source.missing() from error
    except ValueError as error:
        message = f"{source.about.name}: the annotation of {name!r} cannot be read and is left out: {error}"
        warnings.warn(message, IncompleteSplit, stacklevel=2)
        return None


def annotation_of(data: Any) -> Annotation | None:
    """Annotation from mirdata's, in the order of time.

    Parameters
    ----------
    data : mirdata BeatData, ChordData, NoteData or F0Data, or None

    Returns
    -------
    Annotation or None
        None where nothing is annotated. Chords and notes that last no time are left out. Pitches of notes are rounded to
        semitones: two strings that play one pitch at one time are not two pitches.

    Raises
    ------
    ValueError
        If a chord is none that mir_eval knows.
    """
    if data is None:
        return None
    found = _ANNOTATIONS[type(data).__name__](data)
    return found if len(found.starts) else None


def _beats(data: Any) -> Annotation:
    times = np.sort(data.times)
    return Annotation(starts=times, ends=times)


def _chords(data: Any) -> Annotation:
    import mir_eval

    labels = np.array(data.labels, dtype=str)
    for label in np.unique(labels):
        try:
            chord_column(label)
        except mir_eval.chord.InvalidChordException as error:
            raise ValueError(f"chord must be in Harte's spelling, got {label!r}") from error
    return _lasting(data.intervals, labels)


def _notes(data: Any) -> Annotation:
    from mirdata.annotations import convert_pitch_units

    pitches = np.round(convert_pitch_units(data.pitches, data.pitch_unit, "midi"))
    rows = np.unique(np.column_stack([data.intervals, pitches]), axis=0)
    return _lasting(rows[:, :2], rows[:, 2])


def _lasting(intervals: np.ndarray, values: np.ndarray) -> Annotation:
    order = np.argsort(intervals[:, 0], kind="stable")
    order = order[intervals[order, 1] > intervals[order, 0]]
    return Annotation(starts=intervals[order, 0], ends=intervals[order, 1], values=values[order])


def _melody(data: Any) -> Annotation:
    return Annotation(starts=data.times, ends=data.times, values=np.where(data.voicing > 0, data.frequencies, 0.0))


_ANNOTATIONS: dict[str, Callable[[Any], Annotation]] = {
    "BeatData": _beats, "ChordData": _chords, "NoteData": _notes, "F0Data": _melody
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GuitarSet(InTime):
    """Excerpts of a solo guitar, recorded with a microphone; the group is what one player plays of one lead sheet.

    Players 00 to 03 are for training, 04 for validation, 05 for testing. Chords are those of the lead sheet, of the excerpts that
    accompany: mirdata gives a solo the chords of its accompaniment, which it does not play. Notes are those of all strings.

    Attributes
    ----------
    kind : {"beats", "chords", "notes"}
    """

    kind: str
    about = mirdata_about(
        "guitarset", "1.1.0", "MIT, as mirdata states", "360 half-minute WAV files of the microphone, and annotations",
        "Xi et al., GuitarSet: a dataset for guitar transcription, 2018",
        DOWNLOAD.format("guitarset", ["annotations", "audio_mic"]),
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        return {
            name: ({"04": "valid", "05": "test"}.get(track.player_id, "train"), name.rpartition("_")[0])
            for name, track in self._tracks.items()
            if self.kind != "chords" or track.mode == "comp"
        }

    def _audio(self, track: Any) -> str:
        return str(track.audio_mic_path)

    def _data(self, track: Any) -> Any:
        name = {"beats": "beats", "chords": "leadsheet_chords", "notes": "notes_all"}[self.kind]
        try:
            return getattr(track, name)
        except (StopIteration, IndexError):  # how mirdata says that a JAMS file has no such annotation
            return None


class GtzanBeats(Gtzan):
    """Beats of the fault-filtered tracks; also from a plain copy, with the folder of the annotations beside the audio."""

    about = mirdata_about(
        "gtzan_genre", "1.0", "none found", "1.3 GB (1,000 half-minute WAV files), and annotations",
        "Tzanetakis and Cook, Musical genre classification of audio signals, 2002; beats: Marchand and Peeters, Swing ratio "
        "estimation, 2015; split: Kereliuk et al., Deep learning and music adversaries, 2015",
        HOW + " The host of its audio is often down: any copy of its folder genres/ can be used, beside the folder "
        "gtzan_tempo_beat-main of https://github.com/TempoBeatDownbeat/gtzan_tempo_beat.",
    )  # fmt: skip

    def read(self) -> Iterable[tuple[TaskItem, Label | None]]:
        """Yield the tracks but one."""
        return [(item, label) for item, label in super().read() if item.id != _CORRUPT]

    def labels(self, split: str) -> Labels:
        """Beats of the tracks that have a file of them."""
        names = [item.id for item in self.items() if item.split == split]
        folder = self.home / "gtzan_tempo_beat-main" / "beats"
        if not folder.is_dir():
            raise self.missing()
        from mirdata.datasets.gtzan_genre import load_beats

        paths = {name: folder / f"gtzan_{name.replace('.', '_')}.beats" for name in names}
        found = {
            name: _read(self, name, partial(load_beats, str(path))) for name, path in paths.items() if path.is_file()
        }
        return {name: beats for name, beats in found.items() if beats is not None}


_CORRUPT = "jazz.00054"  # cannot be decoded in widely used copies


class Ballroom(InTime):
    """Half minutes of ballroom dances; the group is the album, whose hash is the split. Replicas are left out."""

    about = mirdata_about(
        "ballroom", "1.0", "CC BY-NC-SA 4.0, as mirdata states", "1.5 GB (698 half-minute WAV files)",
        "Gouyon et al., An experimental comparison of audio tempo induction algorithms, 2006; beats: Krebs et al., Rhythmic "
        "pattern modeling for beat and downbeat tracking in musical audio, 2013",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        albums = {name: ballroom_album(name) for name in self._tracks if name not in REPLICAS}
        shares = {"train": 0.6, "valid": 0.2, "test": 0.2}
        return {name: (hashed_split(album, shares), album) for name, album in albums.items()}

    def _data(self, track: Any) -> Any:
        return track.beats


# The second of each of four exact and nine recording replicas that B. Sturm found in 2014, as README.md of
# github.com/CPJKU/BallroomAnnotations lists them.
REPLICAS = frozenset({
    "Albums-Chrisanne2-12", "Albums-Fire-09", "Albums-Latin_Jam2-13", "Media-104705",
    "Albums-AnaBelen_Veneo-15", "Albums-Ballroom_Magic-18", "Albums-Latin_Jam-13", "Albums-Latin_Jam-14",
    "Albums-Latin_Jam-15", "Albums-Latin_Jam2-14", "Albums-Latin_Jam2-15", "Media-103414", "Media-103415",
})  # fmt: skip


def ballroom_album(name: str) -> str:
    """Album of a track of Ballroom: its id without the last two digits.

    Examples
    --------
    >>> ballroom_album("Albums-Latin_Jam2-05"), ballroom_album("Media-105901")
    ('Albums-Latin_Jam2', 'Media-1059')
    """
    return re.sub(r"-?\d\d$", "", name)


class Maestro(InTime):
    """Piano performances with their notes, in the dataset's own split; the group is the piece (composer and title).

    Six performances in training and validation of a piece that is in a later split too are left out.
    """

    about = mirdata_about(
        "maestro", "2.0.0", "CC BY-NC-SA 4.0", "201 h (1,282 WAV files, more than 100 GB)",
        "Hawthorne et al., Enabling factorized piano music modeling and generation with the MAESTRO dataset, 2019",
        DOWNLOAD.format("maestro", ["all"]),
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        places = {
            name: (
                "valid" if track.split == "validation" else track.split,
                f"{track.canonical_composer}: {track.canonical_title}",
            )
            for name, track in self._tracks.items()
        }
        last: dict[str, str] = {}
        for split, piece in places.values():
            last[piece] = max(split, last.get(piece, split), key=SPLITS.index)
        return {name: (split, piece) for name, (split, piece) in places.items() if split == last[piece]}

    def _data(self, track: Any) -> Any:
        return track.notes


class Beatles(InTime):
    """Songs of the Beatles with their chords; each song is its own group.

    Albums 3, 7 and 11 are for testing, 5 and 9 for validation, the other seven for training.
    """

    about = mirdata_about(
        "beatles", "1.2", "annotations: none found; audio: commercial", "180 songs; only the annotations can be downloaded",
        "Mauch et al., OMRAS2 metadata project 2009, 2009; chords: Harte, Towards automatic extraction of harmony information "
        "from music signals, 2010",
        HOW + " That gives the annotations; put your own audio beside them as audio/ALBUM/SONG.wav, named like the annotations, "
        "such as audio/01_-_Please_Please_Me/11_-_Do_You_Want_To_Know_A_Secret.wav.",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        splits = {"03": "test", "07": "test", "11": "test", "05": "valid", "09": "valid"}
        return {
            name: (splits.get(Path(t.audio_path).parent.name[:2], "train"), name) for name, t in self._tracks.items()
        }

    def _data(self, track: Any) -> Any:
        return track.chords


class MedleyMelody(InTime):
    """Mixes of MedleyDB with the pitch of the predominant source at each time (its second definition of melody).

    The group is the artist, whose hash is the split; the 35 excerpts of MusicDelta, which are of all genres, are for training.
    """

    about = mirdata_about(
        "medleydb_melody", "5.0", "CC BY-NC-SA 4.0", "108 songs, WAV",
        "Bittner et al., MedleyDB: a multitrack dataset for annotation-intensive MIR research, 2014",
        HOW + " That gives the index; ask for MedleyDB-Melody.zip at https://zenodo.org/record/2628782 and unzip it there.",
    )  # fmt: skip

    def _places(self) -> dict[str, tuple[str, str]]:
        shares = {"train": 0.6, "valid": 0.2, "test": 0.2}
        artists = {name: name.split("_")[0] for name in self._tracks}
        return {
            name: ("train" if artist == "MusicDelta" else hashed_split(artist, shares), artist)
            for name, artist in artists.items()
        }

    def _data(self, track: Any) -> Any:
        return track.melody2
