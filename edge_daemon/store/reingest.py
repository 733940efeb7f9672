"""Take captures in again that the archive holds and the database does not know.

Needed after a backup or an empty database was put in place, and when the database turns out to
have lost what it had committed (a log that was deleted or whose end is damaged). Runs before
anything is accepted. The captures are then analysed like new ones; the digest of what is
sent tells the central server that it has it already.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from edge_daemon.clock import format_wall
from edge_daemon.store import layout
from edge_daemon.store.archive import archived_path
from edge_daemon.store.origins import last_origin, read_origins
from edge_daemon.store.replace import new_epoch
from edge_daemon.store.sql import insert, keep

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edge_daemon.clock import Stamp
    from edge_daemon.store.origins import Origin, Origins

T = TypeVar("T")

UNATTRIBUTED: Final = "recovered"
"""Instrument and source of a capture of which only the bytes are left."""

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was wrong with the database, and what was done.

    Attributes
    ----------
    why
        What was found, for people.
    backup
        Name of the backup that was restored; None: none was.
    epoch
        The database's new name to the central server.
    taken
        Captures that were taken in again; they are analysed next.
    unattributed
        Of these, captures whose instrument is not known any more.
    missing
        Captures that are known to have been there and whose bytes are gone as well.
    """

    why: str
    backup: str | None
    epoch: str
    taken: int
    unattributed: int
    missing: int


class Run(Protocol):
    """Runs work in a transaction of the writer and gives its result after the COMMIT."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], /) -> T:
        """Run it."""
        ...


def bring_back(
    run: Run,
    data_dir: Path,
    origins: Origins,
    stamp: Stamp,
    *,
    log_missing: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Recovery | None:
    """Compare database and archive if there is a reason to, and take in what is missing.

    Parameters
    ----------
    run
        The writer.
    data_dir
        The data directory.
    origins
        Its log of origins, which is made to agree with the database in the end.
    stamp
        When this is done.
    log_missing
        The last writer was killed, and the log that it must have left is not there.
    progress
        Called with the number of lines of the log looked at, and of all.

    Returns
    -------
    Recovery or None
        None if nothing was missing, which costs one look at either.

    Raises
    ------
    Retryable
        The disk is full or failing; the next start goes on.
    """
    last = last_origin(origins.path)
    why = run(lambda db: _reason(db, last, log_missing=log_missing))
    if why is None:
        return None
    told = run(lambda db: _begin(db, why))
    counts = _Counts()
    archive = data_dir / layout.ARCHIVE_NAME
    total = sum(1 for _ in read_origins(origins.path))
    for lines in _batches(read_origins(origins.path)):
        run(partial(_take_known, lines=lines, archive=archive, counts=counts))
        if progress is not None:
            progress(counts.looked_at, total)
    for files in _batches(_archived(archive)):
        run(partial(_take_unknown, files=files, counts=counts))

    def end(db: sqlite3.Connection) -> Recovery:
        origins.rewrite(db)
        recovery = Recovery(
            why=why,
            backup=told["backup"],
            epoch=_meta(db, "epoch") or "",
            taken=counts.taken,
            unattributed=counts.unattributed,
            missing=counts.missing,
        )
        db.execute("DELETE FROM meta WHERE key = ?", (layout.BACK_KEY,))
        report = asdict(recovery) | {"at": asdict(stamp)}
        keep(db, layout.RECOVERED_KEY, json.dumps(report))
        return recovery

    return run(end)


def _reason(db: sqlite3.Connection, last: Origin | None, *, log_missing: bool) -> str | None:
    if _meta(db, layout.BACK_KEY) is not None:
        return str(json.loads(_meta(db, layout.RECOVERED_KEY) or "{}").get("why", "unknown"))
    if last is not None and not _is_known(db, last.sha256, last.instrument):
        return "the database lacks captures that it had committed"
    if log_missing:
        return "the log of the database was gone after a crash"
    return None


def _begin(db: sqlite3.Connection, why: str) -> dict[str, Any]:
    """Mark the database; where rows were lost, its numbers come again, so it gets a new epoch."""
    if _meta(db, layout.BACK_KEY) is None:
        new_epoch(db)
        keep(db, layout.BACK_KEY, "1")
        keep(db, layout.RECOVERED_KEY, json.dumps({"why": why, "backup": None}))
    told: dict[str, Any] = json.loads(_meta(db, layout.RECOVERED_KEY) or '{"backup": null}')
    return told


@dataclass(slots=True)
class _Counts:
    looked_at: int = 0
    taken: int = 0
    unattributed: int = 0
    missing: int = 0


def _take_known(
    db: sqlite3.Connection, lines: list[Origin], archive: Path, counts: _Counts
) -> None:
    """Take captures in by their lines: under their old number where it is free, in order."""
    for origin in lines:
        counts.looked_at += 1
        if _is_known(db, origin.sha256, origin.instrument):
            continue
        if not archived_path(archive, origin.sha256).is_file():
            counts.missing += 1
            continue
        row = asdict(origin)
        if db.execute("SELECT 1 FROM captures WHERE id = ?", (origin.id,)).fetchone():
            row["id"] = None
        aside = origin.reason_code is not None
        counts.taken += 1
        insert(
            db,
            "captures",
            row | {"state": "quarantined" if aside else "received", "finished": int(aside)},
        )


def _take_unknown(db: sqlite3.Connection, files: list[Path], counts: _Counts) -> None:
    """Take captures in of which the log of origins says nothing."""
    for file in files:
        if db.execute("SELECT 1 FROM captures WHERE sha256 = ?", (file.stem,)).fetchone():
            continue
        status = file.stat()
        counts.taken += 1
        counts.unattributed += 1
        row = {
            "instrument": UNATTRIBUTED,
            "sha256": file.stem,
            "source": UNATTRIBUTED,
            "name": file.name,
            "size": status.st_size,
            "state": "received",
            "finished": 0,
            "received_wall": format_wall(datetime.fromtimestamp(status.st_mtime, UTC)),
            "received_clock": "unknown",
            "received_boot": UNATTRIBUTED,
            "received_monotonic_s": 0.0,
        }
        insert(db, "captures", row)


def _is_known(db: sqlite3.Connection, sha256: str, instrument: str) -> bool:
    query = "SELECT 1 FROM captures WHERE sha256 = ? AND instrument = ?"
    return db.execute(query, (sha256, instrument)).fetchone() is not None


def _archived(archive: Path) -> Iterator[Path]:
    """List archived files, the longest there first."""
    found = [
        (path.stat().st_mtime_ns, path.name, path)
        for path in archive.glob("[0-9a-f][0-9a-f]/*.raw")
    ]
    return (path for _, _, path in sorted(found))


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _meta(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])
