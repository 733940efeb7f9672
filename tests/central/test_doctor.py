"""`doctor` calls the real central server of an enrolled box."""

from __future__ import annotations

import pytest

from edge_daemon.doctor.read_parts import server
from edge_daemon.sync.identity import FOLDER


@pytest.fixture
def database():
    """SQLite alone: the doctor asks nothing of the database."""


def test_an_enrolled_box_reaches_its_server_and_says_when_it_does_not(running, tmp_path):
    data = tmp_path / "box"
    data.mkdir()
    assert server(data, None) is None
    running.enrol(data)
    found = server(data, None)
    assert (found.address, found.trouble) == (running.url, "")
    assert found.valid_days > 60
    assert "ProxyError" in server(data, "http://127.0.0.1:9").trouble
    fleet = data / FOLDER / "fleet.pem"
    fleet.write_text("no certificate")
    assert server(data, None).trouble
    (data / FOLDER / "identity.json").write_text("{")
    assert "cannot be read" in server(data, None).trouble
