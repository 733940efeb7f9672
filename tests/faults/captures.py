"""Small distinct captures at no cost: one simulated run under other sample ids."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path

from edge_daemon.simulator.cohort import simulate

EVENTS = 300


@functools.cache
def _template() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), samples=1, events=EVENTS, seed=5, firmware="1.0")
        data = min(Path(folder).glob("*.fcs")).read_bytes()
    before, mark, after = data.partition(b"|$SMNO|")
    assert mark, "the simulated file names its sample in $SMNO"
    sample, _, rest = after.partition(b"|")
    assert len(sample) == 9
    return before + mark, b"|" + rest


def capture(number: int) -> bytes:
    """Capture of sample `number`, below 10**9; every number gives other bytes."""
    before, after = _template()
    return b"%s%09d%s" % (before, number, after)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
