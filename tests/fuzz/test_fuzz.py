"""Damaged inputs of every kind: nothing but our own errors, in bounded time and memory.

The short version of ``fuzz_campaign.py`` (docs/fuzzing.md), in one process of its own, so that code
that is not ours may crash there. The seed changes with the day of a release only: a commit is
judged by the same inputs as the one before it.
"""

from __future__ import annotations

import json

import pytest
from fuzz_campaign import Job, Server, plan, table
from fuzz_engine import Chunk, Target, run_chunk, try_input
from fuzz_targets import TARGETS

from edge_daemon.errors import Quarantine

SEED = 20_261_128
SHORT = {
    "fcs": 8_000, "table": 8_000, "records": 8_000, "pulses": 8_000, "astm": 3_000,
    "astm frames": 8_000, "astm matrix": 8_000, "hl7": 4_000, "draft": 2_000,
    "framing astm": 5_000, "framing mllp": 6_000, "framing packet": 2_000, "framing block": 4_000,
    "framing options": 6_000, "profile": 2_000, "calibration": 3_000, "config": 5_000,
    "bundle manifest": 1_000, "bundle model": 200, "bundle vectors": 200, "worker answer": 6_000,
    "sync": 6_000, "pictures": 2_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.end()


@pytest.mark.parametrize("name", [target.name for target in TARGETS])
def test_nothing_but_our_own_errors(server, name):
    chunk = server.run(Job(0, name, SEED, SHORT[name]))
    assert [f"{f['kind']} {f['reader']}: {f['detail']}" for f in chunk["findings"]] == []
    assert chunk["inputs"] == SHORT[name]
    assert chunk["read"] > 0  # some damage does not matter, so the rest of the reader is reached
    assert chunk["errors"] or name.startswith("framing")


def test_the_short_version_is_of_the_size_it_claims():
    assert list(SHORT) == [target.name for target in TARGETS]
    assert 95_000 < sum(SHORT.values()) < 115_000
    assert sum(job.inputs for job in plan(1_000_000, 1)) >= 1_000_000


def _target(reader):
    return Target("one", lambda: [b"abc123"], {"read": reader})


def wrong(data):
    raise {0: KeyError, 1: MemoryError}[len(data) % 2]


def test_a_seed_always_gives_the_same_inputs():
    seen = ([], [], [])
    for inputs, seed in zip(seen, (1, 1, 2), strict=True):
        run_chunk(_target(inputs.append), 0, seed, 50)
    assert seen[0] == seen[1] != seen[2]


def test_what_the_fuzzer_looks_for_is_found(server):
    chunk = Chunk("one", 0, 0)
    assert try_input(_target(wrong), b"ab", chunk) == ("KeyError",)
    assert try_input(_target(wrong), b"a", chunk) == ("MemoryError",)
    assert [f.kind for f in chunk.findings] == ["uncaught", "memory"]

    def refusing(data):
        raise Quarantine("malformed", "no")

    assert try_input(_target(refusing), b"a", chunk) == ("no",)
    assert chunk.errors == {"Quarantine malformed": 1}
    assert "| one | 0 |" not in table([])
    dead = Server()
    dead.process.kill()
    assert dead.run(Job(0, "fcs", 1, 1))["findings"][0]["kind"] == "died"
    dead.end()
    assert json.loads(chunk.as_json())["findings"][0]["data"] == b"ab".hex()
