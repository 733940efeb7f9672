"""Rules about the repository itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.longest_first import LONGEST, TOGETHER

TOP_LEVEL = re.compile(
    r"pyproject\.toml|edge_daemon|firmware_profiles|systemd|tests|README\.md|LICENSE"
    r"|CHANGELOG\.md|CONTRIBUTING\.md|constraints[^/]*\.txt|\..*"
)


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[str]:
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, check=True, capture_output=True, text=True
    )
    return [name for name in listing.stdout.split("\0") if name]


def test_top_level_is_fixed(tracked: list[str]):
    assert [name for name in tracked if not TOP_LEVEL.fullmatch(name.split("/")[0])] == []


def test_no_lock_file_names_an_index(repository: Path):
    locks = sorted(repository.glob("constraints*.txt"))
    assert len(locks) == 2
    for lock in locks:
        assert "://" not in lock.read_text()


def test_every_locked_package_has_a_hash(repository: Path):
    for lock in repository.glob("constraints*.txt"):
        blocks = re.split(r"\n(?=[a-z])", lock.read_text())
        assert all("--hash=sha256:" in block for block in blocks)


def test_runtime_lock_holds_no_training_framework(repository: Path):
    locked = (repository / "constraints.txt").read_text()
    assert not re.search(r"^(jax|jaxlib|torch|onnx|scikit-learn)==", locked, re.MULTILINE)


def test_what_runs_first_is_there(repository: Path):
    for name in (*LONGEST, *TOGETHER):
        assert (repository / name).exists(), name


def test_no_source_file_outgrows_one_reason_to_exist(repository: Path, tracked: list[str]):
    sources = [n for n in tracked if n.startswith("edge_daemon/") and n.endswith(".py")]
    lengths = {n: len((repository / n).read_text().splitlines()) for n in sources}
    assert {n: length for n, length in lengths.items() if length > 450} == {}
