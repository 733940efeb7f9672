"""Who this box is to the central server: its key, its certificate, and how it gets them.

The key is made on the box by the `openssl` program and never leaves it. A library for it would
take 16 MB of every box for something that is done once in two months.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EXIT_NOT_FOUND, Fatal
from edge_daemon.sync.policy import TroubleError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.sync.http import Answered, Server

FOLDER: Final = "identity"
_TOOL_S: Final = 60


@dataclass(frozen=True, slots=True)
class Identity:
    """A box that is enrolled.

    Attributes
    ----------
    folder
        Holds ``box.pem`` (key and certificate, so that both change at once), ``fleet.pem`` and
        ``identity.json``.
    device, name
        As the server calls it.
    server
        Its address.
    not_after, renew_after
        Of the certificate, UTC.
    public
        The server's certificate is of an authority that the system trusts, not of the fleet.
    """

    folder: Path
    device: str
    name: str
    server: str
    not_after: str
    renew_after: str
    public: bool = False

    @property
    def certificate(self) -> Path:
        """Certificate and key."""
        return self.folder / "box.pem"

    @property
    def fleet(self) -> Path | None:
        """What the server's certificate must be signed by; None: what the system trusts."""
        return None if self.public else self.folder / "fleet.pem"


def load(data_dir: Path) -> Identity | None:
    """Read who this box is; None before it is enrolled.

    Raises
    ------
    Fatal
        What is there cannot be read.
    """
    folder = data_dir / FOLDER
    try:
        told = json.loads((folder / "identity.json").read_text(encoding="utf-8"))
        return Identity(folder=folder, **told)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise Fatal(
            f"{folder}: who this box is cannot be read: {error}",
            action="move the folder away and run `edge-daemon sync enrol` with a new claim code",
        ) from error


def enrol(
    data_dir: Path, url: str, code: str, *, fleet: Path | None, proxy: str | None = None
) -> Identity:
    """Make a key, and have the server sign it for a claim code.

    A key that is there already, because the answer of an earlier try was lost, is used again: the
    server knows it, and gives the same box its certificate.

    Parameters
    ----------
    fleet
        Certificate that the server's is signed by; None: the system's trusted ones.

    Raises
    ------
    Fatal
        The box is enrolled already, or the server refused.
    TroubleError
        The server could not be asked.
    """
    from edge_daemon.sync.http import Server  # noqa: PLC0415 - a box without a server needs none

    folder = data_dir / FOLDER
    if load(data_dir) is not None:
        raise Fatal(
            "this box is enrolled already",
            action=f"to enrol it anew, move {folder} away; what was sent stays sent",
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = folder / "first.key"
    if not key.exists():
        _make_key(key)
    server = Server(url, fleet=fleet, certificate=None, proxy=proxy)
    try:
        answer = _post(server, "/v1/enrol", {"code": code, "request": _request(key)})
    finally:
        server.close()
    return _keep(folder, key, server.url, answer, public=fleet is None)


def renew(identity: Identity, server: Server) -> Identity:
    """Change key and certificate for new ones; the old ones serve until these are in place.

    Raises
    ------
    TroubleError
        The server could not be asked, or refused.
    """
    key = identity.folder / "next.key"
    key.unlink(missing_ok=True)
    _make_key(key)
    answer = _post(server, "/v1/renew", {"request": _request(key)})
    return _keep(identity.folder, key, identity.server, answer, public=identity.public)


def _post(server: Server, path: str, told: dict[str, str]) -> dict[str, Any]:
    answer = server.call(
        "POST",
        path,
        headers={"Content-Type": "application/json"},
        body=json.dumps(told).encode(),
    )
    if answer.status != 201:
        raise _refused(answer)
    try:
        found: dict[str, Any] = json.loads(answer.body)
        missing = {"device", "name", "certificate", "fleet", "not_after", "renew_after"} - {*found}
    except (ValueError, TypeError) as error:
        raise TroubleError("retry", "no_reply", "the answer is not of a central server") from error
    if missing:
        raise TroubleError("retry", "no_reply", "the answer is not of a central server")
    return found


def _refused(answer: Answered) -> Exception:
    if answer.status in {408, 425, 429} or answer.status >= 500 or answer.status < 400:
        return TroubleError(
            "retry", f"status_{answer.status}", f"the server answered {answer.status}"
        )
    try:
        why = str(json.loads(answer.body)["message"])[:200]
    except (ValueError, KeyError, TypeError):
        why = f"status {answer.status}"
    return Fatal(f"the server refuses this box: {why}", action="ask for a new claim code")


def _keep(folder: Path, key: Path, url: str, told: dict[str, Any], *, public: bool) -> Identity:
    """Put the new identity in place; what a power cut leaves is the old one or the new one."""
    facts: dict[str, Any] = {
        name: str(told[name]) for name in ("device", "name", "not_after", "renew_after")
    }
    if public:
        facts["public"] = True
    _replace(folder / "fleet.pem", str(told["fleet"]))
    _replace(folder / "box.pem", key.read_text(encoding="ascii") + str(told["certificate"]))
    _replace(folder / "identity.json", json.dumps(facts | {"server": url}, indent=1))
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    key.unlink()
    return Identity(folder=folder, server=url, **facts)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.new")
    _write(partial, text)
    partial.replace(path)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _make_key(path: Path) -> None:
    words = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    _write(path, _openssl([*words, "-outform", "PEM"]))


def _request(key: Path) -> str:
    return _openssl(["req", "-new", "-batch", "-key", str(key), "-subj", "/CN=edge-daemon"])


def _openssl(words: list[str]) -> str:
    tool = shutil.which("openssl")
    if tool is None:
        raise Fatal(
            "the program openssl is not installed",
            action="install it (`apt-get install openssl`) and try again",
            exit_code=EXIT_NOT_FOUND,
        )
    done = subprocess.run(  # noqa: S603 - a fixed program; no argument comes from outside
        [tool, *words], capture_output=True, text=True, timeout=_TOOL_S, check=False
    )
    if done.returncode != 0:
        raise Fatal(f"openssl failed: {done.stderr.strip()[-200:]}", action="see openssl's message")
    return done.stdout
