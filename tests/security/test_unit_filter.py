"""What the unit's filter must let the service do, tried under the same filter."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys

import pytest

from edge_daemon.resources import systemd_dir

UNIT = systemd_dir() / "edge-daemon.service"
CLOCK = {
    "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64",
    "settimeofday",
}  # fmt: skip
"""systemd's @clock, a part of @privileged, and all that ProtectClock= refuses: reading as well."""
RESOURCES = {
    "ioprio_set", "mbind", "migrate_pages", "move_pages", "nice", "sched_setaffinity",
    "sched_setattr", "sched_setparam", "sched_setscheduler", "set_mempolicy", "setpriority",
    "setrlimit", "prlimit64",
}  # fmt: skip
"""systemd's @resources."""

CONFINED = """
import ctypes, os, sys
lib = ctypes.CDLL(sys.argv[1])
lib.seccomp_init.restype = ctypes.c_void_p
rules = ctypes.c_void_p(lib.seccomp_init(0x7FFF0000))
for name in sys.argv[2].split():
    number = lib.seccomp_syscall_resolve_name(name.encode())
    assert number < 0 or lib.seccomp_rule_add(rules, 0x00050001, number, 0) == 0
assert lib.seccomp_load(rules) == 0
os.execvp(sys.argv[3], sys.argv[3:])
"""


def refused() -> set[str]:
    """Calls of both sets that the unit refuses, as systemd reads it."""
    told = CLOCK | RESOURCES
    text = UNIT.read_text()
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "SystemCallFilter" and not value.startswith(("~", "@")):
            told = told - set(value.split())
    assert "\nSystemCallFilter=~@privileged @resources\n" in text
    return told | CLOCK if "\nProtectClock=yes" in text else told


def confined(*command: str) -> str:
    """Run a command under the filter."""
    library = ctypes.util.find_library("seccomp")
    if library is None:
        pytest.skip("system: libseccomp is not installed")
    asked = [sys.executable, "-c", CONFINED, library, " ".join(sorted(refused())), *command]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def test_the_service_can_ask_who_sets_the_clock():
    """Else no certificate is renewed in time, no update is taken, and no time is believed."""
    asked = "from edge_daemon.clock import clock_state; print(clock_state())"
    assert confined(sys.executable, "-c", asked) in ("synchronised", "unsynchronised")


def test_what_the_service_asks_for_can_be_of_low_priority():
    assert int(confined("nice", "-n", "10", "nice")) == min(os.nice(0) + 10, 19)


def test_nothing_could_set_the_clock():
    assert "\nCapabilityBoundingSet=\n" in UNIT.read_text()
    assert {"clock_settime", "settimeofday"} <= refused()
