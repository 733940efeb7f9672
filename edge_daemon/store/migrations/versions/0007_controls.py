"""Lots of control material with their targets, and which runs are controls or blanks.

A lot with corrected targets is another row of the same lot and level; the newest counts.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE lots (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        lot TEXT NOT NULL,
        level TEXT NOT NULL,
        material TEXT NOT NULL,
        instrument TEXT,
        pattern TEXT,
        expires TEXT,
        targets TEXT NOT NULL,
        made_by TEXT NOT NULL,
        made_wall TEXT NOT NULL,
        made_clock TEXT NOT NULL,
        made_boot TEXT NOT NULL,
        made_monotonic_s REAL NOT NULL
    )
     STRICT""",
    """CREATE TABLE control_marks (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        capture_id INTEGER NOT NULL,
        kind TEXT NOT NULL,
        lot TEXT,
        level TEXT,
        made_by TEXT NOT NULL,
        made_wall TEXT NOT NULL,
        made_clock TEXT NOT NULL,
        made_boot TEXT NOT NULL,
        made_monotonic_s REAL NOT NULL,
        CHECK (kind IN ('control', 'blank', 'check', 'patient')),
        CHECK ((kind = 'control') = (lot IS NOT NULL)),
        CHECK ((kind = 'control') = (level IS NOT NULL)),
        FOREIGN KEY(capture_id) REFERENCES captures (id)
    )
     STRICT""",
    "CREATE INDEX ix_control_marks_capture_id ON control_marks (capture_id)",
    *(
        f"CREATE TRIGGER {table}_stay BEFORE UPDATE ON {table}"
        " BEGIN SELECT RAISE(ABORT, 'what people wrote is never changed'); END"
        for table in ("lots", "control_marks")
    ),
)


def upgrade() -> None:
    """Add what quality control needs."""
    for statement in STATEMENTS:
        op.execute(text(statement))
