"""What the product depends on: locked, of a known licence, and audited without pretence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PERMISSIVE = {
    "0BSD", "APACHE-2.0", "BSD-2-CLAUSE", "BSD-3-CLAUSE", "CC0-1.0", "MIT", "MIT-0", "PSF-2.0",
    "ZLIB",
}  # fmt: skip
# What older metadata say in words, and the expression that it stands for.
IN_WORDS = {
    "apache 2.0": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "mit": "MIT",
    "mit license": "MIT",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
}
NOT_OURS = {"edge-daemon", "pip", "setuptools", "wheel"}


def locked(file: Path) -> dict[str, set[str]]:
    """Versions of a lock file by package; several where they depend on the Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9._-]+)==([^ \\;]+)", file.read_text(), re.MULTILINE
    ):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def closure(repository: Path) -> dict[str, metadata.Distribution]:
    """Every package that the product needs on a box, as installed here."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    found: dict[str, metadata.Distribution] = {}
    waiting = [(Requirement(text), frozenset({""})) for text in project["dependencies"]]
    while waiting:
        need, extras = waiting.pop()
        if need.marker and not any(need.marker.evaluate({"extra": e}) for e in extras):
            continue
        key = canonicalize_name(need.name)
        if key not in found:
            found[key] = metadata.distribution(key)
            inner = frozenset({"", *need.extras})
            waiting += [(Requirement(text), inner) for text in found[key].requires or ()]
    return found


@pytest.fixture(scope="module")
def needed(repository: Path) -> dict[str, metadata.Distribution]:
    found = closure(repository)
    assert len(found) > 25
    return found


def test_what_a_box_needs_is_locked_in_exactly_this_version(needed, repository):
    lock = locked(repository / "constraints.txt")
    wrong = {n: d.version for n, d in needed.items() if d.version not in lock.get(n, ())}
    assert wrong == {}


def test_the_environment_of_ci_holds_nothing_that_is_not_locked(repository):
    if os.environ.get("EDGE_REQUIRE_SYSTEM") != "1":
        pytest.skip("only an environment that CI made holds nothing else")
    lock = locked(repository / "constraints-test.txt")
    installed = {canonicalize_name(d.name): d.version for d in metadata.distributions()}
    loose = {n: v for n, v in installed.items() if n not in NOT_OURS and v not in lock.get(n, ())}
    assert loose == {}


def licences(dist: metadata.Distribution) -> set[str]:
    """SPDX identifiers of a distribution's licence."""
    about = dist.metadata
    if expression := about.get("License-Expression"):
        return set(re.findall(r"[A-Za-z0-9.-]+", expression)) - {"AND", "OR", "WITH"}
    words = [c.rsplit(" :: ", 1)[1] for c in about.get_all("Classifier", []) if "License ::" in c]
    words = words or [str(about.get("License") or "unknown").splitlines()[0]]
    return {IN_WORDS.get(word.lower(), word) for word in words}


def test_every_licence_is_known_and_permissive(needed):
    wrong = {
        name: sorted(found)
        for name, dist in needed.items()
        if not (found := licences(dist)) or not {f.upper() for f in found} <= PERMISSIVE
    }
    assert wrong == {}


TOOL = """#!{python}
import json, sys
from pathlib import Path
names = json.loads(Path({answers!r}).read_text())
asked = Path(sys.argv[sys.argv.index("-r") + 1])
print(json.dumps({{"dependencies": names["control" if asked.name == "control.txt" else "locked"]}}))
"""
CLEAN = [{"name": "numpy", "version": "2", "vulns": []}]
KNOWN = [
    {"name": "jinja2", "version": "2.10", "vulns": [{"id": "CVE-1"}]},
    {"name": "urllib3", "version": "1.24.1", "vulns": [{"id": "CVE-2"}]},
]
UNKNOWN = [{"name": "jinja2", "skip_reason": "not found"}, {"name": "x", "skip_reason": "?"}]


@pytest.fixture
def audit(tmp_path, repository):
    script = repository / ".ci" / "audit"
    if not script.exists():
        pytest.skip("not a checkout")

    def run(control, found):
        answers = tmp_path / "answers.json"
        answers.write_text(json.dumps({"control": control, "locked": found}))
        tool = tmp_path / "pip-audit"
        tool.write_text(TOOL.format(python=sys.executable, answers=str(answers)))
        tool.chmod(0o755)
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=repository,
            env={**os.environ, "PIP_AUDIT": str(tool)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    return run


def test_an_audit_that_could_not_look_says_so(audit):
    code, said = audit(UNKNOWN, [])
    assert (code, "NOT CHECKED" in said, "0 known" in said) == (0, True, False)
    code, said = audit(CLEAN, CLEAN)
    assert (code, "NOT CHECKED" in said) == (0, True)


def test_an_audit_of_clean_and_of_unknown_packages(audit):
    assert audit(KNOWN, CLEAN) == (0, "dependencies: 0 known vulnerabilities\n")
    code, said = audit(KNOWN, UNKNOWN)
    assert (code, "jinja2 NOT CHECKED" in said) == (0, True)


def test_an_audit_that_finds_something_fails(audit):
    code, said = audit(KNOWN, KNOWN)
    assert code == 1
    assert "jinja2 2.10 is vulnerable: CVE-1" in said
