"""First schema: captures, their decodings and runs, and the outbox.

The statements are frozen text: a migration must keep making what it made when it was released,
whatever `schema.sql` says later.
"""

from __future__ import annotations

import uuid

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE captures (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        instrument TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        state TEXT NOT NULL,
        finished INTEGER NOT NULL,
        reason_code TEXT,
        reason_message TEXT,
        reason_action TEXT,
        reason_candidates TEXT,
        received_wall TEXT NOT NULL,
        received_clock TEXT NOT NULL,
        received_boot TEXT NOT NULL,
        received_monotonic_s REAL NOT NULL,
        CHECK (state IN ('received', 'decoded', 'classified', 'quarantined')),
        CHECK (finished IN (0, 1)),
        CHECK ((state = 'quarantined') = (reason_code IS NOT NULL)),
        UNIQUE (sha256, instrument)
    )
     STRICT""",
    "CREATE INDEX captures_by_state ON captures (state)",
    "CREATE INDEX captures_pending ON captures (id) WHERE finished = 0",
    """CREATE TABLE meta (
        "key" TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY ("key")
    )
     STRICT""",
    """CREATE TABLE refusals (
        id INTEGER NOT NULL,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        code TEXT NOT NULL,
        message TEXT NOT NULL,
        action TEXT NOT NULL,
        times INTEGER NOT NULL,
        first_wall TEXT NOT NULL,
        first_clock TEXT NOT NULL,
        first_boot TEXT NOT NULL,
        first_monotonic_s REAL NOT NULL,
        last_wall TEXT NOT NULL,
        last_clock TEXT NOT NULL,
        last_boot TEXT NOT NULL,
        last_monotonic_s REAL NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (source, name, code)
    )
     STRICT""",
    """CREATE TABLE decodings (
        id INTEGER NOT NULL,
        capture_id INTEGER NOT NULL,
        profile TEXT NOT NULL,
        profile_sha256 TEXT NOT NULL,
        events INTEGER NOT NULL,
        channels TEXT NOT NULL,
        notes TEXT NOT NULL,
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
        created_wall TEXT NOT NULL,
        created_clock TEXT NOT NULL,
        created_boot TEXT NOT NULL,
        created_monotonic_s REAL NOT NULL,
        PRIMARY KEY (id),
        CHECK (simulated IN (0, 1)),
        FOREIGN KEY(capture_id) REFERENCES captures (id)
    )
     STRICT""",
    "CREATE INDEX ix_decodings_capture_id ON decodings (capture_id)",
    """CREATE TABLE sightings (
        id INTEGER NOT NULL,
        capture_id INTEGER NOT NULL,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        seen_wall TEXT NOT NULL,
        seen_clock TEXT NOT NULL,
        seen_boot TEXT NOT NULL,
        seen_monotonic_s REAL NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (capture_id, source, name),
        FOREIGN KEY(capture_id) REFERENCES captures (id)
    )
     STRICT""",
    """CREATE TABLE runs (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        capture_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        decoding_id INTEGER NOT NULL,
        profile TEXT NOT NULL,
        profile_sha256 TEXT NOT NULL,
        model TEXT NOT NULL,
        model_sha256 TEXT NOT NULL,
        events INTEGER NOT NULL,
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
        n_pure_rbc INTEGER NOT NULL,
        n_reticulocyte INTEGER NOT NULL,
        n_clumped_rbc INTEGER NOT NULL,
        n_platelet INTEGER NOT NULL,
        n_other INTEGER NOT NULL,
        status TEXT NOT NULL,
        elapsed_s REAL NOT NULL,
        created_wall TEXT NOT NULL,
        created_clock TEXT NOT NULL,
        created_boot TEXT NOT NULL,
        created_monotonic_s REAL NOT NULL,
        digest TEXT NOT NULL,
        CHECK (simulated IN (0, 1)),
        CHECK (status IN ('ok', 'review', 'invalid')),
        UNIQUE (capture_id, number),
        FOREIGN KEY(capture_id) REFERENCES captures (id),
        FOREIGN KEY(decoding_id) REFERENCES decodings (id)
    )
     STRICT""",
    "CREATE INDEX runs_by_created_wall ON runs (created_wall)",
    "CREATE INDEX runs_by_patient_id ON runs (patient_id)",
    "CREATE INDEX runs_by_patient_name ON runs (patient_name)",
    "CREATE INDEX runs_by_sample_id ON runs (sample_id)",
    "CREATE INDEX runs_by_species ON runs (species)",
    "CREATE INDEX runs_by_status ON runs (status)",
    """CREATE TABLE flags (
        run_id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        code TEXT NOT NULL,
        severity TEXT NOT NULL,
        message TEXT NOT NULL,
        action TEXT NOT NULL,
        PRIMARY KEY (run_id, position),
        CHECK (severity IN ('info', 'review', 'invalid')),
        FOREIGN KEY(run_id) REFERENCES runs (id)
    )
     WITHOUT ROWID,
     STRICT""",
    "CREATE INDEX flags_by_code ON flags (code, run_id)",
    """CREATE TABLE measurements (
        run_id INTEGER NOT NULL,
        code TEXT NOT NULL,
        position INTEGER NOT NULL,
        value REAL,
        unit TEXT NOT NULL,
        low REAL,
        high REAL,
        method TEXT NOT NULL,
        flags TEXT NOT NULL,
        PRIMARY KEY (run_id, code),
        CHECK (method IN ('counted', 'calculated')),
        FOREIGN KEY(run_id) REFERENCES runs (id)
    )
     WITHOUT ROWID,
     STRICT""",
    """CREATE TABLE outbox (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER NOT NULL,
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
        CHECK (type IN ('run.clinical', 'run.simulated')),
        CHECK (state IN ('waiting', 'stored', 'dead')),
        UNIQUE (run_id),
        FOREIGN KEY(run_id) REFERENCES runs (id)
    )
     STRICT""",
    "CREATE INDEX outbox_waiting ON outbox (seq) WHERE state = 'waiting'",
)


def upgrade() -> None:
    """Make the tables, and the epoch that names this database to the central server."""
    for statement in STATEMENTS:
        op.execute(text(statement))
    op.execute(
        text("INSERT INTO meta (key, value) VALUES ('epoch', :epoch)").bindparams(
            epoch=str(uuid.uuid4())
        )
    )
