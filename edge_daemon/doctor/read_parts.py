"""Read sources, profiles and models, and the running service."""

from __future__ import annotations

import contextlib
import errno
import grp
import json
import signal
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.doctor.access import may
from edge_daemon.doctor.facts import (
    FolderSource,
    NetworkSource,
    Page,
    Probe,
    SerialSource,
    Server,
    Service,
    Updates,
)
from edge_daemon.doctor.read_system import UNIT, run
from edge_daemon.errors import EdgeError
from edge_daemon.source_settings import FolderSource as ConfiguredFolder
from edge_daemon.source_settings import SerialSource as ConfiguredSerial
from edge_daemon.source_settings import endpoint
from edge_daemon.sources.ports import lasting_name
from edge_daemon.sync.identity import load
from edge_daemon.updates.describing import describe
from edge_daemon.updates.folder import UpdateFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_daemon.config import Web
    from edge_daemon.doctor.access import Account
    from edge_daemon.doctor.facts import Source
    from edge_daemon.source_settings import TcpSource as ConfiguredTcp

_PROBE_S: Final = 120.0
_PROPERTIES: Final = (
    "LoadState,ActiveState,Result,NRestarts,UnitFileState,PrivateNetwork,PrivateDevices,PrivateTmp"
)


def source(configured: Any, account: Account) -> Source:
    """Look at one configured source."""
    if isinstance(configured, ConfiguredFolder):
        path = configured.path
        exists = path.is_dir()
        readable = exists and may(account, path, "rx")
        return FolderSource(configured.name, str(path), exists, account.name, readable)
    if isinstance(configured, ConfiguredSerial):
        return _serial(configured, account)
    return _network(configured)


def _serial(configured: ConfiguredSerial, account: Account) -> SerialSource:
    port = configured.port
    try:
        status = port.stat()
    except OSError:
        return SerialSource(configured.name, str(port), account.name)
    group = str(status.st_gid)
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(status.st_gid).gr_name
    return SerialSource(
        name=configured.name,
        port=str(port),
        exists=True,
        is_port=stat.S_ISCHR(status.st_mode),
        lasting=None if (name := lasting_name(port)) is None else str(name),
        user=account.name,
        usable=may(account, port, "rw"),
        group=group,
    )


def _network(configured: ConfiguredTcp) -> NetworkSource:
    listening = configured.listen is not None
    address = configured.listen or configured.connect or ""
    host, port = endpoint(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if listening:
            _bind(found[0])
    except OSError as error:
        return NetworkSource(configured.name, address, listening, error.strerror or str(error))
    return NetworkSource(configured.name, address, listening, "")


def _bind(found: tuple[Any, ...]) -> None:
    """Try an address for a moment; one in use is one that can be used (by the service)."""
    family, kind, _, _, where = found
    with socket.socket(family, kind) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def probe(profiles: Sequence[Path], models: Sequence[Path]) -> Probe:
    """Let a process of its own load profiles and prove models."""
    asked = json.dumps({"profiles": [*map(str, profiles)], "models": [*map(str, models)]})
    command = [sys.executable, "-m", "edge_daemon.doctor.probe", asked]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and code
            command, capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Probe(ended=f"after {_PROBE_S:g} s")
    except OSError as error:
        return Probe(ended=f"before it began: {error.strerror}")
    return probed(done.returncode, done.stdout)


def probed(code: int, said: str) -> Probe:
    """Read what the process said, or how it ended."""
    if code < 0:
        return Probe(ended=f"by {signal.Signals(-code).name}")
    try:
        found: dict[str, Any] = {} if code else json.loads(said)
    except ValueError:
        found = {}
    if not found:
        return Probe(ended=f"with exit status {code}")
    words: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    return Probe(**words)


def updates(data_dir: Path) -> Updates | None:
    """Read what came of the last look for updates; None where nobody is trusted with any."""
    found = describe(data_dir)
    if not UpdateFolder(data_dir).trusts and not found["items"]:
        return None
    used = sum(item["version"] is not None for item in found["items"])
    until = [datetime.fromisoformat(when) for when in found["expires"].values()]
    days = (min(until) - datetime.now(UTC)).total_seconds() / 86_400 if until else None
    return Updates(used, found["damaged"] or found["message"], found["action"], days)


def server(data_dir: Path, proxy: str | None) -> Server | None:
    """Call the central server of an enrolled box, as the box would; None before enrolment."""
    try:
        who = load(data_dir)
    except EdgeError as error:
        return Server("", error.message, 0.0)
    if who is None:
        return None
    # Only an enrolled box pays for it.
    from edge_daemon.sync.http import Server as Connection  # noqa: PLC0415

    try:
        ends = datetime.fromisoformat(who.not_after)
        days = (ends.astimezone(UTC) - datetime.now(UTC)).total_seconds() / 86_400
        connection = Connection(
            who.server, fleet=who.fleet, certificate=who.certificate, proxy=proxy
        )
        # Any answer will do: the certificates of both sides were checked before it.
        with contextlib.closing(connection):
            connection.call("GET", "/v1/config", headers={})
    except (EdgeError, OSError, ValueError) as error:
        return Server(who.server, str(error), 0.0)
    return Server(who.server, "", days)


def page(web: Web, status_file: Path) -> Page | None:
    """Ask the status file about the page; None where nobody wants one."""
    if not web.enabled:
        return None
    try:
        told = json.loads(status_file.read_text(encoding="utf-8"))["web"]
        return Page(told["url"] or web.listen, told["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return Page(web.listen, "")  # the line of the service says that it does not run


def service(pid: int | None, status_file: Path, root: Path = Path("/")) -> Service:
    """Ask the status file and systemd about the service."""
    conditions: tuple[tuple[str, str], ...] = ()
    if pid is not None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            told = json.loads(status_file.read_text(encoding="utf-8"))["health"]["conditions"]
            conditions = tuple(
                (c["message"], c["action"]) for c in told if c["severity"] != "notice"
            )
    if not (root / "run/systemd/system").is_dir():
        return Service(pid, conditions)
    said = run("systemctl", "show", UNIT, "--property", _PROPERTIES) or ""
    return unit(said, pid, conditions)


def unit(said: str, pid: int | None, conditions: tuple[tuple[str, str], ...]) -> Service:
    """Read the answer of ``systemctl show``."""
    words = dict(line.partition("=")[::2] for line in said.splitlines())
    restarts = words.get("NRestarts", "")
    return Service(
        pid=pid,
        conditions=conditions,
        systemd=True,
        loaded=words.get("LoadState") == "loaded",
        active=words.get("ActiveState", ""),
        result=words.get("Result", ""),
        restarts=int(restarts) if restarts.isdigit() else 0,
        enabled=words.get("UnitFileState") in ("enabled", "enabled-runtime", "static"),
        private_network=words.get("PrivateNetwork") == "yes",
        private_devices=words.get("PrivateDevices") == "yes",
        private_tmp=words.get("PrivateTmp") == "yes",
    )
