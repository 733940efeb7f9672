"""Chains, users and tokens as the operator's commands add and remove them."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from edge_daemon.central import audit
from edge_daemon.central.schema import api_tokens, chains, clinics, sessions, users
from edge_daemon.central.users import LONGEST_NAME, known_as, now, people, utc
from edge_daemon.errors import EXIT_NOT_FOUND, EdgeError, Fatal
from edge_daemon.signin import hashing, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Engine, RowMapping, Table

    from edge_daemon.central.audit import Actor
    from edge_daemon.central.users import Role

TOKEN_DAYS: Final = 365
TOKEN_PREFIX: Final = "edge_"  # noqa: S105 - how a token begins, so that leaked ones are found


class Roster:
    """Who may read, as the operator keeps it.

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

    def add_chain(self, name: str) -> int:
        """Add a chain and return its number.

        Raises
        ------
        EdgeError
            There is one of this name.
        """
        row = {"name": _named(name), "created_at": now()}
        with self._adding(f"there is a chain named {name!r} already") as db:
            made = int(db.execute(insert(chains).values(row).returning(chains.c.id)).scalar_one())
            audit.note(db, self._by, "chain_added", name, chain_id=made)
        return made

    def move_clinic(self, clinic_id: int, chain_id: int | None) -> None:
        """Make a clinic one of a chain, or of none.

        Raises
        ------
        Fatal
            There is no such clinic or chain.
        """
        with self._engine.begin() as db:
            clinic = _one(db, clinics, clinic_id, "clinic")
            chain = None if chain_id is None else _one(db, chains, chain_id, "chain")
            db.execute(update(clinics).where(clinics.c.id == clinic_id).values(chain_id=chain_id))
            details = {"chain": None if chain is None else chain["name"]}
            audit.note(
                db, self._by, "clinic_moved", clinic["name"], clinic_id=clinic_id, details=details
            )

    def add(
        self,
        name: str,
        role: Role,
        *,
        clinic_id: int | None = None,
        chain_id: int | None = None,
        password: str | None = None,
    ) -> int:
        """Add a user and return its number.

        Parameters
        ----------
        name
            To sign in with; upper and lower case alike.
        role
            What it may see: one clinic, one chain's clinics, or all.
        clinic_id, chain_id
            The one that the role asks for.
        password
            None: a user for programs alone, which have tokens.

        Raises
        ------
        EdgeError
            There is one of this name, or the password is too short or too long.
        Fatal
            There is no such clinic or chain.
        """
        asked = {"clinic": clinic_id, "chain": chain_id}
        if any((asked[kind] is not None) != (role == kind) for kind in asked):
            need = (
                "neither a clinic nor a chain" if role == "operator" else f"the number of a {role}"
            )
            raise EdgeError(f"a user of role {role} needs {need}", action="see `--help`")
        row = {
            "name": known_as(_named(name)),
            "role": role,
            "clinic_id": clinic_id,
            "chain_id": chain_id,
            "password": None if password is None else hashing.hashed(password),
            "created_at": now(),
        }
        with self._adding(f"there is, or was, a user named {row['name']!r}") as db:
            for table, number, kind in (
                (clinics, clinic_id, "clinic"),
                (chains, chain_id, "chain"),
            ):
                if number is not None:
                    _one(db, table, number, kind)
            made = int(db.execute(insert(users).values(row).returning(users.c.id)).scalar_one())
            details = {"role": role, "clinic": clinic_id, "chain": chain_id}
            self._note(db, "user_added", row, details)
        return made

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password, and end its sessions.

        Raises
        ------
        EdgeError
            The password is too short or too long.
        Fatal
            There is no such user.
        """
        stored = hashing.hashed(password)
        with self._engine.begin() as db:
            row = _user(db, name)
            db.execute(update(users).where(users.c.id == row["id"]).values(password=stored))
            db.execute(delete(sessions).where(sessions.c.user_id == row["id"]))
            self._note(db, "password_set", row)

    def remove(self, name: str) -> None:
        """Let a user in no more, nor its programs; its name is not given again.

        Raises
        ------
        Fatal
            There is no such user.
        """
        at = now()
        with self._engine.begin() as db:
            row = _user(db, name)
            db.execute(
                update(users).where(users.c.id == row["id"]).values(ended_at=at, password=None)
            )
            db.execute(delete(sessions).where(sessions.c.user_id == row["id"]))
            db.execute(
                update(api_tokens)
                .where(api_tokens.c.user_id == row["id"], api_tokens.c.ended_at.is_(None))
                .values(ended_at=at)
            )
            self._note(db, "user_removed", row)

    def add_token(self, name: str, purpose: str, *, days: int = TOKEN_DAYS) -> str:
        """Make a token for a program that reads as a user does; it is shown only here.

        Raises
        ------
        Fatal
            There is no such user.
        """
        token = TOKEN_PREFIX + tokens.new_token()
        at = now()
        with self._engine.begin() as db:
            row = _user(db, name)
            db.execute(
                insert(api_tokens).values(
                    user_id=row["id"],
                    name=_named(purpose),
                    token_sha256=tokens.digest(token),
                    created_at=at,
                    expires_at=at + dt.timedelta(days=days),
                )
            )
            self._note(db, "token_added", row, {"token": purpose, "days": days})
        return token

    def remove_token(self, number: int) -> None:
        """End a token.

        Raises
        ------
        Fatal
            There is none of this number, or it has ended.
        """
        with self._engine.begin() as db:
            ended = (
                update(api_tokens)
                .where(api_tokens.c.id == number, api_tokens.c.ended_at.is_(None))
                .values(ended_at=now())
                .returning(api_tokens.c.user_id, api_tokens.c.name)
            )
            found = db.execute(ended).first()
            if found is None:
                raise _missing("token", str(number))
            row = db.execute(select(users).where(users.c.id == found.user_id)).mappings().one()
            self._note(db, "token_removed", row, {"token": found.name})

    def listed(self) -> list[dict[str, Any]]:
        """List the users that may come in, with their tokens."""
        query = people().where(users.c.ended_at.is_(None)).order_by(users.c.name)
        with self._engine.begin() as db:
            found = db.execute(query).mappings().all()
            alive = select(api_tokens).where(api_tokens.c.ended_at.is_(None))
            held = db.execute(alive.order_by(api_tokens.c.id)).mappings().all()
        return [
            {
                "name": row["name"],
                "role": row["role"],
                "reach": row["reach"] or "",
                "password": row["password"] is not None,
                "tokens": [_token(token) for token in held if token["user_id"] == row["id"]],
            }
            for row in found
        ]

    def clinics(self) -> list[dict[str, Any]]:
        """List the clinics, each with its chain."""
        query = (
            select(clinics.c.id.label("clinic"), clinics.c.name, chains.c.name.label("chain"),
                   chains.c.id.label("chain_number"))
            .join(chains, chains.c.id == clinics.c.chain_id, isouter=True)
            .order_by(clinics.c.name)
        )  # fmt: skip
        with self._engine.begin() as db:
            return [dict(row) for row in db.execute(query).mappings()]

    @contextmanager
    def _adding(self, twice: str) -> Iterator[Connection]:
        """Open a transaction in which a name that is there already is an error of ours."""
        try:
            with self._engine.begin() as db:
                yield db
        except IntegrityError as error:
            raise EdgeError(twice, action="choose another name") from error

    def _note(
        self,
        db: Connection,
        action: str,
        user: RowMapping | Mapping[str, Any],
        details: Mapping[str, Any] | None = None,
    ) -> None:
        audit.note(
            db,
            self._by,
            action,
            user["name"],
            clinic_id=user["clinic_id"],
            chain_id=user["chain_id"],
            details=details,
        )


def _token(row: RowMapping) -> dict[str, Any]:
    used = row["used_at"]
    return {
        "token": row["id"],
        "name": row["name"],
        "expires_at": utc(row["expires_at"]).isoformat(),
        "used_at": None if used is None else utc(used).isoformat(),
    }


def _named(text: str) -> str:
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise EdgeError(
            f"{text!r} is no name: 1 to {LONGEST_NAME} printable characters are expected",
            action="give another name",
        )
    return name


def _user(db: Connection, name: str) -> RowMapping:
    alive = users.c.ended_at.is_(None)
    query = select(users).where(users.c.name == known_as(name), alive)
    found = db.execute(query).mappings().first()
    if found is None:
        raise _missing("user", name)
    return found


def _one(db: Connection, table: Table, number: int, kind: str) -> RowMapping:
    found = db.execute(select(table).where(table.c.id == number)).mappings().first()
    if found is None:
        raise _missing(kind, str(number))
    return found


def _missing(kind: str, called: str) -> Fatal:
    listing = "clinics" if kind in ("clinic", "chain") else "users"
    return Fatal(
        f"there is no {kind} {called}",
        action=f"List them with `edge-daemon central {listing}`.",
        exit_code=EXIT_NOT_FOUND,
    )
