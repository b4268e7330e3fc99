"""``m2l-bench list`` and ``m2l-bench show``: what there is, in lines that fit the terminal, and everything of one entry."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m2l_bench.cli import app
from m2l_bench.description import describe
from m2l_bench.listing import KINDS, entries
from m2l_bench.systems import base
from m2l_bench.systems.registry import SYSTEMS

# What scripts read, by kind: these fields stay.
FIELDS = {
    "systems": "name audio latents what download",
    "readers": "name latents what",
    "tasks": "name kind metric licence what",
    "probes": "name what",
    "metrics": "name unit better card source",
    "latents": "name unit card what",
    "audio": "name",
    "suites": "name",
}


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_has_one_line_an_entry_that_fits_the_terminal(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = KINDS[kind].names()
    for columns in (80, 50, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        result = invoke("list", kind)
        lines = result.stdout.splitlines()
        assert [line.partition(" ")[0] for line in lines] == names
        assert max(map(len, lines)) <= columns
        assert result.stderr.startswith(f"{len(names)} entries; ")


@pytest.mark.parametrize("kind", KINDS)
def test_json_keeps_the_fields_and_nothing_is_cut(kind: str) -> None:
    table = json.loads(invoke("list", kind, "--json").stdout)
    assert [line["name"] for line in table] == KINDS[kind].names()
    assert all(set(FIELDS[kind].split()) <= line.keys() and line["what"] for line in table)
    assert "…" not in json.dumps(table, ensure_ascii=False)


def test_a_line_says_what_is_needed() -> None:
    lines = {line.partition(" ")[0]: line for kind in ("systems", "tasks") for line in _lines(kind)}
    assert lines["music2latent:published"].endswith("  233 MB")
    assert lines["music2latent:small"].endswith("…") and "MB" not in lines["music2latent:small"]
    assert lines["snac"].endswith("  218 MB [snac]")
    assert lines["genre/gtzan"].endswith("  gtzan_genre/ 1.3 GB")
    assert lines["tempo/giantsteps"].endswith("  giantsteps_tempo/")
    assert lines["key/tunes"].endswith("…")
    assert "in ~/mir_datasets/." in invoke("list", "tasks").stderr
    assert invoke("list", "systems", "pca", "--no-download").stderr.startswith("1 entry; ")
    assert next(line for line in _lines("metrics", "visqol")).endswith("  [visqol]")
    assert next(line for line in _lines("metrics", "fad:vggish")).endswith("  288 MB")


def test_filters() -> None:
    assert {"dac:44khz", "dac-style:small"} <= {line["name"] for line in entries("systems", pattern="DAC")}
    assert [line["name"] for line in entries("tasks", task_kind="chords")] == [
        "chord/tunes",
        "chord/guitarset",
        "chord/beatles",
    ]
    free = [line["name"] for line in entries("systems", no_download=True)]
    assert "music2latent:small" in free and "opus:24k" in free
    assert not {"music2latent:published", "dac:44khz", "vggish:relu"} & set(free)
    assert {line["data"] for line in entries("tasks", no_download=True)} == {"embedded"}
    assert [line["name"] for line in entries("systems", pattern="music2latent:", no_download=True)] == [
        "music2latent:small"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("systems", "zzz"), "systems: there are none with 'zzz' in the name or the description"),
        (("systems", "clap:", "--no-download"), "there are none without a download with 'clap:'"),
        (("systems", "--kind", "chords"), "--kind chooses tasks, got it for systems"),
        (("tasks", "--kind", "chord"), "unknown kind of task 'chord'; did you mean chords?"),
    ],
)
def test_a_filter_that_leaves_nothing_is_an_error(arguments: tuple[str, ...], message: str) -> None:
    result = invoke("list", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_every_listed_name_can_be_shown() -> None:
    for kind in KINDS.keys() - {"metrics"}:  # 79 cards: encoders are loaded for the hashes of some
        for name in KINDS[kind].names():
            found = describe(name)
            kinds = [described.kind for described in found]
            assert len(set(kinds)) == len(kinds) == (2 if kinds == ["task", "audio set"] else 1)
            assert all(text and text != "-" for described in found for _, text in described.facts)


def test_only_tasks_and_audio_sets_share_names() -> None:
    names = {kind: set(KINDS[kind].names()) for kind in KINDS}
    assert names["readers"] - names["systems"] == {"latents"}
    assert all(len(names[kind]) == len(KINDS[kind].names()) for kind in KINDS), "a name stands twice"
    for one, other in itertools.combinations(names.keys() - {"readers"}, 2):
        if {one, other} != {"tasks", "audio"}:
            assert not names[one] & names[other], (one, other)


def test_a_card_is_shown_in_words() -> None:
    result = invoke("show", "mel_distance")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    card = next(line for line in json.loads(invoke("list", "metrics", "mel_distance", "--json").stdout))["card"]
    for fact in (
        "mel_distance (metric)",
        "direction lower is better",
        "formula sum over windows of log_weight",
        "constant windows 2048, 512",
        "source Kumar et al. 2023",
        f"hash {card}",
        "use m2l-bench run --audio my/music --system opus:32k --metric mel_distance",
    ):
        assert fact in text


def test_a_system_says_how_to_get_and_use_it() -> None:
    (described,) = describe("clap:music")
    facts = dict(described.facts)
    assert described.kind == "encoder"
    assert facts["download"] == "614 to 776 MB at the first use"
    assert facts["install"] == "pip install 'm2l-bench[codecs]'"
    assert facts["use"] == "m2l-bench run --task key/tunes --system opus:12k --reader clap:music"
    assert "m2l-bench run --audio" not in str(described.facts)
    bare = dict(describe("music2latent")[0].facts)
    assert bare["download"] == "none; music2latent:published: 233 MB"
    assert bare["default"] == "music2latent:small"
    assert dict(describe("opus:17k")[0].facts)["use"].endswith("--system opus:17k")
    assert dict(describe("fad:mert")[0].facts)["download"] == "378 MB"


def test_a_task_and_an_audio_set_of_one_name_are_both_shown() -> None:
    task, audio = describe("key/tunes")
    assert (task.kind, audio.kind) == ("task", "audio set")
    assert dict(audio.facts)["files"] == "528" and dict(task.facts)["data"] == "embedded"
    data = dict(describe("key/giantsteps")[0].facts)["data"]
    assert data.startswith("~/mir_datasets/giantsteps-mtg-key-dataset, ~/mir_datasets/giantsteps_key;")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mel_distanc", "mel_distance"),
        ("key/tune", "key/tunes"),
        ("DAC", "dac"),
        ("lineer", "linear"),
        ("music2latent:publishd", "music2latent:published"),
        ("song-describr", "song-describer"),
    ],
)
def test_an_unknown_name_gets_the_nearest_of_all_kinds(name: str, nearest: str) -> None:
    result = invoke("show", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: unknown name '{name}'; did you mean {nearest}?\n"


def test_a_name_that_is_near_nothing_gets_a_short_error() -> None:
    assert invoke("show", "qqqqqq").stderr == "error: unknown name 'qqqqqq'; m2l-bench list KIND lists the names\n"


def test_a_system_has_an_extra_where_its_module_names_an_optional_package() -> None:
    optional = re.compile(r'"(transformers|diffusers)"|(from|import) (transformers|h5py)|\bextra\b')
    systems = Path(base.__file__).parent
    for name, entry in SYSTEMS.items():
        module = entry.place.partition(":")[0].removeprefix("systems.")
        # What lies beside the module in a folder of its own is a part of it.
        place = systems / module.replace(".", "/")
        files = list(place.parent.glob("*.py")) if module.endswith(".system") else [place.with_suffix(".py")]
        needs = any(optional.search(path.read_text(encoding="utf-8")) for path in files if path.is_file())
        if name != "ear-vae2":  # in one folder with ear-vae, whose networks are diffusers'
            assert needs == bool(entry.extra), name


def test_listing_imports_little() -> None:
    check = "from m2l_bench.cli import app; import sys; app(['list', 'systems'], standalone_mode=False)"
    check += "; print([name for name in ('torch', 'pandas', 'scipy', 'librosa') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def _lines(kind: str, pattern: str = "") -> list[str]:
    return invoke("list", kind, *([pattern] if pattern else [])).stdout.splitlines()


def test_show_prints_json() -> None:
    (found,) = json.loads(invoke("show", "mel_distance", "--json").stdout)
    assert (found["kind"], found["name"]) == ("metric", "mel_distance")
    assert [tuple(fact) for fact in found["facts"]] == describe("mel_distance")[0].facts
