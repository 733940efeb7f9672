"""Whose documents leave: one clinic's, a chain's, or everybody's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from edge_daemon.central.reading import EVERYTHING, Scope
from edge_daemon.central.schema import chains, clinics
from edge_daemon.errors import EXIT_NOT_FOUND, Fatal

if TYPE_CHECKING:
    from edge_daemon.central.reading import Reader


@dataclass(frozen=True, slots=True)
class Reach:
    """A clinic's number, a chain's, or neither for everybody."""

    clinic: int | None = None
    chain: int | None = None

    def words(self) -> str:
        """Say it in words."""
        if self.clinic is not None:
            return f"clinic {self.clinic}"
        return "every clinic" if self.chain is None else f"chain {self.chain}"


def scope_of(reader: Reader, reach: Reach) -> Scope:
    """Find the clinics that are meant now.

    Raises
    ------
    Fatal
        There is no such clinic or chain.
    """
    if reach.clinic is None and reach.chain is None:
        return EVERYTHING
    with reader.reading(EVERYTHING) as db:
        if reach.clinic is not None:
            query = select(clinics.c.id).where(clinics.c.id == reach.clinic)
        else:
            if db.execute(select(chains.c.id).where(chains.c.id == reach.chain)).first() is None:
                raise _missing("chain", reach.chain)
            query = select(clinics.c.id).where(clinics.c.chain_id == reach.chain)
        found = frozenset(db.execute(query).scalars())
    if not found and reach.clinic is not None:
        raise _missing("clinic", reach.clinic)
    return Scope(found)


def _missing(kind: str, number: int | None) -> Fatal:
    return Fatal(
        f"there is no {kind} {number}",
        action="list them with `edge-daemon central clinics`",
        exit_code=EXIT_NOT_FOUND,
    )
