"""Chains, people and programs that may read, what was done, and the boxes' words over time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_OF_A_CLINIC = (
    "devices", "receipts", "documents", "raw_objects", "health", "health_history", "audit",
)  # fmt: skip


def _moment(name: str, *, needed: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not needed)


def _text(name: str, *, needed: bool = True, unique: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=not needed, unique=unique)


def _of(table: str, name: str, *, needed: bool = True) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, sa.ForeignKey(f"{table}.id"), nullable=not needed)


def upgrade() -> None:
    """Make the tables; in PostgreSQL also the role that readers work as, and its policies."""
    op.create_table(
        "chains",
        sa.Column("id", sa.Integer, primary_key=True),
        _text("name", unique=True),
        _moment("created_at"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("clinics", _of("chains", "chain_id", needed=False))
    else:  # SQLite adds such a column in place, and Alembic will not say so
        op.execute("ALTER TABLE clinics ADD COLUMN chain_id INTEGER REFERENCES chains (id)")
    op.create_index("clinics_of_a_chain", "clinics", ["chain_id"])
    _people()
    _what_was_done()
    op.add_column("health", _text("summary", needed=False))
    op.create_table(
        "health_history",
        sa.Column("id", _KEY, primary_key=True, autoincrement=True),
        sa.Column("device_id", sa.Text, sa.ForeignKey("devices.id"), nullable=False),
        _of("clinics", "clinic_id"),
        _moment("first_at"),
        _moment("last_at"),
        _text("summary"),
    )
    op.create_index("words_of_a_box", "health_history", ["device_id", "id"])
    if op.get_bind().dialect.name == "postgresql":
        _part_readers()


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        _text("name", unique=True),
        _text("role"),
        _of("clinics", "clinic_id", needed=False),
        _of("chains", "chain_id", needed=False),
        _text("password", needed=False),
        _moment("created_at"),
        _moment("ended_at", needed=False),
        sa.CheckConstraint(
            "(role = 'clinic' AND clinic_id IS NOT NULL AND chain_id IS NULL)"
            " OR (role = 'chain' AND chain_id IS NOT NULL AND clinic_id IS NULL)"
            " OR (role = 'operator' AND clinic_id IS NULL AND chain_id IS NULL)",
            name="users_reach",
        ),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.Text, primary_key=True),
        _of("users", "user_id"),
        _moment("opened_at"),
        _moment("used_at"),
    )
    op.create_index("sessions_of_a_user", "sessions", ["user_id"])
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Integer, primary_key=True),
        _of("users", "user_id"),
        _text("name"),
        _text("token_sha256", unique=True),
        _moment("created_at"),
        _moment("expires_at"),
        _moment("used_at", needed=False),
        _moment("ended_at", needed=False),
    )


def _what_was_done() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _KEY, primary_key=True, autoincrement=True),
        _moment("at"),
        _text("actor"),
        _text("origin"),
        _of("clinics", "clinic_id", needed=False),
        _of("chains", "chain_id", needed=False),
        _text("action"),
        _text("subject"),
        _text("details"),
    )
    op.create_index("audit_of_a_clinic", "audit", ["clinic_id", "id"])


def _part_readers() -> None:
    """Let `edge_read` see rows of the clinics that its transaction has named, and change nothing.

    The list of clinics is read once for each statement (the sub-select), not once for each row.
    """
    op.execute(
        "DO $$ BEGIN "
        "IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edge_read') "
        "THEN CREATE ROLE edge_read NOLOGIN; END IF; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    op.execute("GRANT edge_read TO CURRENT_USER")
    named = "(SELECT string_to_array(NULLIF(current_setting('edge.clinics', true), ''), ','))"
    every = "(SELECT current_setting('edge.clinics', true) = '*')"
    chain = "(SELECT NULLIF(current_setting('edge.chain', true), '')::integer)"
    for table in (*_OF_A_CLINIC, "clinics"):
        key = "id" if table == "clinics" else "clinic_id"
        mine = f"{every} OR {key} = ANY ({named}::integer[])"
        if table == "audit":
            mine = f"{mine} OR chain_id = {chain}"
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT ON {table} TO edge_read")
        op.execute(f"CREATE POLICY own_clinics ON {table} FOR SELECT TO edge_read USING ({mine})")
    op.execute("ALTER TABLE chains ENABLE ROW LEVEL SECURITY")
    op.execute("GRANT SELECT ON chains TO edge_read")
    mine = f"{every} OR id = {chain} OR id IN (SELECT chain_id FROM clinics)"  # noqa: S608 - ours
    op.execute(f"CREATE POLICY own_chains ON chains FOR SELECT TO edge_read USING ({mine})")
    op.execute(
        "CREATE POLICY own_clinic ON health_history TO edge_app USING"
        " (clinic_id = NULLIF(current_setting('edge.clinic', true), '')::integer)"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON health_history TO edge_app")
    op.execute("GRANT USAGE ON SEQUENCE health_history_id_seq TO edge_app")
    # Nothing that a box sends is worked with beside these tables.
    op.execute("REVOKE ALL ON clinics, claims FROM edge_app")
