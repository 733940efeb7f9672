"""The tables as they should be (SQLAlchemy Core); `docs/storage.md` explains them.

All tables are STRICT, so a column never holds a value of another type. Rows are ordered by
their integer key: wall time is a label for people, since boxes without a battery-backed clock
start in the past after a power cut.

The migrations make them, and the writer's statements name them; nothing that runs imports this.
A change here needs a migration: a test compares these tables with what the migrations make.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    DDL,
    REAL,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)

metadata = MetaData()

SAMPLE_TEXT: Final = (
    "sample_id",
    "patient_id",
    "patient_name",
    "species",
    "breed",
    "instrument_model",
    "instrument_serial",
    "firmware",
    "acquired_at",
)
SAMPLE_REAL: Final = ("volume_ul", "dilution", "duration_s")

# A technician types an identifier as it is read aloud: case must not hide a patient.
_CASELESS: Final = frozenset({"sample_id", "patient_id", "patient_name"})


def _stamp(moment: str) -> list[Column[Any]]:
    """Columns of a `clock.Stamp`."""
    return [
        Column(f"{moment}_wall", Text, nullable=False),
        Column(f"{moment}_clock", Text, nullable=False),
        Column(f"{moment}_boot", Text, nullable=False),
        Column(f"{moment}_monotonic_s", REAL, nullable=False),
    ]


def _sample() -> list[Column[Any]]:
    """Columns of a `records.SampleInfo`."""
    texts: list[Column[Any]] = [
        Column(name, Text(collation="NOCASE" if name in _CASELESS else None))
        for name in SAMPLE_TEXT
    ]
    reals: list[Column[Any]] = [Column(name, REAL) for name in SAMPLE_REAL]
    simulated: Column[Any] = Column("simulated", Integer, nullable=False)
    return [*texts, *reals, simulated, CheckConstraint("simulated IN (0, 1)")]  # type: ignore[list-item]


def _capture(**options: Any) -> Column[int]:
    return Column("capture_id", Integer, ForeignKey("captures.id"), nullable=False, **options)


def _sample_key() -> Column[Any]:
    """`joining.sample_key` of the sample id: what a run and the analyzer's report share."""
    return Column("sample_key", Text)


def _run(**options: Any) -> Column[int]:
    return Column("run_id", Integer, ForeignKey("runs.id"), nullable=False, **options)


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True, nullable=False),
    Column("value", Text, nullable=False),
    sqlite_strict=True,
)
"""Facts about the database itself: ``epoch`` is a UUID made with it."""

