"""Damaged streams by the thousand: no error, no split-dependence, no loss of what comes after.

The short version runs with every commit, the campaign for hours of bad lines at once::

    pytest -m campaign tests/sources/framing
"""

from __future__ import annotations

import random

import pytest

from edge_daemon.simulator.wire import (
    ENQ,
    EOT,
    PACKET_FRAMING,
    astm_frames,
    block,
    mllp_block,
    packet_run,
)

RESULT = b"MSH|^~\\&|V|C|L|P|||ORU^R01|1|P|2.3.1\rOBX|1|NM|RBC||7.1\r"
RECORDS = b"H|\\^&|||sim\rO|1|s1\rR|1|^^^RBC|7.1\rL|1|N\r"
SIGNALS = bytes(range(64))
WITHOUT = {"without_session": True, "without_line_feed": True}

SENDERS = {
    "astm": ({}, [ENQ, *astm_frames(RECORDS), EOT]),
    "astm, lenient": (WITHOUT, astm_frames(RECORDS, text_size=30)),
    "mllp": ({}, [mllp_block(RESULT)]),
    "packet": (PACKET_FRAMING, packet_run(SIGNALS, payload_size=20)),
    "block": ({"acknowledge": "06", "refuse": "15"}, [block(b"RES", b"7.1\t300")]),
}
MESSAGES = {
    "astm": RECORDS,
    "astm, lenient": RECORDS,
    "mllp": RESULT,
    "packet": SIGNALS,
    "block": b"RES\x027.1\t300",
}
MEANT = b"\x00\x01\x02\x03\x04\x05\x06\x0a\x0b\x0d\x15\x17\x1c\x5a\xa5\xff"


def damaged(stream: bytes, chance: random.Random) -> bytes:
    """Change, lose, add, cut, double or swap some of the bytes."""
    for _ in range(chance.randrange(1, 5)):
        at, span = chance.randrange(len(stream) + 1), chance.choice([1, 1, 1, 2, 5, 30])
        put = chance.choice(
            [
                b"",
                bytes([chance.choice(MEANT)]),
                chance.randbytes(span),
                bytes(chance.choices(MEANT, k=span)),
                stream[at : at + span] * 2,
            ]
        )
        stream = stream[:at] + put + stream[at + chance.choice([0, span]) :]
    return stream


def storm(line, pieces, sender: str, seed: int, count: int) -> int:
    """Send damaged streams, each followed by a pause and a good one; count false messages."""
    chance = random.Random(seed)
    framing = sender.partition(",")[0]
    options, sent = SENDERS[sender]
    whole, false = b"".join(sent), 0
    for _ in range(count):
        stream = damaged(whole, chance)
        cuts = [chance.randrange(len(stream) + 1) for _ in range(6)]
        one, other = line(framing, options), line(framing, options)
        one.feed(stream)
        other.feed(*pieces(stream, cuts))
        assert one.actions == other.actions, stream
        one.wait(120)
        assert one.framer.deadline is None, stream
        false += sum(message != MESSAGES[sender] for message in one.messages)
        one.actions.clear()
        one.feed(*sent)
        assert one.messages == [MESSAGES[sender]], stream
    return false


@pytest.mark.parametrize("sender", SENDERS)
def test_a_short_storm(line, pieces, sender):
    false = storm(line, pieces, sender, seed=1, count=1500)
    if sender == "packet":
        assert false == 0


@pytest.mark.campaign
@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("seed", range(4))
def test_a_long_storm(line, pieces, sender, seed):
    count = 50_000
    false = storm(line, pieces, sender, seed=1000 + seed, count=count)
    if sender == "packet":
        assert false == 0, "a CRC of 32 bits lets one in 4 billion damaged packets pass"
    elif sender.startswith("astm"):
        assert false < count / 256, "a sum of 8 bits lets one in 256 damaged frames pass"
