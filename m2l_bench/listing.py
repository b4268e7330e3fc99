"""Lists of what can be named on the command line: systems, readers, tasks, probes, metrics, numbers of latent spaces, audio sets.

Conventions
-----------
An entry is a dictionary of text, with at least ``name``, ``what`` (one line) and ``download`` (a size); ``extra`` is the
extra of this package and ``data`` the folder that it needs. ``"-"`` stands for nothing. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from m2l_bench import plugins

if TYPE_CHECKING:
    from m2l_bench.cards import Card
    from m2l_bench.tasks.base import Task

Line = dict[str, str]

OWN_LATENTS = {
    "name": "latents",
    "latents": "-",
    "what": "no reader: the latents of each system (default)",
    "download": "-",
    "extra": "-",
}
"""The reader that is none."""
METRIC_EXTRAS = {"visqol": "visqol"}
BETTER = {True: "higher", False: "lower", None: "-"}


def entries(
    kind: str, *, pattern: str = "", no_download: bool = False, task_kind: str | None = None, hashes: bool = False
) -> list[Line]:
    """List what there is of a kind.

    Parameters
    ----------
    kind : str
        A key of :data:`LISTS`.
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
    found = LISTS[kind]()
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


def list_systems() -> list[Line]:
    """List the known systems, each variant in a line."""
    from m2l_bench.systems.registry import known_names

    return [system_line(name) for name in known_names()]


def list_readers() -> list[Line]:
    """List the encoders among the systems, which can read tasks from reconstructions."""
    found = [line for line in list_systems() if line["latents"] != "-"]
    return [OWN_LATENTS, *({key: line[key] for key in OWN_LATENTS} for line in found)]


def list_tasks() -> list[Line]:
    """List the tasks; ``download`` is the size of a dataset that must be in the user's folder."""
    from m2l_bench.tasks import load_task, task_names

    return [task_line(load_task(name)) for name in task_names()]


def list_probes() -> list[Line]:
    """List the probes."""
    from m2l_bench.plugins import names
    from m2l_bench.probes import PROBES, load_probe

    known = (*PROBES, *names("probe"))
    return [{"name": name, "what": str(load_probe(name).__doc__).partition("\n")[0], "download": "-"} for name in known]


def list_metrics() -> list[Line]:
    """List the metrics, also those that a run adds itself, and those of tasks."""
    from m2l_bench.plugins import names
    from m2l_bench.reconstruction.metrics import METRICS, get_metric

    named = [(get_metric(name).card, encoder_of(name)) for name in (*METRICS, *names("metric"))]
    lines = []
    for card, encoder in [*named, *((card, "") for card in cards_of_runs().values())]:
        better = BETTER[card.higher_is_better]
        line = {"name": card.name, "what": _heading(card) + f", {better} is better" * (better != "-")}
        line |= {"unit": card.unit, "better": better}
        download, extra = needs(encoder) if encoder else ("-", METRIC_EXTRAS.get(card.name, "-"))
        lines.append(line | {"source": card.source, "download": download, "extra": extra})
    return lines


def list_latents() -> list[Line]:
    """List the numbers of latent spaces."""
    return [
        {
            "name": card.name,
            "title": _heading(card),
            "unit": card.unit,
            "card": f"card: {card.hash}",
            "what": card.formula,
            "download": "-",
        }
        for card in latent_cards().values()
    ]


def list_audio_sets() -> list[Line]:
    """List the embedded sets of music, and the published ones that must be in the user's folder."""
    from m2l_bench import assets
    from m2l_bench.suite.audio_sets import PUBLISHED_SETS

    lines = []
    for name in assets.FOLDERS:
        what = {"files": f"{len(assets.manifest(name))} files", "data": "embedded"}
        lines.append({"name": name} | what | {"what": f"{what['files']}, part of this package", "download": "-"})
    for name, found in PUBLISHED_SETS.items():
        about = found.about
        lines.append(
            {
                "name": name,
                "files": f"{found.expected:,} files",
                "data": f"~/mir_datasets/{about.name}: {about.size}",
                "licence": about.licence,
                "what": found.what,
                "download": _short_size(about.size),
            }
        )
    return [*lines, {"name": "PATH", "what": "any folder of audio files", "download": "-"}]


LISTS: dict[str, Callable[[], list[Line]]] = {
    "systems": list_systems,
    "readers": list_readers,
    "tasks": list_tasks,
    "probes": list_probes,
    "metrics": list_metrics,
    "latents": list_latents,
    "audio": list_audio_sets,
}


def system_line(name: str) -> Line:
    from m2l_bench.systems.registry import entry_of

    keys = ("audio", "latents", "bit rate (kbit/s)", "parameters (M)", "licence (code / weights)", "what")
    entry = entry_of(name)
    facts = [entry.audio, entry.latents, entry.bit_rate, entry.parameters, entry.licence] if entry else ["?"] * 5
    download, extra = needs(name)
    known = dict(zip(keys, [*facts, entry.summary if entry else "?"], strict=True))
    return {"name": name} | known | {"download": download, "extra": extra}


def needs(name: str) -> tuple[str, str]:
    """Size of a system's download, and its extra."""
    from m2l_bench.systems.registry import entry_of, needs_download

    entry = entry_of(name)
    if entry is None:
        return "-", "-"
    return (entry.size or "size unknown") if needs_download(name) else "-", entry.extra or "-"


def task_line(task: Task) -> Line:
    from m2l_bench.tasks.sources.embedded import SHIPPED

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


def _short_size(size: str) -> str:
    """A dataset's size without what it consists of."""
    return size.partition(" (")[0].partition(", ")[0]


def _folders(dataset: str) -> str:
    """Default folder of a dataset, or of each that a task is made of."""
    return ", ".join(f"~/mir_datasets/{name}" for name in dataset.split("; "))


def encoder_of(metric: str) -> str:
    """System that a metric of sets compares sets with; empty for a metric of pairs."""
    from m2l_bench.reconstruction.metrics import get_metric
    from m2l_bench.reconstruction.set_metrics import SetMetric
    from m2l_bench.reconstruction.sets.vectors import SIDE

    found = get_metric(metric)
    return found.encoder.removesuffix(SIDE) if isinstance(found, SetMetric) else ""


def _hash_of_rows(metric: str) -> str:
    from m2l_bench.reconstruction.metrics import card_of_rows

    others = cards_of_runs()
    card = others[metric] if metric in others else card_of_rows(metric)
    return card.hash if card else "after the download"


def cards_of_runs() -> dict[str, Card]:
    """Cards of what nobody asks for by name: what a run adds itself, and the metrics of tasks."""
    from m2l_bench.suite.jobs.reconstruct import BIT_RATE
    from m2l_bench.suite.jobs.reencode import COMPRESSION_RATIO
    from m2l_bench.suite.jobs.repeat import REPEATABILITY_CARD
    from m2l_bench.tasks.scoring import TASK_CARDS

    return {card.name: card for card in (BIT_RATE, COMPRESSION_RATIO, REPEATABILITY_CARD, *TASK_CARDS.values())}


def _heading(card: Card) -> str:
    return f"{card.title} ({card.unit})" if card.unit else card.title


def latent_cards() -> dict[str, Card]:
    from m2l_bench.latent import equivariance, rate, sheet

    cards = [*sheet.CARDS.values(), *equivariance.CARDS.values(), rate.BIT_RATE]
    return {card.name: card for card in cards}
