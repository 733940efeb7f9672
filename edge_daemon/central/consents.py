"""Whether a clinic lets its captures train models: no, until somebody says yes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, insert, select

from edge_daemon.central import audit
from edge_daemon.central.schema import clinics, consents
from edge_daemon.errors import EXIT_NOT_FOUND, EdgeError, Fatal

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from edge_daemon.central.audit import Actor

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Consent:
    """What a clinic has said last; `at` is None where it has said nothing, which is no."""

    clinic_id: int
    clinic: str
    given: bool
    said_by: str | None
    reason: str | None
    at: dt.datetime | None

    def as_json(self) -> dict[str, Any]:
        """Say it as a program reads it."""
        return {
            "clinic": self.clinic_id,
            "name": self.clinic,
            "given": self.given,
            "said_by": self.said_by,
            "reason": self.reason,
            "at": None if self.at is None else self.at.isoformat(),
        }


class Consents:
    """What clinics have said, kept as they said it: nothing is overwritten.

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

    def say(self, clinic_id: int, *, given: bool, said_by: str, reason: str) -> None:
        """Note a clinic's word.

        Raises
        ------
        EdgeError
            Who said it, or the paper or reason, is missing or too long.
        Fatal
            There is no such clinic.
        """
        who, why = _words(said_by, "who said it"), _words(reason, "where that is written, or why")
        with self._engine.begin() as db:
            name = db.execute(
                select(clinics.c.name).where(clinics.c.id == clinic_id)
            ).scalar_one_or_none()
            if name is None:
                raise Fatal(
                    f"there is no clinic {clinic_id}",
                    action="list them with `edge-daemon central clinics`",
                    exit_code=EXIT_NOT_FOUND,
                )
            row = {"given": given, "said_by": who, "reason": why, "at": dt.datetime.now(dt.UTC)}
            db.execute(insert(consents).values(clinic_id=clinic_id, **row))
            deed = "consent_given" if given else "consent_withdrawn"
            details = {"said_by": who, "reason": why}
            audit.note(db, self._by, deed, name, clinic_id=clinic_id, details=details)

    def listed(self) -> list[Consent]:
        """List every clinic with its last word, by name."""
        last = select(consents.c.clinic_id, func.max(consents.c.id).label("id"))
        newest = last.group_by(consents.c.clinic_id).subquery()
        query = (
            select(
                clinics.c.id.label("clinic_id"), clinics.c.name.label("clinic"),
                consents.c.given, consents.c.said_by, consents.c.reason, consents.c.at,
            )
            .join(newest, newest.c.clinic_id == clinics.c.id, isouter=True)
            .join(
                consents,
                and_(consents.c.id == newest.c.id, consents.c.clinic_id == clinics.c.id),
                isouter=True,
            )
            .order_by(clinics.c.name)
        )  # fmt: skip
        with self._engine.begin() as db:
            return [
                Consent(
                    row["clinic_id"],
                    row["clinic"],
                    bool(row["given"]),
                    row["said_by"],
                    row["reason"],
                    _utc(row["at"]),
                )
                for row in db.execute(query).mappings()
            ]


def _words(text: str, what: str) -> str:
    found = " ".join(text.split())
    if not found or len(found) > _LONGEST:
        raise EdgeError(f"{what} is missing or too long", action="say it in a few words")
    return found


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=dt.UTC)
