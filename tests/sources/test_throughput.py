"""How many bytes a second come through a pseudo-terminal, journal, framer and store."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from edge_daemon.simulator import wire

MESSAGES, SIZE = 8, 5 << 20
OPTIONS = {**wire.PACKET_FRAMING, "acknowledge": "", "refuse": ""}
SEND = """
import sys
data = memoryview(open(sys.argv[1], "rb").read())
with open(int(sys.argv[2]), "wb", buffering=0) as line:
    while data:
        data = data[line.write(data):]
"""


@pytest.mark.campaign
def test_a_serial_line_sustains_five_megabytes_a_second(lines, wait_until):
    """Of one core: CPU time is what counts, for the machine may be busy."""
    rng = random.Random(1)
    sent = [rng.randbytes(SIZE) for _ in range(MESSAGES)]
    runs = [wire.packet_run(message, payload_size=4096) for message in sent]
    stream = lines.folder / "stream"
    stream.write_bytes(b"".join(packet for run in runs for packet in run))
    lines.serial("packet", options=OPTIONS, max_journal=64 << 20)
    line = lines.line()
    code = [sys.executable, "-c", SEND, str(stream), str(line._handle)]
    cpu, wall = time.process_time(), time.monotonic()
    subprocess.run(code, pass_fds=[line._handle], check=True)
    size = stream.stat().st_size / 1e6
    wait_until(lambda: lines.store.pending() and len(lines.store.pending()) == MESSAGES)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    rate = f"{size:.0f} MB: {size / cpu:.1f} MB/s of one core, {size / wall:.1f} MB/s elapsed"
    print(rate)  # noqa: T201 - the figure itself, shown with -s
    assert lines.whole() == sorted(sent)
    assert size / cpu > 5.0
