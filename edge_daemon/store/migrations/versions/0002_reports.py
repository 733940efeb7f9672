"""The analyzer's own reports: their tables, the key they share with runs, and their outbox rows.

The statements are frozen text, as in 0001. SQLite cannot change a constraint, so the outbox is
made anew and filled from the old one; its numbers go on where they were, also past rows that
were deleted.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE captures ADD COLUMN analysis INTEGER DEFAULT 1 NOT NULL",
    "ALTER TABLE runs ADD COLUMN sample_key TEXT",
    # What `joining.sample_key` does: white space around it and ASCII capitals do not count.
    "UPDATE runs SET sample_key = nullif(lower(trim(sample_id, char(9, 10, 11, 12, 13, 32))), '')",
    "CREATE INDEX runs_by_sample_key ON runs (sample_key)",
    """CREATE TABLE reports (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        capture_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        position INTEGER NOT NULL,
        kind TEXT NOT NULL,
        message_id TEXT,
        amends INTEGER NOT NULL,
        profile TEXT NOT NULL,
        profile_sha256 TEXT NOT NULL,
        sample_id TEXT COLLATE "NOCASE",
        patient_id TEXT COLLATE "NOCASE",
        patient_name TEXT COLLATE "NOCASE",
        species TEXT,
        breed TEXT,
        instrument_model TEXT,
        instrument_serial TEXT,
        firmware TEXT,
        acquired_at TEXT,
        volume_ul REAL,
        dilution REAL,
        duration_s REAL,
        simulated INTEGER NOT NULL,
        messages TEXT NOT NULL,
        notes TEXT NOT NULL,
        created_wall TEXT NOT NULL,
        created_clock TEXT NOT NULL,
        created_boot TEXT NOT NULL,
        created_monotonic_s REAL NOT NULL,
        content TEXT NOT NULL,
        digest TEXT NOT NULL,
        sample_key TEXT,
        CHECK (simulated IN (0, 1)),
        CHECK (kind IN ('sample', 'control')),
        CHECK (amends IN (0, 1)),
        UNIQUE (capture_id, number, position),
        FOREIGN KEY(capture_id) REFERENCES captures (id)
    )
     STRICT""",
    "CREATE INDEX reports_by_content ON reports (content)",
    "CREATE INDEX reports_by_created_wall ON reports (created_wall)",
    "CREATE INDEX reports_by_patient_id ON reports (patient_id)",
    "CREATE INDEX reports_by_patient_name ON reports (patient_name)",
    "CREATE INDEX reports_by_sample_id ON reports (sample_id)",
    "CREATE INDEX reports_by_sample_key ON reports (sample_key)",
    "CREATE INDEX reports_by_species ON reports (species)",
    """CREATE TABLE reported_values (
        report_id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        code TEXT,
        value REAL,
        unit TEXT NOT NULL,
        text TEXT NOT NULL,
        written_unit TEXT NOT NULL,
        low REAL,
        high REAL,
        flags TEXT NOT NULL,
        PRIMARY KEY (report_id, position),
        FOREIGN KEY(report_id) REFERENCES reports (id)
    )
     WITHOUT ROWID,
     STRICT""",
    """CREATE TABLE reported_histograms (
        report_id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        unit TEXT NOT NULL,
        low REAL NOT NULL,
        high REAL NOT NULL,
        counts TEXT NOT NULL,
        PRIMARY KEY (report_id, position),
        FOREIGN KEY(report_id) REFERENCES reports (id)
    )
     WITHOUT ROWID,
     STRICT""",
    """CREATE TABLE report_sightings (
        id INTEGER NOT NULL,
        report_id INTEGER NOT NULL,
        capture_id INTEGER NOT NULL,
        message_id TEXT,
        seen_wall TEXT NOT NULL,
        seen_clock TEXT NOT NULL,
        seen_boot TEXT NOT NULL,
        seen_monotonic_s REAL NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (report_id, capture_id),
        FOREIGN KEY(report_id) REFERENCES reports (id),
        FOREIGN KEY(capture_id) REFERENCES captures (id)
    )
     STRICT""",
    "CREATE INDEX ix_report_sightings_capture_id ON report_sightings (capture_id)",
    "DROP INDEX outbox_waiting",
    "ALTER TABLE outbox RENAME TO outbox_0001",
    """CREATE TABLE outbox (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER,
        report_id INTEGER,
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
        CHECK (type IN ('run.clinical', 'run.simulated', 'report.clinical', 'report.simulated')),
        CHECK ((type LIKE 'run.%') = (run_id IS NOT NULL)),
        CHECK ((type LIKE 'report.%') = (report_id IS NOT NULL)),
        CHECK (state IN ('waiting', 'stored', 'dead')),
        UNIQUE (run_id),
        FOREIGN KEY(run_id) REFERENCES runs (id),
        UNIQUE (report_id),
        FOREIGN KEY(report_id) REFERENCES reports (id)
    )
     STRICT""",
    """INSERT INTO outbox (seq, run_id, type, schema, digest, body, state, attempts,
            next_attempt_at, created_wall, created_clock, created_boot, created_monotonic_s)
        SELECT seq, run_id, type, schema, digest, body, state, attempts,
            next_attempt_at, created_wall, created_clock, created_boot, created_monotonic_s
        FROM outbox_0001 ORDER BY seq""",
    "DELETE FROM sqlite_sequence WHERE name = 'outbox'",
    """INSERT INTO sqlite_sequence (name, seq)
        SELECT 'outbox', seq FROM sqlite_sequence WHERE name = 'outbox_0001'""",
    "DROP TABLE outbox_0001",
    "CREATE INDEX outbox_waiting ON outbox (seq) WHERE state = 'waiting'",
)


def upgrade() -> None:
    """Add what reports need; every row of before stays as it is."""
    for statement in STATEMENTS:
        op.execute(text(statement))
