"""The packages that this one rests on: their licences, and the known vulnerabilities that have a fix.

    python scripts/audit.py [--pip-audit PATH]

Reads what is installed. Fails on a licence outside `ALLOWED` or a vulnerability that a release mends; without network the
vulnerabilities are left out, which is said.

Which licences are allowed, and why: permissive ones ask for their notice alone. MPL-2.0 and the LGPL ask that changes to
*their own* files stay open; we import such packages unchanged, and whoever installs them can replace them. The GPL and the
AGPL would reach into the code of whoever ships this package with theirs; non-commercial ones bar companies. Neither is
allowed, with the exceptions below.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 25
ALLOWED = re.compile(
    r"(new |modified |3-clause |2-clause |0)?bsd( license)?|bsd-[23]-clause|0bsd|(the )?mit( license)?|mit-0|mit-cmu"
    r"|apache([ -]software)?([ -]license)?([ ,-]*(version )?2(\.0)?)?( license)?( with llvm-exception)?"
    r"|isc( license)?( \(iscl\))?|psf-2\.0|python software foundation license|python-2\.0|cnri-python"
    r"|zlib|cc0-1\.0|unlicense|the unlicense \(unlicense\)|bsl-1\.0|hpnd|zpl-2\.1"
    r"|mpl-2\.0|mozilla public license 2\.0 \(mpl 2\.0\)"
    r"|lgpl-[23]\.[01](-only|-or-later)?|gnu lesser general public license v[23].*"
    r"|nvidia proprietary software|licenseref-nvidia.*|other/proprietary license",
    re.IGNORECASE,
)
EXCEPTIONS = {
    "codicodec": "CC BY-NC: in an extra of its own, imported by the system of its name alone, not shipped",
    "docutils": "public domain and BSD; its GPL part is an editor mode that is not installed; builds the docs alone, not shipped",
    "linear-cae": "Apache-2.0, in the LICENSE file of its wheel; its metadata names none",
    "music2latent": "CC BY-NC: in an extra of its own, imported by `music2latent-authors` alone, not shipped",
    "snac": "MIT, in the LICENSE file of its wheel; its metadata names none",
}
# PyTorch's CUDA builds bring NVIDIA's libraries under its own terms: redistributable, not open. Nothing else may be so.
PROPRIETARY = re.compile(r"nvidia|other/proprietary", re.IGNORECASE)


class Answer(NamedTuple):
    """Of pip-audit: (package, version, vulnerability, releases that mend it), and how many packages it knew."""

    known: list[tuple[str, str, str, str]]
    n_asked: int


def requirements(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Installed packages that the requirements lead to, themselves included: canonical name -> version."""
    found: dict[str, str] = {}
    waiting = [Requirement(name) for name in names]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        try:
            package = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        found[canonicalize_name(requirement.name)] = package.version
        extras = sorted({"", *requirement.extras})
        for line in package.requires or []:
            further = Requirement(line)
            if further.marker is None or any(further.marker.evaluate({**environment, "extra": e}) for e in extras):
                waiting.append(further)
    return found


def licence(name: str) -> str:
    """A package's licence: its SPDX expression, else its classifiers, else the first line of what it says."""
    metadata = distribution(name).metadata
    classifiers = [
        c.rpartition("::")[2].strip() for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    said = " AND ".join(c for c in classifiers if c != "OSI Approved")
    # What a metadata field says in full often begins with a blank line.
    return (metadata.get("License-Expression") or said or (metadata.get("License") or "none stated").strip()).split(
        "\n"
    )[0]


def is_allowed(name: str, text: str) -> bool:
    """Whether one of the alternatives asks for nothing that is not allowed."""
    if name in EXCEPTIONS:
        return True
    if PROPRIETARY.search(text) and not name.startswith(("nvidia-", "cuda-")):
        return False
    alternatives = re.split(r"\s+or\s+(?!later)", text.strip(), flags=re.IGNORECASE)
    return any(
        all(map(_known, re.split(r"\s+and\s+|;|/(?!proprietary)", part, flags=re.IGNORECASE))) for part in alternatives
    )


def _known(text: str) -> bool:
    text = text.strip()
    bare = text.strip("() ")
    return bool(ALLOWED.fullmatch(text) or ALLOWED.fullmatch(bare))


def groups() -> dict[str, dict[str, str]]:
    """``core`` and each extra -> the packages that only it brings."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = requirements(project["dependencies"], {})
    result, known = {"core": core}, set(core)
    for extra, names in project["optional-dependencies"].items():
        own = requirements([name for name in names if not name.startswith("m2l-bench")], {})
        if extra != "all":
            result[extra] = {name: version for name, version in own.items() if name not in known}
            known |= set(own)
    return result


def vulnerabilities(packages: Mapping[str, str], tool: str) -> Answer | None:
    """Ask pip-audit; None where it cannot be asked."""
    lines = "\n".join(f"{name}=={version.partition('+')[0]}" for name, version in sorted(packages.items()))
    command = [tool, "--requirement", "/dev/stdin", "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=SECONDS)
        return parse_answer(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError):
        return None


def parse_answer(text: str) -> Answer:
    """Read pip-audit's JSON; a package that it could not look up is no clean one."""
    answer: dict[str, Any] = json.loads(text)
    found = [
        (package["name"], package["version"], fault["id"], ", ".join(fault["fix_versions"]))
        for package in answer["dependencies"]
        for fault in package.get("vulns", ())
    ]
    return Answer(found, sum("skip_reason" not in package for package in answer["dependencies"]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Licences and known vulnerabilities of the dependencies.")
    parser.add_argument("--pip-audit", default=shutil.which("pip-audit") or "pip-audit")
    tool = parser.parse_args().pip_audit
    faults, packages = [], {}
    for group, members in groups().items():
        print(f"\n{group}\n")
        for name, version in sorted(members.items()):
            packages[name] = version
            text = licence(name)
            note = "" if is_allowed(name, text) else "NOT ALLOWED"
            print(f"{name:28} {version:16} {text:60} {EXCEPTIONS.get(name, note)}".rstrip())
            faults += [f"{name} {version}: licence {text!r} is not among the allowed"] if note else []
    found = vulnerabilities(packages, tool)
    if found is None or not found.n_asked:
        print("\nVulnerabilities: NOT LOOKED FOR; pip-audit is missing, or its service cannot be reached from here")
    else:
        print(f"\nVulnerabilities: {len(found.known)} known in {found.n_asked} of {len(packages)} packages")
        for name, version, which, mended in found.known:
            print(f"{name} {version}: {which}, mended in {mended or 'no release yet'}")
            faults += [f"{name} {version}: {which}; take {mended}"] if mended else []
    if faults:
        raise SystemExit("\n" + "\n".join(faults))


if __name__ == "__main__":
    main()
