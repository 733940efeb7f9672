"""Errands: a command asks the service, which alone writes."""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import closing

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.errands import SOCKET_NAME, ErrandServer, ask_service, run_errand
from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.store import queries
from edge_daemon.store.writer import Store


@pytest.fixture
def desk(tmp_path):
    """A store that serves errands; `done` counts them."""
    # Longer than an address of a socket may be.
    data = tmp_path / ("x" * 60) / ("y" * 60)
    done = []
    with Store.open(data, SystemClock()) as store:
        server = ErrandServer(store, data, lambda: done.append(1))
        server.start()
        yield data, store, done
        server.stop()
    assert not (data / SOCKET_NAME).exists()


def test_nobody_serves(tmp_path):
    assert ask_service(tmp_path, {"errand": "note"}) is None
    (tmp_path / "run").mkdir()
    assert ask_service(tmp_path, {"errand": "note"}) is None


def test_a_socket_that_a_killed_service_left_is_nobody_and_is_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(tmp_path / SOCKET_NAME))
    left.close()
    assert ask_service(tmp_path, {"errand": "note"}) is None
    with Store.open(tmp_path, SystemClock()) as store:
        server = ErrandServer(store, tmp_path, lambda: None)
        server.start()
        with pytest.raises(EdgeError, match="there is no run 1"):
            ask_service(tmp_path, {"errand": "note", "run_id": 1, "text": "x", "by": "A"})
        server.stop()


@pytest.mark.parametrize(
    ("errand", "message"),
    [
        ({"errand": "dance"}, "'dance' is no errand"),
        ({}, "None is no errand"),
        ({"errand": "correct"}, "sent with wrong fields"),
        ({"errand": "note", "run_id": 1, "text": 5, "by": "A", "kind": []}, "there is no run 1"),
        ({"errand": ["note"]}, "is no errand"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_service_goes_on(desk, errand, message):
    data, _, done = desk
    with pytest.raises(EdgeError, match=message):
        ask_service(data, errand)
    assert not done
    with pytest.raises(EdgeError, match="there is no run 7"):
        ask_service(data, {"errand": "note", "run_id": 7, "text": "x", "by": "A"})


@pytest.mark.parametrize("sent", [b"", b"{", b"[]\n", b"\xff\n", b"null\n", b"x" * 70_000])
def test_rubbish_and_lost_clients_do_not_stop_it(desk, sent):
    data, _, _ = desk
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as line:
        import os

        folder = os.open(data / "run", os.O_RDONLY)
        line.connect(f"/proc/self/fd/{folder}/errands.sock")
        os.close(folder)
        line.settimeout(30)
        try:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            told = line.recv(4096)
        except OSError:
            told = b""  # it hung up on what was too long
    assert told == b"" or "error" in json.loads(told)
    with pytest.raises(EdgeError, match="is no errand"):
        ask_service(data, {"errand": "dance"})


def test_a_service_that_does_not_answer_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_daemon.errands.TIMEOUT_S", 0.1)
    (tmp_path / "run").mkdir()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as deaf:
        deaf.bind(str(tmp_path / SOCKET_NAME))
        deaf.listen(1)
        with pytest.raises(Retryable, match="did not answer"):
            ask_service(tmp_path, {"errand": "note"})


def test_errands_may_be_asked_by_the_group_alone(desk):
    data, _, _ = desk
    assert (data / SOCKET_NAME).stat().st_mode & 0o007 == 0


def test_another_species_while_the_service_runs(service, cohort, wait_until, spawn_command):
    """The real service, a real command, and a new analysis that calls for the new species."""
    service.start()
    wait_until(lambda: service.logged("service_ready"))
    file = min(cohort.glob("*.fcs"))
    shutil.copy(file, service.export / file.name)

    def newest():
        try:
            with closing(queries.connect(service.data)) as db:
                found = queries.results(db, limit=1)
        except EdgeError:
            return None
        return found[0] if found else None

    wait_until(newest)
    before = newest()
    other = "cat" if before["species"] != "cat" else "dog"
    command = ("correct", "run:1", "--species", other, "--by", "Ann", "--reason", "typed wrongly")
    done = json.loads(spawn_command(*command, "--data-dir", service.data, "--json"))
    assert done == {"run_id": 2, "capture_id": 1, "analysed_again": True, "result_id": None}
    wait_until(lambda: newest()["id"] == 3)
    after = newest()
    assert (after["species"], after["corrected"]) == (other, ["species"])
    assert "species_corrected" not in [flag["code"] for flag in after["flags"]]
    assert after["sample_id"] == before["sample_id"]
    assert service.process.poll() is None


def test_lots_and_marks_are_errands_too(desk):
    data, _, done = desk
    lot = {"lot": "1", "level": "normal", "material": "Vet", "targets": {"RBC": {"mean": 7.0}}}
    with pytest.raises(EdgeError, match="wrong fields"):
        ask_service(data, {"errand": "add_lot", "by": "Ann", **lot})
    lot["targets"] = {"RBC": {"mean": 7.0, "sd": 0.2}}
    assert ask_service(data, {"errand": "add_lot", "by": "Ann", **lot}) == {"lot_id": 1}
    with pytest.raises(EdgeError, match="there is no run 1"):
        ask_service(data, {"errand": "mark", "run_id": 1, "kind": "blank", "by": "Ann"})
    assert len(done) == 1


def test_both_ways_do_the_same(tmp_path):
    with Store.open(tmp_path, SystemClock()) as store, pytest.raises(EdgeError, match="no run 1"):
        run_errand(store, {"errand": "note", "run_id": 1, "text": "x", "by": "A"})
