"""A box with nothing to do writes next to nothing: cards wear out (R17)."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from .conftest import wait

PER_HOUR = 1_000_000
BEATS_PER_HOUR = 360
BEATS = 40


def written(pid: int) -> int:
    """Bytes that a process has sent to the disk."""
    said = Path(f"/proc/{pid}/io").read_text()
    return int(re.findall(r"^write_bytes: (\d+)$", said, re.MULTILINE)[0])


def test_forty_turns_of_an_idle_box_write_less_than_their_share(box, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        box.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="300000")

        def beats(count):
            while count:
                count -= manager.recv(200) == b"WATCHDOG=1"

        wait(lambda: len(box.workers()) == 2)
        beats(BEATS)
        # The backup and check of every day fall into one of these windows on a slow machine.
        found = min(_window(box, beats) for _ in range(2))
    assert found <= PER_HOUR * BEATS // BEATS_PER_HOUR
    print(f"{found} bytes in {BEATS} turns")  # noqa: T201 - the figure of the requirement


def _window(box, beats) -> int:
    pids = [box.pid, *box.workers()]
    before = sum(map(written, pids))
    beats(BEATS)
    return sum(map(written, pids)) - before
