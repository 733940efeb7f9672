"""The README's commands and links hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def command(readme: str, name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", readme, re.DOTALL)
    assert found, f"the README holds no {name}"
    return found[1].strip()


@pytest.mark.parametrize("name", ["demo-command", "test-command"])
def test_each_command_is_one_line(readme: str, name: str):
    assert "\n" not in command(readme, name)


def test_commands_install_only_what_is_locked(readme: str, repository: Path):
    for name in ("demo-command", "test-command"):
        line = command(readme, name)
        (lock,) = re.findall(r"--require-hashes -r (\S+)", line)
        assert (repository / lock).is_file()
        assert "--no-deps" in line


def test_every_link_leads_somewhere(readme: str, repository: Path):
    targets = re.findall(r"\]\(([^)#]+)\)", readme)
    assert len(targets) > 5
    assert [target for target in targets if not (repository / target).exists()] == []


def test_every_page_is_reachable_from_the_readme(readme: str, repository: Path):
    pages = {path.name for path in (repository / "edge_daemon/docs").glob("*.md")}
    linked = {Path(target).name for target in re.findall(r"\]\(([^)#]+\.md)\)", readme)}
    assert pages - linked == set()
