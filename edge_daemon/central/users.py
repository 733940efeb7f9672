"""People and programs that may read: how they prove who they are, and whose rows they see.

Passwords are argon2 hashes; of sessions and tokens only digests are kept, so that who reads the
database cannot sign in with what stands there. `roster` adds and removes them.
"""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import and_, delete, func, insert, or_, select, update

from edge_daemon.central import audit
from edge_daemon.central.reading import EVERYTHING, Scope
from edge_daemon.central.schema import api_tokens, chains, clinics, sessions, users
from edge_daemon.signin import hashing, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine, RowMapping, Select

    from edge_daemon.central.audit import Actor

Role = Literal["clinic", "chain", "operator"]
ROLES: Final[tuple[Role, ...]] = ("clinic", "chain", "operator")

IDLE: Final = dt.timedelta(hours=12)
LONGEST: Final = dt.timedelta(days=7)
LONGEST_NAME: Final = 60
_TOUCH: Final = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may read.

    Attributes
    ----------
    id, name, role
        As stored.
    reach
        Name of the clinic or chain; empty for an operator.
    scope
        Whose rows they see.
    clinic_id, chain_id
        Whose own deeds theirs are.
    token
        Name of the token that a program showed; None for a person.
    """

    id: int
    name: str
    role: Role
    reach: str
    scope: Scope
    clinic_id: int | None
    chain_id: int | None
    token: str | None = None

    @property
    def actor(self) -> Actor:
        """Name for the audit trail."""
        if self.token is None:
            return audit.Actor(self.name, "page")
        return audit.Actor(f"{self.name} ({self.token})", "api")


class Users:
    """Everybody who may read, as they come.

    Parameters
    ----------
    engine
        Of the server's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Each check takes memory and a core: two at a time, whoever asks.
        self._few_at_a_time = threading.BoundedSemaphore(2)

    def sign_in(self, name: str, password: str) -> Person | None:
        """Tell who this is; takes as long for an unknown name as for a wrong password."""
        called = and_(users.c.name == known_as(name), users.c.ended_at.is_(None))
        with self._engine.begin() as db:
            row = db.execute(people().where(called)).mappings().first()
        stored = None if row is None else row["password"]
        with self._few_at_a_time:
            right = hashing.verify(stored, password)
        if row is None or not right:
            return None
        with self._engine.begin() as db:
            return _person(db, row)

    def open_session(self, person: Person) -> str:
        """Begin a session and return its secret."""
        token, at = tokens.new_token(), now()
        row = {"token_sha256": tokens.digest(token), "user_id": person.id}
        with self._engine.begin() as db:
            over = or_(sessions.c.used_at < at - IDLE, sessions.c.opened_at < at - LONGEST)
            db.execute(delete(sessions).where(over))
            db.execute(insert(sessions).values(**row, opened_at=at, used_at=at))
            _note(db, person, "signed_in", "")
        return token

    def close_session(self, token: str, person: Person) -> None:
        """End a session."""
        with self._engine.begin() as db:
            ended = delete(sessions).where(sessions.c.token_sha256 == tokens.digest(token))
            if db.execute(ended).rowcount:
                _note(db, person, "signed_out", "")

    def by_session(self, token: str) -> Person | None:
        """Find who a session is of; one that is over is nobody's."""
        at = now()
        alive = and_(
            sessions.c.token_sha256 == tokens.digest(token),
            sessions.c.used_at > at - IDLE,
            sessions.c.opened_at > at - LONGEST,
            users.c.ended_at.is_(None),
        )
        query = (
            people()
            .add_columns(sessions.c.used_at.label("used_at"))
            .join(sessions, sessions.c.user_id == users.c.id)
            .where(alive)
        )
        with self._engine.begin() as db:
            row = db.execute(query).mappings().first()
            if row is None:
                return None
            if at - utc(row["used_at"]) > _TOUCH:
                this = sessions.c.token_sha256 == tokens.digest(token)
                db.execute(update(sessions).where(this).values(used_at=at))
            return _person(db, row)

    def by_token(self, token: str) -> Person | None:
        """Find who a program reads as."""
        at = now()
        alive = and_(
            api_tokens.c.token_sha256 == tokens.digest(token),
            api_tokens.c.expires_at > at,
            api_tokens.c.ended_at.is_(None),
            users.c.ended_at.is_(None),
        )
        query = (
            people()
            .add_columns(
                api_tokens.c.id.label("token"),
                api_tokens.c.name.label("token_name"),
                api_tokens.c.used_at.label("used_at"),
            )
            .join(api_tokens, api_tokens.c.user_id == users.c.id)
            .where(alive)
        )
        with self._engine.begin() as db:
            row = db.execute(query).mappings().first()
            if row is None:
                return None
            if row["used_at"] is None or at - utc(row["used_at"]) > _TOUCH:
                this = api_tokens.c.id == row["token"]
                db.execute(update(api_tokens).where(this).values(used_at=at))
            return _person(db, row, token=row["token_name"])

    def note(self, person: Person, action: str, subject: str, details: Mapping[str, Any]) -> None:
        """Write what somebody did."""
        with self._engine.begin() as db:
            _note(db, person, action, subject, details)

    def note_refused(self, name: str, peer: str) -> None:
        """Write that somebody was refused at sign-in; it is the operator's to see."""
        actor = audit.Actor(name.strip()[:LONGEST_NAME] or "?", "page")
        with self._engine.begin() as db:
            audit.note(db, actor, "sign_in_refused", "", details={"from": peer})


def people() -> Select[Any]:
    """Ask for users, each with the name of its clinic or chain."""
    return (
        select(users, func.coalesce(clinics.c.name, chains.c.name, "").label("reach"))
        .join(clinics, clinics.c.id == users.c.clinic_id, isouter=True)
        .join(chains, chains.c.id == users.c.chain_id, isouter=True)
    )


def known_as(name: str) -> str:
    """Make names alike that a person would take for the same."""
    return " ".join(name.split()).casefold()


def utc(moment: dt.datetime) -> dt.datetime:
    """Give a moment its zone; SQLite keeps none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def now() -> dt.datetime:
    """Give the present moment."""
    return dt.datetime.now(dt.UTC)


def _person(db: Connection, row: RowMapping, token: str | None = None) -> Person:
    scope = EVERYTHING
    if row["role"] == "clinic":
        scope = Scope(frozenset({row["clinic_id"]}))
    elif row["role"] == "chain":
        own = select(clinics.c.id).where(clinics.c.chain_id == row["chain_id"])
        scope = Scope(frozenset(db.execute(own).scalars()), row["chain_id"])
    return Person(
        row["id"], row["name"], row["role"], row["reach"], scope,
        row["clinic_id"], row["chain_id"], token,
    )  # fmt: skip


def _note(
    db: Connection,
    person: Person,
    action: str,
    subject: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    audit.note(
        db,
        person.actor,
        action,
        subject,
        clinic_id=person.clinic_id,
        chain_id=person.chain_id,
        details=details,
    )
