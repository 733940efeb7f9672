"""One connection: the order of disk, commit and reply, whatever framing and trouble."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_daemon.simulator import wire
from edge_daemon.simulator.analyzer import speak
from edge_daemon.simulator.transports import PtyLine
from edge_daemon.sources import journal as journal_module
from edge_daemon.sources.connection import READ_BYTES, Connection, LostError
from edge_daemon.sources.framing.base import Deliver, Discard
from edge_daemon.sources.framing.registry import make_framer
from edge_daemon.sources.journal import journal_path, leftovers
from edge_daemon.sources.line import LineSource
from edge_daemon.store import queries
from edge_daemon.store.archive import archived_path

FRAMINGS = ["astm", "mllp", "packet", "block"]


class PairSource(LineSource):
    """Serves one end of a socket pair."""

    def __init__(self, spec, handlers, clock) -> None:
        super().__init__(spec, handlers, clock)
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(5.0)
        self.lost: LostError | None = None

    def work(self) -> None:
        self.ours.settimeout(0)
        self._intake.set_state("connected")
        try:
            self.serve(Connection(self.ours.fileno(), self.ours.close, self._stop), 0)
        except LostError as error:
            self.lost = error


@pytest.fixture
def pair(lines):
    made = []

    def start(framing: str = "astm", **changes) -> PairSource:
        source = PairSource(lines.spec(framing, **changes), lines.handlers(), lines.clock)
        made.append(source)
        return lines.watch(source)

    yield start
    for source in made:
        source.theirs.close()


def stream(framing: str, messages: list[bytes]) -> bytes:
    parts = []
    sequence = 0
    for message in messages:
        speech = speak(framing, message, sequence=sequence)
        sequence += len(speech.units)
        parts += [*(unit.data for unit in speech.units), speech.closing]
    return b"".join(parts)


def samples(framing: str, message) -> list[bytes]:
    if framing == "block":
        return [b"first result", b"second result"]
    return [message[framing](number) for number in (1, 2)]


def delivered(actions) -> list[bytes]:
    return [action.message for action in actions if isinstance(action, Deliver)]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_framer_without_deadline_holds_nothing(framing, message):
    """What the link relies on when it empties the journal, at every byte of a stream."""
    options = wire.PACKET_FRAMING if framing == "packet" else {}
    noise = b"\x00\xa5noise"
    data = noise + stream(framing, samples(framing, message))
    data = data if len(data) < 3000 else data[:1500] + data[-1500:]
    framer = make_framer(framing, options)
    checked = 0
    for end in range(1, len(data) + 1):
        framer.feed(data[end - 1 : end], 1.0)
        if framer.deadline is not None:
            continue
        checked += 1
        whole = make_framer(framing, options)
        whole.feed(data[:end], 1.0)
        rest = whole.feed(data[end:], 1.0) + whole.close()
        fresh = make_framer(framing, options)
        assert delivered(fresh.feed(data[end:], 1.0) + fresh.close()) == delivered(rest), end
    assert checked


@pytest.mark.parametrize("framing", ["astm", "mllp", "packet"])
def test_every_reply_follows_the_disk_and_every_message_its_commit(
    lines, pair, message, framing, monkeypatch
):
    """The order of write, sync, commit and reply, as it reaches the kernel."""
    order = []
    write, append = Connection.write, journal_module.Journal.append
    sync = journal_module.os.fdatasync

    def written(self, data):
        order.append("reply")
        write(self, data)

    def appended(self, data):
        order.append("append")
        append(self, data)

    def synced(handle):
        sync(handle)
        order.append("sync")

    monkeypatch.setattr(Connection, "write", written)
    monkeypatch.setattr(journal_module.Journal, "append", appended)
    monkeypatch.setattr(journal_module.os, "fdatasync", synced)
    lines.on_accept = lambda capture: order.append("accept")
    source = pair(framing)
    speech = speak(framing, message[framing](1))
    for unit in speech.units:
        source.theirs.sendall(unit.data)
        assert source.theirs.recv(1000)
    assert order.count("reply") == len(speech.units)
    assert order.count("accept") == 1
    for index, what in enumerate(order):
        if what == "reply":
            before = order[:index]
            last = max(n for n, event in enumerate(before) if event == "append")
            assert "sync" in before[last:]
    assert order.index("accept") < len(order) - 1 - order[::-1].index("reply")


def test_a_disk_that_cannot_sync_gets_no_reply_out(lines, pair, wait_until, monkeypatch):
    def broken(handle):
        raise OSError(5, "Input/output error")

    source = pair()
    monkeypatch.setattr(journal_module.os, "fdatasync", broken)
    source.theirs.sendall(wire.ENQ)
    wait_until(lambda: source.lost is not None)
    assert "Input/output error" in source.lost.message
    assert source.theirs.recv(10) == b""


def test_a_sender_that_hangs_up_without_listening_loses_nothing(lines, pair, message, wait_until):
    source = pair("mllp")
    sent = [message["mllp"](number) for number in range(3)]
    source.theirs.sendall(stream("mllp", sent))
    source.theirs.close()
    wait_until(lambda: source.lost is not None)
    assert lines.whole() == sorted(sent)


def test_bytes_that_end_the_process_every_time_are_kept_as_they_are(lines, wait_until):
    """A defect in a framer must not keep the service down for ever."""

    class Broken:
        def feed(self, data, now):
            raise ZeroDivisionError

    spec = lines.spec(make_framer=Broken)
    spec.journal.mkdir(parents=True)
    journal_path(spec.journal, 2).write_bytes(b"poison")
    for _ in range(3):
        source = LineSource(spec, lines.handlers(), lines.clock)
        with pytest.raises(ZeroDivisionError):
            source._recover()
        source.stop()
        assert lines.captures() == {}
    source = LineSource(spec, lines.handlers(), lines.clock)
    source._recover()
    source.stop()
    assert lines.set_aside() == [b"poison"]
    assert leftovers(spec.journal) == []


def test_the_journal_is_empty_between_messages_and_holds_what_is_unsettled(
    lines, pair, message, wait_until
):
    source = pair()
    path = journal_path(source.spec.journal, 0)
    frames = wire.astm_frames(message["astm"](1))
    for unit in (wire.ENQ, *frames[:2]):
        source.theirs.sendall(unit)
        assert source.theirs.recv(10) == b"\x06"
    assert path.read_bytes() == wire.ENQ + frames[0] + frames[1]
    for unit in frames[2:]:
        source.theirs.sendall(unit)
        assert source.theirs.recv(10) == b"\x06"
    source.theirs.sendall(wire.EOT)
    wait_until(lambda: path.read_bytes() == b"")


def test_an_endless_stream_keeps_the_journal_bounded_and_every_message(
    lines, pair, message, wait_until
):
    options = {**wire.PACKET_FRAMING, "acknowledge": "", "refuse": ""}
    source = pair("packet", options=options, max_journal=20_000)
    sent = [message["packet"](number) for number in range(60)]
    data = stream("packet", sent)
    path = journal_path(source.spec.journal, 0)
    wait_until(path.exists)
    largest = 0
    for begin in range(0, len(data), 3001):  # never at the border of two messages
        source.theirs.sendall(data[begin : begin + 3001])
        largest = max(largest, path.stat().st_size)
    wait_until(lambda: len(lines.whole()) == len(sent))
    assert lines.whole() == sorted(sent)
    assert largest < 20_000 + 2 * READ_BYTES


def test_a_stream_that_never_ends_a_message_is_given_up(lines, pair, wait_until):
    source = pair("packet", max_journal=5000, options={**wire.PACKET_FRAMING, "acknowledge": ""})
    run = [wire.packet(1, 0, b"a" * 900), *(wire.packet(2, n, b"b" * 900) for n in range(1, 90))]
    source.theirs.sendall(b"".join(run))
    wait_until(lambda: source.lost is not None)
    assert "without the end of a message" in source.lost.message
    (kept,) = lines.set_aside()
    assert kept.startswith(b"a" * 900 + b"b" * 900)


def test_a_slow_message_and_a_silent_peer_are_given_up(lines, pair, wait_until):
    slow = pair("packet", message_s=20.0)
    slow.theirs.sendall(wire.packet(1, 0, b"x"))
    assert slow.theirs.recv(10) == b"\x06"
    for number in (1, 2):
        lines.pause(8.0)
        slow.theirs.sendall(wire.packet(2, number, b"x"))
    lines.clock.now += 8.0
    wait_until(lambda: slow.lost is not None)
    assert "one message took longer than 20 s" in slow.lost.message
    assert len(lines.set_aside()) == 1
    silent = pair(idle_s=100.0)
    lines.settle()
    lines.clock.now += 101.0
    wait_until(lambda: silent.lost is not None)
    assert "nothing came for 100 s" in silent.lost.message


def test_time_spent_on_a_message_is_no_silence_of_the_sender(lines, pair, message, wait_until):
    """A commit that takes long must not make the framer give up what waits on the line."""
    options = {**wire.PACKET_FRAMING, "acknowledge": "", "refuse": ""}
    source = pair("packet", options=options)

    def slow(capture):
        lines.clock.now += 300.0

    lines.on_accept = slow
    first, second = (message["packet"](number) for number in (1, 2))
    data = stream("packet", [first, second])
    border = len(stream("packet", [first])) + 100
    source.theirs.sendall(data[:border])
    wait_until(lambda: lines.whole() == [first])
    lines.on_accept = lambda capture: None
    source.theirs.sendall(data[border:])
    wait_until(lambda: len(lines.whole()) == 2)
    assert lines.set_aside() == []


def test_stopping_leaves_the_unfinished_to_the_next_start(lines, pair, message, wait_until):
    source = pair()
    frames = wire.astm_frames(message["astm"](1))
    for unit in (wire.ENQ, *frames[:2]):
        source.theirs.sendall(unit)
        assert source.theirs.recv(10) == b"\x06"
    source.stop()
    assert lines.captures() == {}
    (path,) = leftovers(source.spec.journal)
    assert path.stat().st_size == sum(map(len, (wire.ENQ, *frames[:2])))
    pair()
    wait_until(lambda: lines.set_aside() != [])
    assert lines.set_aside() == [b"".join(message["astm"](1).splitlines(keepends=True)[:2])]


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cut=st.floats(0, 1), framing=st.sampled_from(["astm", "mllp", "packet"]))
def test_what_a_crash_leaves_is_settled_wherever_it_came(lines, message, cut, framing):
    """Whole messages are delivered, with more behind them set aside; nothing is lost."""
    folder = lines.folder / f"crashed-{framing}-{cut}"
    folder.mkdir(exist_ok=True)
    data = stream(framing, [message[framing](1)])
    left = data[: int(cut * len(data))]
    journal_path(folder, 0).write_bytes(left)
    spec = lines.spec(framing, journal=folder)
    taken = []
    handlers = lines.handlers()
    source = LineSource(spec, handlers, lines.clock)
    source._intake.deliver = lambda action: taken.append((action.message, action.complete))
    source._intake.keep_raw = lambda raw: taken.append((raw, False))
    source._recover()
    source.stop()
    framer = make_framer(framing, wire.PACKET_FRAMING if framing == "packet" else {})
    expected = framer.feed(left, 0.0) + framer.close()
    whole = [(m.message, m.complete) for m in expected if isinstance(m, Deliver)]
    if not whole and any(isinstance(action, Discard) for action in expected):
        whole = [(left, False)]
    assert taken == whole
    assert leftovers(folder) == []


CHILD = """
    import os, signal, sys, threading
    from pathlib import Path
    from edge_daemon.clock import SystemClock
    from edge_daemon.sources import journal, line, link
    from edge_daemon.sources.connection import Connection
    from edge_daemon.sources.framing.registry import make_framer
    from edge_daemon.sources.intake import LineHandlers, LineSpec
    from edge_daemon.sources.ports import LineSettings
    from edge_daemon.sources.serial_port import SerialSource, SerialSpec
    from edge_daemon.store.writer import Store

    data, port, point, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    left = [count]

    def dying(name, real):
        def call(*args):
            counts = armed and (name != "reset" or args[0].size)
            if counts and point == "before " + name:
                die()
            result = real(*args)
            if counts and point == "after " + name:
                die()
            return result
        return call

    def die():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    armed = []

    def changed(name, state, reason):
        if state == "listening":
            armed.append(True)
            print(flush=True)

    journal.Journal.append = dying("append", journal.Journal.append)
    journal.os.fdatasync = dying("sync", os.fdatasync)
    journal.Journal.reset = dying("reset", journal.Journal.reset)
    Connection.write = dying("reply", Connection.write)
    store = Store.open(data, SystemClock())

    def refuse(name, label, reason, capture):
        if (known := store.accept(capture)).new:
            store.quarantine(known.capture_id, reason)

    nothing = lambda *args: None
    handlers = LineHandlers(dying("commit", store.accept), refuse, changed, nothing, nothing)
    spec = LineSpec("an1", "hema", "astm", data / "journal" / "an1",
                    lambda: make_framer("astm", {}), 1 << 20, retry_s=0.01)
    source = SerialSource(SerialSpec(spec, port, LineSettings()), handlers, SystemClock())
    source.start()
    threading.Event().wait()
