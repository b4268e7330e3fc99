"""Everything of one entry of any list: facts, licence, what it needs, and the commands that use it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from m2l_bench import plugins
from m2l_bench.listing import (
    ANY_FOLDER,
    BETTER,
    KINDS,
    OWN_LATENTS,
    cards_of_runs,
    latent_cards,
    metric_needs,
    suite_line,
    system_line,
    task_line,
)

if TYPE_CHECKING:
    from m2l_bench.cards import Card


class Description(NamedTuple):
    """Everything of one entry: its kind in the singular, its name, and labelled facts."""

    kind: str
    name: str
    facts: list[tuple[str, str]]


def describe(name: str) -> list[Description]:
    """Say everything of the entries of any kind that have a name; a task and an audio set may share one.

    Raises
    ------
    ValueError
        If there is no such entry; the nearest name of all kinds is given.
    """
    for describers in _DESCRIBE:
        found = [make(name) for kind, make in describers.items() if name in KINDS[kind].names()]
        if found:
            return found
    if name == OWN_LATENTS["name"]:
        return [
            _description("reader", name, [("what", OWN_LATENTS["what"]), ("use", "m2l-bench run --reader latents")])
        ]
    if _is_unlisted_system(name):
        return [_describe_system(name)]

    from m2l_bench.reconstruction.set_metrics import KINDS as SET_METRICS
    from m2l_bench.systems.registry import SYSTEMS

    base, _, encoder = name.partition(":")
    if base in SET_METRICS and encoder:
        return [_describe_metric(name)]
    known = [known for describers in _DESCRIBE for kind in describers for known in KINDS[kind].names()]
    raise plugins.unknown("name", name, [*known, *SYSTEMS], otherwise="m2l-bench list KIND lists the names")


def _is_unlisted_system(name: str) -> bool:
    """Whether it is a system's name without its variant, or with one that is allowed beside the listed ones."""
    from m2l_bench.systems.registry import entry_of

    entry, variant = entry_of(name), name.partition(":")[2]
    if entry is None or not variant:
        return entry is not None
    misspelled = difflib.get_close_matches(variant, (*entry.variants, *entry.shown), 1, 0.8)
    return bool(entry.variant_option) and not misspelled


def _description(kind: str, name: str, facts: Iterable[tuple[str, str]]) -> Description:
    return Description(kind, name, [(label, text) for label, text in facts if text not in ("", "-", "?")])


def _install(extra: str) -> str:
    return f"pip install 'm2l-bench[{extra}]'" if extra not in ("", "-") else ""


def _describe_system(name: str) -> Description:
    from m2l_bench.systems.registry import caveat, default_variant, entry_of, known_names, needs_download

    line, entry = system_line(name), entry_of(name)
    licence = line["licence (code / weights)"]
    base, rate = name.partition(":")[0], line["bit rate (kbit/s)"]
    variants = [known for known in known_names() if known.partition(":")[0] == base]
    fetched = [known for known in variants if needs_download(known)]
    encoder = line["latents"] != "-"
    # Encoders of their own package have no decoder.
    reconstructs = entry is None or not entry.place.startswith("systems.encoders.")
    commands = [
        f"m2l-bench run --audio my/music --system {name}" * reconstructs,
        f"m2l-bench run --task instrument/tonejs --system {name}" * encoder,
        f"m2l-bench run --task key/tunes --system opus:12k --reader {name}" * encoder,
    ]
    if base == "folder":
        commands = ["m2l-bench score originals/ mine=reconstructions/"]
    at_first = f"{line['download']} at the first use" if line["download"] != "-" else ""
    return _description(
        "system" if reconstructs else "encoder",
        name,
        [
            ("what", line["what"]),
            ("variants", ", ".join(variants) if len(variants) > 1 else ""),
            ("default", f"{base}:{default_variant(entry)}" if entry and len(variants) > 1 else ""),
            ("audio", line["audio"]),
            ("latents", line["latents"]),
            ("bit rate", rate if rate in ("-", "?", "measured") else f"{rate} kbit/s"),
            ("parameters", f"{line['parameters (M)']} (millions)" if line["parameters (M)"] != "-" else ""),
            ("licence", licence + " (code / weights)" * (" / " in licence)),
            ("download", at_first or (f"none; {', '.join(fetched)}: {entry.size}" if entry and fetched else "none")),
            ("install", _install(line["extra"])),
            ("faster", entry.faster if entry else ""),
            ("note", caveat(name)),
            *(("use", command) for command in commands if command),
        ],
    )


def _describe_task(name: str) -> Description:
    from m2l_bench.tasks import load_task

    task = load_task(name)
    line, about = task_line(name), task.about
    embedded = line["data"] == "embedded"
    return _description(
        "task",
        name,
        [
            ("what", task.summary),
            ("kind", task.kind),
            ("metrics", ", ".join(task.metrics)),
            ("labels", f"{len(task.labels)}: {_first_few(task.labels)}" if task.labels else ""),
            ("groups", task.group),
            ("dataset", f"{about.name} {about.version}"),
            ("source", about.citation),
            ("licence", about.licence),
            ("size", about.size),
            ("data", "embedded" if embedded else f"{line['data']}; never downloaded automatically"),
            ("to get it", "" if embedded else about.how),
            ("note", task.caveat),
            ("use", f"m2l-bench run --task {name} --system mfcc-chroma"),
        ],
    )


