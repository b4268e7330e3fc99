"""Build m2l_bench/assets/tunes: fiddle tunes rendered by synthesizer, labelled with key, tune type and instruments.

    python -m venv tunes-env && tunes-env/bin/pip install music21==10.5.1 numpy scipy soundfile
    tunes-env/bin/python scripts/build_tunes.py     # needs opusenc, libfluidsynth3 (Debian: opus-tools, fluidsynth)

1. Tunes: Ryan's Mammoth Collection (1883) and O'Neill's Music of Ireland (1903) as music21's corpus has them; K: field
   major or minor and constant. One tune per family of versions (`tunes_corpus`), and none that begins like one chosen
   before, so that no tune is used twice.
2. For each of the 24 keys 12 clips to train on, 5 to validate and 5 to test: 528 tunes. Half of the tunes are major,
   half minor; each is transposed to the tonic it is assigned, so that no key dominates.
3. Tune types come from the R: field (`tunes_corpus.GENRES`); among the major tunes the rarer types are preferred until
   all are equally frequent. Minor tunes are scarce, so many without a usable R: field are among them: their genre is
   empty, and the genre task leaves them out.
4. Two to four instruments of ten, drawn at random, balanced; each is rendered alone and brought to a set level, so that
   every one is audible. Tempo is drawn from the range of the tune's type; side stick and cabasa, in every clip and no
   tag, beat that type's pattern. The clip begins at the first full bar.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import ASSETS, debian_package, encode_opus, replace_audio, sha256, write_manifest
from fluidsynth import Renderer
from tunes_arrange import BEATS, PROGRAMS, Arrangement, assign_parts
from tunes_corpus import GENRES, TONICS, Tune, melody, read_tunes

FOLDER = ASSETS / "tunes"
SOUNDFONT_PACKAGE = "fluid-soundfont-gm"
SEED = 1883
SAMPLE_RATE = 48_000  # Opus knows no 44.1 kHz
SECONDS = 8.0
FADE_SECONDS = 0.05
KBPS = 12
PER_KEY = {"train": 12, "valid": 5, "test": 5}
MODES = ("major", "minor")
# Beats (of tunes_arrange.BEATS) per minute by tune type, else by metre.
TEMPO = {
    "reel": (96, 116),
    "hornpipe": (76, 96),
    "jig": (100, 120),
    "slip jig": (100, 116),
    "strathspey": (108, 126),
    "C|": (60, 100),
    "C": (90, 140),
    "4/4": (90, 140),
    "2/4": (70, 100),
    "3/4": (90, 140),
    "6/8": (80, 116),
    "9/8": (80, 116),
}
SAME_TUNE = 0.55  # of two openings' scale degrees; unrelated tunes of one metre seldom share half
LEVELS_DB = {"melody": 0.0, "doubling": -3.0, "chords": -3.0, "bass": -2.0}
PERCUSSION_DB = -6.0
LEVEL_SPREAD_DB = 1.5
LOUDNESS_DB = -20.0  # RMS of the mix
PEAK = 0.89


@dataclass
class Clip:
    """A tune, where it belongs, and how it is played."""

    tune: Tune
    notes: list[tuple[float, float, int]]
    split: str
    tonic: int
    instruments: list[str]
    beats_per_minute: float
    levels_db: list[float]

    @property
    def shift(self) -> int:
        """Semitones from the printed key, -6 to 5."""
        return (self.tonic - self.tune.tonic + 6) % 12 - 6


@dataclass
class Chosen:
    """The tunes chosen so far: their families, and how each begins."""

    families: set[str]
    openings: list[np.ndarray]

    def is_new(self, tune: Tune, notes: list[tuple[float, float, int]]) -> bool:
        """Say whether no chosen tune begins alike, and if so, remember this one."""
        opening = scale_degrees(tune, notes)
        if any(np.mean((opening == other) & (opening >= 0)) >= SAME_TUNE for other in self.openings):
            return False
        self.families.add(tune.family)
        self.openings.append(opening)
        return True


def main() -> None:
    """Choose, arrange, render, encode, and write audio and manifest."""
    import music21

    corpus = Path(music21.__file__).parent / "corpus"
    random = np.random.default_rng(SEED)
    clips = plan(read_tunes(corpus), random)
    with debian_package(SOUNDFONT_PACKAGE) as package:
        (soundfont,) = package.rglob("FluidR3_GM.sf2")
        renderer = Renderer(soundfont, SAMPLE_RATE)
        mixes = [mix(clip, renderer) for clip in clips]
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.copy(package / "usr/share/doc" / SOUNDFONT_PACKAGE / "copyright", FOLDER / "COPYRIGHT-soundfont")
    with ThreadPoolExecutor(2) as pool:
        coded = list(pool.map(lambda audio: encode_opus(audio, SAMPLE_RATE, KBPS, constrained=True), mixes))
    names = [f"{clip.split}/{clip.tune.name}.opus" for clip in clips]
    rows = [row(clip, name, data) for clip, name, data in zip(clips, names, coded, strict=True)]
    rows.sort(key=lambda r: str(r["path"]))
    size = replace_audio(FOLDER, dict(zip(names, coded, strict=True)))
    print(f"{len(rows)} clips, {Counter((c.split, c.tune.genre) for c in clips)}")
    print(f"{size / 1e6:.2f} MB, manifest {write_manifest(FOLDER, rows)}")


def plan(tunes: list[Tune], random: np.random.Generator) -> list[Clip]:
    """Choose the tunes and deal them to splits, tonics and instruments."""
    per_mode = 12 * sum(PER_KEY.values())
    earlier = Chosen(set(), [])
    chosen = {"minor": choose(tunes, "minor", per_mode, Counter(), earlier, random)}
    genres = Counter(tune.genre for tune, _ in chosen["minor"])
    chosen["major"] = choose(tunes, "major", per_mode, genres, earlier, random)
    dealt = [deal for mode in MODES for deal in deal_out(chosen[mode], random)]
    band = Counter[str]()
    clips: list[Clip] = []
    for tune, notes, split, tonic in dealt:
        instruments = draw_instruments(2 + len(clips) % 3, band, random)
        low, high = TEMPO[tune.genre or tune.metre]
        levels = list(random.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB, len(instruments)))
        clips.append(Clip(tune, notes, split, tonic, instruments, float(random.uniform(low, high)), levels))
    return clips


def choose(
    tunes: list[Tune], mode: str, n: int, genres: Counter[str], earlier: Chosen, random: np.random.Generator
) -> list[tuple[Tune, list[tuple[float, float, int]]]]:
    """Choose `n` tunes of a mode, one a family, the rarest tune type first; those without a type only where needed."""
    pool: dict[str, list[Tune]] = defaultdict(list)
    for index in random.permutation(len(tunes)):
        if tunes[index].mode == mode:
            pool[tunes[index].genre].append(tunes[index])
    chosen: list[tuple[Tune, list[tuple[float, float, int]]]] = []
    while len(chosen) < n:
        open_genres = [genre for genre in GENRES if pool[genre]] or [""]
        genre = min(open_genres, key=lambda g: genres[g])
        tune = pool[genre].pop()
        notes = usable_melody(tune) if tune.family not in earlier.families else None
        if notes is not None and earlier.is_new(tune, notes):
            genres[genre] += 1
            chosen.append((tune, notes))
    return chosen


def usable_melody(tune: Tune) -> list[tuple[float, float, int]] | None:
    """Parse a tune; None where it is not a plain melody of at least sixteen notes in a fiddle's range."""
    try:
        notes = melody(tune)
    except Exception as error:  # music21 raises many kinds on damaged ABC; such a tune is left out, and said so
        print(f"left out {tune.name}: {type(error).__name__}", file=sys.stderr)
        return None
    pitches = [pitch for _, _, pitch in notes]
    return notes if len(notes) >= 16 and min(pitches) >= 50 and max(pitches) <= 96 else None


