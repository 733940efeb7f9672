"""Tables that answer questions about documents; `indexing` fills them, and could do so anew.

A result's own text stays in `documents`: here is what is searched, listed and compared. `facts` is
JSON that only programs of ours have written.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from edge_daemon.central import schema
from edge_daemon.central.schema import metadata

_KEY: Final = BigInteger().with_variant(Integer, "sqlite")
_BYTES: Final = Text(collation="C").with_variant(Text(), "sqlite")


def _moment(name: str, *, needed: bool = True) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=not needed)


def _text(name: str, *, needed: bool = True, key: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=not needed, primary_key=key)


def _truth(name: str, *, key: bool = False) -> Column[Any]:
    return Column(name, Boolean, nullable=False, primary_key=key)


def _document(name: str = "document_id", *, key: bool = True) -> Column[Any]:
    return Column(name, _KEY, primary_key=key, autoincrement=False, nullable=False)


def _clinic() -> Column[Any]:
    return Column("clinic_id", Integer, ForeignKey("clinics.id"), nullable=False)


def _listed(name: str, *columns: str, only: str = "") -> Index:
    """Order the results that lists show, newest first, by what a list is narrowed to."""
    shown = text(f"{only}kind = 'run' AND newest")
    words: dict[str, Any] = {"postgresql_where": shown, "sqlite_where": shown}
    return Index(f"results_{name}", *columns, "at", "document_id", **words)


indexed = Table(
    "indexed",
    metadata,
    Column("id", Integer, primary_key=True),
    _document("upto", key=False),
    Column("unreadable", BigInteger, nullable=False),
)
"""One row: how far documents have been looked at, and how many said nothing that is known."""

results = Table(
    "results",
    metadata,
    _document(),
    _clinic(),
    _text("device_id"),
    _text("epoch"),
    Column("seq", BigInteger, nullable=False),
    _text("kind"),
    _truth("simulated"),
    _truth("newest"),
    _moment("at"),
    _truth("at_trusted"),
    _text("source"),
    _text("capture"),
    Column("number", Integer, nullable=False),
    _text("instrument"),
    Column("sample_key", _BYTES),
    Column("patient_key", _BYTES),
    _text("sample_id", needed=False),
    _text("patient_id", needed=False),
    _text("species", needed=False),
    _text("status", needed=False),
    _text("mark", needed=False),
    _text("profile"),
    _text("profile_sha256"),
    _text("model", needed=False),
    _text("facts"),
    _listed("in_time"),
    _listed("of_a_clinic", "clinic_id"),
    _listed("of_a_species", "species"),
    _listed("of_a_status", "status"),
    _listed("of_an_instrument", "instrument"),
    _listed("simulated", only="simulated AND "),
    Index("results_of_a_box", "device_id", "at", "document_id"),
    Index("results_of_a_capture", "device_id", "capture"),
    Index("results_by_sample", "sample_key"),
    Index("results_by_patient", "patient_key"),
    Index("results_of_a_sample", "device_id", "sample_key"),
)
"""A version of a result of ours (`kind` ``run``), or a report of an analyzer (``report``).

`at` is when the box wrote it, where its clock was synchronised (`at_trusted`), else when it came.
`source` is what the box calls the instrument, `instrument` its kind, from the profile. `mark` says
that it is no patient's: control, blank, check."""

result_flags = Table(
    "result_flags",
    metadata,
    _text("code", key=True),
    _document(),
    _clinic(),
    _moment("at"),
    Index("flags_of_a_result", "document_id"),
    Index("flags_in_time", "code", "at", "document_id"),
    Index("flags_of_a_clinic", "clinic_id", "code", "at", "document_id"),
)
"""What a result was flagged with; `at` is the result's, so that a flag's newest are found first."""

said = Table(
    "said",
    metadata,
    _document(),
    _clinic(),
    _text("device_id"),
    _text("capture"),
    _text("what"),
    _text("by"),
    _moment("at"),
    _text("facts"),
    Index("said_of_a_capture", "device_id", "capture"),
)
"""Notes, corrections and marks that people made at a box."""

pairs = Table(
    "pairs",
    metadata,
    _document("run_id"),
    _clinic(),
    _text("device_id"),
    _text("instrument"),
    _text("analyzer"),
    _text("species"),
    _truth("simulated"),
    _moment("at"),
    _text("facts"),
    Index("pairs_in_time", "at", "run_id"),
    Index("pairs_of_a_clinic", "clinic_id", "at"),
    Index("pairs_of_an_instrument", "instrument", "at", "run_id"),
)
"""Our values and the analyzer's own of one sample."""

drifts = Table(
    "drifts",
    metadata,
    _text("device_id", key=True),
    _text("instrument", key=True),
    _text("species", key=True),
    _truth("simulated", key=True),
    _text("code", key=True),
    _clinic(),
    _text("state"),
    _moment("since", needed=False),
    _moment("checked_at"),
    _text("facts"),
    Index("drifts_of_a_clinic", "clinic_id", "state"),
    Index("drifts_by_state", "state"),
)
"""The moving averages of each box, as they stand."""

in_use = Table(
    "in_use",
    metadata,
    _text("device_id", key=True),
    _text("what", key=True),
    _text("name", key=True),
    _clinic(),
    _text("version"),
    _moment("first_at"),
    _moment("last_at"),
)
"""Which version of a model or profile a box's newest result was made with, and since when."""

ISOLATED: Final = (results, result_flags, said, pairs, drifts, in_use)
"""Of these tables, those whose rows belong to one clinic."""

READABLE: Final = (*schema.READABLE, *ISOLATED)
"""Every table that people may read, as far as their clinics go."""
