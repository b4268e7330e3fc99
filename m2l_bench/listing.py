"""Lists of what can be named on the command line: systems, readers, tasks, probes, metrics, numbers of latents, audio, suites.

Conventions
-----------
An entry is a dictionary of text, with at least ``name``, ``what`` (one line) and ``download`` (a size); ``extra`` is the
extra of this package and ``data`` the folder that it needs. ``"-"`` stands for nothing. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from m2l_bench import plugins

if TYPE_CHECKING:
    from m2l_bench.cards import Card

Line = dict[str, str]

OWN_LATENTS = {
    "name": "latents",
    "latents": "-",
    "what": "no reader: the latents of each system (default)",
    "download": "-",
    "extra": "-",
}
"""The reader that is none."""
ANY_FOLDER = "PATH"
_METRIC_EXTRAS = {"visqol": "visqol"}
BETTER = {True: "higher", False: "lower", None: "-"}


def entries(
    kind: str, *, pattern: str = "", no_download: bool = False, task_kind: str | None = None, hashes: bool = False
) -> list[Line]:
    """List what there is of a kind.

    Parameters
    ----------
    kind : str
        A key of :data:`KINDS`.
    pattern : str
        Text in the name or the description, in upper or lower case.
    no_download : bool
        Leave out what needs a download: weights, or a dataset in the user's folder.
    task_kind : str, optional
        Kind of tasks, such as ``"chords"``.
    hashes : bool
        Give metrics the hash that the card in their rows has; encoders of sets are loaded for that.

    Raises
    ------
    ValueError
        If nothing is left, or `task_kind` is unknown or not asked of tasks.
    """
    found = [KINDS[kind].line(name) for name in KINDS[kind].names()]
    if task_kind is not None:
        if kind != "tasks":
            raise ValueError(f"--kind chooses tasks, got it for {kind}")
        known = list(dict.fromkeys(line["kind"] for line in found))
        if task_kind not in known:
            raise plugins.unknown("kind of task", task_kind, known)
        found = [line for line in found if line["kind"] == task_kind]
    if no_download:
        found = [line for line in found if line["download"] == "-"]
    text = pattern.casefold()
    found = [line for line in found if text in line["name"].casefold() or text in line["what"].casefold()]
    if not found:
        wanted = f" with {pattern!r} in the name or the description" if pattern else ""
        raise ValueError(f"{kind}: there are none{' without a download' * no_download}{wanted}")
    if hashes and kind == "metrics":
        found = [line | {"card": _hash_of_rows(line["name"])} for line in found]
    return found


def system_line(name: str) -> Line:
    """Line of a system, or of a variant of it."""
    from m2l_bench.systems.registry import entry_of

    keys = ("audio", "latents", "bit rate (kbit/s)", "parameters (M)", "licence (code / weights)", "what")
    entry = entry_of(name)
    facts = [entry.audio, entry.latents, entry.bit_rate, entry.parameters, entry.licence] if entry else ["?"] * 5
    known = dict(zip(keys, [*facts, entry.summary if entry else "?"], strict=True))
    return {"name": name} | known | system_needs(name)


def system_needs(name: str) -> Line:
    """Size of a system's download, and its extra."""
    from m2l_bench.systems.registry import entry_of, needs_download

    entry = entry_of(name)
    if entry is None:
        return {"download": "-", "extra": "-"}
    download = (entry.size or "size unknown") if needs_download(name) else "-"
    return {"download": download, "extra": entry.extra or "-"}


def _system_names() -> list[str]:
    from m2l_bench.systems.registry import known_names

    return known_names()


def _reader_names() -> list[str]:
    """Encoders among the systems can read tasks from reconstructions."""
    encoders = [name for name in _system_names() if system_line(name)["latents"] != "-"]
    return [OWN_LATENTS["name"], *encoders]


def _reader_line(name: str) -> Line:
    if name == OWN_LATENTS["name"]:
        return OWN_LATENTS
    line = system_line(name)
    return {key: line[key] for key in OWN_LATENTS}


def _task_names() -> list[str]:
    from m2l_bench.tasks import task_names

    return task_names()


def task_line(name: str) -> Line:
    """Line of a task; ``download`` is the size of a dataset that must be in the user's folder."""
    from m2l_bench.tasks import load_task
    from m2l_bench.tasks.sources.embedded import SHIPPED

    task = load_task(name)
    about = task.about
    embedded = about.size == SHIPPED
    return {
        "name": task.name,
        "kind": task.kind,
        "metric": task.main_metric,
        "licence": about.licence,
        "what": task.summary,
        "download": "-" if embedded else _short_size(about.size),
        "data": "embedded" if embedded else _folders(about.name),
    }


def _probe_names() -> list[str]:
    from m2l_bench.probes import PROBES

    return [*PROBES, *plugins.names("probe")]


def _probe_line(name: str) -> Line:
    from m2l_bench.probes import load_probe

    return {"name": name, "what": str(load_probe(name).__doc__).partition("\n")[0], "download": "-"}


def _metric_names() -> list[str]:
    """Those that can be asked for, and those of :func:`cards_of_runs`."""
    from m2l_bench.reconstruction.metrics import METRICS

    return [*METRICS, *plugins.names("metric"), *cards_of_runs()]


