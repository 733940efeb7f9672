"""Fixtures every part of the suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Without bytecode each of the thousand processes that tests start would compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

REPOSITORY = Path(__file__).resolve().parent.parent
SYSTEM_SKIP = "system: "
"""Prefix of the reason of every skip for something that pip cannot bring."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Run the longest files first where `--dist loadfile` is asked for."""
    from tests.longest_first import LongestFirst

    return LongestFirst(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Folder of real files that nobody here wrote; never part of the repository."""
    folder = Path(os.environ.get("EDGE_CORPUS", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no corpus of real files at {folder} (set EDGE_CORPUS)")
    return folder


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's own environment out of the tests."""
    for name in ("EDGE_DAEMON_DATA", "EDGE_DAEMON_CONFIG", "NOTIFY_SOCKET", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail, in CI, a test that was skipped for want of a system package."""
    report = yield
    strict = os.environ.get("EDGE_REQUIRE_SYSTEM") == "1"
    if strict and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(SYSTEM_SKIP):
            report.outcome = "failed"
            report.longrepr = f"skipped where it must run: {reason}"
    return report
