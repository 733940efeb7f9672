"""The store: what the running service writes through.

Every public method may be called from any thread and returns only after COMMIT, so whoever
acknowledges after it returns never acknowledges something that a power cut can take back.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.records import CaptureState, RawCapture
from edge_daemon.store import layout
from edge_daemon.store.archive import Archive
from edge_daemon.store.committer import MAX_GROUP, Committer
from edge_daemon.store.documents import (
    DOCUMENT_SCHEMA,
    canonical,
    digest,
    outgoing,
    result_document,
)
from edge_daemon.store.lock import DirectoryLock
from edge_daemon.store.migrate import migrate
from edge_daemon.store.rows import (
    clean,
    decoding_row,
    flag_rows,
    measurement_rows,
    run_row,
    stamp_row,
    texts,
)
from edge_daemon.store.schema import (
    captures,
    decodings,
    flags,
    measurements,
    outbox,
    refusals,
    runs,
    sightings,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy import Connection, RowMapping

    from edge_daemon.clock import Clock, Stamp
    from edge_daemon.errors import Quarantine
    from edge_daemon.records import Classified, Decoded

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Answer to a capture that was handed in.

    Attributes
    ----------
    capture_id
        Its sequence number.
    new
        False when this instrument has sent the same bytes before.
    sighted
        True when known bytes came under a name or from a source not seen with them before.
    """

    capture_id: int
    new: bool
    sighted: bool = False


@dataclass(frozen=True, slots=True)
class PendingCapture:
    """A capture whose analysis has not ended; `path` is its archived file, named by `sha256`."""

    capture_id: int
    instrument: str
    source: str
    name: str
    sha256: str
    size: int
    state: CaptureState
    path: Path