def scale_degrees(tune: Tune, notes: list[tuple[float, float, int]]) -> np.ndarray:
    """Read the pitch class above the tonic at every quarter of the first sixteen beats; -1 where nothing sounds."""
    times = np.arange(0, 16, 0.25) * BEATS[tune.metre] + 1e-6
    degrees = np.full(len(times), -1)
    for start, length, pitch in notes:
        degrees[(times >= start) & (times < start + length)] = (pitch - tune.tonic) % 12
    return degrees


def deal_out(
    chosen: list[tuple[Tune, list[tuple[float, float, int]]]], random: np.random.Generator
) -> list[tuple[Tune, list[tuple[float, float, int]], str, int]]:
    """Deal a mode's tunes to splits and tonics so that every tune type is spread evenly over both."""
    order = sorted(range(len(chosen)), key=lambda i: (chosen[i][0].genre, i))
    # Seven in 22 rows apart is coprime to 22: train, valid and test follow each other in one fixed, well mixed order.
    pattern = [split for split, count in PER_KEY.items() for _ in range(count)]
    pattern = [pattern[(7 * i) % len(pattern)] for i in range(len(pattern))]
    tonics: dict[str, list[int]] = {
        split: [t for _ in range(count) for t in random.permutation(12)] for split, count in PER_KEY.items()
    }
    dealt = []
    for place, index in enumerate(order):
        split = pattern[place % len(pattern)]
        dealt.append((*chosen[index], split, int(tonics[split].pop())))
    return dealt


