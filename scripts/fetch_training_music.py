"""Gather about seven hours of freely licensed music to train on, from three Debian packages.

    python scripts/fetch_training_music.py FOLDER     # needs apt-get and dpkg-deb; nothing is installed

The folder receives one subfolder per package with its audio and its copyright file, ``tracks.csv`` (path, group,
seconds, sample rate, channels, licence) and ``README``. Files below 32 kHz are left out. Variants of one track
(enhanced, remix, old, numbered) share a `group`: keep a group on one side of a training/validation split.
The music of Wesnoth is held out: the embedded reconstruction set is cut from it.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import soundfile
from common import LARGEST_MEMBER, debian_package

LOWEST_SAMPLE_RATE = 32_000
PACKAGES = {
    "warzone2100-music": "GPL-2+",
    "nexuiz-music": "GPL-2+",
    "supertux-data": "GPL-2+",
}
_VARIANT = re.compile(r"([-_]?(enhanced|remix|old|revisited|night|daytime\d?|map|easy|\d))+$")


def main() -> None:
    """Fetch, filter and describe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the music goes; about 300 MB")
    folder = parser.parse_args().folder
    tracks: list[dict[str, object]] = []
    for name, licence in PACKAGES.items():
        with debian_package(name) as package:
            found = list(unpack(package, folder / name))
            shutil.copy(package / "usr/share/doc" / name / "copyright", folder / name / "COPYRIGHT")
        tracks += [describe(path, folder, licence) for path in sorted(found)]
    tracks = [track for track in tracks if keep(folder, track)]
    with (folder / "tracks.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(tracks[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(tracks)
    (folder / "README").write_text(summary(tracks), encoding="utf-8")
    print(summary(tracks))


def unpack(package: Path, target: Path) -> Iterator[Path]:
    """Copy a package's music (plain files, or inside a pk3 archive) and yield where each file went."""
    target.mkdir(parents=True, exist_ok=True)
    for archive in package.rglob("music.pk3"):
        with zipfile.ZipFile(archive) as content:
            for member in content.namelist():
                if member.endswith(".ogg"):
                    if content.getinfo(member).file_size > LARGEST_MEMBER:
                        raise RuntimeError(f"{archive.name} {member}: must have at most {LARGEST_MEMBER} bytes")
                    path = target / Path(member).name
                    path.write_bytes(content.read(member))
                    yield path
    for path in [*package.rglob("*.opus"), *package.rglob("*.ogg")]:
        parts = path.relative_to(package).parts
        if "music" in parts:
            copy = target.joinpath(*parts[parts.index("music") + 1 :])
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            yield copy


def describe(path: Path, folder: Path, licence: str) -> dict[str, object]:
    """Make a row of ``tracks.csv``."""
    header = soundfile.info(path)
    relative = path.relative_to(folder)
    return {
        "path": relative.as_posix(),
        "group": f"{relative.parts[0]}/{group(relative)}",
        "seconds": f"{header.duration:.3f}",
        "sample_rate": header.samplerate,
        "channels": header.channels,
        "licence": licence,
    }


def group(path: Path) -> str:
    """Name what variants of a track have in common; Warzone's tracks differ by number alone."""
    stem = path.stem.strip("_")
    return stem.removesuffix("_enhanced") if path.parts[0].startswith("warzone") else _VARIANT.sub("", stem) or stem


def keep(folder: Path, track: dict[str, object]) -> bool:
    """Remove a file whose sample rate is too low, and say whether it stays."""
    good = int(str(track["sample_rate"])) >= LOWEST_SAMPLE_RATE
    if not good:
        (folder / str(track["path"])).unlink()
        print(f"left out {track['path']}: {track['sample_rate']} Hz")
    return good


def summary(tracks: list[dict[str, object]]) -> str:
    """Text of the README for the folder."""
    lines = ["Music to train on; tracks.csv has one row a file. Keep a group on one side of a split.", ""]
    for name, licence in [*PACKAGES.items(), ("", "")]:
        rows = [track for track in tracks if str(track["path"]).startswith(name)]
        hours = sum(float(str(track["seconds"])) for track in rows) / 3600
        rates = ", ".join(sorted({f"{row['sample_rate']} Hz" for row in rows}))
        groups = len({row["group"] for row in rows})
        lines.append(
            f"{name or 'all'}: {hours:.2f} h, {len(rows)} files, {groups} groups; {rates}; {licence}".rstrip("; ")
        )
    lines += [
        "",
        "Warzone's files are Opus at about 48 kbit/s: a model trained on them can learn that coding's artefacts.",
        "Held out: the music of Wesnoth, which the embedded reconstruction set is cut from.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
