"""The certificate of the page: a given one, or one the box makes for itself with openssl."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.web.passwords import give_to_owner

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FOLDER: Final = "web"
_DAYS: Final = 3650  # a box nobody looks after must not go dark after a year
_PATIENCE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a certificate and its key, PEM."""

    certificate: Path
    key: Path

    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers show it, to compare on first use.

        Raises
        ------
        EdgeError
            The file holds no certificate.
        """
        try:
            der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise EdgeError(
                f"{self.certificate}: not a certificate: {error}",
                action="give a PEM file, or make one with `edge-daemon web certificate --new`",
            ) from error
        digest = hashlib.sha256(der).hexdigest().upper()
        return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def own(data_dir: Path) -> Certificate:
    """Where the box's self-made certificate lies, whether there is one or not."""
    folder = data_dir / _FOLDER
    return Certificate(folder / "certificate.pem", folder / "key.pem")


def make(data_dir: Path, names: Iterable[str] = ()) -> Certificate:
    """Make the box a certificate of its own, in place of an earlier one.

    Parameters
    ----------
    data_dir
        Data folder; the files are ``web/certificate.pem`` and ``web/key.pem`` in it.
    names
        Host names and addresses beside the box's own name that browsers will use.

    Raises
    ------
    EdgeError
        There is no openssl program, or it failed.
    Retryable
        The files cannot be written.
    """
    program = shutil.which("openssl")
    if program is None:
        raise EdgeError(
            "the openssl program is needed to make a certificate and is not installed",
            action="install openssl, or give a certificate with web.tls_cert and web.tls_key",
        )
    made = own(data_dir)
    parts = [path.with_suffix(".new") for path in (made.certificate, made.key)]
    try:
        made.key.parent.mkdir(mode=0o700, exist_ok=True)
        # The key is made readable for its owner alone before anything is in it.
        with contextlib.suppress(FileNotFoundError):
            parts[1].unlink()
        os.close(os.open(parts[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _run(program, parts[0], parts[1], _alternatives(names))
        for part, path in zip(parts, (made.certificate, made.key), strict=True):
            give_to_owner(part)
            part.replace(path)
        give_to_owner(made.key.parent)
    except OSError as error:
        raise Retryable(
            f"{made.key.parent}: the certificate cannot be stored: {error.strerror}",
            action="run this as root or as the user the service runs as",
        ) from error
    return made


def _alternatives(names: Iterable[str]) -> str:
    host = socket.gethostname()
    wanted = dict.fromkeys(["localhost", "127.0.0.1", "::1", host, f"{host}.local", *names])
    listed = []
    for name in wanted:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            listed.append(f"DNS:{name}")
        else:
            listed.append(f"IP:{name}")
    return ",".join(listed)


def _run(program: str, certificate: Path, key: Path, alternatives: str) -> None:
    command = [
        program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", str(_DAYS), "-subj", "/CN=edge-daemon",
        "-addext", f"subjectAltName={alternatives}",
        "-addext", "basicConstraints=critical,CA:FALSE",
        "-addext", "extendedKeyUsage=serverAuth",
        "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 openssl, with our own arguments
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EdgeError(f"openssl could not be run: {error}", action="try it again") from error
    if done.returncode:
        last = (done.stderr.strip() or "it gave no reason").splitlines()[-1]
        raise EdgeError(
            f"openssl made no certificate: {last}",
            action="check the names in web.hosts, or give a certificate with web.tls_cert",
        )
