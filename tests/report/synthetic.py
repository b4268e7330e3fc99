"""A finished run made of nothing but seeded noise: rows, items, cards, provenance and clips, hostile names included."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.checksums import add_checksums
from m2l_bench.report.clips import Clip, write_clips
from m2l_bench.results import Item, Row, write_run

HOSTILE = '</script><img src=x onerror=alert(1)> "quoted" & §ünï 中'
SYSTEMS = ("identity", "opus:12k", "opus:48k", "mp3:64k", "pca", HOSTILE)
DATASET = "reconstruction/noise"
RATE = 16000


def card(name: str, title: str, unit: str, better: bool | None, **constants: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "unit": unit,
        "higher_is_better": better,
        "formula": "x | y",
        "source": "nobody 1900",
        "constants": constants,
    }


CARDS = {
    "bit_rate": card("bit_rate", "bit rate", "kbit/s", False),
    "si_sdr": card("si_sdr", "SI-SDR", "dB", True),
    "mel_distance": card("mel_distance", "Mel distance", "", False),
    "lag": card("lag", "Lag", "samples", None),
    "fad:musicnn": card("fad:musicnn", "FAD-musicnn", "", False),
    "accuracy": card("accuracy", "Accuracy", "", True),
    "macro_f1": card("macro_f1", "Macro F1", "", True),
}


def card_hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


HASH = {name: card_hash(content) for name, content in CARDS.items()}
CARDS_BY_HASH = {HASH[name]: content for name, content in CARDS.items()}


def row(system: str, metric: str, value: float, *, half: float = 0.5, **fields: Any) -> Row:
    defaults: dict[str, Any] = {
        "fingerprint": fingerprint_of(system),
        "dataset": DATASET,
        "statistic": "mean",
        "card": HASH[metric],
        "data_hash": "d" * 16,
        "ci_low": value - half,
        "ci_high": value + half,
        "n_planned": 8,
        "n_scored": 8,
        "n_failed": 0,
        "version": "0.0.0",
    }
    return Row(system=system, metric=metric, value=value, **(defaults | fields))


def hash_of(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


def fingerprint_of(system: str) -> str:
    return f"{hash_of(system):016x}"[:16]


def kind_of(system: str) -> str:
    return "references" if system == "identity" else "codecs" if ":" in system else "autoencoders"


def make_run(
    folder: Path,
    *,
    systems: Sequence[str] = SYSTEMS,
    n_clips: int = 8,
    probes: bool = True,
    cards: dict[str, dict[str, Any]] | None = None,
    data_hash: str = "d" * 16,
) -> Path:
    """Write a run; better systems stand later in `systems` but for the first, the identity."""
    cards = cards or CARDS
    hashes = {name: card_hash(content) for name, content in cards.items()}
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    items: list[Item] = []
    clips = clip_names(n_clips)
    for place, system in enumerate(systems):
        print_of = fingerprint_of(system)
        for metric, base, sign in (("si_sdr", 3.0 * place, 1), ("mel_distance", 4.0 - place / 2, -1), ("lag", 1.0, 0)):
            failed = 1 if system == HOSTILE and metric == "si_sdr" else 0
            values = base + 0.3 * rng.standard_normal(n_clips) + np.arange(n_clips) * 0.1 * sign
            if system == "identity":
                values = np.full(n_clips, {"si_sdr": 100.0, "mel_distance": 0.0, "lag": 0.0}[metric])
            scored = values[failed:]
            half = float(2 * scored.std() / np.sqrt(len(scored)))
            for statistic, value in (("mean", scored.mean()), ("median", np.median(scored))):
                rows.append(
                    row(
                        system,
                        metric,
                        float(value),
                        half=half,
                        statistic=statistic,
                        card=hashes[metric],
                        data_hash=data_hash,
                        n_planned=n_clips,
                        n_scored=n_clips - failed,
                        n_failed=failed,
                        note="one file is silent" if failed else "",
                    )
                )
            for index, (clip, value) in enumerate(zip(clips, values, strict=True)):
                lost = index < failed
                items.append(
                    Item(
                        system=system,
                        fingerprint=print_of,
                        dataset=DATASET,
                        metric=metric,
                        card=hashes[metric],
                        item=clip,
                        group=clip,
                        value=float("nan") if lost else float(value),
                        reason="silent reference" if lost else "",
                    )
                )
        if ":" in system and system != HOSTILE:
            kbps = float(system.split(":")[1].removesuffix("k")) + 1.3
            rows.append(row(system, "bit_rate", kbps, half=0.4, card=hashes["bit_rate"], data_hash=data_hash))
        rows.append(
            row(
                system,
                "fad:musicnn",
                5.0 - place,
                half=0.2,
                statistic="pooled",
                card=hashes["fad:musicnn"],
                data_hash=data_hash,
            )
        )
        if probes:
            _add_probes(rows, items, system, place, rng)
    described = {card_hash(content): content for content in cards.values()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cards.json").write_text(json.dumps(described, indent=2, sort_keys=True))
    record = {
        "plan": f"{hash_of(repr(systems)):08x}"[:8],
        "suite": {
            "name": "synthetic",
            "systems": [{"system": "x", "label": label} for label in systems],
            "metrics": ["si_sdr", "mel_distance", "lag"],
        },
        "systems": {label: {"fingerprint": fingerprint_of(label), "kind": kind_of(label)} for label in systems},
        "data": {DATASET: {"hash": data_hash, "files": n_clips}},
        "unusable_systems": {},
        "provenance": {"m2l_bench": "0.0.0", "git": {"commit": "0" * 40, "changed_files": 0}},
    }
    write_run(folder, rows, items, record, others=[folder / "cards.json"])
    return folder


def _add_probes(rows: list[Row], items: list[Item], system: str, place: int, rng: np.random.Generator) -> None:
    labels = ("jig", "reel", "waltz")
    for task in ("genre/noise", "key/noise"):
        for seed in (0, 1, 2):
            right = rng.random(40) < 0.4 + 0.08 * place
            shared: dict[str, Any] = {"dataset": task, "task": task, "probe": "linear", "split": "test", "seed": seed}
            for metric in ("accuracy", "macro_f1"):
                rows.append(
                    row(
                        system,
                        metric,
                        float(right.mean()),
                        half=0.1,
                        statistic="score",
                        n_planned=40,
                        n_scored=40,
                        data_hash="e" * 16,
                        note="rendered, not recorded",
                        **shared,
                    )
                )
            for index, hit in enumerate(right):
                target = labels[index % 3]
                items.append(
                    Item(
                        system=system,
                        fingerprint=fingerprint_of(system),
                        metric="accuracy",
                        card=HASH["accuracy"],
                        item=f"tune{index:02d}",
                        group=f"tune{index // 2:02d}",
                        target=target,
                        prediction=target if hit else labels[(index + 1) % 3],
                        **shared,
                    )
                )
        for n_training in (10, 20, 40):
            value = 0.2 + 0.05 * place + 0.1 * np.log10(n_training)
            curve = {"dataset": task, "task": task, "probe": "linear", "split": f"test@{n_training}"}
            rows.append(
                row(system, "accuracy", float(value), half=0.05, statistic="score", data_hash="e" * 16, **curve)
            )


def clip_names(n_clips: int) -> list[str]:
    names = [f"album/{index:03d}.wav" for index in range(n_clips)]
    names[:2] = ['it\'s "one" & <script>alert(1)</script>.wav', "späces und 中文 \u202e.wav"][:n_clips]
    return names


def make_audio(
    run: Path, *, systems: Sequence[str] = SYSTEMS, n_clips: int = 8, seconds: float = 1.0, channels: int = 1
) -> Path:
    """Clips of a run: the original is a tone with noise; every system has the same in its own level."""
    n_samples = round(seconds * RATE)
    t = np.arange(n_samples) / RATE
    rng = np.random.default_rng(1)

    def clip(index: int, name: str) -> Clip:
        tone = 0.2 * np.sin(2 * np.pi * (220 + 20 * (index % 20)) * t) + 0.05 * rng.standard_normal(n_samples)
        reference = np.tile(tone, (channels, 1)).astype(np.float32)
        estimates = {
            system: (reference * (0.3 + 0.2 * place)).astype(np.float32)
            + (0 if system == "identity" else 0.002 * rng.standard_normal(reference.shape).astype(np.float32))
            for place, system in enumerate(systems)
            if not (system == HOSTILE and index == 0)
        }
        return Clip(id=name, dataset=DATASET, sample_rate=RATE, reference=reference, estimates=estimates)

    write_clips(run / "audio", (clip(i, name) for i, name in enumerate(clip_names(n_clips))), systems=list(systems))
    add_checksums(run, ["audio"])
    return run / "audio"
