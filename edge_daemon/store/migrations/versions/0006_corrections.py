"""Corrections and notes that people make after a run.

A correction makes the capture's next run; `corrected` names what in a run's sample a person said
and not the instrument. Nothing that was written is changed: triggers refuse it.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE runs ADD COLUMN corrected TEXT DEFAULT '[]' NOT NULL",
    """CREATE TABLE corrections (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        capture_id INTEGER NOT NULL,
        run_id INTEGER NOT NULL,
        changes TEXT NOT NULL,
        made_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        made_wall TEXT NOT NULL,
        made_clock TEXT NOT NULL,
        made_boot TEXT NOT NULL,
        made_monotonic_s REAL NOT NULL,
        FOREIGN KEY(capture_id) REFERENCES captures (id),
        UNIQUE (run_id),
        FOREIGN KEY(run_id) REFERENCES runs (id)
    )
     STRICT""",
    "CREATE INDEX ix_corrections_capture_id ON corrections (capture_id)",
    """CREATE TABLE run_notes (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        capture_id INTEGER NOT NULL,
        run_id INTEGER NOT NULL,
        kind TEXT NOT NULL,
        concerns TEXT,
        verdict TEXT,
        text TEXT NOT NULL,
        made_by TEXT NOT NULL,
        made_wall TEXT NOT NULL,
        made_clock TEXT NOT NULL,
        made_boot TEXT NOT NULL,
        made_monotonic_s REAL NOT NULL,
        CHECK (kind IN ('note', 'smear')),
        CHECK (verdict IN ('confirms', 'refutes')),
        CHECK ((kind = 'smear') = (verdict IS NOT NULL)),
        FOREIGN KEY(capture_id) REFERENCES captures (id),
        FOREIGN KEY(run_id) REFERENCES runs (id)
    )
     STRICT""",
    "CREATE INDEX ix_run_notes_capture_id ON run_notes (capture_id)",
    *(
        f"CREATE TRIGGER {table}_stay BEFORE UPDATE ON {table}"
        " BEGIN SELECT RAISE(ABORT, 'what people wrote is never changed'); END"
        for table in ("corrections", "run_notes")
    ),
)


def upgrade() -> None:
    """Add what people say; every row of before stays as it is."""
    for statement in STATEMENTS:
        op.execute(text(statement))
