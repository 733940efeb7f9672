"""Builds that are broken on purpose, by patches in the process of the service alone.

The first ones must make rows fail, which proves that their checks bite. The others bring about
what no input can: loops that hang, an analysis that devours memory, a later release.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

from edge_daemon import dispatcher, health, service, worker_handle
from edge_daemon.sources import folder, tcp
from edge_daemon.store import committer, engine, layout, migrate, revision, upgrade


def acknowledge_early() -> None:
    """Answer every operation just before the COMMIT that holds it."""
    commit = committer.Committer._commit

    def early(self, group):
        answered = []
        attempt = self._attempt

        def told(db, work):
            outcome = attempt(db, work)
            operation = group[len(answered)]
            answered.append(operation)
            committer_answer(operation.answer, *outcome)
            if len(answered) == len(group):
                time.sleep(0.02)  # whoever was answered goes on; the disk is slow today
            return outcome

        self._attempt = told
        try:
            commit(self, group)
        finally:
            del self._attempt

    def once(answer, result, error):
        if not answer.done():
            committer_answer(answer, result, error)

    committer_answer = committer._answer
    committer._answer = once
    committer.Committer._commit = early


def synchronous_off() -> None:
    """Let SQLite call no fsync."""
    engine._PRAGMAS = tuple(
        "PRAGMA synchronous=OFF" if pragma == "PRAGMA synchronous=FULL" else pragma
        for pragma in engine._PRAGMAS
    )
    assert "PRAGMA synchronous=OFF" in engine._PRAGMAS


def unhurried_workers() -> None:
    """Let workers start at the lowest priority, where a life ends before they are needed."""
    worker_handle._CHILD = f"import os; os.nice(19); {worker_handle._CHILD}"


def frequent_checkpoints() -> None:
    """Move the log into the database often, so that faults fall into that too."""
    engine._PRAGMAS = tuple(
        pragma.replace("wal_autocheckpoint=1000", "wal_autocheckpoint=20")
        for pragma in engine._PRAGMAS
    )
    assert "PRAGMA wal_autocheckpoint=20" in engine._PRAGMAS


HANGS = ("writer", "dispatcher", "folder", "network", "health")
"""Loops that `hang_...` can stop."""


def hang_writer() -> None:
    _hang_in(committer.Committer, "_commit")


def hang_dispatcher() -> None:
    _hang_in(dispatcher.Pipeline, "_due")


def hang_folder() -> None:
    _hang_in(folder.FolderSource, "_look")


def hang_network() -> None:
    _hang_in(tcp.TcpSource, "_accept")


def hang_health() -> None:
    _hang_in(health.StatusFile, "write")


def _hang_in(owner: type, method: str) -> None:
    """Stand still in this method for ever once the marker is there."""
    marker = Path(os.environ["EDGE_HANG_MARKER"])
    if stall := os.environ["EDGE_HANG_STALL_S"]:
        service._STALL_S = float(stall)
        dispatcher._IDLE_S = folder._TURN_S = 0.3
    working = getattr(owner, method)

    def hung(self, *arguments, **named):
        if marker.exists():
            threading.Event().wait()
        return working(self, *arguments, **named)

    setattr(owner, method, hung)


NEXT_REVISION = f"{int(layout.REVISION) + 1:04}"
_NEXT = f"""
from alembic import op
import sqlalchemy as sa
revision, down_revision = "{NEXT_REVISION}", "{layout.REVISION}"

def upgrade():
    op.add_column("captures", sa.Column("colour", sa.Text))
    op.execute("UPDATE captures SET colour = 'red'")
    op.execute("CREATE TABLE shelves (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
    op.execute("CREATE INDEX captures_by_colour ON captures (colour)")
    op.execute("INSERT INTO shelves SELECT id, name FROM captures")
"""


def next_release() -> None:
    """A release with one more migration, killed before its n-th statement if that is asked for."""
    scripts = Path(tempfile.mkdtemp()) / "migrations"
    shutil.copytree(migrate.MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / f"{NEXT_REVISION}_next.py").write_text(_NEXT)
    for module in (layout, revision):  # readers, too, must know it
        module.REVISION = NEXT_REVISION
    migrate.migrate.__kwdefaults__ = {"migrations": scripts, "revision": NEXT_REVISION}
    left = int(os.environ.get("EDGE_KILL_AT", "0"))

    def count(_statement: str) -> None:  # called as a statement begins
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(database: Path) -> sqlite3.Connection:
        db = engine.connect(database)
        db.set_trace_callback(count)
        return db

    for module in (upgrade, committer):
        module.connect = connect
