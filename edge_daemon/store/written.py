"""A second record of what people wrote, in case the database is lost.

Results can be made again from the archive; a corrected patient or a note cannot, nor can a lot of
control material or what somebody said a run is. So each gets a line too, synced before whoever
wrote it is answered. After a recovery they are put back: at once where they need no result or
their capture has one, else in the transaction that makes its next.
"""

from __future__ import annotations

import contextlib
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from edge_daemon.clock import Stamp
from edge_daemon.errors import EdgeError
from edge_daemon.store import said
from edge_daemon.store.committer import raw_connection
from edge_daemon.store.corrections import correct
from edge_daemon.store.rowlog import RowLog, read_rows
from edge_daemon.store.schema import captures, control_marks, lots, meta, run_notes, runs

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

    from sqlalchemy import Connection

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
            rows = _rows(db, query, last)
            new = [row for row in rows if _key(row) not in self._known]
            if new:
                self._log.append(new)
                self._known.update(map(_key, new))
            if rows:
                self._last[query] = rows[-1]["id"]

    def put_back(self, db: Connection) -> int:
        """Put back what the log says and the database does not know; return how much that is.

        What belongs to a capture without a result waits in ``meta`` for its next one.
        """
        lost = {_key(row): row for row in read_rows(self._path)}
        for query in self._last:
            for row in _rows(raw_connection(db), query, 0):
                lost.pop(_key(row), None)
        by_capture: dict[int, list[Row]] = {}
        put_back = 0
        for row in lost.values():
            if row["what"] == "lot":
                _lot(db, row)
                put_back += 1
                continue
            same = (captures.c.sha256 == row["sha256"]) & (
                captures.c.instrument == row["instrument"]
            )
            found = db.execute(select(captures.c.id).where(same)).scalar_one_or_none()
            if found is not None and row["what"] == "mark":
                _mark(db, found, row)
                put_back += 1
            elif found is not None:
                by_capture.setdefault(found, []).append(row)
        for capture_id, rows in by_capture.items():
            if _newest_run(db, capture_id) is not None:
                _take_up(db, capture_id, rows)
            else:
                value = json.dumps(rows)
                wait = upsert(meta).values(key=f"{WAITING_KEY}{capture_id}", value=value)
                db.execute(
                    wait.on_conflict_do_update(index_elements=["key"], set_={"value": value})
                )
        return put_back + sum(map(len, by_capture.values()))

    def close(self) -> None:
        """Close the file; everything in it is on the disk already."""
        self._log.close()


def take_up_waiting(db: Connection, capture_id: int) -> None:
    """Put back what waited for the result that a capture just got."""
    mine = meta.c.key == f"{WAITING_KEY}{capture_id}"
    text = db.execute(select(meta.c.value).where(mine)).scalar_one_or_none()
    if text is not None:
        db.execute(delete(meta).where(mine))
        _take_up(db, capture_id, json.loads(text))
        said.send_unsent(db, capture_id)


def _take_up(db: Connection, capture_id: int, rows: Iterable[Row]) -> None:
    """Write what people wrote again, as they wrote it and when they did."""
    for row in rows:
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


def _note(db: Connection, capture_id: int, row: Row) -> None:
    mine = runs.c.capture_id == capture_id
    same = select(runs.c.id).where(mine, runs.c.number == row["number"])
    run_id = db.execute(same).scalar_one_or_none() or _newest_run(db, capture_id)
    told = ("kind", "concerns", "verdict", "text", "made_by", "made_wall", "made_clock",
            "made_boot", "made_monotonic_s")  # fmt: skip
    values = {name: row.get(name) for name in told}
    db.execute(insert(run_notes).values(capture_id=capture_id, run_id=run_id, **values))


def _lot(db: Connection, row: Row) -> None:
    values = {name: row.get(name) for name in (*_LOT, *_STAMP)}
    db.execute(insert(lots).values(instrument=row.get("used_on"), **values))


def _mark(db: Connection, capture_id: int, row: Row) -> None:
    values = {name: row.get(name) for name in (*_MARK, *_STAMP)}
    db.execute(insert(control_marks).values(capture_id=capture_id, **values))


def _newest_run(db: Connection, capture_id: int) -> int | None:
    query = (
        select(runs.c.id)
        .where(runs.c.capture_id == capture_id)
        .order_by(runs.c.number.desc())
        .limit(1)
    )
    return db.execute(query).scalar_one_or_none()


def _rows(db: sqlite3.Connection, query: str, last: int) -> list[Row]:
    with closing(db.execute(query, (last,))) as cursor:
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _key(row: Row) -> Key:
    """Pick what tells one thing that was written from every other."""
    return tuple(
        row.get(name)
        for name in ("what", "sha256", "instrument", "made_by", "made_boot", "made_monotonic_s")
    )
