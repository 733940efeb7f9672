"""Network sources on real sockets: who may connect, what a connection may cost, and faults."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest

from edge_daemon.simulator import wire
from edge_daemon.simulator.faults import FAULTS, fault_script
from edge_daemon.simulator.transports import TcpLine


@pytest.fixture
def listening(lines, wait_until):
    def start(framing: str = "mllp", **changes):
        source = lines.tcp(framing, **changes)
        wait_until(lambda: source.state == "listening")
        return source

    return start


def dial(source) -> socket.socket:
    made = socket.create_connection(source.bound, 5.0)
    made.settimeout(5.0)
    return made


@pytest.mark.parametrize("framing", ["astm", "mllp"])
def test_a_session_with_every_fault_loses_nothing_and_repeats_nothing(
    lines, listening, message, framing
):
    source = listening(framing)
    kinds = tuple(kind for kind in FAULTS if framing == "astm" or kind != "wrong_checksum")
    analyzer = lines.analyzer(lines.line(TcpLine(source.bound)), framing, seed=5)
    for number, fault in enumerate(fault_script(5, 12, kinds=kinds, share=0.8)):
        assert analyzer.send(message[framing](number), fault), fault
        lines.pause(60.0)
    assert lines.whole() == sorted(message[framing](number) for number in range(12))


def test_an_acknowledgement_follows_the_commit(lines, listening, message):
    source = listening()
    with dial(source) as analyzer:
        analyzer.sendall(wire.mllp_block(message["mllp"](7)))
        assert b"MSA|AA|7" in analyzer.recv(1000)
        assert lines.whole() == [message["mllp"](7)]


def test_two_connections_of_one_analyzer_are_served_apart(lines, listening, message):
    source = listening()
    first, second = wire.mllp_block(message["mllp"](1)), wire.mllp_block(message["mllp"](2))
    with dial(source) as one, dial(source) as other:
        one.sendall(first[:30])
        other.sendall(second)
        assert b"MSA|AA|2" in other.recv(1000)
        one.sendall(first[30:])
        assert b"MSA|AA|1" in one.recv(1000)
        assert source.describe()["connections"] == 2
    assert lines.whole() == sorted([message["mllp"](1), message["mllp"](2)])


def test_who_is_not_allowed_is_closed_at_once(lines, listening):
    source = listening(allow=(ip_network("192.0.2.0/24"),))
    with dial(source) as stranger:
        assert stranger.recv(10) == b""
    assert lines.peers == ["127.0.0.1"]
    assert source.describe()["refused"] == 1
    assert source.describe()["connections"] == 0


def test_more_connections_than_allowed_are_closed_and_places_become_free(
    lines, listening, message, wait_until
):
    source = listening(connections=1)
    with dial(source) as one:
        one.sendall(wire.mllp_block(message["mllp"](1)))
        assert one.recv(1000)
        with dial(source) as other:
            assert other.recv(10) == b""
    wait_until(lambda: source.describe()["connections"] == 0)
    with dial(source) as next_one:
        next_one.sendall(wire.mllp_block(message["mllp"](2)))
        assert b"MSA|AA|2" in next_one.recv(1000)


def test_a_message_that_never_ends_costs_one_connection(lines, listening, message, wait_until):
    source = listening(message_s=20.0)
    with dial(source) as slow, dial(source) as good:
        slow.sendall(b"\x0bMSH|^~\\&|")
        wait_until(lambda: source.describe()["connections"] == 2)
        lines.settle()
        lines.clock.now += 19.0
        slow.sendall(b"x")
        lines.settle()
        lines.clock.now += 2.0
        assert slow.recv(10) == b""
        good.sendall(wire.mllp_block(message["mllp"](1)))
        assert b"MSA|AA|1" in good.recv(1000)
    assert lines.captures() == {message["mllp"](1): "received"}


def test_an_address_in_use_is_waited_for(lines, message, wait_until):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        source = lines.tcp(address=address)
        wait_until(lambda: source.state == "degraded")
        assert "cannot be listened on" in source.reason
    wait_until(lambda: source.state == "listening")


def test_a_box_that_connects_comes_back_when_the_analyzer_does(lines, message, wait_until):
    line = TcpLine(("127.0.0.1", 0), listening=True)
    address = line.address
    line.close()
    source = lines.tcp(address=address, listening=False)
    wait_until(lambda: source.state == "degraded")
    assert "does not answer" in source.reason
    line = lines.line(TcpLine(address, listening=True))
    analyzer = lines.analyzer(line, "mllp")
    assert analyzer.send(message["mllp"](1))
    assert source.state == "connected"
    line.unplug()
    wait_until(lambda: source.state == "degraded")
    assert analyzer.send(message["mllp"](2))
    assert lines.whole() == sorted([message["mllp"](1), message["mllp"](2)])


def test_stopping_ends_every_connection(lines, listening, wait_until):
    source = listening()
    with dial(source) as one, dial(source) as two:
        wait_until(lambda: source.describe()["connections"] == 2)
        source.stop()
        assert (one.recv(10), two.recv(10)) == (b"", b"")
    assert source.describe()["connections"] == 0
