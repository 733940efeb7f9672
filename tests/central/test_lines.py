"""Proxies, portals and servers that are none: TLS goes through unopened, or nothing is sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest

from edge_daemon.central.authority import Authority
from edge_daemon.sync.http import Server
from edge_daemon.sync.policy import TroubleError
from tests.central.test_ingest import item, send, told

SECRET = "a sample that nobody on the line may read"


@pytest.fixture
def database():
    """SQLite: what is tried here lies before the database."""


class Proxy:
    """A forward proxy: opens a tunnel for CONNECT, keeps every byte that passes."""

    def __init__(self, *, status=200, leads_to=None):
        self.asked = []
        self.passed = bytearray()
        self._status = status
        self._leads_to = leads_to
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client):
        with contextlib.suppress(OSError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.asked.append(head.split(b"\r\n")[0].decode())
            client.sendall(b"HTTP/1.1 %d X\r\n\r\n" % self._status)
            if self._status != 200:
                return
            host, _, port = self.asked[-1].split(" ")[1].partition(":")
            with socket.create_connection(self._leads_to or (host, int(port))) as server:
                back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
                back.start()
                self._copy(client, server)
                back.join()

    def _copy(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.passed += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def through(running, tmp_path):
    """Makes connections of an enrolled box through proxies, and closes both."""
    who = running.enrol(tmp_path / "box")
    made = []

    def make(proxy, url=running.url):
        server = Server(url, fleet=who.fleet, certificate=who.certificate, proxy=proxy.url)
        made.extend((server, proxy))
        return server

    yield make
    for one in made:
        one.close()


def documents(running):
    from sqlalchemy import text

    with running.store.engine.connect() as db:
        return db.execute(text("SELECT count(*) FROM documents")).scalar()


def test_a_proxy_carries_tls_and_reads_nothing(running, through):
    proxy = Proxy()
    server = through(proxy)
    assert told(send(server, [item(1, {"run": 1, "note": SECRET})], encoding="identity")) == {
        1: "stored"
    }
    assert told(send(server, [item(2)])) == {2: "stored"}
    (asked,) = proxy.asked
    assert asked.split()[:2] == ["CONNECT", running.url.removeprefix("https://")]
    assert len(proxy.passed) > 1000
    assert SECRET.encode() not in proxy.passed
    assert b"v1/ingest" not in proxy.passed


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_is_waited_for(running, through, status):
    server = through(Proxy(status=status))
    with pytest.raises(TroubleError) as trouble:
        send(server, [item(1)])
    assert (trouble.value.response, trouble.value.code) == ("retry", "unreachable")
    assert documents(running) == 0


def test_a_proxy_that_opens_tls_is_not_trusted(running, through, tmp_path):
    """As company networks do that read along: its certificate is not the fleet's."""
    folder = tmp_path / "proxy"
    Authority.create(folder, "the company's").certify_server(folder, ["127.0.0.1"])
    with Impostor(folder) as impostor:
        server = through(Proxy(leads_to=impostor.address))
        with pytest.raises(TroubleError) as trouble:
            send(server, [item(1, {"run": 1, "note": SECRET})], encoding="identity")
        assert (trouble.value.response, trouble.value.code) == ("hold", "server_not_trusted")
        assert impostor.read == b""
    assert documents(running) == 0


class Impostor:
    """Answers on a port as something that is not the centre; keeps what was said to it."""

    def __init__(self, folder=None, *, answer=b"", context=None):
        self.read = b""
        self.raw = b""
        self._answer = answer
        self._context = context
        if folder is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.close()
        self._thread.join(30)

    def _serve(self):
        with contextlib.suppress(OSError):
            client, _ = self._socket.accept()
            with client:
                client.settimeout(10)
                self.raw = client.recv(8, socket.MSG_PEEK)
                if self._context is None:
                    client.recv(65536)
                    client.sendall(self._answer)
                    return
                with self._context.wrap_socket(client, server_side=True) as tls:
                    self.read = tls.recv(65536)


def refused_by(running, tmp_path, impostor):
    """Send to an impostor; what the box makes of it."""
    who = running.enrol(tmp_path / "box")
    url = f"https://127.0.0.1:{impostor.address[1]}"
    server = Server(url, fleet=who.fleet, certificate=who.certificate)
    try:
        with pytest.raises(TroubleError) as trouble:
            send(server, [item(1, {"run": 1, "note": SECRET})], encoding="identity")
    finally:
        server.close()
    return trouble.value


PLAIN = {
    "portal": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nContent-Length: 0\r\n\r\n",
    "silence": b"",
}


@pytest.mark.parametrize("answer", PLAIN)
def test_a_server_without_tls_hears_a_greeting_and_nothing_else(running, tmp_path, answer):
    with Impostor(answer=PLAIN[answer]) as impostor:
        trouble = refused_by(running, tmp_path, impostor)
    assert (trouble.response, trouble.code) == ("retry", "unreachable")
    assert impostor.raw[:1] == b"\x16"  # a TLS handshake, not a request


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_older_tls_is_not_spoken(running, tmp_path):
    """The certificate is the right one: only the version is too old."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(running.folder / "server.pem", running.folder / "server.key")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with Impostor(context=context) as impostor:
        trouble = refused_by(running, tmp_path, impostor)
    assert trouble.response == "retry"
    assert impostor.read == b""


@pytest.mark.parametrize(
    ("days", "code"), [(0, "ok"), (826, "server_not_trusted")], ids=["valid", "ended"]
)
def test_a_server_whose_certificate_has_ended_is_not_trusted(
    running, tmp_path, monkeypatch, days, code
):
    from datetime import UTC, datetime, timedelta

    from edge_daemon.central import authority

    folder = tmp_path / "late"
    folder.mkdir()
    monkeypatch.setattr(authority, "_now", lambda: datetime.now(UTC) - timedelta(days=days))
    Authority.load(running.folder).certify_server(folder, ["127.0.0.1"])
    monkeypatch.undo()
    with Impostor(folder) as impostor:
        trouble = refused_by(running, tmp_path, impostor)
    if code == "ok":  # the control: this one would have been spoken to
        assert b"/v1/ingest" in impostor.read
    else:
        assert (trouble.response, trouble.code) == ("hold", code)
        assert impostor.read == b""
