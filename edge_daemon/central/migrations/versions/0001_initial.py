"""What the first release made without migrations: clinics, boxes, what boxes send.

Frozen: a migration must keep making what it made when it was released, whatever `schema.py` says
later.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ISOLATED = ("devices", "receipts", "documents", "raw_objects", "health")


def _moment(name: str, *, needed: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not needed)


def _text(name: str, *, needed: bool = True, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=not needed, primary_key=key)


def _clinic(*, key: bool = False) -> sa.Column[int]:
    return sa.Column(
        "clinic_id", sa.Integer, sa.ForeignKey("clinics.id"), nullable=False, primary_key=key
    )


def _device(*, key: bool = False) -> sa.Column[str]:
    return sa.Column(
        "device_id", sa.Text, sa.ForeignKey("devices.id"), nullable=False, primary_key=key
    )


def upgrade() -> None:
    """Make the tables, and in PostgreSQL the role and the policies that part the clinics."""
    _who_may_come_in()
    _what_boxes_send()
    if op.get_bind().dialect.name == "postgresql":
        _part_clinics()


def _who_may_come_in() -> None:
    op.create_table(
        "clinics",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        _moment("created_at"),
    )
    op.create_table(
        "claims",
        _text("code_sha256", key=True),
        _clinic(),
        _text("box_name"),
        _moment("expires_at"),
        _moment("used_at", needed=False),
        _text("key_sha256", needed=False),
        _text("device_id", needed=False),
    )
    op.create_table(
        "devices",
        _text("id", key=True),
        _clinic(),
        _text("name"),
        sa.Column("certificate_sha256", sa.Text, nullable=False, unique=True),
        sa.Column("former_sha256", sa.Text, unique=True),
        _moment("not_after"),
        _moment("enrolled_at"),
        _moment("revoked_at", needed=False),
        _moment("seen_at", needed=False),
        _text("clock_state", needed=False),
    )


def _what_boxes_send() -> None:
    op.create_table(
        "receipts",
        _device(key=True),
        _text("epoch", key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        _clinic(),
        _text("digest"),
        sa.UniqueConstraint("device_id", "digest"),
    )
    op.create_table(
        "documents",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        _clinic(),
        _device(),
        _text("epoch"),
        sa.Column("seq", sa.BigInteger, nullable=False),
        _text("digest"),
        _text("type"),
        sa.Column("schema", sa.Integer, nullable=False),
        _text("created_at"),
        _text("clock_state"),
        _moment("received_at"),
        _text("body"),
    )
    op.create_index("documents_of_a_clinic", "documents", ["clinic_id", "id"])
    op.create_index("documents_of_a_box", "documents", ["device_id", "epoch", "seq"])
    op.create_table(
        "raw_objects",
        _clinic(key=True),
        _text("sha256", key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        _moment("stored_at"),
    )
    op.create_table("health", _device(key=True), _clinic(), _moment("received_at"), _text("body"))


def _part_clinics() -> None:
    op.execute(
        "DO $$ BEGIN "
        "IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edge_app') "
        "THEN CREATE ROLE edge_app NOLOGIN; END IF; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    op.execute("GRANT edge_app TO CURRENT_USER")
    op.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO edge_app")
    op.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO edge_app")
    for table in _ISOLATED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"DROP POLICY IF EXISTS own_clinic ON {table}")
        op.execute(
            f"CREATE POLICY own_clinic ON {table} TO edge_app USING "
            "(clinic_id = NULLIF(current_setting('edge.clinic', true), '')::integer)"
        )
