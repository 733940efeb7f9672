"""The installed wheel is complete: what ships at the top level is found from inside it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROBE = """
from edge_daemon import resources as r
for place in (r.profiles_dir(), r.systemd_dir(), r.models_dir(), r.docs_dir()):
    print(place)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=repository,
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


def names_below(folder: Path, root: Path) -> set[str]:
    return {
        str(path.relative_to(root))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_everything_that_ships_is_in_the_wheel(wheel: Path, repository: Path):
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"edge_daemon/_shipped/{name}"
        for top in ("firmware_profiles", "systemd")
        for name in names_below(repository / top, repository)
    } | {
        name
        for part in ("models", "docs", "store/migrations", "reference/shipped")
        for name in names_below(repository / "edge_daemon" / part, repository)
    }
    assert len(expected) > 20
    assert expected <= inside


def test_installed_wheel_finds_its_own_files(wheel: Path, tmp_path: Path):
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    shown = subprocess.run(
        [sys.executable, "-S", "-c", PROBE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert len(shown) == 4
    for line in shown:
        place = Path(line)
        assert place.is_relative_to(target)
        assert any(place.iterdir())
