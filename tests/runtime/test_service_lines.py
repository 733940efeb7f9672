"""The service as a real process with analyzers on a serial line and on the network."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from contextlib import closing

import pytest
import tomlkit

from edge_daemon.errors import EdgeError
from edge_daemon.simulator.analyzer import Analyzer
from edge_daemon.simulator.transports import PtyLine, TcpLine
from edge_daemon.simulator.wire import PACKET_FRAMING
from edge_daemon.store import queries


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def lined(service, tmp_path, free_port):
    """The service with a folder, a serial line and a listening port."""
    framing = {"framing": "packet", "framing_options": dict(PACKET_FRAMING)}
    serial = {"name": "s1", "kind": "serial", "port": str(tmp_path / "port"), **framing}
    tcp = {"name": "t1", "kind": "tcp", "listen": f"127.0.0.1:{free_port}", **framing}
    settings = tomlkit.loads(service.config.read_text())
    settings["source"].extend([tomlkit.item(serial), tomlkit.item(tcp)])
    service.config.write_text(tomlkit.dumps(settings))
    return service


def asked(service, query) -> list[dict]:
    try:
        db = queries.connect(service.data)
    except EdgeError:  # not made yet
        return []
    with closing(db):
        return query(db, limit=100)


def finished(service) -> list[dict]:
    return asked(service, queries.results)


def aside(service) -> list[dict]:
    return asked(service, queries.quarantined)


def told(service) -> dict[str, dict]:
    status = json.loads((service.data / "run" / "status.json").read_text())
    return {source["name"]: source for source in status["sources"]}


def test_a_run_is_the_same_over_folder_serial_and_network(
    lined, cohort, tmp_path, free_port, wait_until
):
    line = PtyLine(tmp_path / "port")
    with pytest.raises(OSError, match="nobody opened"):
        line.plug(0.01)
    process = lined.start(WATCHDOG_USEC="900000")  # the status is written more often
    network = TcpLine(("127.0.0.1", free_port))
    try:
        wait_until(lambda: lined.logged("source_watching") >= 3)
        file = min(cohort.glob("*.fcs"))
        shutil.copy(file, lined.export / file.name)
        assert Analyzer(line, "packet").send(file.read_bytes())
        assert Analyzer(network, "packet").send(file.read_bytes())
        wait_until(lambda: len(finished(lined)) == 3)
        assert {run["instrument"] for run in finished(lined)} == {"an1", "s1", "t1"}
        first, *others = (
            {key: run[key] for key in ("events", "counts", "measurements", "flags", "model")}
            for run in finished(lined)
        )
        assert others == [first, first]
        wait_until(lambda: told(lined)["t1"].get("messages") == 1)
        assert told(lined)["s1"]["heard_at"] is not None
        folder = told(lined)["an1"]
        assert folder.keys() == {"name", "state", "reason", "kind", "heard_at"}
        assert folder["kind"] == "folder"
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        line.unplug()
        network.unplug()


def test_a_killed_service_settles_what_its_analyzers_had_half_sent(
    lined, cohort, tmp_path, wait_until
):
    line = PtyLine(tmp_path / "port")
    with pytest.raises(OSError, match="nobody opened"):
        line.plug(0.01)
    process = lined.start()
    try:
        wait_until(lambda: lined.logged("source_watching") >= 3)
        data = min(cohort.glob("*.fcs")).read_bytes()
        half = Analyzer(line, "packet", patience_s=1.0, pause=lambda seconds: None)
        line.write(b"\xa5")  # of a packet that never comes

        def kill(part: bytes, *, real=line.write) -> None:
            real(part)
            if half.acknowledged == 3:
                process.send_signal(signal.SIGKILL)
                process.wait()

        line.write = kill
        with pytest.raises(OSError, match="nobody opened"):
            half.send(data)
        process = lined.start()
        wait_until(lambda: aside(lined))
        assert [kept["reason_code"] for kept in aside(lined)] == ["truncated"]
    finally:
        line.unplug()


def test_a_framing_that_does_not_exist_is_a_bad_configuration(service):
    text = service.config.read_text()
    line = '[[source]]\nname = "s1"\nkind = "serial"\nport = "port"\nframing = "morse"\n'
    service.config.write_text(line + text)
    assert service.start().wait(30) == 78
    assert "unknown framing 'morse'" in service.log.read_text()
    assert "source s1" in service.log.read_text()
