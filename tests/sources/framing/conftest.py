"""A line that feeds a framer and writes down what it is told."""

from __future__ import annotations

import itertools

import pytest

from edge_daemon.sources.framing import Deliver, Discard, Heard, Reply, make_framer


class Line:
    """One connection with a hand-moved clock."""

    def __init__(self, framing: str, options: dict | None = None) -> None:
        self.framer = make_framer(framing, options or {})
        self.now = 100.0
        self.actions: list = []

    def feed(self, *pieces: bytes) -> list:
        told = [action for piece in pieces for action in self.framer.feed(piece, self.now)]
        self.actions += told
        return told

    def wait(self, seconds: float) -> list:
        """Let time pass, ticking whenever the framer asks for it."""
        end, told = self.now + seconds, []
        while (due := self.framer.deadline) is not None and due <= end:
            assert due >= self.now or not told, "a deadline must move once it was met"
            self.now = max(self.now, due)
            told += self.framer.tick(self.now)
        self.now = end
        self.actions += told
        return told

    def close(self) -> list:
        told = self.framer.close()
        assert not any(isinstance(action, Reply) for action in told)
        self.actions += told
        return told

    @property
    def messages(self) -> list[bytes]:
        return [a.message for a in self.actions if isinstance(a, Deliver) and a.complete]

    @property
    def fragments(self) -> list[bytes]:
        return [a.message for a in self.actions if isinstance(a, Deliver) and not a.complete]

    @property
    def replies(self) -> bytes:
        return b"".join(a.data for a in self.actions if isinstance(a, Reply))

    @property
    def troubles(self) -> list[str]:
        return [a.trouble for a in self.actions if isinstance(a, Discard)]

    @property
    def wasted(self) -> int:
        return sum(a.size for a in self.actions if isinstance(a, Discard))

    @property
    def heard(self) -> int:
        return sum(isinstance(a, Heard) for a in self.actions)


def _pieces(stream: bytes, cuts) -> list[bytes]:
    """Cut a stream at positions taken modulo its length."""
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in itertools.pairwise(places)]


@pytest.fixture(scope="session")
def line():
    return Line


@pytest.fixture(scope="session")
def pieces():
    return _pieces


@pytest.fixture(scope="session")
def same_however_split():
    """Check that a stream gives the same actions whole, cut, and byte by byte."""

    def check(framing: str, options: dict, stream: bytes, cuts) -> list:
        told = []
        for parts in ([stream], _pieces(stream, cuts), [bytes([b]) for b in stream]):
            one = Line(framing, options)
            one.feed(*parts)
            one.close()
            told.append(one.actions)
        assert told[0] == told[1] == told[2]
        return told[0]

    return check
