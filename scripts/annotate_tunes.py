"""Write m2l_bench/assets/tunes/annotations.parquet: beats, chords and notes of the clips that ``build_tunes.py`` rendered.

    python -m venv tunes-env && tunes-env/bin/pip install music21==10.5.1 numpy scipy soundfile pyarrow
    tunes-env/bin/python scripts/annotate_tunes.py     # a minute; renders nothing, and changes no audio

The plan is made again, compared with the manifest, and the arrangements are written down instead of played: exact by
construction, and of what is asked of the synthesizer (an attack takes a few milliseconds, a release goes on after the end).
One row an annotation: ``path``, ``kind``, ``start`` and ``duration`` in seconds from the first sample (to 0.1 ms), ``value``.

``beat``   at ``start``; ``value`` is empty. Bars are not annotated: a clip begins at a bar line, later ones may be uneven.
``chord``  in Harte's spelling (``G#:min``); equal neighbours are one. It is what the accompaniment is
           made of: a clip without a chord player has only its root in the bass.
``note``   ``value`` is the MIDI pitch; of all instruments without percussion, cut at the clip's end. Unisons
           of two instruments are two notes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from build_tunes import FOLDER, SECONDS, SEED, Clip, arrangement_of, plan
from common import read_manifest, sha256
from tunes_corpus import TONICS, read_tunes

Annotation = tuple[str, float, float, str]  # kind, start, end, value
_LEAST = 0.005  # seconds of a note at the clip's end that is worth an annotation


def main() -> None:
    """Make the plan again, check it against the manifest, and write the table."""
    import music21

    corpus = Path(music21.__file__).parent / "corpus"
    clips = {f"{c.split}/{c.tune.name}.opus": c for c in plan(read_tunes(corpus), np.random.default_rng(SEED))}
    for row in read_manifest(FOLDER):
        clip = clips[row["path"]]
        made = f"{clip.beats_per_minute:.1f}", str(clip.shift), ";".join(sorted(clip.instruments))
        if made != (row["beats_per_minute"], row["transposed_semitones"], row["tags"]):
            raise SystemExit(f"{row['path']}: the plan differs from the manifest, {made}")
    lines = [(path, *line) for path in sorted(clips) for line in annotations(clips[path])]
    columns = [list(column) for column in zip(*lines, strict=True)]
    start, end = (np.round(columns[k], 4) for k in (2, 3))
    path, kind, value = (pa.array(columns[k]).dictionary_encode() for k in (0, 1, 4))
    times = {"start": start.astype(np.float32), "duration": (end - start).astype(np.float32)}
    table = pa.table({"path": path, "kind": kind, **times, "value": value})
    target = FOLDER / "annotations.parquet"
    pq.write_table(table, target, compression="zstd", compression_level=19)
    print(f"{len(lines)} annotations, {target.stat().st_size / 1e3:.0f} kB, {sha256(target.read_bytes())}")


def annotations(clip: Clip) -> list[Annotation]:
    """Beats, chords and notes of one clip, each kind in the order of time."""
    arrangement = arrangement_of(clip)
    beat = 60 / clip.beats_per_minute
    found: list[Annotation] = [("beat", n * beat, n * beat, "") for n in range(int(np.ceil(SECONDS / beat)))]
    chords: list[tuple[float, str]] = []
    for start, (root, third, _) in arrangement.chords(SECONDS):
        name = f"{TONICS[root]}:{'maj' if (third - root) % 12 == 4 else 'min'}"
        if not chords or chords[-1][1] != name:
            chords.append((start * arrangement.per_quarter, name))
    ends = [start for start, _ in chords[1:]] + [SECONDS]
    found += [
        ("chord", start, min(end, SECONDS), name)
        for (start, name), end in zip(chords, ends, strict=True)
        if start < SECONDS
    ]
    notes = sorted(
        (start, min(start + length, SECONDS), pitch)
        for stem in arrangement.stems(SECONDS).values()
        for start, length, pitch, _ in stem
        if start < SECONDS - _LEAST
    )
    return found + [("note", start, end, str(pitch)) for start, end, pitch in notes]


if __name__ == "__main__":
    main()