class Store:
    """The one writer of a data directory; made with `Store.open`."""

    def __init__(
        self, lock: DirectoryLock, archive: Archive, committer: Committer, clock: Clock
    ) -> None:
        self._lock = lock
        self._archive = archive
        self._committer = committer
        self._clock = clock
        self._open = True

    @classmethod
    def open(cls, data_dir: Path, clock: Clock, *, max_group: int = MAX_GROUP) -> Self:
        """Lock the directory, bring the schema up to date and start the writer thread.

        Parameters
        ----------
        data_dir
            Made if absent.
        clock
            Stamps every row.
        max_group
            Most operations that share a commit.

        Raises
        ------
        Fatal
            Another process holds the directory, or the schema is newer than this software.
        Retryable
            The disk is full, failing or read-only.
        """
        try:
            data_dir = data_dir.absolute()
            data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise Retryable(
                f"{data_dir}: the data directory cannot be made: {error.strerror}",
                action="make its parent writable for this user, or choose another directory",
            ) from error
        lock = DirectoryLock(data_dir / layout.LOCK_NAME)
        try:
            migrate(data_dir)
            archive = Archive(data_dir / layout.ARCHIVE_NAME)
            committer = Committer(layout.database_path(data_dir), max_group=max_group)
        except BaseException:
            lock.release()
            raise
        return cls(lock, archive, committer, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what was submitted, close the database and release the directory."""
        if self._open:
            self._open = False
            self._committer.close()
            self._lock.release()

    def ping(self) -> None:
        """Return when the writer thread has taken its turn (for the watchdog)."""
        self._do(lambda _: None)

    def accept(self, capture: RawCapture) -> Acceptance:
        """Archive a capture's bytes and record it, or note that it was seen again.

        Raises
        ------
        EdgeError
            The digest is not that of the bytes.
        Retryable
            The disk is full, failing or read-only; nothing was acknowledged.
        """
        self._archive.put(capture.data, capture.sha256)
        stamp = self._clock.stamp()
        row = {
            "instrument": clean(capture.instrument),
            "sha256": capture.sha256,
            "source": clean(capture.source),
            "name": clean(capture.name),
            "size": len(capture.data),
            "state": "received",
            "finished": 0,
            **stamp_row("received", stamp),
        }

        def work(db: Connection) -> Acceptance:
            added = db.execute(
                upsert(captures).values(row).on_conflict_do_nothing().returning(captures.c.id)
            ).scalar_one_or_none()
            if added is not None:
                return Acceptance(added, new=True)
            known = db.execute(
                select(captures.c.id).where(
                    captures.c.instrument == row["instrument"],
                    captures.c.sha256 == row["sha256"],
                )
            ).scalar_one()
            return Acceptance(known, new=False, sighted=_sight(db, known, row, stamp))

        return self._do(work)

    def sighting(self, capture_id: int, source: str, name: str) -> None:
        """Note that a known capture was seen under this name; the same sighting counts once."""
        stamp = self._clock.stamp()
        row = {"source": clean(source), "name": clean(name)}

        def work(db: Connection) -> None:
            _capture(db, capture_id)
            _sight(db, capture_id, row, stamp)

        self._do(work)

    def refuse(self, source: str, name: str, error: Quarantine) -> None:
        """Note something that never became a capture; repeats raise its count."""
        stamp = self._clock.stamp()
        latest = {
            "message": clean(error.message),
            "action": clean(error.action),
            **stamp_row("last", stamp),
        }
        row = {
            "source": clean(source),
            "name": clean(name),
            "code": error.code,
            "times": 1,
            **latest,
            **stamp_row("first", stamp),
        }
        statement = (
            upsert(refusals)
            .values(row)
            .on_conflict_do_update(
                index_elements=["source", "name", "code"],
                set_={**latest, "times": refusals.c.times + 1},
            )
        )
        self._do(lambda db: db.execute(statement) and None)

    def record_decoded(self, capture_id: int, step: Decoded) -> None:
        """Make the first step durable: received (or decoded before a crash) → decoded.

        Raises
        ------
        EdgeError
            The capture is unknown or its analysis has ended.
        """
        stamp = self._clock.stamp()

        def work(db: Connection) -> None:
            _unfinished(db, capture_id, "recorded as decoded")
            _decoding(db, capture_id, step, stamp)
            _move(db, capture_id, "decoded", finished=False)

        self._do(work)

    def record_run(self, capture_id: int, decoded: Decoded, step: Classified) -> int:
        """Make a result durable, with its outbox row, in one transaction: decoded → classified.

        Returns
        -------
        int
            Id of the run; a replay makes the capture's next run and leaves the earlier ones.

        Raises
        ------
        EdgeError
            The capture is unknown, not decoded or ended, or the result breaks its contract.
        """
        stamp = self._clock.stamp()

        def work(db: Connection) -> int:
            capture = _unfinished(db, capture_id, "recorded as classified")
            if capture["state"] != "decoded":
                raise _impossible(capture, "recorded as classified")
            decoding = _decoding(db, capture_id, decoded, stamp)
            run_id = _insert_run(db, capture, decoding, run_row(capture_id, decoded, step), step, stamp)
            _move(db, capture_id, "classified", finished=True)
            return run_id

        return self._do(work)

    def finish_decoded(self, capture_id: int) -> None:
        """End the analysis of a capture with a decode-only profile: no run follows.

        Raises
        ------
        EdgeError
            The capture is unknown, not decoded or ended.
        """

        def work(db: Connection) -> None:
            capture = _unfinished(db, capture_id, "finished as decoded")
            if capture["state"] != "decoded":
                raise _impossible(capture, "finished as decoded")
            _move(db, capture_id, "decoded", finished=True)

        self._do(work)

    def quarantine(self, capture_id: int, error: Quarantine) -> None:
        """Set a capture aside with its reason; its bytes are kept.

        Raises
        ------
        EdgeError
            The capture is unknown or its analysis has ended.
        """
        reason = {
            "reason_code": error.code,
            "reason_message": clean(error.message),
            "reason_action": clean(error.action),
            "reason_candidates": texts(error.candidates),
        }

        def work(db: Connection) -> None:
            _unfinished(db, capture_id, "quarantined")
            _move(db, capture_id, "quarantined", finished=True, reason=reason)

        self._do(work)

    def requeue(self, capture_id: int) -> None:
        """Send a capture through the analysis again, whatever its state (replay)."""

        def work(db: Connection) -> None:
            _capture(db, capture_id)
            _move(db, capture_id, "received", finished=False)

        self._do(work)

    def pending(self) -> list[PendingCapture]:
        """Captures whose analysis has not ended, oldest first."""
        columns = captures.c
        statement = (
            select(
                columns.id,
                columns.instrument,
                columns.source,
                columns.name,
                columns.sha256,
                columns.size,
                columns.state,
            )
            .where(columns.finished == 0)
            .order_by(columns.id)
        )
        found = self._do(lambda db: db.execute(statement).all())
        return [PendingCapture(*row, path=self._archive.path(row.sha256)) for row in found]

    def read_capture(self, capture_id: int) -> RawCapture:
        """Read a capture's bytes from the archive, with their digest checked.

        Raises
        ------
        EdgeError
            The capture is unknown.
        Quarantine
            The archived file is missing or damaged.
        """
        row = self._do(lambda db: _capture(db, capture_id))
        return RawCapture(
            instrument=row["instrument"],
            source=row["source"],
            name=row["name"],
            sha256=row["sha256"],
            data=self._archive.get(row["sha256"]),
        )

    def _do(self, work: Callable[[Connection], T]) -> T:
        return self._committer.submit(work).result()


def _capture(db: Connection, capture_id: int) -> RowMapping:
    row = db.execute(select(captures).where(captures.c.id == capture_id)).mappings().one_or_none()
    if row is None:
        raise EdgeError(
            f"there is no capture {capture_id}",
            action="list the captures to find its number",
        )
    return row


def _unfinished(db: Connection, capture_id: int, wanted: str) -> RowMapping:
    row = _capture(db, capture_id)
    if row["finished"]:
        raise _impossible(row, wanted)
    return row


def _impossible(capture: RowMapping, wanted: str) -> EdgeError:
    ended = ", its analysis has ended" if capture["finished"] else ""
    return EdgeError(
        f"capture {capture['id']} is {capture['state']}{ended}: it cannot be {wanted}",
        action="replay the capture to analyse it again",
    )


def _move(
    db: Connection,
    capture_id: int,
    state: CaptureState,
    *,
    finished: bool,
    reason: dict[str, str] | None = None,
) -> None:
    nothing = {
        "reason_code": None,
        "reason_message": None,
        "reason_action": None,
        "reason_candidates": None,
    }
    db.execute(
        update(captures)
        .where(captures.c.id == capture_id)
        .values(state=state, finished=int(finished), **(reason or nothing))
    )


def _sight(db: Connection, capture_id: int, label: dict[str, Any], stamp: Stamp) -> bool:
    """Add a sighting unless the capture is already known by this source and name."""
    first = db.execute(
        select(captures.c.id).where(
            captures.c.id == capture_id,
            captures.c.source == label["source"],
            captures.c.name == label["name"],
        )
    ).scalar_one_or_none()
    if first is not None:
        return False
    row = {
        "capture_id": capture_id,
        "source": label["source"],
        "name": label["name"],
        **stamp_row("seen", stamp),
    }
    return db.execute(upsert(sightings).values(row).on_conflict_do_nothing()).rowcount == 1


def _decoding(db: Connection, capture_id: int, step: Decoded, stamp: Stamp) -> dict[str, Any]:
    """Row of the decoding; the newest one is used again when it says the same."""
    row = decoding_row(capture_id, step)
    newest = (
        db.execute(
            select(decodings)
            .where(decodings.c.capture_id == capture_id)
            .order_by(decodings.c.id.desc())
            .limit(1)
        )
        .mappings()
        .one_or_none()
    )
    if newest is not None and all(newest[key] == value for key, value in row.items()):
        return dict(newest)
    added = db.execute(insert(decodings).values(row | stamp_row("created", stamp)))
    return {**row, "id": added.inserted_primary_key[0]}  # type: ignore[index]


def _insert_run(
    db: Connection,
    capture: RowMapping,
    decoding: dict[str, Any],
    row: dict[str, Any],
    step: Classified,
    stamp: Stamp,
) -> int:
    """Insert the run, its measurements and flags, and its outbox row."""
    last = select(func.max(runs.c.number)).where(runs.c.capture_id == capture["id"])
    row["number"] = (db.execute(last).scalar_one() or 0) + 1
    row["decoding_id"] = decoding["id"]
    values = measurement_rows(step.measurements)
    remarks = flag_rows(step.flags)
    document = result_document(capture, decoding, row, values, remarks)
    row["digest"] = digest(canonical(document))
    created = stamp_row("created", stamp)
    run_id = cast("int", db.execute(insert(runs).values(row | created)).inserted_primary_key[0])  # type: ignore[index]
    for table, content in ((measurements, values), (flags, remarks)):
        if content:
            db.execute(insert(table), [{"run_id": run_id, **item} for item in content])
    body = canonical(outgoing(document))
    db.execute(
        insert(outbox).values(
            run_id=run_id,
            type="run.simulated" if row["simulated"] else "run.clinical",
            schema=DOCUMENT_SCHEMA,
            digest=digest(body),
            body=body,
            state="waiting",
            attempts=0,
            **created,
        )
    )
    return run_id