def draw_instruments(n: int, band: Counter[str], random: np.random.Generator) -> list[str]:
    """Draw `n` different instruments, those used less so far are likelier."""
    names = list(PROGRAMS)
    weights = np.array([0.8 ** (band[name] - min(band[k] for k in names)) for name in names])
    drawn = [str(name) for name in random.choice(names, n, replace=False, p=weights / weights.sum())]
    band.update(drawn)
    return drawn


def arrangement_of(clip: Clip) -> Arrangement:
    """Transpose the tune and hand out its parts."""
    return Arrangement(
        [(start, length, pitch + clip.shift) for start, length, pitch in clip.notes],
        clip.tonic,
        clip.tune.mode,
        clip.tune.metre,
        clip.beats_per_minute,
        assign_parts(clip.instruments),
    )


def mix(clip: Clip, renderer: Renderer) -> np.ndarray:
    """Render each instrument alone, set its level, and sum; float32, (samples,)."""
    arrangement = arrangement_of(clip)
    percussion = renderer.stem(None, arrangement.percussion(clip.tune.genre, SECONDS), SECONDS)
    total = at_level(percussion, PERCUSSION_DB)
    stems = arrangement.stems(SECONDS)
    for name, spread in zip(clip.instruments, clip.levels_db, strict=True):
        stem = renderer.stem(PROGRAMS[name], stems[name], SECONDS)
        total += at_level(stem, LEVELS_DB[arrangement.parts[name]] + spread)
    fade = round(FADE_SECONDS * SAMPLE_RATE)
    total[-fade:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fade + 1) / fade)
    total *= 10 ** (LOUDNESS_DB / 20) / np.sqrt(np.mean(total**2))
    return (total * min(1.0, PEAK / np.abs(total).max())).astype(np.float32)


def at_level(stem: np.ndarray, level_db: float) -> np.ndarray:
    """Scale to a root mean square of `level_db`, in dB."""
    return stem * (10 ** (level_db / 20) / np.sqrt(np.mean(stem**2)))


def row(clip: Clip, path: str, data: bytes) -> dict[str, object]:
    """Make a row of the manifest."""
    instruments = sorted(clip.instruments)
    parts = assign_parts(clip.instruments)
    return {
        "path": path,
        "sha256": sha256(data),
        "split": clip.split,
        "group": clip.tune.family,
        "key": f"{TONICS[clip.tonic]} {clip.tune.mode}",
        "genre": clip.tune.genre,
        "tags": ";".join(instruments),
        "tune": clip.tune.name,
        "book": clip.tune.book,
        "title": clip.tune.title,
        "metre": clip.tune.metre,
        "printed_key": f"{TONICS[clip.tune.tonic]} {clip.tune.mode}",
        "transposed_semitones": clip.shift,
        "beats_per_minute": f"{clip.beats_per_minute:.1f}",
        "programs": ";".join(str(PROGRAMS[name]) for name in instruments),
        "parts": ";".join(parts[name] for name in instruments),
    }


if __name__ == "__main__":
    main()
