"""Read what lies in the data folder; everything is opened for reading only."""

from __future__ import annotations

import pwd
import sqlite3
import stat
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from edge_daemon.doctor.access import may
from edge_daemon.doctor.facts import Backup, Database, Folder
from edge_daemon.errors import EdgeError
from edge_daemon.store import layout
from edge_daemon.store.reader import connect, rows
from edge_daemon.store.revision import read_revision

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.doctor.access import Account

_SHOWN: Final = 3


def folder(path: Path, account: Account) -> Folder:
    """Look at the data folder."""
    try:
        status = path.stat()
    except OSError:
        return Folder(str(path), user=account.name)
    return Folder(
        path=str(path),
        exists=stat.S_ISDIR(status.st_mode),
        owner=_owner(status.st_uid),
        mode=stat.S_IMODE(status.st_mode),
        user=account.name,
        usable=may(account, path, "rwx"),
    )


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def database(data_dir: Path) -> Database:
    """Open the database and let SQLite check it; takes as long as reading it."""
    if not layout.database_path(data_dir).exists():
        return Database(exists=False)
    try:
        with closing(connect(data_dir, limit_s=None)) as db:
            damage = rows(db, f"PRAGMA quick_check({_SHOWN})")
    except EdgeError as error:
        return Database(exists=True, trouble=error.message)
    words = [str(next(iter(row.values()))) for row in damage]
    return Database(exists=True, damage=tuple(word for word in words if word != "ok"))


def backups(data_dir: Path) -> tuple[Backup, ...]:
    """Open every backup and let SQLite check it."""
    now = time.time()
    found = []
    for path in sorted((data_dir / layout.BACKUPS_NAME).glob("*.db")):
        try:
            age_h = (now - path.stat().st_mtime) / 3600
            trouble = _trouble(path)
        except OSError as error:
            age_h, trouble = 0.0, error.strerror or str(error)
        found.append(Backup(path.name, age_h, trouble))
    return tuple(found)


def _trouble(path: Path) -> str:
    """Say why a backup could not be restored, or nothing."""
    try:
        # Nobody writes a finished backup, and a reader must leave no log beside it.
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as db:
            if read_revision(db, path) is None:
                return "it holds no store"
            (word,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except (sqlite3.Error, EdgeError) as error:
        return str(error)
    return "" if word == "ok" else str(word)
