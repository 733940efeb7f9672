"""A second record of what people wrote, in case the database is lost.

Results can be made again from the archive; a corrected patient or a note cannot, nor can a lot of
control material or what somebody said a run is. So each gets a line too, synced before whoever
wrote it is answered. After a recovery they are put back: at once where they need no result or
their capture has one, else in the transaction that makes its next.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.clock import Stamp
from edge_daemon.errors import EdgeError
from edge_daemon.store import said
from edge_daemon.store.corrections import correct
from edge_daemon.store.rowlog import RowLog, read_rows
from edge_daemon.store.sql import insert, keep, rows, value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

WAITING_KEY: Final = "written."
"""What keys in ``meta`` begin with that hold, by capture, what waits for a result."""

_MADE: Final = "made_by, made_wall, made_clock, made_boot, made_monotonic_s"
_JOIN: Final = "JOIN captures AS c ON c.id = w.capture_id JOIN runs AS r ON r.id = w.run_id"
_CORRECTIONS: Final = f"""
    SELECT w.id, 'correction' AS what, c.sha256, c.instrument, r.number, w.changes, w.reason,
        {_MADE}
    FROM corrections AS w {_JOIN} WHERE w.id > ? ORDER BY w.id
"""  # noqa: S608
_NOTES: Final = f"""
    SELECT w.id, 'note' AS what, c.sha256, c.instrument, r.number, w.kind, w.concerns, w.verdict,
        w.text, {_MADE}
    FROM run_notes AS w {_JOIN} WHERE w.id > ? ORDER BY w.id
"""  # noqa: S608

_LOTS: Final = f"""
    SELECT w.id, 'lot' AS what, NULL AS sha256, NULL AS instrument, w.lot, w.level, w.material,
        w.instrument AS used_on, w.pattern, w.expires, w.targets, {_MADE}
    FROM lots AS w WHERE w.id > ? ORDER BY w.id
"""  # noqa: S608
_MARKS: Final = f"""
    SELECT w.id, 'mark' AS what, c.sha256, c.instrument, w.kind, w.lot, w.level, {_MADE}
    FROM control_marks AS w JOIN captures AS c ON c.id = w.capture_id WHERE w.id > ? ORDER BY w.id
"""  # noqa: S608
_LOT: Final = ("lot", "level", "material", "pattern", "expires", "targets")
_MARK: Final = ("kind", "lot", "level")
_STAMP: Final = tuple(_MADE.split(", "))

Row = dict[str, Any]
Key = tuple[Any, ...]


class Written:
    """The log's writer; used by one thread at a time.

    Parameters
    ----------
    path
        The log; made if absent.

    Raises
    ------
    OSError
        It cannot be opened or made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = RowLog(path)
        self._known = {_key(row) for row in read_rows(path)}
        self._last = {_CORRECTIONS: 0, _NOTES: 0, _LOTS: 0, _MARKS: 0}

    def catch_up(self, db: sqlite3.Connection) -> None:
        """Append what has no line yet, and return when that is on the disk.

        Raises
        ------
        OSError
            It cannot be written; the next call tries the same lines again.
        """
        for query, last in self._last.items():
            since = rows(db, query, (last,))
            new = [row for row in since if _key(row) not in self._known]
            if new:
                self._log.append(new)
                self._known.update(map(_key, new))
            if since:
                self._last[query] = since[-1]["id"]

    def put_back(self, db: sqlite3.Connection) -> int:
        """Put back what the log says and the database does not know; return how much that is.

        What belongs to a capture without a result waits in ``meta`` for its next one.
        """
        lost = {_key(row): row for row in read_rows(self._path)}
        for query in self._last:
            for row in rows(db, query, (0,)):
                lost.pop(_key(row), None)
        by_capture: dict[int, list[Row]] = {}
        put_back = 0
        for row in lost.values():
            if row["what"] == "lot":
                _lot(db, row)
                put_back += 1
                continue
            same = "SELECT id FROM captures WHERE sha256 = ? AND instrument = ?"
            found = value(db, same, (row["sha256"], row["instrument"]))
            if found is not None and row["what"] == "mark":
                _mark(db, found, row)
                put_back += 1
            elif found is not None:
                by_capture.setdefault(found, []).append(row)
        for capture_id, lines in by_capture.items():
            if _newest_run(db, capture_id) is not None:
                _take_up(db, capture_id, lines)
            else:
                keep(db, f"{WAITING_KEY}{capture_id}", json.dumps(lines))
        return put_back + sum(map(len, by_capture.values()))

    def close(self) -> None:
        """Close the file; everything in it is on the disk already."""
        self._log.close()


def take_up_waiting(db: sqlite3.Connection, capture_id: int) -> None:
    """Put back what waited for the result that a capture just got."""
    mine = (f"{WAITING_KEY}{capture_id}",)
    text = value(db, "SELECT value FROM meta WHERE key = ?", mine)
    if text is not None:
        db.execute("DELETE FROM meta WHERE key = ?", mine)
        _take_up(db, capture_id, json.loads(text))
        said.send_unsent(db, capture_id)


def _take_up(db: sqlite3.Connection, capture_id: int, lines: Iterable[Row]) -> None:
    """Write what people wrote again, as they wrote it and when they did."""
    for row in lines:
        stamp = Stamp(
            row["made_wall"], row["made_clock"], row["made_boot"], row["made_monotonic_s"]
        )
        if row["what"] == "note":
            _note(db, capture_id, row)
            continue
        newest = _newest_run(db, capture_id)
        assert newest is not None
        changes = {field: after for field, (_, after) in json.loads(row["changes"]).items()}
        # A result that says so by itself now needs no correction; the line stays in the log.
        with contextlib.suppress(EdgeError):
            correct(db, newest, changes, row["made_by"], row["reason"], stamp)


def _note(db: sqlite3.Connection, capture_id: int, row: Row) -> None:
    same = "SELECT id FROM runs WHERE capture_id = ? AND number = ?"
    run_id = value(db, same, (capture_id, row["number"])) or _newest_run(db, capture_id)
    told = ("kind", "concerns", "verdict", "text", "made_by", "made_wall", "made_clock",
            "made_boot", "made_monotonic_s")  # fmt: skip
    note = {name: row.get(name) for name in told}
    insert(db, "run_notes", {"capture_id": capture_id, "run_id": run_id, **note})


def _lot(db: sqlite3.Connection, row: Row) -> None:
    lot = {name: row.get(name) for name in (*_LOT, *_STAMP)}
    insert(db, "lots", {"instrument": row.get("used_on"), **lot})


def _mark(db: sqlite3.Connection, capture_id: int, row: Row) -> None:
    mark = {name: row.get(name) for name in (*_MARK, *_STAMP)}
    insert(db, "control_marks", {"capture_id": capture_id, **mark})


def _newest_run(db: sqlite3.Connection, capture_id: int) -> int | None:
    query = "SELECT id FROM runs WHERE capture_id = ? ORDER BY number DESC LIMIT 1"
    newest: int | None = value(db, query, (capture_id,))
    return newest


def _key(row: Row) -> Key:
    """Pick what tells one thing that was written from every other."""
    return tuple(
        row.get(name)
        for name in ("what", "sha256", "instrument", "made_by", "made_boot", "made_monotonic_s")
    )
