"""Feeds, the consent of clinics to training, and which capture a document is about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _moment(name: str, *, needed: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not needed)


def _text(name: str, *, needed: bool = True) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=not needed)


def _of(table: str, name: str, *, needed: bool = True) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, sa.ForeignKey(f"{table}.id"), nullable=not needed)


def upgrade() -> None:
    """Add the tables, and a column that is filled from the documents that are there."""
    op.add_column("documents", _text("capture", needed=False))
    postgresql = op.get_bind().dialect.name == "postgresql"
    said = "body::json->>'capture'" if postgresql else "json_extract(body, '$.capture')"
    op.execute(f"UPDATE documents SET capture = {said}")  # noqa: S608 - words of our own
    op.create_index("documents_of_a_capture", "documents", ["device_id", "capture"])
    op.create_table(
        "feeds",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        _text("form"),
        _text("destination"),
        _text("ca", needed=False),
        _of("clinics", "clinic_id", needed=False),
        _of("chains", "chain_id", needed=False),
        _text("kind"),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("pending", sa.BigInteger),
        sa.Column("sent", sa.BigInteger, nullable=False),
        _moment("sent_at", needed=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        _moment("retry_at", needed=False),
        _text("code"),
        _text("message"),
        sa.Column("stuck_at", sa.BigInteger),
        _moment("created_at"),
        _moment("ended_at", needed=False),
        sa.CheckConstraint("kind IN ('clinical', 'simulated')", name="feeds_kind"),
    )
    op.create_table(
        "consents",
        sa.Column("id", sa.Integer, primary_key=True),
        _of("clinics", "clinic_id"),
        sa.Column("given", sa.Boolean, nullable=False),
        _text("said_by"),
        _text("reason"),
        _moment("at"),
    )
    op.create_index("consents_of_a_clinic", "consents", ["clinic_id", "id"])
