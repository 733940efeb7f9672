-- The schema of a new database. docs/storage.md explains the tables.
--
-- All tables are STRICT, so a column never holds a value of another type. Rows are ordered by their
-- integer key: wall time is a label for people, since boxes without a battery-backed clock start in
-- the past after a power cut.
--
-- Older databases get here by the migrations, which a change needs beside the one in this file: a
-- test compares what both make, word for word and in order. Comments stand between statements,
-- because SQLite keeps what is within.

-- The revision of this schema; `store.migrate` writes it.
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- One instrument's bytes. `analysis`: which analysis of the capture is the newest; every replay
-- begins another. `raw_deleted_wall`: since when only the results are left, the bytes were deleted
-- for the archive's budget.
CREATE TABLE captures (
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
    analysis INTEGER DEFAULT 1 NOT NULL,
    raw_deleted_wall TEXT,
    CHECK (state IN ('received', 'decoded', 'classified', 'quarantined')),
    CHECK (finished IN (0, 1)),
    CHECK ((state = 'quarantined') = (reason_code IS NOT NULL)),
    UNIQUE (sha256, instrument)
) STRICT;
CREATE INDEX captures_by_state ON captures (state);
CREATE INDEX captures_pending ON captures (id) WHERE finished = 0;

-- Facts about the database itself: `epoch` is a UUID made with it.
CREATE TABLE meta (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key")
) STRICT;

-- Things that never became a capture, e.g. a symbolic link in the export folder.
CREATE TABLE refusals (
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
) STRICT;

CREATE TABLE decodings (
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
) STRICT;
CREATE INDEX ix_decodings_capture_id ON decodings (capture_id);

-- The same bytes under another name or through another source.
CREATE TABLE sightings (
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
) STRICT;

-- One analysis of a capture; the sample's columns are copied so that lists need no join.
-- `corrected`: fields of the sample that a person said, and not the instrument, as a JSON list.
CREATE TABLE runs (
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
    sample_key TEXT,
    corrected TEXT DEFAULT '[]' NOT NULL,
    CHECK (simulated IN (0, 1)),
    CHECK (status IN ('ok', 'review', 'invalid')),
    UNIQUE (capture_id, number),
    FOREIGN KEY(capture_id) REFERENCES captures (id),
    FOREIGN KEY(decoding_id) REFERENCES decodings (id)
) STRICT;
CREATE INDEX runs_by_created_wall ON runs (created_wall);
CREATE INDEX runs_by_patient_id ON runs (patient_id);
CREATE INDEX runs_by_patient_name ON runs (patient_name);
CREATE INDEX runs_by_sample_id ON runs (sample_id);
CREATE INDEX runs_by_species ON runs (species);
CREATE INDEX runs_by_status ON runs (status);

CREATE TABLE flags (
    run_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    code TEXT NOT NULL,
    severity TEXT NOT NULL,
    message TEXT NOT NULL,
    action TEXT NOT NULL,
    PRIMARY KEY (run_id, position),
    CHECK (severity IN ('info', 'review', 'invalid')),
    FOREIGN KEY(run_id) REFERENCES runs (id)
) WITHOUT ROWID, STRICT;
CREATE INDEX flags_by_code ON flags (code, run_id);

CREATE TABLE measurements (
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
) WITHOUT ROWID, STRICT;
CREATE INDEX runs_by_sample_key ON runs (sample_key);

-- What an analyzer itself reported: `number` is the capture's analysis it came from, `position` its
-- place in it, `content` the digest of what it says, in whichever message.
CREATE TABLE reports (
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
) STRICT;
CREATE INDEX reports_by_content ON reports (content);
CREATE INDEX reports_by_created_wall ON reports (created_wall);
CREATE INDEX reports_by_patient_id ON reports (patient_id);
CREATE INDEX reports_by_patient_name ON reports (patient_name);
CREATE INDEX reports_by_sample_id ON reports (sample_id);
CREATE INDEX reports_by_sample_key ON reports (sample_key);
CREATE INDEX reports_by_species ON reports (species);

CREATE TABLE reported_values (
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
) WITHOUT ROWID, STRICT;

CREATE TABLE reported_histograms (
    report_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (report_id, position),
    FOREIGN KEY(report_id) REFERENCES reports (id)
) WITHOUT ROWID, STRICT;

-- The same report in another capture: an analyzer that sent it again.
CREATE TABLE report_sightings (
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
) STRICT;
CREATE INDEX ix_report_sightings_capture_id ON report_sightings (capture_id);

-- Scattergrams and histograms of a run; `store.pictures` says what the bytes mean.
CREATE TABLE pictures (
    run_id INTEGER NOT NULL,
    body BLOB NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (run_id),
    FOREIGN KEY(run_id) REFERENCES runs (id)
) STRICT;
CREATE INDEX captures_raw_deleted ON captures (id) WHERE raw_deleted_wall IS NOT NULL;

-- Who corrected the sample of which run: `changes` maps fields to what stood there and what is in
-- force, `run_id` is the run that it made.
CREATE TABLE corrections (
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
) STRICT;
CREATE INDEX ix_corrections_capture_id ON corrections (capture_id);

-- What people noted about a run; a smear confirms or refutes what it concerns.
CREATE TABLE run_notes (
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
) STRICT;
CREATE INDEX ix_run_notes_capture_id ON run_notes (capture_id);

CREATE TRIGGER corrections_stay BEFORE UPDATE ON corrections
BEGIN
    SELECT RAISE(ABORT, 'what people wrote is never changed');
END;

CREATE TRIGGER run_notes_stay BEFORE UPDATE ON run_notes
BEGIN
    SELECT RAISE(ABORT, 'what people wrote is never changed');
END;

-- Control material: of a lot and level the newest row counts; `targets` is JSON.
CREATE TABLE lots (
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
) STRICT;

-- What a person says a capture is; the newest row of a capture counts.
CREATE TABLE control_marks (
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
) STRICT;
CREATE INDEX ix_control_marks_capture_id ON control_marks (capture_id);

CREATE TRIGGER lots_stay BEFORE UPDATE ON lots
BEGIN
    SELECT RAISE(ABORT, 'what people wrote is never changed');
END;

CREATE TRIGGER control_marks_stay BEFORE UPDATE ON control_marks
BEGIN
    SELECT RAISE(ABORT, 'what people wrote is never changed');
END;

-- Items for the central server. `reason`: why a dead letter is dead.
CREATE TABLE outbox (
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
) STRICT;
CREATE INDEX outbox_waiting ON outbox (seq) WHERE state = 'waiting';
CREATE INDEX outbox_dead ON outbox (seq) WHERE state = 'dead';
CREATE INDEX reports_of_controls ON reports (sample_key) WHERE kind = 'control';
