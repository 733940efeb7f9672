"""The feeds that an operator has set up: where each sends, and how far it has come."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from edge_daemon.central import audit
from edge_daemon.central.feeds.reach import Reach
from edge_daemon.central.schema import feeds
from edge_daemon.errors import EXIT_NOT_FOUND, EdgeError, Fatal

if TYPE_CHECKING:
    import random

    from sqlalchemy import Connection, Engine

    from edge_daemon.central.audit import Actor

FeedForm = Literal["hl7", "fhir"]
BASE_S: Final = 2.0
LONGEST_S: Final = 900.0
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed as it stands.

    Attributes
    ----------
    destination
        ``mllp://host:port``, ``mllps://host:port``, or a folder.
    ca
        File with certificates that an ``mllps`` receiver's must be signed by; None: the system's.
    kind
        ``clinical`` or ``simulated``: never both.
    cursor
        Everything up to this document is delivered or concerns nobody.
    pending
        Last document of the page of files that is being written; None: none is.
    attempts, retry_at, code, message, stuck_at
        What is the matter with the message of document `stuck_at`, how often it was tried, and
        when it is tried again; nothing where `code` is empty.
    """

    id: int
    name: str
    form: FeedForm
    destination: str
    ca: str | None
    reach: Reach
    kind: str
    cursor: int
    pending: int | None
    sent: int
    sent_at: dt.datetime | None
    attempts: int
    retry_at: dt.datetime | None
    code: str
    message: str
    stuck_at: int | None

    def wait_s(self, now: dt.datetime) -> float:
        """Seconds until the next try."""
        return 0.0 if self.retry_at is None else max(0.0, (self.retry_at - now).total_seconds())

    def as_json(self) -> dict[str, Any]:
        """Say it as a program reads it."""
        return {
            "feed": self.name,
            "format": self.form,
            "to": self.destination,
            "of": self.reach.words(),
            "kind": self.kind,
            "cursor": self.cursor,
            "sent": self.sent,
            "sent_at": None if self.sent_at is None else self.sent_at.isoformat(),
            "code": self.code or None,
            "message": self.message or None,
            "stuck_at": self.stuck_at,
            "attempts": self.attempts,
            "retry_at": None if self.retry_at is None else self.retry_at.isoformat(),
        }


