"""Documents in the order they were received, a page at a time, with what else is of their results.

Memory holds one page, however many documents there are. `settled` says how far that order is
final: PostgreSQL gives numbers out before it commits, so a lower number may still appear after a
higher one was seen, and whoever had moved on would never send it.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from edge_daemon.central import settling
from edge_daemon.central.feeds.bodies import is_readable
from edge_daemon.central.schema import clinics, devices, documents
from edge_daemon.errors import Retryable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from edge_daemon.central.reading import Reader, Scope

PAGE: Final = 200
WINDOW: Final = 50_000
_LOOK_S: Final = 0.05
_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Told:
    """One document, and who sent it when.

    Attributes
    ----------
    id
        Its number at the centre.
    received_at
        By the centre's clock, UTC; the same for all of one batch.
    what
        ``run``, ``report``, ``note``, ``correction`` or ``mark``.
    body
        As `store.documents` of the box made it.
    epoch, seq
        Its place in the outbox of the box.
    """

    id: int
    clinic_id: int
    clinic: str
    device_id: str
    box: str
    digest: str
    what: str
    simulated: bool
    created_at: str
    clock_state: str
    received_at: dt.datetime
    body: Mapping[str, Any]
    epoch: str
    seq: int

    @property
    def result(self) -> tuple[str, str, str]:
        """Which result it is about: box, instrument, capture."""
        return self.device_id, str(self.body["instrument"]), str(self.body["capture"])

    @property
    def order(self) -> tuple[int, int]:
        """Place among the versions of a result: two of one number came from a restored backup."""
        return int(self.body["number"]), self.id


@dataclass(frozen=True, slots=True)
class Choice:
    """Which documents are asked for.

    Attributes
    ----------
    what
        Types, without their mark.
    kinds
        ``clinical``, ``simulated``, or both.
    after, upto
        Numbers of documents: above the one, up to the other.
    since
        Received at this time or later; None: from the first on.
    """

    what: frozenset[str]
    kinds: frozenset[str]
    after: int = 0
    upto: int = 0
    since: dt.datetime | None = None


def pages(
    reader: Reader,
    scope: Scope,
    choice: Choice,
    *,
    size: int = PAGE,
    leave_out: Callable[[int], object] = lambda _: None,
) -> Iterator[list[Told]]:
    """Yield the documents of a scope in the order of their numbers.

    No question looks at more than `WINDOW` numbers, however few of them are asked for.
    `leave_out` is told the number of a document that is not what its type says (`bodies`).
    """
    types = [f"{what}.{kind}" for what in sorted(choice.what) for kind in sorted(choice.kinds)]
    after = choice.after
    while after < choice.upto:
        end = min(choice.upto, after + WINDOW)
        query = (
            _documents()
            .where(scope.of(documents), documents.c.type.in_(types))
            .where(documents.c.id > after, documents.c.id <= end)
            .order_by(documents.c.id)
            .limit(size)
        )
        if choice.since is not None:
            query = query.where(documents.c.received_at >= choice.since)
        with reader.reading(scope) as db:
            rows = [dict(row) for row in db.execute(query).mappings()]
        found = []
        for row in rows:
            told = _told(row)
            if told is None:
                leave_out(row["id"])
            else:
                found.append(told)
        if found:
            yield found
        after = rows[-1]["id"] if len(rows) == size else end


def related(
    reader: Reader,
    scope: Scope,
    page: Iterable[Told],
    *,
    what: Iterable[str],
    upto: int | None = None,
) -> dict[tuple[str, str, str], list[Told]]:
    """Find the other documents of the results that a page is about, in order.

    Parameters
    ----------
    upto
        Highest number; None for all, where a batch may not be cut in two (`version_after`).
    """
    wanted = {one.result for one in page}
    if not wanted:
        return {}
    kinds = ("clinical", "simulated")
    query = (
        _documents()
        .where(
            scope.of(documents),
            documents.c.device_id.in_(sorted({device for device, _, _ in wanted})),
            documents.c.capture.in_(sorted({capture for _, _, capture in wanted})),
            documents.c.type.in_([f"{one}.{kind}" for one in what for kind in kinds]),
        )
        .order_by(documents.c.id)
    )
    if upto is not None:
        query = query.where(documents.c.id <= upto)
    found: dict[tuple[str, str, str], list[Told]] = defaultdict(list)
    with reader.reading(scope) as db:
        for row in db.execute(query).mappings():
            told = _told(row)
            if told is not None and told.result in wanted:
                found[told.result].append(told)
    return found


def settled(
    reader: Reader,
    scope: Scope,
    *,
    after: int = 0,
    pause: Callable[[float], object] = time.sleep,
    patience_s: float = _PATIENCE_S,
) -> int:
    """Return the highest number below which no document of the scope can appear any more.

    Raises
    ------
    Retryable
        A transaction of the database server stays open for longer than `patience_s`.
    """
    with reader.reading(scope) as db:
        query = select(func.coalesce(func.max(documents.c.id), 0)).where(scope.of(documents))
        highest = int(db.execute(query).scalar_one())
        fence = settling.fence(db) if highest > after else None
        if fence is None:
            return highest
    waited = 0.0
    while True:
        with reader.reading(scope) as db:
            if settling.is_passed(db, fence):
                return highest
        if waited >= patience_s:
            raise Retryable(
                f"a transaction of the database server has been open for {waited:.0f} s",
                action="wait until it ends, or look in pg_stat_activity which one it is",
            )
        pause(_LOOK_S)
        waited += _LOOK_S


def _documents() -> Any:
    return (
        select(
            documents,
            clinics.c.name.label("clinic"),
            devices.c.name.label("box"),
        )
        .join(clinics, clinics.c.id == documents.c.clinic_id)
        .join(devices, devices.c.id == documents.c.device_id)
    )


def _is_time(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return False
    return True


def _told(row: Any) -> Told | None:
    what, _, kind = row["type"].partition(".")
    body = json.loads(row["body"])
    if not is_readable(what, row["device_id"], body) or not _is_time(row["created_at"]):
        return None
    received: dt.datetime = row["received_at"]
    return Told(
        id=row["id"],
        clinic_id=row["clinic_id"],
        clinic=row["clinic"],
        device_id=row["device_id"],
        box=row["box"],
        digest=row["digest"],
        what=what,
        simulated=kind == "simulated",
        created_at=row["created_at"],
        clock_state=row["clock_state"],
        received_at=received if received.tzinfo else received.replace(tzinfo=dt.UTC),
        body=body,
        epoch=row["epoch"],
        seq=row["seq"],
    )
