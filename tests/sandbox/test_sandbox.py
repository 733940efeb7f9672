"""A confined process: what it can and cannot do, with either part of the kernel alone too."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import attacks
import pytest

from edge_daemon import sandbox
from edge_daemon.sandbox import landlock, syscalls

NO_LANDLOCK = "sandbox.landlock.abi = lambda: 0"
NO_FILTER = "sandbox.syscalls.available = lambda: False"
READ_OUTSIDE = {"read", "list", "read of the service"}

needs_landlock = pytest.mark.skipif(
    landlock.abi() == 0, reason="system: this kernel has no Landlock"
)
needs_filter = pytest.mark.skipif(
    not syscalls.available(), reason="system: this kernel has no system-call filter"
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    with sqlite3.connect(folder / "edge.sqlite3") as db:
        db.execute("CREATE TABLE runs (id INTEGER)")
    return folder / "edge.sqlite3"


@pytest.fixture
def tried(tmp_path: Path, target: Path):
    readable = tmp_path / "archive"
    readable.mkdir()
    (readable / "capture").write_bytes(b"FCS")

    def run(*changes: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, attacks.__file__, readable, target, *changes],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    return run


def state(folder: Path) -> dict[str, tuple]:
    return {
        path.name: (os.lstat(path).st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.iterdir()
    }


def succeeded(outcome: dict[str, str]) -> set[str]:
    return {name for name, what in outcome.items() if what == "done"}


@needs_landlock
@needs_filter
def test_nothing_is_left_to_a_confined_process(tried, target):
    before = state(target.parent)
    assert succeeded(tried()) == set()
    assert state(target.parent) == before


@needs_filter
def test_the_filter_alone_leaves_nothing_but_reading(tried, target):
    before = state(target.parent)
    assert succeeded(tried(NO_LANDLOCK)) == READ_OUTSIDE
    assert state(target.parent) == before


@needs_landlock
@pytest.mark.parametrize("version", range(1, 8))
def test_landlock_alone_keeps_files_whatever_its_version(tried, target, version):
    if version > landlock.abi():
        pytest.skip(f"this kernel has version {landlock.abi()}")
    before = target.read_bytes()
    done = succeeded(tried(NO_FILTER, f"sandbox.landlock.abi = lambda: {version}"))
    # Before version 3 it does not know of truncation, and it never knew of modes and owners.
    unknown = {"change mode", "change owner", "change time", "change attribute"}
    unknown |= {"truncate", "empty"} if version < 3 else set()
    assert done & set(attacks.WRITING) <= unknown
    assert not done & {*READ_OUTSIDE, "exec", "spawn"}
    assert version < 3 or target.read_bytes() == before
    if version >= 6:
        assert "signal to the service" not in done


def test_without_either_nothing_can_still_be_written_into_a_file(tried, target):
    done = succeeded(tried(NO_LANDLOCK, NO_FILTER, "del REACHING['exec']"))
    assert not done & {"change the database", "append", "overwrite"}
    assert "unlink" in done  # so that the attacks are known to bite


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setattr(syscalls, "available", lambda: False)
    assert sandbox.missing() == ("landlock", "filter")
    monkeypatch.setattr(landlock, "abi", lambda: 1)
    assert sandbox.missing() == ("filter",)


def test_a_machine_whose_calls_are_not_known_has_no_filter(monkeypatch):
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "riscv64")
    assert not syscalls.available()


def test_a_process_with_threads_is_not_confined_by_half():
    code = (
        "import threading; from edge_daemon.sandbox import confine\n"
        "stop = threading.Event(); threading.Thread(target=stop.wait).start()\n"
        "try: confine([])\n"
        "finally: stop.set()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "before it starts threads" in done.stderr


HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), 0),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), 1),
}


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels_own(machine):
    header, column = HEADERS[machine]
    if not header.is_file():
        pytest.skip(f"system: {header} of linux-libc-dev is not installed")
    written = dict(
        re.findall(r"^#define\s+__NR(?:3264)?_(\w+)\s+(\d+)\s*$", header.read_text(), re.MULTILINE)
    )
    for name, numbers in (syscalls.DENIED | syscalls.JUDGED).items():
        expected = written.get(name)
        assert numbers[column] == (None if expected is None else int(expected)), name


@pytest.mark.parametrize("machine", HEADERS)
def test_every_path_through_the_filter_ends_in_a_verdict(machine):
    steps = syscalls.program(machine, 4711)
    assert len(steps) < 4096
    for at, step in enumerate(steps):
        if step.code in {syscalls._EQUAL, syscalls._AT_LEAST}:
            assert at + 1 + max(step.when_true, step.when_false) < len(steps)
    assert steps[-1] == (syscalls._RETURN, syscalls._ALLOW, 0, 0)


def _verdict(machine: str, own: int, name: int, number: int, *arguments: int) -> int:
    """Run the program as the kernel does."""
    words = {0: number, 4: name} | {16 + 8 * i: a & 0xFFFFFFFF for i, a in enumerate(arguments)}
    at = register = 0
    steps = syscalls.program(machine, own)
    while True:
        step = steps[at]
        at += 1
        if step.code == syscalls._RETURN:
            return step.operand
        if step.code == syscalls._LOAD:
            register = words.get(step.operand, 0)
        elif step.code == syscalls._AND:
            register &= step.operand
        else:
            equal = step.code == syscalls._EQUAL
            true = register == step.operand if equal else register >= step.operand
            at += step.when_true if true else step.when_false


@pytest.mark.parametrize(("machine", "name"), [("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)])
def test_the_filter_decides_as_written_on_either_machine(machine, name):
    column = HEADERS[machine][1]

    def decide(call, *arguments):
        number = (syscalls.DENIED | syscalls.JUDGED)[call][column]
        return _verdict(machine, 4711, name, number, *arguments)

    allow, refuse, unknown = syscalls._ALLOW, syscalls._ERROR | 1, syscalls._ERROR | 38
    assert decide("openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC) == allow
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_TMPFILE | os.O_RDWR):
        assert decide("openat", 0, 0, flags) == refuse
    assert decide("openat2") == decide("clone3") == unknown
    assert decide("clone", 0x10000 | 0x100) == allow
    assert decide("clone", 0x100) == refuse
    assert decide("kill", 4711) == decide("tgkill", 4711) == decide("prlimit64", 0) == allow
    assert decide("kill", 1) == decide("kill", -1) == decide("prlimit64", 4711) == refuse
    assert decide("ioctl", 0, 0x5412) == decide("prctl", 1) == refuse
    assert decide("ioctl", 0, 0x5401) == decide("prctl", 15) == allow
    denied = [n[column] for n in syscalls.DENIED.values() if n[column] is not None]
    assert {_verdict(machine, 4711, name, n) for n in denied} == {refuse}
    assert _verdict(machine, 4711, name, 0x40000000 + 1) == unknown
    assert _verdict(machine, 4711, 0x40000003, 1) == syscalls._KILL
