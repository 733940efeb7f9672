"""Options from a configuration: every mistake is named, with what is expected."""

from __future__ import annotations

import pytest

from edge_daemon.errors import EXIT_BAD_CONFIG, Fatal
from edge_daemon.simulator.wire import PACKET_FRAMING
from edge_daemon.sources.framing import FRAMINGS, Deliver, make_framer

CRC = {"width": 16, "poly": 0x1021}
SHORT = {"sync": "7e", "header": 2, "length": {"offset": 1}, "crc": CRC}
ENDED = {"sync": "7e", "header": 1, "end": "0d", "crc": CRC}


def said(name: str, options: dict) -> str:
    with pytest.raises(Fatal) as caught:
        make_framer(name, options)
    assert caught.value.exit_code == EXIT_BAD_CONFIG
    assert caught.value.action
    return caught.value.message


def test_every_framing_is_made_by_its_name():
    assert FRAMINGS == ("astm", "block", "mllp", "packet")
    for name in ("astm", "block", "mllp"):
        assert make_framer(name, {}).deadline is None
    assert make_framer("packet", SHORT).deadline is None
    assert make_framer("packet", ENDED).deadline is None
    assert make_framer("packet", PACKET_FRAMING).deadline is None


def test_each_connection_gets_its_own_framer():
    one, two = make_framer("mllp", {}), make_framer("mllp", {})
    one.feed(b"\x0bMSH", 0.0)
    assert not any(isinstance(a, Deliver) for a in two.feed(b"|x\x1c\r", 0.0))


def test_an_unknown_framing_names_the_known():
    assert said("hl7", {}) == "unknown framing 'hl7'; expected one of astm, block, mllp, packet"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("astm", {"no_lf": True}, "unknown key no_lf; expected one of max_message, max_text, "),
        ("astm", {"max_text": "240"}, "max_text is '240'; expected a whole number"),
        ("astm", {"max_text": True}, "max_text is True; expected a whole number"),
        ("astm", {"max_text": 0}, "max_text is 0; expected 1 to 16777216"),
        ("astm", {"max_message": 1 << 40}, "expected 1 to 67108864"),
        ("astm", {"without_session": 1}, "without_session is 1; expected true or false"),
        ("mllp", {"silence_s": "3"}, "silence_s is '3'; expected a number"),
        ("mllp", {"silence_s": 0}, "silence_s is 0; expected 0.1 to 3600.0"),
        ("mllp", {"silence_s": float("nan")}, "silence_s is nan; expected 0.1 to 3600.0"),
        ("mllp", {"max_message": 0}, "max_message is 0; expected 1 to"),
        ("block", {"check": "crc"}, "check is 'crc'; expected one of sum, xor"),
        ("block", {"trailer": "4"}, "trailer is '4'; expected bytes as hexadecimal digits"),
        ("block", {"trailer": 4}, "trailer is 4; expected bytes as hexadecimal digits"),
        ("block", {"trailer": "00" * 9}, "length of trailer is 9; expected 0 to 8"),
        ("packet", {}, "key sync is missing"),
        ("packet", {**SHORT, "sync": ""}, "length of sync is 0; expected 1 to 16"),
        ("packet", {**SHORT, "crc": 16}, "crc is 16; expected a table of options"),
        ("packet", {**SHORT, "crc": {"width": 16}}, "key crc.poly is missing"),
        ("packet", {**SHORT, "crc": {**CRC, "order": "up"}}, "crc.order is 'up'; expected one of"),
        ("packet", {**SHORT, "crc": {**CRC, "polynom": 1}}, "unknown key crc.polynom"),
        ("packet", {**SHORT, "crc": {**CRC, "width": 99}}, "crc.width is 99; expected 8 to 32"),
        ("packet", {**SHORT, "crc": {**CRC, "start": 3}}, "crc.start is 3; expected it inside"),
        ("packet", {**SHORT, "length": {"offset": 1, "size": 5}}, "length.size is 5"),
        ("packet", {**SHORT, "length": {"offset": 2}}, "length ends at byte 3; expected it inside"),
        ("packet", {**SHORT, "end": "0d"}, "both given; expected exactly one of length and end"),
        ("packet", {**ENDED, "end": ""}, "neither given; expected exactly one of"),
        ("packet", {**ENDED, "escape": "0d"}, "expected an end of one other byte"),
        ("packet", {**ENDED, "end": "0d0a", "escape": "7d"}, "expected an end of one other byte"),
        ("packet", {**ENDED, "escape": "7d7d"}, "length of escape is 2; expected 1 to 1"),
        ("packet", {**ENDED, "escape": "7d", "escape_xor": 0}, "escape_xor is 0"),
        ("packet", {**ENDED, "escape": "7d", "escape_xor": 0x70}, "expected one that makes"),
        (
            "packet",
            {**SHORT, "kinds": {"offset": 1, "start": 1, "data": 1, "end": 3}},
            "kinds.start, data and end are 1, 1 and 3; expected three different codes",
        ),
        (
            "packet",
            {**SHORT, "kinds": {"offset": 1, "start": 1, "data": 2, "end": 3}},
            "kinds without sequence",
        ),
        ("packet", {**SHORT, "max_packet": 1 << 30}, "max_packet is 1073741824; expected 16 to"),
    ],
)
def test_a_wrong_option_is_named(name, options, message):
    text = said(name, options)
    assert text.startswith(f"options of framing {name}: ")
    assert message in text