def _describe_metric(name: str) -> Description:
    from m2l_bench.reconstruction.metrics import card_of_rows, get_metric

    others = cards_of_runs()
    if name in others:
        return _describe_card("metric", others[name], others[name].hash, "")
    final = card_of_rows(name)
    needs = metric_needs(name)
    to_get = [("download", needs["download"]), ("install", _install(needs["extra"]))]
    command = f"m2l-bench run --audio my/music --system opus:32k --metric {name}"
    return _describe_card(
        "metric", final or get_metric(name).card, final.hash if final else "after the download", command, to_get
    )


def _describe_latent(name: str) -> Description:
    card = latent_cards()[name]
    return _describe_card("number of latents", card, card.hash, "m2l-bench latents music2latent:small pca")


def _describe_card(
    kind: str, card: Card, final_hash: str, command: str, to_get: Sequence[tuple[str, str]] = ()
) -> Description:
    better = BETTER[card.higher_is_better]
    return _description(
        kind,
        card.name,
        [
            ("what", card.title),
            ("unit", card.unit or "none"),
            ("direction", f"{better} is better" if better != "-" else "none: it is not ranked"),
            ("formula", card.formula),
            ("rate", card.rate_rule),
            ("channels", card.channel_rule),
            *((f"constant {key}", _as_text(value)) for key, value in card.constants.items()),
            ("model", card.model),
            ("source", card.source),
            ("version", str(card.version)),
            ("hash", final_hash),
            *to_get,
            ("use", command),
        ],
    )


def _describe_probe(name: str) -> Description:
    from m2l_bench.probes import load_probe

    probe = load_probe(name)
    settings: Mapping[str, Any] = probe.get_params() if hasattr(probe, "get_params") else {}
    return _description(
        "probe",
        name,
        [
            ("what", str(probe.__doc__).partition("\n")[0]),
            *((f"setting {key}", _as_text(value)) for key, value in settings.items()),
            ("use", f"m2l-bench run --task instrument/tonejs --system mfcc-chroma --probe {name}"),
        ],
    )


def _describe_audio(name: str) -> Description:
    from m2l_bench import assets
    from m2l_bench.suite.audio_sets import PUBLISHED_SETS

    command = f"m2l-bench run --audio {name} --system opus:32k"
    if name in assets.FOLDERS:
        folder = assets.folder(name)
        return _description(
            "audio set",
            name,
            [
                ("files", str(len(assets.manifest(name)))),
                ("data", f"embedded: {folder}"),
                ("licence", f"in the files beside the audio: {_first_few(_licences(folder))}"),
                ("use", command),
            ],
        )
    if name == ANY_FOLDER:
        return _description(
            "audio set", name, [("what", "any folder of audio files"), ("use", command.replace(name, "my/music"))]
        )
    found = PUBLISHED_SETS[name]
    about = found.about
    return _description(
        "audio set",
        name,
        [
            ("what", found.what),
            ("files", f"{found.expected:,}"),
            ("source", about.citation),
            ("licence", about.licence),
            ("size", about.size),
            ("data", f"~/mir_datasets/{about.name}; never downloaded automatically"),
            ("to get it", about.how),
            ("use", f"m2l-bench run --audio {name}=~/mir_datasets/{about.name} --system opus:32k"),
        ],
    )


def _describe_suite(name: str) -> Description:
    from m2l_bench.suite.suite import DEMO, read_suite, suite_file

    suite, line = read_suite(name), suite_line(name)
    parts = ("systems", "audio", "metrics", "tasks", "readers", "probes")
    return _description(
        "suite",
        name,
        [
            ("what", line["what"]),
            *((part, ", ".join(getattr(entry, "label", entry) for entry in getattr(suite, part))) for part in parts),
            ("download", "none" if line["download"] == "-" else line["download"]),
            ("file", str(suite_file(name))),
            ("use", "m2l-bench run" if name == DEMO else f"m2l-bench run {name}"),
            ("use", f"m2l-bench run {name} --dry-run"),
        ],
    )


def _licences(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(("LICENSE", "COPYRIGHT", "NOTICE")))


def _first_few(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_as_text(inner)}" for key, inner in value.items())
    return ", ".join(map(_as_text, value)) if isinstance(value, (tuple, list)) else str(value)


# A reader is a system: it is described once. Names of tasks and audio sets may be equal, no others; what loads least is first.
_DESCRIBE: tuple[dict[str, Callable[[str], Description]], ...] = (
    {"systems": _describe_system},
    {"tasks": _describe_task, "audio": _describe_audio},
    {"latents": _describe_latent},
    {"metrics": _describe_metric},
    {"probes": _describe_probe},
    {"suites": _describe_suite},
)
