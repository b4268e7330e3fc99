"""The examples of README and CONTRIBUTING do what they say."""

from __future__ import annotations

from pathlib import Path

from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite

EXAMPLES = Path(__file__).parent / "examples"


def test_a_users_codec_gets_its_row(music_folder: Path, tmp_path: Path) -> None:
    suite = make_suite(
        {
            "systems": [f"{EXAMPLES}/my_codec.py:Downsampled", "identity"],
            "audio": [str(music_folder)],
            "metrics": ["si_sdr"],
        }
    )
    result = run_suite(suite, out=tmp_path / "run")
    values = {row.system: row.value for row in result.rows if row.statistic == "mean"}
    assert values["identity"] == 100.0
    assert 0 < values["my_codec.py:Downsampled"] < 60


def test_contributing_shows_the_example_that_is_tested() -> None:
    shown = (EXAMPLES.parent.parent / "CONTRIBUTING.md").read_text()
    code = (EXAMPLES / "my_codec.py").read_text()
    block = shown.split("```python\n")[1].split("```")[0]
    plain = [line.split("  #")[0].strip() for line in block.splitlines() if line.strip()]
    assert all(line in code for line in plain)
