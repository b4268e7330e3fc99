"""The audit of dependencies: allowed licences, and the results of pip-audit."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    return importlib.import_module("audit")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("LGPL-2.1-or-later", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-or-later", False),
        ("MIT AND GPL-2.0-only", False),
        ("GNU Affero General Public License v3", False),
        ("CC BY-NC 4.0", False),
        ("none stated", False),
        ("Other/Proprietary License", False),
    ],
)
def test_licences(audit: ModuleType, text: str, allowed: bool) -> None:
    assert audit.is_allowed("some-package", text) is allowed


def test_exceptions_are_by_name(audit: ModuleType) -> None:
    assert audit.is_allowed("music2latent", "CC BY-NC 4.0")
    assert audit.is_allowed("nvidia-cudnn-cu13", "LicenseRef-NVIDIA-Proprietary")


def test_the_installed_packages_pass(audit: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["audit.py", "--pip-audit", "/nowhere/pip-audit"])
    audit.main()
    printed = capsys.readouterr().out
    assert "NOT ALLOWED" not in printed and "NOT LOOKED FOR" in printed
    core = printed.partition("\ncodecs\n")[0]
    assert "librosa" in core and "torch" in core and "hypothesis" not in core and "music2latent" not in core


def test_a_vulnerability_with_a_fix_fails(audit: ModuleType, monkeypatch, capsys) -> None:
    fault = {"id": "PYSEC-1", "fix_versions": ["9"]}
    unfixed = {"name": "b", "version": "1", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
    skipped = {"name": "c", "skip_reason": "not found"}
    found = audit.parse_answer(
        json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": [fault]}, unfixed, skipped]})
    )
    assert found.n_asked == 2 and found.known == [("a", "1", "PYSEC-1", "9"), ("b", "1", "PYSEC-2", "")]
    monkeypatch.setattr(sys, "argv", ["audit.py"])
    monkeypatch.setattr(audit, "groups", lambda: {"core": {}})
    monkeypatch.setattr(audit, "vulnerabilities", lambda packages, tool: found)
    with pytest.raises(SystemExit, match="a 1: PYSEC-1; take 9"):
        audit.main()
    assert "b 1: PYSEC-2, mended in no release yet" in capsys.readouterr().out


def test_an_empty_answer_is_an_error(audit: ModuleType, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["audit.py"])
    monkeypatch.setattr(audit, "groups", lambda: {"core": {}})
    monkeypatch.setattr(audit, "vulnerabilities", lambda packages, tool: audit.Answer([], 0))
    audit.main()
    assert "NOT LOOKED FOR" in capsys.readouterr().out
