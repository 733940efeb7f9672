"""Serve chunks of inputs: one JSON request a line on stdin, one JSON answer a line on stdout."""

from __future__ import annotations

import contextlib
import json
import sys

from fuzz_engine import install, limit_memory, run_chunk
from fuzz_targets import TARGETS

from edge_daemon.errors import EdgeError


def main() -> None:
    """Serve until the input ends."""
    targets = {target.name: target for target in TARGETS}
    for target in TARGETS:  # import what is needed, before memory is counted
        for seed in target.seeds():
            for reader in target.readers.values():
                with contextlib.suppress(EdgeError, *target.also):
                    reader(seed)
    install()
    limit_memory()
    for line in sys.stdin:
        asked = json.loads(line)
        target = targets[asked.pop("target")]
        sys.stdout.write(run_chunk(target, **asked).as_json() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
