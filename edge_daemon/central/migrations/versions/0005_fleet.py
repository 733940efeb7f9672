"""What is asked of documents: results to search, pairs to compare, drift, versions in use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# Bytes order text, whatever the database's language: beginnings of words are then found by index.
_BYTES = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_ISOLATED = ("results", "result_flags", "said", "pairs", "drifts", "in_use")


def _moment(name: str, *, needed: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not needed)


def _text(name: str, *, needed: bool = True, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=not needed, primary_key=key)


def _truth(name: str, *, key: bool = False) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, primary_key=key)


def _document(name: str = "document_id", *, key: bool = True) -> sa.Column[int]:
    return sa.Column(name, _KEY, primary_key=key, autoincrement=False, nullable=False)


def _clinic() -> sa.Column[int]:
    return sa.Column("clinic_id", sa.Integer, sa.ForeignKey("clinics.id"), nullable=False)


def upgrade() -> None:
    """Make the tables; the server fills them from the documents that are there."""
    op.create_table(
        "indexed",
        sa.Column("id", sa.Integer, primary_key=True),
        _document("upto", key=False),
        sa.Column("unreadable", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO indexed (id, upto, unreadable) VALUES (1, 0, 0)")
    _results()
    _compared()
    if op.get_bind().dialect.name == "postgresql":
        _part_readers()


def _results() -> None:
    op.create_table(
        "results",
        _document(),
        _clinic(),
        _text("device_id"),
        _text("epoch"),
        sa.Column("seq", sa.BigInteger, nullable=False),
        _text("kind"),
        _truth("simulated"),
        _truth("newest"),
        _moment("at"),
        _truth("at_trusted"),
        _text("source"),
        _text("capture"),
        sa.Column("number", sa.Integer, nullable=False),
        _text("instrument"),
        sa.Column("sample_key", _BYTES, nullable=True),
        sa.Column("patient_key", _BYTES, nullable=True),
        _text("sample_id", needed=False),
        _text("patient_id", needed=False),
        _text("species", needed=False),
        _text("status", needed=False),
        _text("mark", needed=False),
        _text("profile"),
        _text("profile_sha256"),
        _text("model", needed=False),
        _text("facts"),
    )
    for name, columns in (
        ("results_in_time", ["at", "document_id"]),
        ("results_of_a_clinic", ["clinic_id", "at", "document_id"]),
        ("results_of_a_box", ["device_id", "at", "document_id"]),
        ("results_of_a_capture", ["device_id", "capture"]),
        ("results_by_sample", ["sample_key"]),
        ("results_by_patient", ["patient_key"]),
        ("results_of_a_sample", ["device_id", "sample_key"]),
    ):
        op.create_index(name, "results", columns)
    op.create_table("result_flags", _text("code", key=True), _document(), _clinic())
    op.create_index("flags_of_a_result", "result_flags", ["document_id"])
    op.create_table(
        "said",
        _document(),
        _clinic(),
        _text("device_id"),
        _text("capture"),
        _text("what"),
        _text("by"),
        _moment("at"),
        _text("facts"),
    )
    op.create_index("said_of_a_capture", "said", ["device_id", "capture"])


def _compared() -> None:
    op.create_table(
        "pairs",
        _document("run_id"),
        _clinic(),
        _text("device_id"),
        _text("instrument"),
        _text("analyzer"),
        _text("species"),
        _truth("simulated"),
        _moment("at"),
        _text("facts"),
    )
    op.create_index("pairs_in_time", "pairs", ["at", "run_id"])
    op.create_index("pairs_of_a_clinic", "pairs", ["clinic_id", "at"])
    op.create_table(
        "drifts",
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
    )
    op.create_index("drifts_of_a_clinic", "drifts", ["clinic_id", "state"])
    op.create_table(
        "in_use",
        _text("device_id", key=True),
        _text("what", key=True),
        _text("name", key=True),
        _clinic(),
        _text("version"),
        _moment("first_at"),
        _moment("last_at"),
    )


def _part_readers() -> None:
    named = "(SELECT string_to_array(NULLIF(current_setting('edge.clinics', true), ''), ','))"
    every = "(SELECT current_setting('edge.clinics', true) = '*')"
    for table in _ISOLATED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT ON {table} TO edge_read")
        op.execute(
            f"CREATE POLICY own_clinics ON {table} FOR SELECT TO edge_read"
            f" USING ({every} OR clinic_id = ANY ({named}::integer[]))"
        )
