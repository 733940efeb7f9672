"""Tables of the central server (SQLAlchemy Core), for PostgreSQL and, for a first try, SQLite.

Every table that holds a clinic's data has its `clinic_id`, and in PostgreSQL a policy that shows
a connection only the rows of the clinic it has named (`isolate`). Receipts stand apart from
documents: a document table that is partitioned by time later could not hold their unique keys.

A change here needs a migration; a test compares these tables with what the migrations make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

metadata = MetaData()

_KEY = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts by itself there


def _moment(name: str, *, needed: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not needed)


def _clinic() -> Column[int]:
    return Column("clinic_id", Integer, ForeignKey("clinics.id"), nullable=False)


chains = Table(
    "chains",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _moment("created_at"),
)
"""Owners of several clinics."""

clinics = Table(
    "clinics",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _moment("created_at"),
    Column("chain_id", Integer, ForeignKey("chains.id")),
    Index("clinics_of_a_chain", "chain_id"),
)

claims = Table(
    "claims",
    metadata,
    Column("code_sha256", Text, primary_key=True),
    _clinic(),
    Column("box_name", Text, nullable=False),
    _moment("expires_at"),
    _moment("used_at", needed=False),
    Column("key_sha256", Text),
    Column("device_id", Text),
)
"""Codes that let one box in, once; only their digests are kept. The same box, known by its key,
may ask again: its first answer may have been lost."""

devices = Table(
    "devices",
    metadata,
    Column("id", Text, primary_key=True),
    _clinic(),
    Column("name", Text, nullable=False),
    Column("certificate_sha256", Text, nullable=False, unique=True),
    Column("former_sha256", Text, unique=True),
    _moment("not_after"),
    _moment("enrolled_at"),
    _moment("revoked_at", needed=False),
    _moment("seen_at", needed=False),
    Column("clock_state", Text),
)
"""Boxes; a certificate that was renewed serves until the new one has been used."""

receipts = Table(
    "receipts",
    metadata,
    Column("device_id", Text, ForeignKey("devices.id"), primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    _clinic(),
    Column("digest", Text, nullable=False),
    UniqueConstraint("device_id", "digest"),
)
"""What was received: the identity of every item, and nothing else."""

documents = Table(
    "documents",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    _clinic(),
    Column("device_id", Text, ForeignKey("devices.id"), nullable=False),
    Column("epoch", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("clock_state", Text, nullable=False),
    _moment("received_at"),
    Column("body", Text, nullable=False),
    Column("capture", Text),
)
"""What was sent; `created_at` is the box's wall time and no ordering key, `capture` the SHA-256 of
the capture that the body is about."""
Index("documents_of_a_clinic", documents.c.clinic_id, documents.c.id)
Index("documents_of_a_capture", documents.c.device_id, documents.c.capture)
Index("documents_of_a_box", documents.c.device_id, documents.c.epoch, documents.c.seq)

raw_objects = Table(
    "raw_objects",
    metadata,
    Column("clinic_id", Integer, ForeignKey("clinics.id"), primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    _moment("stored_at"),
)
"""Raw captures that are whole in the raw store."""

health = Table(
    "health",
    metadata,
    Column("device_id", Text, ForeignKey("devices.id"), primary_key=True),
    _clinic(),
    _moment("received_at"),
    Column("body", Text, nullable=False),
    Column("summary", Text),
)
"""The newest word of each box about itself, and what `words` made of it."""

health_history = Table(
    "health_history",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("device_id", Text, ForeignKey("devices.id"), nullable=False),
    _clinic(),
    _moment("first_at"),
    _moment("last_at"),
    Column("summary", Text, nullable=False),
    Index("words_of_a_box", "device_id", "id"),
)
"""What a box said of itself over time: a row for each spell in which it said the same."""

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("clinic_id", Integer, ForeignKey("clinics.id")),
    Column("chain_id", Integer, ForeignKey("chains.id")),
    Column("password", Text),
    _moment("created_at"),
    _moment("ended_at", needed=False),
    CheckConstraint(
        "(role = 'clinic' AND clinic_id IS NOT NULL AND chain_id IS NULL)"
        " OR (role = 'chain' AND chain_id IS NOT NULL AND clinic_id IS NULL)"
        " OR (role = 'operator' AND clinic_id IS NULL AND chain_id IS NULL)",
        name="users_reach",
    ),
)
"""Who may read: a clinic's results, a chain's, or everybody's; `password` is an argon2 hash."""

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id"), nullable=False),
    _moment("opened_at"),
    _moment("used_at"),
    Index("sessions_of_a_user", "user_id"),
)
"""Browsers that are signed in."""

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("token_sha256", Text, nullable=False, unique=True),
    _moment("created_at"),
    _moment("expires_at"),
    _moment("used_at", needed=False),
    _moment("ended_at", needed=False),
)
"""Programs that read as a user does."""

