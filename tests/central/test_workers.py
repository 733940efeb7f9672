"""The server as several processes: one that ends is replaced, and none is left behind."""

from __future__ import annotations

import signal
import time
from contextlib import suppress

import psutil
import pytest

from edge_daemon.errors import EXIT_RETRY_LATER
from edge_daemon.sync.http import Server
from edge_daemon.sync.policy import TroubleError
from tests.central.centre import Centre, gone, listens


@pytest.fixture
def centre(tmp_path):
    database = f"sqlite:///{tmp_path / 'central.sqlite3'}"
    with Centre(tmp_path / "centre", database, ("--workers", "2")) as made:
        yield made


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def workers(centre):
    """Processes that answer; a helper of the interpreter is none."""
    with suppress(psutil.NoSuchProcess):
        return [one for one in centre.processes[1:] if "spawn_main" in " ".join(one.cmdline())]
    return []


def answers(centre, certificate):
    server = Server(centre.url, fleet=centre.fleet, certificate=certificate)
    try:
        return server.call("HEAD", f"/v1/raw/{'0' * 64}", headers={}).status == 404
    except TroubleError:
        return False
    finally:
        server.close()


def test_a_worker_that_is_killed_is_replaced_and_the_end_leaves_none(centre):
    (certificate,) = centre.enrol(1)
    centre.start()
    until(lambda: answers(centre, certificate))
    first = workers(centre)
    assert len(first) == 2
    first[0].kill()
    until(lambda: len(workers(centre)) == 2 and first[0] not in workers(centre))
    until(lambda: answers(centre, certificate))
    everything = centre.processes
    # Whoever kills the one that watches ends the workers too, and the address is free.
    centre.server.send_signal(signal.SIGKILL)
    centre.server.wait()
    gone(everything)
    assert not listens("127.0.0.1", centre.port)
    centre.start()
    until(lambda: answers(centre, certificate))
    everything = centre.processes
    centre.server.send_signal(signal.SIGTERM)
    assert centre.server.wait(30) == 0
    gone(everything)


def test_an_address_that_is_taken_is_said_once(centre):
    centre.start()
    centre.wait()
    first = centre.server
    centre.start()
    try:
        assert centre.server.wait(60) == EXIT_RETRY_LATER
    finally:
        centre.server = first
    assert centre.log.read_text().count("cannot be listened on") == 1


def test_a_server_whose_database_is_away_says_so(tmp_path):
    with Centre(tmp_path / "centre", f"sqlite:///{tmp_path / 'there.sqlite3'}") as centre:
        centre.database = "postgresql+psycopg://nobody@127.0.0.1:9/none"
        centre.start()
        assert centre.server.wait(60) == EXIT_RETRY_LATER
        assert "the database cannot be reached" in centre.log.read_text()