def _metric_line(name: str) -> Line:
    from m2l_bench.reconstruction.metrics import get_metric

    others = cards_of_runs()
    card = others[name] if name in others else get_metric(name).card
    better = BETTER[card.higher_is_better]
    what = _heading(card) + f", {better} is better" * (better != "-")
    line = {"name": name, "what": what, "unit": card.unit, "better": better, "source": card.source}
    return line | ({"download": "-", "extra": "-"} if name in others else metric_needs(name))


def metric_needs(name: str) -> Line:
    """Download and extra of a metric: those of the system that it compares sets with, if it is one of sets."""
    from m2l_bench.reconstruction.metrics import get_metric
    from m2l_bench.reconstruction.set_metrics import SetMetric
    from m2l_bench.reconstruction.sets.vectors import SIDE

    metric = get_metric(name)
    if isinstance(metric, SetMetric):
        return system_needs(metric.encoder.removesuffix(SIDE))
    return {"download": "-", "extra": _METRIC_EXTRAS.get(name, "-")}


def cards_of_runs() -> dict[str, Card]:
    """Cards of what nobody asks for by name: what a run adds itself, and the metrics of tasks."""
    from m2l_bench.suite.jobs.reconstruct import BIT_RATE
    from m2l_bench.suite.jobs.reencode import COMPRESSION_RATIO
    from m2l_bench.suite.jobs.repeat import REPEATABILITY_CARD
    from m2l_bench.tasks.scoring import TASK_CARDS

    return {card.name: card for card in (BIT_RATE, COMPRESSION_RATIO, REPEATABILITY_CARD, *TASK_CARDS.values())}


def _hash_of_rows(metric: str) -> str:
    from m2l_bench.reconstruction.metrics import card_of_rows

    others = cards_of_runs()
    card = others[metric] if metric in others else card_of_rows(metric)
    return card.hash if card else "after the download"


def _heading(card: Card) -> str:
    return f"{card.title} ({card.unit})" if card.unit else card.title


def latent_cards() -> dict[str, Card]:
    """Cards of the numbers of latent spaces, by name."""
    from m2l_bench.latent import equivariance, rate, sheet

    cards = [*sheet.CARDS.values(), *equivariance.CARDS.values(), rate.BIT_RATE]
    return {card.name: card for card in cards}


def _latent_names() -> list[str]:
    return list(latent_cards())


def _latent_line(name: str) -> Line:
    card = latent_cards()[name]
    line = {"name": name, "title": _heading(card), "unit": card.unit, "card": f"card: {card.hash}"}
    return line | {"what": card.formula, "download": "-"}


def _audio_names() -> list[str]:
    from m2l_bench import assets
    from m2l_bench.suite.audio_sets import PUBLISHED_SETS

    return [*assets.FOLDERS, *PUBLISHED_SETS, ANY_FOLDER]


def _audio_line(name: str) -> Line:
    from m2l_bench import assets
    from m2l_bench.suite.audio_sets import PUBLISHED_SETS

    if name in assets.FOLDERS:
        files = f"{len(assets.manifest(name))} files"
        what = f"{files}, part of this package"
        return {"name": name, "files": files, "data": "embedded", "what": what, "download": "-"}
    if name == ANY_FOLDER:
        return {"name": name, "what": "any folder of audio files", "download": "-"}
    found = PUBLISHED_SETS[name]
    about = found.about
    return {
        "name": name,
        "files": f"{found.expected:,} files",
        "data": f"~/mir_datasets/{about.name}: {about.size}",
        "licence": about.licence,
        "what": found.what,
        "download": _short_size(about.size),
    }


def _suite_names() -> list[str]:
    from m2l_bench.suite.suite import suite_names

    return suite_names()


def suite_line(name: str) -> Line:
    """Line of a suite; ``what`` is its file's first line, ``download`` says what has to be fetched."""
    from m2l_bench.suite.suite import read_suite, suite_file

    suite = read_suite(name)
    needs = {
        "weights": any(spec.would_download() for spec in (*suite.systems, *suite.readers))
        or any(metric_needs(metric)["download"] != "-" for metric in suite.metrics),
        "data": any(_audio_line(audio.partition("=")[0])["download"] != "-" for audio in suite.audio)
        or any(task_line(task.name)["download"] != "-" for task in suite.task_specs()),
    }
    what = suite_file(name).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return {"name": name, "what": what, "download": " and ".join(need for need, true in needs.items() if true) or "-"}


def _short_size(size: str) -> str:
    """A dataset's size without what it consists of."""
    return size.partition(" (")[0].partition(", ")[0]


def _folders(dataset: str) -> str:
    """Default folder of a dataset, or of each that a task is made of."""
    return ", ".join(f"~/mir_datasets/{name}" for name in dataset.split("; "))


class Kind(NamedTuple):
    """The names of a kind, of which nothing is loaded, and the line of a name."""

    names: Callable[[], list[str]]
    line: Callable[[str], Line]


KINDS: dict[str, Kind] = {
    "systems": Kind(_system_names, system_line),
    "readers": Kind(_reader_names, _reader_line),
    "tasks": Kind(_task_names, task_line),
    "probes": Kind(_probe_names, _probe_line),
    "metrics": Kind(_metric_names, _metric_line),
    "latents": Kind(_latent_names, _latent_line),
    "audio": Kind(_audio_names, _audio_line),
    "suites": Kind(_suite_names, suite_line),
}