class FeedRoster:
    """Feeds as commands and the sender keep them.

    Parameters
    ----------
    engine
        Of the server's database.
    by
        Who gives the commands.
    """

    def __init__(self, engine: Engine, by: Actor) -> None:
        self._engine = engine
        self._by = by

    def add(
        self,
        name: str,
        form: FeedForm,
        destination: str,
        reach: Reach,
        *,
        kind: str = "clinical",
        ca: str | None = None,
        after: int = 0,
    ) -> Feed:
        """Set a feed up; it begins after the document of the number `after`.

        Raises
        ------
        EdgeError
            There is, or was, one of this name.
        """
        row = {
            "name": name, "form": form, "destination": destination, "ca": ca, "kind": kind,
            "clinic_id": reach.clinic, "chain_id": reach.chain, "cursor": after, "sent": 0,
            "attempts": 0, "code": "", "message": "", "created_at": _now(),
        }  # fmt: skip
        try:
            with self._engine.begin() as db:
                db.execute(insert(feeds).values(**row))
                self._note(db, "feed_added", name, reach, {"to": destination, "format": form})
        except IntegrityError as error:
            raise EdgeError(
                f"there is, or was, a feed named {name!r}", action="choose another name"
            ) from error
        return self.named(name)

    def listed(self) -> list[Feed]:
        """List the feeds that have not ended, by name."""
        query = select(feeds).where(feeds.c.ended_at.is_(None)).order_by(feeds.c.name)
        with self._engine.begin() as db:
            return [_feed(row) for row in db.execute(query).mappings()]

    def named(self, name: str) -> Feed:
        """Find a feed.

        Raises
        ------
        Fatal
            There is none of this name, or it has ended.
        """
        query = select(feeds).where(feeds.c.name == name, feeds.c.ended_at.is_(None))
        with self._engine.begin() as db:
            row = db.execute(query).mappings().first()
        if row is None:
            raise Fatal(
                f"there is no feed {name}",
                action="list them with `edge-daemon central feed list`",
                exit_code=EXIT_NOT_FOUND,
            )
        return _feed(row)

    def end(self, name: str) -> None:
        """End a feed for good; its name is not given again."""
        feed = self.named(name)
        with self._engine.begin() as db:
            db.execute(update(feeds).where(feeds.c.id == feed.id).values(ended_at=_now()))
            self._note(db, "feed_removed", name, feed.reach, {"cursor": feed.cursor})

    def retry(self, name: str) -> None:
        """Let a feed try again at once."""
        feed = self.named(name)
        with self._engine.begin() as db:
            db.execute(update(feeds).where(feeds.c.id == feed.id).values(retry_at=None))

    def skip(self, name: str, document_id: int, reason: str) -> None:
        """Pass over the message that a receiver refuses, on a person's word.

        Raises
        ------
        EdgeError
            The feed is not held up by that document.
        """
        feed = self.named(name)
        if feed.stuck_at != document_id:
            at = "nothing" if feed.stuck_at is None else f"document {feed.stuck_at}"
            raise EdgeError(
                f"feed {name} is held up by {at}, not by document {document_id}",
                action="look at `edge-daemon central feed list`",
            )
        with self._engine.begin() as db:
            db.execute(
                update(feeds)
                .where(feeds.c.id == feed.id)
                .values(cursor=document_id, pending=None, **_WELL)
            )
            details = {"document": document_id, "reason": reason, "refused": feed.message}
            self._note(db, "feed_skipped", name, feed.reach, details)

    # What the sender notes

    def advance(self, feed: Feed, cursor: int, *, sent: int) -> None:
        """Note that everything up to a document is done, once it is."""
        values: dict[str, Any] = {"cursor": cursor, "pending": None, **_WELL}
        if sent:
            values |= {"sent": feeds.c.sent + sent, "sent_at": _now()}
        with self._engine.begin() as db:
            db.execute(update(feeds).where(feeds.c.id == feed.id).values(**values))

    def pass_by(self, feed: Feed, cursor: int) -> None:
        """Note that documents up to this one concern nobody; what is the matter stays."""
        with self._engine.begin() as db:
            db.execute(
                update(feeds)
                .where(feeds.c.id == feed.id, feeds.c.cursor < cursor)
                .values(cursor=cursor)
            )

    def intend(self, feed: Feed, pending: int) -> None:
        """Note which page of files is about to be written: after a crash, the same is."""
        with self._engine.begin() as db:
            db.execute(update(feeds).where(feeds.c.id == feed.id).values(pending=pending))

    def trouble(
        self, feed: Feed, document_id: int, code: str, message: str, rng: random.Random
    ) -> None:
        """Note why a message was not taken, and when to try again: full jitter, doubling."""
        longest = min(LONGEST_S, BASE_S * 2.0 ** min(feed.attempts, 20))
        wait = dt.timedelta(seconds=rng.uniform(0.0, longest))
        with self._engine.begin() as db:
            db.execute(
                update(feeds)
                .where(feeds.c.id == feed.id)
                .values(
                    attempts=feed.attempts + 1,
                    retry_at=_now() + wait,
                    code=code,
                    message=message[:_LONGEST],
                    stuck_at=document_id,
                )
            )

    def _note(
        self, db: Connection, action: str, name: str, reach: Reach, details: dict[str, Any]
    ) -> None:
        whose = {"clinic_id": reach.clinic, "chain_id": reach.chain}
        audit.note(db, self._by, action, name, details=details, **whose)


_WELL: Final[dict[str, Any]] = {
    "attempts": 0, "retry_at": None, "code": "", "message": "", "stuck_at": None,
}  # fmt: skip


def _feed(row: Any) -> Feed:
    return Feed(
        id=row["id"],
        name=row["name"],
        form=row["form"],
        destination=row["destination"],
        ca=row["ca"],
        reach=Reach(row["clinic_id"], row["chain_id"]),
        kind=row["kind"],
        cursor=row["cursor"],
        pending=row["pending"],
        sent=row["sent"],
        sent_at=_utc(row["sent_at"]),
        attempts=row["attempts"],
        retry_at=_utc(row["retry_at"]),
        code=row["code"],
        message=row["message"],
        stuck_at=row["stuck_at"],
    )


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=dt.UTC)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
