"""The passwords of the page: one for each role, kept as argon2 hashes beside the database."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.signin import hashing

if TYPE_CHECKING:
    from pathlib import Path

Role = Literal["technician", "reader"]

ROLES: Final[tuple[Role, ...]] = ("technician", "reader")
"""A technician may also correct results and add notes; a reader only looks."""

PASSWORDS_NAME: Final = "web/passwords.json"


class Passwords:
    """The passwords of one box, as they stand in its file now.

    Parameters
    ----------
    data_dir
        Data folder; the file is ``web/passwords.json`` in it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / PASSWORDS_NAME
        # Each check takes memory and a core: one at a time, whoever asks.
        self._one_at_a_time = threading.Lock()

    def hashes(self) -> dict[Role, str]:
        """Read the hash of each role that has a password.

        Raises
        ------
        Retryable
            The file cannot be read: nobody gets in, rather than everybody.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Retryable(
                f"{self._path}: the passwords cannot be read: {error.strerror}",
                action="give the file to the user the service runs as",
            ) from error
        try:
            stored = json.loads(text)
            return {role: str(stored[role]) for role in ROLES if role in stored}
        except (ValueError, TypeError) as error:
            raise Retryable(
                f"{self._path}: not a file of passwords",
                action="remove it and set the passwords again with `edge-daemon web password`",
            ) from error

    def generation(self, role: Role) -> str | None:
        """Name the present password of a role, so that a session ends when it is changed."""
        found = self.hashes().get(role)
        return None if found is None else hashlib.sha256(found.encode()).hexdigest()

    def role_of(self, password: str) -> Role | None:
        """Tell whose password this is; takes as long for a wrong one as for any."""
        found: Role | None = None
        with self._one_at_a_time:
            for role, stored in self.hashes().items():
                if hashing.verify(stored, password):
                    found = found or role
        return found

    def set(self, role: Role, password: str) -> None:
        """Store the password of a role.

        Raises
        ------
        EdgeError
            It is too short or too long, or is that of the other role.
        Retryable
            The file cannot be written.
        """
        made = hashing.hashed(password)
        stored = self.hashes()
        stored.pop(role, None)
        self._refuse_twin(stored, password)
        self._write({**stored, role: made})

    def remove(self, role: Role) -> bool:
        """Take the password of a role away; tell whether it had one."""
        stored = self.hashes()
        had = stored.pop(role, None) is not None
        if had:
            self._write(stored)
        return had

    def _refuse_twin(self, others: dict[Role, str], password: str) -> None:
        for other, stored in others.items():
            if hashing.verify(stored, password):
                raise EdgeError(
                    f"this is the password of the {other} already: it could not tell who signs in",
                    action="choose another for this role",
                )

    def _write(self, stored: dict[Role, str]) -> None:
        """Replace the file at once, readable by the service's user alone."""
        part = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            part.unlink(missing_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(stored, stream, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            give_to_owner(part)
            give_to_owner(self._path.parent)
            part.replace(self._path)
        except OSError as error:
            raise Retryable(
                f"{self._path}: the password cannot be stored: {error.strerror}",
                action="run this as root or as the user the service runs as",
            ) from error


def give_to_owner(path: Path) -> None:
    """Give a file that root made in the data folder to the folder's owner, the service."""
    if os.geteuid() == 0:
        folder = path.parent if path.is_dir() else path.parent.parent
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
