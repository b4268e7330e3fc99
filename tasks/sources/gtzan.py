"""GTZAN through mirdata where its index is there, else any copy of its folder ``genres``.

Conventions
-----------
Its download host is often dead, so that copies go round: ``genres/GENRE/GENRE.NNNNN.wav`` (or ``.au``), in `data_home`
or in a folder ``gtzan_genre`` in it. Only the 930 tracks of the fault-filtered split take part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m2l_bench.tasks.sources.manifests import fault_filtered
from m2l_bench.tasks.sources.mirdata import ADAPTORS, Mirdata
from m2l_bench.tasks.sources.source import About, Item, Labels, MissingDataset, Source, default_home, missing


@dataclass(frozen=True, kw_only=True)
class Gtzan:
    """The fault-filtered tracks."""

    data_home: Path | None = None

    @property
    def about(self) -> About:
        """What it is."""
        return ADAPTORS["gtzan_genre"].about

    def items(self) -> list[Item]:
        """Its tracks."""
        return list(self._found.items())

    def labels(self, split: str) -> Labels:
        """Genres."""
        return self._found.labels(split)

    def verify(self) -> None:
        """Compare with mirdata's MD5, where mirdata's index is there."""
        self._found.verify()

    @cached_property
    def _found(self) -> Source:
        indexed = Mirdata(dataset="gtzan_genre", data_home=self.data_home)
        try:
            indexed.items()
        except MissingDataset:
            return _Copy(self.data_home or default_home("gtzan_genre"))
        return indexed


@dataclass(frozen=True)
class _Copy:
    home: Path

    @property
    def about(self) -> About:
        return ADAPTORS["gtzan_genre"].about

    def items(self) -> list[Item]:
        return [Item(track, path, fault_filtered()[track], track) for track, path in self._files.items()]

    def labels(self, split: str) -> Labels:
        return {item.id: _genre(item.id) for item in self.items() if item.split == split}

    def verify(self) -> None:
        missing_tracks = sorted(set(fault_filtered()) - set(self._files))
        if missing_tracks:
            raise ValueError(f"{self.home}: {len(missing_tracks)} tracks are missing, such as {missing_tracks[0]}")

    @cached_property
    def _files(self) -> dict[str, Path]:
        for folder in (self.home / "gtzan_genre" / "genres", self.home / "genres", self.home):
            places = {track: folder / track.split(".")[0] / track for track in fault_filtered()}
            found = {
                track: path.with_name(path.name + suffix)
                for track, path in places.items()
                for suffix in (".wav", ".au")
                if path.with_name(path.name + suffix).is_file()
            }
            if found:
                return found
        raise missing(self.about, self.home)


def _genre(track: str) -> str:
    name = track.split(".")[0]
    return "hip-hop" if name == "hiphop" else name  # as mirdata spells it