captures = Table(
    "captures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instrument", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("finished", Integer, nullable=False),
    Column("reason_code", Text),
    Column("reason_message", Text),
    Column("reason_action", Text),
    Column("reason_candidates", Text),
    *_stamp("received"),
    # Which analysis of the capture is the newest; every replay begins another.
    Column("analysis", Integer, nullable=False, server_default=text("1")),
    # Since when only the results are left: the bytes were deleted for the archive's budget.
    Column("raw_deleted_wall", Text),
    CheckConstraint("state IN ('received', 'decoded', 'classified', 'quarantined')"),
    CheckConstraint("finished IN (0, 1)"),
    CheckConstraint("(state = 'quarantined') = (reason_code IS NOT NULL)"),
    UniqueConstraint("sha256", "instrument"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
Index("captures_pending", captures.c.id, sqlite_where=text("finished = 0"))
Index("captures_by_state", captures.c.state)
Index("captures_raw_deleted", captures.c.id, sqlite_where=text("raw_deleted_wall IS NOT NULL"))

sightings = Table(
    "sightings",
    metadata,
    Column("id", Integer, primary_key=True),
    _capture(),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    *_stamp("seen"),
    UniqueConstraint("capture_id", "source", "name"),
    sqlite_strict=True,
)
"""The same bytes under another name or through another source."""

refusals = Table(
    "refusals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("times", Integer, nullable=False),
    *_stamp("first"),
    *_stamp("last"),
    UniqueConstraint("source", "name", "code"),
    sqlite_strict=True,
)
"""Things that never became a capture, e.g. a symbolic link in the export folder."""

decodings = Table(
    "decodings",
    metadata,
    Column("id", Integer, primary_key=True),
    _capture(index=True),
    Column("profile", Text, nullable=False),
    Column("profile_sha256", Text, nullable=False),
    Column("events", Integer, nullable=False),
    Column("channels", Text, nullable=False),
    Column("notes", Text, nullable=False),
    *_sample(),
    *_stamp("created"),
    sqlite_strict=True,
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    _capture(),
    Column("number", Integer, nullable=False),
    Column("decoding_id", Integer, ForeignKey("decodings.id"), nullable=False),
    Column("profile", Text, nullable=False),
    Column("profile_sha256", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("model_sha256", Text, nullable=False),
    Column("events", Integer, nullable=False),
    *_sample(),
    Column("n_pure_rbc", Integer, nullable=False),
    Column("n_reticulocyte", Integer, nullable=False),
    Column("n_clumped_rbc", Integer, nullable=False),
    Column("n_platelet", Integer, nullable=False),
    Column("n_other", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("elapsed_s", REAL, nullable=False),
    *_stamp("created"),
    Column("digest", Text, nullable=False),
    _sample_key(),
    # Fields of the sample that a person said, and not the instrument: a JSON list.
    Column("corrected", Text, nullable=False, server_default=text("'[]'")),
    CheckConstraint("status IN ('ok', 'review', 'invalid')"),
    UniqueConstraint("capture_id", "number"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
"""One analysis of a capture; the sample's columns are copied so that lists need no join."""
for _name in (
    "sample_id", "patient_id", "patient_name", "species", "status", "created_wall", "sample_key",
):  # fmt: skip
    Index(f"runs_by_{_name}", runs.c[_name])

measurements = Table(
    "measurements",
    metadata,
    _run(primary_key=True),
    Column("code", Text, primary_key=True, nullable=False),
    Column("position", Integer, nullable=False),
    Column("value", REAL),
    Column("unit", Text, nullable=False),
    Column("low", REAL),
    Column("high", REAL),
    Column("method", Text, nullable=False),
    Column("flags", Text, nullable=False),
    CheckConstraint("method IN ('counted', 'calculated')"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

flags = Table(
    "flags",
    metadata,
    _run(primary_key=True),
    Column("position", Integer, primary_key=True, nullable=False),
    Column("code", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("action", Text, nullable=False),
    CheckConstraint("severity IN ('info', 'review', 'invalid')"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
Index("flags_by_code", flags.c.code, flags.c.run_id)

corrections = Table(
    "corrections",
    metadata,
    Column("id", Integer, primary_key=True),
    _capture(index=True),
    _run(unique=True),
    Column("changes", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    *_stamp("made"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
"""Who corrected the sample of which run: `changes` maps fields to what stood there and what is in
force, `run_id` is the run that it made. A trigger keeps rows from being changed."""

run_notes = Table(
    "run_notes",
    metadata,
    Column("id", Integer, primary_key=True),
    _capture(index=True),
    _run(),
    Column("kind", Text, nullable=False),
    Column("concerns", Text),
    Column("verdict", Text),
    Column("text", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    *_stamp("made"),
    CheckConstraint("kind IN ('note', 'smear')"),
    CheckConstraint("verdict IN ('confirms', 'refutes')"),
    CheckConstraint("(kind = 'smear') = (verdict IS NOT NULL)"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
"""What people noted about a run; a smear confirms or refutes what it concerns."""

lots = Table(
    "lots",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("lot", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("material", Text, nullable=False),
    Column("instrument", Text),
    Column("pattern", Text),
    Column("expires", Text),
    Column("targets", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    *_stamp("made"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
"""Control material: of a lot and level the newest row counts; `targets` is JSON."""

control_marks = Table(
    "control_marks",
    metadata,
    Column("id", Integer, primary_key=True),
    _capture(index=True),
    Column("kind", Text, nullable=False),
    Column("lot", Text),
    Column("level", Text),
    Column("made_by", Text, nullable=False),
    *_stamp("made"),
    CheckConstraint("kind IN ('control', 'blank', 'check', 'patient')"),
    CheckConstraint("(kind = 'control') = (lot IS NOT NULL)"),
    CheckConstraint("(kind = 'control') = (level IS NOT NULL)"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
"""What a person says a capture is; the newest row of a capture counts."""

for _kept in (corrections, run_notes, lots, control_marks):
    event.listen(
        _kept,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER {_kept.name}_stay BEFORE UPDATE ON {_kept.name}"
            " BEGIN SELECT RAISE(ABORT, 'what people wrote is never changed'); END"
        ),
    )

pictures = Table(
    "pictures",
    metadata,
    _run(primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("digest", Text, nullable=False),
    sqlite_strict=True,
)
"""Scattergrams and histograms of a run; `store.pictures` says what the bytes mean."""

reports = Table(
    "reports",
    metadata,
    Column("id", Integer, primary_key=True),
    _capture(),
    Column("number", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("message_id", Text),
    Column("amends", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("profile_sha256", Text, nullable=False),
    *_sample(),
    Column("messages", Text, nullable=False),
    Column("notes", Text, nullable=False),
    *_stamp("created"),
    Column("content", Text, nullable=False),
    Column("digest", Text, nullable=False),
    _sample_key(),
    CheckConstraint("kind IN ('sample', 'control')"),
    CheckConstraint("amends IN (0, 1)"),
    UniqueConstraint("capture_id", "number", "position"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
"""What an analyzer itself reported: `number` is the capture's analysis it came from, `position`
its place in it, `content` the digest of what it says, in whichever message."""
for _name in (
    "sample_id", "patient_id", "patient_name", "species", "created_wall", "content", "sample_key",
):  # fmt: skip
    Index(f"reports_by_{_name}", reports.c[_name])
Index("reports_of_controls", reports.c.sample_key, sqlite_where=text("kind = 'control'"))


def _report(**options: Any) -> Column[int]:
    return Column("report_id", Integer, ForeignKey("reports.id"), nullable=False, **options)


reported_values = Table(
    "reported_values",
    metadata,
    _report(primary_key=True),
    Column("position", Integer, primary_key=True, nullable=False),
    Column("name", Text, nullable=False),
    Column("code", Text),
    Column("value", REAL),
    Column("unit", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("written_unit", Text, nullable=False),
    Column("low", REAL),
    Column("high", REAL),
    Column("flags", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

reported_histograms = Table(
    "reported_histograms",
    metadata,
    _report(primary_key=True),
    Column("position", Integer, primary_key=True, nullable=False),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("low", REAL, nullable=False),
    Column("high", REAL, nullable=False),
    Column("counts", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

report_sightings = Table(
    "report_sightings",
    metadata,
    Column("id", Integer, primary_key=True),
    _report(),
    _capture(index=True),
    Column("message_id", Text),
    *_stamp("seen"),
    UniqueConstraint("report_id", "capture_id"),
    sqlite_strict=True,
)
"""The same report in another capture: an analyzer that sent it again."""

outbox = Table(
    "outbox",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id"), unique=True),
    Column("report_id", Integer, ForeignKey("reports.id"), unique=True),
    Column("note_id", Integer, ForeignKey("run_notes.id"), unique=True),
    Column("correction_id", Integer, ForeignKey("corrections.id"), unique=True),
    Column("mark_id", Integer, ForeignKey("control_marks.id"), unique=True),
    Column("type", Text, nullable=False),
    Column("schema", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Text),
    *_stamp("created"),
    # Why a dead letter is dead.
    Column("reason", Text),
    CheckConstraint("type LIKE '%.clinical' OR type LIKE '%.simulated'"),
    *(
        CheckConstraint(f"(type LIKE '{_what}.%') = ({_what}_id IS NOT NULL)")
        for _what in ("run", "report", "note", "correction", "mark")
    ),
    CheckConstraint("coalesce(run_id, report_id, note_id, correction_id, mark_id) IS NOT NULL"),
    CheckConstraint("state IN ('waiting', 'stored', 'dead')"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
Index("outbox_waiting", outbox.c.seq, sqlite_where=text("state = 'waiting'"))
Index("outbox_dead", outbox.c.seq, sqlite_where=text("state = 'dead'"))
