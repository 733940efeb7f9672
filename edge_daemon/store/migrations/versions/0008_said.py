"""What people said goes to the central server: notes, corrections and marks in the outbox.

The statements are frozen text. SQLite cannot change a constraint, so the outbox is made anew as
in 0002; items of what was written before are added when the store is opened.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COLUMNS = (
    "seq, run_id, report_id, type, schema, digest, body, state, attempts, next_attempt_at,"
    " created_wall, created_clock, created_boot, created_monotonic_s, reason"
)

STATEMENTS = (
    "DROP INDEX outbox_waiting",
    "DROP INDEX outbox_dead",
    "ALTER TABLE outbox RENAME TO outbox_0007",
    """CREATE TABLE outbox (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER,
        report_id INTEGER,
        note_id INTEGER,
        correction_id INTEGER,
        mark_id INTEGER,
        type TEXT NOT NULL,
        schema INTEGER NOT NULL,
        digest TEXT NOT NULL,
        body TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at TEXT,
        created_wall TEXT NOT NULL,
        created_clock TEXT NOT NULL,
        created_boot TEXT NOT NULL,
        created_monotonic_s REAL NOT NULL,
        reason TEXT,
        CHECK (type LIKE '%.clinical' OR type LIKE '%.simulated'),
        CHECK ((type LIKE 'run.%') = (run_id IS NOT NULL)),
        CHECK ((type LIKE 'report.%') = (report_id IS NOT NULL)),
        CHECK ((type LIKE 'note.%') = (note_id IS NOT NULL)),
        CHECK ((type LIKE 'correction.%') = (correction_id IS NOT NULL)),
        CHECK ((type LIKE 'mark.%') = (mark_id IS NOT NULL)),
        CHECK (coalesce(run_id, report_id, note_id, correction_id, mark_id) IS NOT NULL),
        CHECK (state IN ('waiting', 'stored', 'dead')),
        UNIQUE (run_id),
        FOREIGN KEY(run_id) REFERENCES runs (id),
        UNIQUE (report_id),
        FOREIGN KEY(report_id) REFERENCES reports (id),
        UNIQUE (note_id),
        FOREIGN KEY(note_id) REFERENCES run_notes (id),
        UNIQUE (correction_id),
        FOREIGN KEY(correction_id) REFERENCES corrections (id),
        UNIQUE (mark_id),
        FOREIGN KEY(mark_id) REFERENCES control_marks (id)
    )
     STRICT""",
    f"INSERT INTO outbox ({_COLUMNS}) SELECT {_COLUMNS} FROM outbox_0007 ORDER BY seq",  # noqa: S608
    "DELETE FROM sqlite_sequence WHERE name = 'outbox'",
    """INSERT INTO sqlite_sequence (name, seq)
        SELECT 'outbox', seq FROM sqlite_sequence WHERE name = 'outbox_0007'""",
    "DROP TABLE outbox_0007",
    "CREATE INDEX outbox_waiting ON outbox (seq) WHERE state = 'waiting'",
    "CREATE INDEX outbox_dead ON outbox (seq) WHERE state = 'dead'",
)


def upgrade() -> None:
    """Make room for what people said; every row of before stays as it is."""
    for statement in STATEMENTS:
        op.execute(text(statement))
