"""strace on a service: kills, errors and recordings at exact system calls."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.bench import Box, wait


@contextlib.contextmanager
def traced(box: Box, *options: str, output: Path | None = None, **how: Any) -> Iterator[Path]:
    """Start the service under strace, attached before its first step.

    Yields
    ------
    Path
        What strace writes.
    """
    output = output or box.folder / "trace"
    gate = box.folder / "gate"
    gate.unlink(missing_ok=True)
    os.mkfifo(gate)
    box.start(gate=str(gate), **how)
    said = box.folder / "strace"
    with said.open("wb") as errors:
        tracer = subprocess.Popen(
            ["strace", "-f", "-e", "signal=none", *options, "-o", output, "-p", str(box.pid)],
            stderr=errors,
        )
    try:
        wait(lambda: b"attached" in said.read_bytes(), 30.0, "strace is attached")
        with gate.open("wb"):
            yield output
    finally:
        box.kill()
        tracer.wait()