audit = Table(
    "audit",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    _moment("at"),
    Column("actor", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("clinic_id", Integer, ForeignKey("clinics.id")),
    Column("chain_id", Integer, ForeignKey("chains.id")),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),
    Index("audit_of_a_clinic", "clinic_id", "id"),
    Index("audit_of_a_clinics_action", "clinic_id", "action", "id"),
    Index("audit_of_a_chain", "chain_id", "action", "id"),
    Index("audit_of_an_action", "action", "id"),
)
"""Who did what; a row without clinic and chain is the operator's alone."""

feeds = Table(
    "feeds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("form", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("ca", Text),
    Column("clinic_id", Integer, ForeignKey("clinics.id")),
    Column("chain_id", Integer, ForeignKey("chains.id")),
    Column("kind", Text, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("pending", BigInteger),
    Column("sent", BigInteger, nullable=False),
    _moment("sent_at", needed=False),
    Column("attempts", Integer, nullable=False),
    _moment("retry_at", needed=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("stuck_at", BigInteger),
    _moment("created_at"),
    _moment("ended_at", needed=False),
    CheckConstraint("kind IN ('clinical', 'simulated')", name="feeds_kind"),
)
"""Where results are sent on to; everything up to document `cursor` is delivered."""

consents = Table(
    "consents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("clinic_id", Integer, ForeignKey("clinics.id"), nullable=False),
    Column("given", Boolean, nullable=False),
    Column("said_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _moment("at"),
    Index("consents_of_a_clinic", "clinic_id", "id"),
)
"""Whether a clinic lets its captures train models: the newest row counts, and none means no."""

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("ring", Integer, nullable=False),
    Column("hours", Float, nullable=False),
    Column("max_failed_percent", Float, nullable=False),
    _moment("created_at"),
    _moment("ring_since"),
    _moment("well_since", needed=False),
    Column("reason", Text, nullable=False),
)
"""Updates on their way through the fleet (`rollout`)."""

ring_pins = Table(
    "ring_pins",
    metadata,
    Column("device_id", Text, ForeignKey("devices.id"), primary_key=True),
    Column("ring", Integer, nullable=False),
)
"""Boxes whose ring the operator chose."""

ISOLATED: Final = (devices, receipts, documents, raw_objects, health, health_history)
"""Tables whose rows belong to one clinic."""

READABLE: Final = (*ISOLATED, audit, clinics, chains)
"""Tables that people may read, as far as their clinics go (`reading`)."""

APP_ROLE: Final = "edge_app"
"""PostgreSQL role that the server works as; it owns nothing and cannot pass a policy by."""

READ_ROLE: Final = "edge_read"
"""PostgreSQL role that people's questions are answered as; it can change nothing."""


_ISOLATE = text("SELECT set_config('role', :role, true), set_config('edge.clinic', :clinic, true)")


def isolate(db: Connection, clinic_id: int) -> None:
    """Let the rest of a transaction see and write one clinic's rows only.

    SQLite has no policies: there only the queries themselves keep clinics apart, which is one
    reason why it is for a first try.
    """
    if db.dialect.name == "postgresql":
        db.execute(_ISOLATE, {"role": APP_ROLE, "clinic": str(clinic_id)})
