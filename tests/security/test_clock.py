"""The service under its unit's filter still learns whether a time server sets the clock."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys

import pytest

from edge_daemon.resources import systemd_dir

CLOCK = {
    "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64",
    "settimeofday",
}  # fmt: skip
"""systemd's @clock, a part of @privileged, and all that ProtectClock= refuses: reading as well."""

ASKED = """
import ctypes, sys
lib = ctypes.CDLL(sys.argv[1])
lib.seccomp_init.restype = ctypes.c_void_p
rules = ctypes.c_void_p(lib.seccomp_init(0x7FFF0000))
for name in sys.argv[2:]:
    number = lib.seccomp_syscall_resolve_name(name.encode())
    assert number < 0 or lib.seccomp_rule_add(rules, 0x00050001, number, 0) == 0
assert lib.seccomp_load(rules) == 0
from edge_daemon.clock import clock_state
print(clock_state())
"""


def refused() -> set[str]:
    """Calls of @clock that the unit refuses, as systemd reads it."""
    told = set(CLOCK)
    text = (systemd_dir() / "edge-daemon.service").read_text()
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "SystemCallFilter":
            names = set(value.removeprefix("~").split())
            if value.startswith("~"):
                told |= CLOCK if {"@privileged", "@clock"} & names else CLOCK & names
            else:
                told -= names
    return CLOCK if "\nProtectClock=yes" in text else told


def test_the_unit_lets_the_service_ask_who_sets_the_clock():
    """Else no certificate is renewed in time, no update is taken, and no time is believed."""
    library = ctypes.util.find_library("seccomp")
    if library is None:
        pytest.skip("system: libseccomp is not installed")
    asked = [sys.executable, "-c", ASKED, library, *sorted(refused())]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("synchronised", "unsynchronised")


def test_nothing_in_the_unit_could_set_the_clock():
    text = (systemd_dir() / "edge-daemon.service").read_text()
    assert "\nCapabilityBoundingSet=\n" in text
    assert {"clock_settime", "settimeofday"} <= refused()
