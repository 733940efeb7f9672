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
from edge_daemon.store.backup import fault
from edge_daemon.store.reader import connect, rows

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.doctor.access import Account

_SHOWN: Final = 3
_NEWEST: Final = """
    SELECT coalesce(max(id), 0) FROM captures UNION ALL SELECT coalesce(max(id), 0) FROM runs
    UNION ALL SELECT coalesce(max(id), 0) FROM reports
"""


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
    """Open every backup, let SQLite check it, and see whether it lacks something."""
    now, present = time.time(), _newest(layout.database_path(data_dir), "mode=ro")
    found = []
    for path in sorted((data_dir / layout.BACKUPS_NAME).glob("*.db")):
        age_h = (now - path.stat().st_mtime) / 3600
        # Nobody writes a finished backup, and a reader must leave no log beside it.
        behind = present is not None and _newest(path, "mode=ro&immutable=1") != present
        found.append(Backup(path.name, age_h, fault(path) or "", behind))
    return tuple(found)


def _newest(database: Path, how: str) -> tuple[int, ...] | None:
    """Numbers of the newest capture, run and report; None where they cannot be read."""
    try:
        address = f"{database.absolute().as_uri()}?{how}"
        with closing(sqlite3.connect(address, uri=True)) as db:
            return tuple(row[0] for row in db.execute(_NEWEST))
    except sqlite3.Error:
        return None
