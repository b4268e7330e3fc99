"""What this installation has, and what it lacks: versions, devices, extras, libraries, caches, free disk.

Nothing is downloaded, and no network is used unless it is asked for.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import warnings
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from m2l_bench import __version__, assets
from m2l_bench.plugins import one_line

# Of the extras, those that join others or serve the tests and the docs.
_NOT_SHOWN = ("all", "docs", "test")
_FORMATS = {"Opus": ("OGG", "OPUS"), "Vorbis": ("OGG", "VORBIS"), "MP3": ("MP3", "MPEG_LAYER_III")}
_RUNS = Path("results") / "runs"


@dataclass(frozen=True)
class Extra:
    """An extra of this package: the line that installs it, what is installed of it, and what is missing or too old."""

    name: str
    install: str
    installed: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


@dataclass
class Examination:
    """See :func:`examine`.

    Attributes
    ----------
    versions : dict of str to str
        Of this package, Python, the platform, and the packages that are always needed.
    devices : list of str
        The processor, and each CUDA device with its memory.
    extras : list of Extra
    libraries : dict of str to str
        Libraries that are not Python's, and programs.
    caches : dict of str to (str, int)
        What is kept -> folder, bytes.
    free_disk : dict of str to int
        Folder -> free bytes.
    hub : str, optional
        ``"reachable"``, or why it is not; None if it was not asked.
    missing : list of str
        What the built-in systems need and is not there.
    """

    versions: dict[str, str] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    extras: list[Extra] = field(default_factory=list)
    libraries: dict[str, str] = field(default_factory=dict)
    caches: dict[str, tuple[str, int]] = field(default_factory=dict)
    free_disk: dict[str, int] = field(default_factory=dict)
    hub: str | None = None
    missing: list[str] = field(default_factory=list)


def examine(*, online: bool = False) -> Examination:
    """Examine this installation.

    Parameters
    ----------
    online : bool
        Ask the Hugging Face hub whether it is there.
    """
    found = Examination()
    found.versions = {"m2l_bench": __version__, "Python": platform.python_version(), "platform": platform.platform()}
    _packages(found)
    _devices(found)
    _libraries(found)
    _places(found)
    try:
        assets.verify("reconstruction/wesnoth")
    except ValueError as error:
        found.missing.append(str(error))
    found.hub = _hub() if online else None
    return found


def _packages(found: Examination) -> None:
    """Versions of the packages that are always needed, and the extras."""
    extras: dict[str, Extra] = {}
    for text in _requirements():
        wanted, _, marker = text.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if (marker and not extra) or (extra and extra[1] in _NOT_SHOWN):
            continue  # a marker that is no extra is an older Python's
        name, got = re.split(r"[<>=!~ ]", wanted.strip(), maxsplit=1)[0], _version(wanted)
        fits = got is not None and _at_least(got, wanted)
        lack = wanted.strip() + ("" if got is None else f" (here is {got})")
        if extra:
            entry = extras.setdefault(extra[1], Extra(extra[1], f"pip install 'm2l-bench[{extra[1]}]'"))
            if fits and got:
                entry.installed[name] = got
            else:
                entry.missing.append(lack)
        else:
            found.versions[name] = got or "missing"
            if not fits:
                found.missing.append(f"the package {lack}: pip install -U '{wanted.strip()}'")
    found.extras = list(extras.values())


def _requirements() -> list[str]:
    try:
        return requires("m2l-bench") or []
    except PackageNotFoundError:  # run from its sources
        return []


def _version(requirement: str) -> str | None:
    try:
        return version(re.split(r"[<>=!~ ]", requirement.strip(), maxsplit=1)[0])
    except PackageNotFoundError:
        return None


def _at_least(got: str, requirement: str) -> bool:
    """Whether a version is not older than that of ``NAME>=VERSION``, by its numbers."""
    least = re.search(r"[>=]=\s*([\d.]+?)(\.0)*$", requirement.strip())
    numbers = [[int(number) for number in re.findall(r"\d+", text)] for text in (got, least[1] if least else "0")]
    return numbers[0] >= numbers[1]


def _devices(found: Examination) -> None:
    import psutil

    from m2l_bench.suite.provenance import processor

    memory = psutil.virtual_memory().total
    found.devices.append(f"cpu: {processor()}, {os.cpu_count()} cores, {memory / 2**30:.1f} GiB of memory")
    try:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a driver that is too old: there is no device then
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except Exception as error:  # a broken installation may raise anything
        found.missing.append(f"torch cannot be imported: {one_line(error)}")
        return
    for number in range(count):
        about = torch.cuda.get_device_properties(number)
        found.devices.append(f"cuda:{number}: {about.name}, {about.total_memory / 2**30:.1f} GiB of memory")
    if not count:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        found.devices.append(f"cuda: none (torch is built {built})")


def _libraries(found: Examination) -> None:
    try:
        import soundfile

        writes = [name for name, spelled in _FORMATS.items() if soundfile.check_format(*spelled)]
        found.libraries["libsndfile"] = f"{soundfile.__libsndfile_version__}, writes {', '.join(writes) or 'no codec'}"
        lacks = [name for name in _FORMATS if name not in writes]
        if lacks:
            found.missing.append(f"libsndfile cannot write {', '.join(lacks)}: version 1.1 or later is needed")
    except (ImportError, OSError) as error:
        found.missing.append(f"libsndfile cannot be loaded: {one_line(error)}")
    try:
        import soxr

        found.libraries["libsoxr"] = str(soxr.__libsoxr_version__)
    except (ImportError, OSError) as error:
        found.missing.append(f"libsoxr cannot be loaded: {one_line(error)}")
    visqol = _version("visqol-python")
    found.libraries["ViSQOL"] = f"visqol-python {visqol}" if visqol else "missing, see the extra visqol"
    found.libraries["git"] = shutil.which("git") or "missing: run.json will not name the commit of a checkout"


def _places(found: Examination) -> None:
    """Caches with their sizes, and the free disk below them."""
    import platformdirs
    from huggingface_hub import constants

    places = {
        "weights from the hub": Path(constants.HF_HUB_CACHE),
        "converted weights, compiled graphs": platformdirs.user_cache_path("m2l-bench"),
        "VGGish, mirrors": platformdirs.user_cache_path("m2l_bench"),
        "finished jobs": _RUNS / ".store",
        "datasets": Path.home() / "mir_datasets",
    }
    found.caches = {what: (str(path.absolute()), _size(path)) for what, path in places.items()}
    for path in (_RUNS, places["weights from the hub"]):
        there = _existing(path.absolute())
        found.free_disk[str(there)] = shutil.disk_usage(there).free
    runs = _existing(_RUNS.absolute())
    if not os.access(runs, os.W_OK):
        found.missing.append(f"{runs} cannot be written: runs need another folder, given by --out")


def _existing(path: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; links, as of the hub's cache, are not followed."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(Path(place) / name).st_size
            except OSError:  # gone meanwhile
                continue
    return total


def _hub() -> str:
    from huggingface_hub import HfApi

    try:
        HfApi().model_info("SonyCSLParis/music2latent", timeout=10)
    except Exception as error:  # the client raises its own, its HTTP library's and the system's errors
        return f"not reachable: {one_line(error)}"
    return "reachable"