"""
STEPS = {"append": 8, "sync": 7, "reply": 7, "commit": 1, "reset": 1}
"""How often a message of six frames takes each step, where nothing follows it at once."""
SOME = ["after append", "before sync", "after reply", "before commit", "after commit"]
ALL = [f"{when} {what}" for what in STEPS for when in ("before", "after")]


class Box:
    """A serial source in a process of its own that ends by SIGKILL at a named step."""

    def __init__(self, data, port) -> None:
        self.data = data
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, point: str, count: int) -> None:
        arguments = [str(self.data), str(self._port), point, str(count)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD), *arguments], stdout=subprocess.PIPE
        )
        assert self._process.stdout.readline() == b"\n", "it never listened"

    def killed(self) -> bool:
        self._process.stdout.close()
        return self._process.wait(30) == -signal.SIGKILL

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def kept(self) -> bytes:
        found = [*self.data.glob("captures/??/*.raw"), *self.data.glob("journal/an1/*.journal")]
        return b"".join(path.read_bytes() for path in found)


def acknowledged(line, message: bytes) -> list[bytes]:
    """Send a message; return the text of the frames that were acknowledged."""
    texts = []
    units = [wire.ENQ, *wire.astm_frames(message)]
    for text, unit in zip([b"", *message.splitlines(keepends=True)], units, strict=True):
        try:
            line.write(unit)
            if line.read(30.0) != b"\x06":
                return texts
        except OSError:
            return texts
        texts.append(text)
    line.write(wire.EOT)
    return texts


def kill_at(lines, make, points, seed, wait_until) -> None:
    rng = random.Random(seed)
    line = PtyLine(lines.folder / "port")
    box = Box(lines.folder / "killed", line.path)
    with pytest.raises(OSError, match="nobody opened"):
        line.plug(0.01)
    sent = []
    try:
        for number, point in enumerate([*points, "never"]):
            step = point.split()[-1]
            # Before its new message the analyzer repeats the one that was interrupted.
            repeated = STEPS.get(step, 0) * bool(sent)
            box.start(point, repeated + rng.randrange(1, STEPS.get(step, 1) + 1))
            line.plug(30.0)
            if sent:
                assert len(acknowledged(line, sent[-1])) == 7
                wait_until(lambda: journal_path(box.data / "journal/an1", 0).stat().st_size == 0)
            if point == "never":
                break
            sent.append(make(number))
            texts = acknowledged(line, sent[-1])
            assert box.killed()
            assert all(text in box.kept() for text in texts), point
    finally:
        box.end()
        line.unplug()
    check_once(box.data, sent)


def check_once(data, sent) -> None:
    with closing(queries.connect(data)) as db:
        rows = queries.captures(db, limit=1000)
    states = {archived_path(data / "captures", row["sha256"]).read_bytes(): row for row in rows}
    whole = [content for content, row in states.items() if row["state"] == "received"]
    assert sorted(whole) == sorted(sent)
    for content, row in states.items():
        if row["state"] == "quarantined":
            assert row["reason_code"] == "truncated"
            assert any(message.startswith(content) for message in sent)


@pytest.mark.parametrize("seed", [20261123])
def test_no_acknowledged_frame_is_lost_by_a_kill(lines, message, seed, wait_until):
    """SIGKILL keeps the page cache: this proves the order, the test above the sync."""
    kill_at(lines, message["astm"], SOME, seed, wait_until)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10))
def test_no_acknowledged_frame_is_lost_by_a_kill_at_any_step(lines, message, seed, wait_until):
    points = ALL * 2
    random.Random(seed).shuffle(points)
    kill_at(lines, message["astm"], points, seed, wait_until)
