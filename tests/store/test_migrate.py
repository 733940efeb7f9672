from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from edge_daemon.errors import EXIT_FAILED, Fatal, Retryable
from edge_daemon.store import layout, queries
from edge_daemon.store.migrate import MIGRATIONS, SCHEMA, migrate
from edge_daemon.store.upgrade import upgrade
from edge_daemon.store.writer import Store

LATER = f"{int(layout.REVISION) + 1:04d}"
NEXT = f"""
from alembic import op
revision = "{LATER}"
down_revision = "{layout.REVISION}"
def upgrade():
    op.execute("ALTER TABLE captures ADD COLUMN colour TEXT")
    op.execute("UPDATE captures SET colour = 'red'")
    op.execute("CREATE TABLE tubes (id INTEGER PRIMARY KEY) STRICT")
    op.execute("DROP TABLE refusals")
"""

# Fork once per statement; each child is killed just before its n-th one.
SWEEP = """
    import os, shutil, signal, sqlite3, sys
    from pathlib import Path
    import edge_daemon.store.upgrade
    from edge_daemon.store.migrate import migrate

    left = [0]
    def count(statement):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    opened = sqlite3.connect
    def connect(*args, **options):
        db = opened(*args, **options)
        db.set_trace_callback(count)
        return db
    sqlite3.connect = connect

    before, scripts, revision, work = sys.argv[1:]
    for n in range(1, 200):
        target = Path(work) / str(n)
        shutil.copytree(before, target)
        child = os.fork()
        if not child:
            left[0] = n
            migrate(target, migrations=Path(scripts), revision=revision)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(n, "whole" if status == 0 else "killed", flush=True)
        if status == 0:
            break
"""


def schema_of(database):
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return sorted(row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql <> ''"))


@pytest.fixture
def later(tmp_path):
    """Migrations of a later release."""
    scripts = tmp_path / "later"
    shutil.copytree(MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / f"{LATER}_next.py").write_text(NEXT)
    return scripts


@pytest.fixture
def filled(store, analyse, data_dir):
    """A closed data directory with ten results."""
    for number in range(10):
        analyse(number)
    store.close()
    return data_dir


@pytest.fixture
def first_release(filled, tmp_path):
    """A data directory as schema 0001 left it, with ten results of each of these sample ids."""
    scripts = tmp_path / "first"
    newer = [file.name for file in (MIGRATIONS / "versions").glob("0*") if file.name >= "0002"]
    shutil.copytree(MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__", *newer))
    old = tmp_path / "old"
    old.mkdir()
    upgrade(layout.database_path(old), scripts)
    with closing(sqlite3.connect(layout.database_path(old), isolation_level=None)) as db:
        db.execute("ATTACH ? AS made", [str(layout.database_path(filled))])
        for table in ("captures", "decodings", "runs", "measurements", "flags", "outbox"):
            columns = ", ".join(
                r[0] for r in db.execute(f"SELECT name FROM pragma_table_info('{table}')")
            )
            db.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM made.{table}")
        db.execute("UPDATE runs SET sample_id = char(9) || ' Äb-1 ' WHERE id = 3")
        db.execute("UPDATE runs SET sample_id = '  ' WHERE id = 4")
        db.execute("UPDATE runs SET sample_id = NULL WHERE id = 5")
        db.execute("DELETE FROM outbox WHERE seq = 10")
        db.execute("UPDATE outbox SET state = 'dead', attempts = 7 WHERE seq = 2")
    return old


OUTBOX = "SELECT seq, run_id, type, schema, digest, body, state, attempts FROM outbox"


def test_from_the_first_release_every_row_is_kept(first_release, clock, make):
    database = layout.database_path(first_release)
    with closing(sqlite3.connect(database)) as db:
        before = [db.execute(query).fetchall() for query in (OUTBOX, "SELECT digest FROM runs")]
    with Store.open(first_release, clock) as store, closing(sqlite3.connect(database)) as db:
        after = [db.execute(query).fetchall() for query in (OUTBOX, "SELECT digest FROM runs")]
        assert after == before
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        keys = dict(db.execute("SELECT id, sample_key FROM runs"))
        assert keys == dict.fromkeys(range(1, 11), "s-1") | {3: "Äb-1", 4: None, 5: None}
        assert db.execute("SELECT DISTINCT analysis FROM captures").fetchall() == [(1,)]
        store.requeue(1)
        store.record_decoded(1, make.decoded())
        store.record_run(1, make.decoded(), make.classified())
        # Number 10 was given to a row that is gone, and is not given again.
        assert db.execute("SELECT max(seq) FROM outbox").fetchone() == (11,)
        assert db.execute("SELECT analysis FROM captures WHERE id = 1").fetchone() == (2,)
        made = [" ".join(sql.split()) for sql in schema_of(database)]
    fresh = first_release / "fresh"
    fresh.mkdir()
    migrate(fresh)
    assert made == [" ".join(sql.split()) for sql in schema_of(layout.database_path(fresh))]


def test_killed_before_any_statement_the_first_release_stays_or_is_whole(first_release, tmp_path):
    old = schema_of(layout.database_path(first_release))
    outcomes = sweep(first_release, MIGRATIONS, layout.REVISION, tmp_path / "work")
    assert len(outcomes) > 20
    assert outcomes[-1][1] == "whole"
    for number, _ in outcomes[:-1]:
        database = layout.database_path(tmp_path / "work" / number)
        assert schema_of(database) == old
        with closing(sqlite3.connect(database)) as db:
            assert db.execute("SELECT count(*) FROM outbox").fetchone() == (9,)


def test_a_new_database_is_what_the_migrations_make(data_dir):
    data_dir.mkdir()
    migrate(data_dir)
    migrated = data_dir / "migrated.sqlite3"
    upgrade(migrated, MIGRATIONS)
    new, old = whole(layout.database_path(data_dir)), whole(migrated)
    [[(was, _)], [(key, epoch)]] = old["rows"].pop("meta"), new["rows"].pop("meta")
    assert (key, len(epoch)) == (was, 36)
    assert new == old
    assert len(new["schema"]) > 60
    assert new["rows"]["alembic_version"] == [(layout.REVISION,)]
    assert max(file.name[:4] for file in (MIGRATIONS / "versions").glob("0*")) == layout.REVISION


def test_what_differs_from_the_migrations_is_seen(data_dir):
    """The comparison bites: a column, a constraint, an order of indexes, a word of a trigger."""
    data_dir.mkdir()
    upgrade(data_dir / "migrated.sqlite3", MIGRATIONS)
    right = whole(data_dir / "migrated.sqlite3")["schema"]
    written = SCHEMA.read_text(encoding="utf-8")
    lines = [line for line in written.splitlines() if line.startswith("CREATE INDEX captures_")]
    by_state, pending = lines[:2]
    for number, (was, wrong) in enumerate(
        [
            ("    dilution REAL,\n", ""),
            ("    CHECK (finished IN (0, 1)),\n", ""),
            (f"{by_state}\n{pending}", f"{pending}\n{by_state}"),
            ("people wrote is never", "people wrote is seldom"),
        ]
    ):
        assert was in written
        other = data_dir / f"{number}.sqlite3"
        with closing(sqlite3.connect(other)) as db:
            db.executescript(written.replace(was, wrong, 1))
        assert whole(other)["schema"] != right


PRAGMAS = (
    "application_id", "auto_vacuum", "encoding", "journal_mode", "page_size", "user_version",
)  # fmt: skip


def whole(database):
    """All that a database is, in its order: its tables as written, their rows, its settings."""
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        listed = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        tables = [name for kind, name, _, _ in listed if kind == "table"]
        rows = {name: db.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
        return {
            "schema": [(*names, " ".join((sql or "").split())) for *names, sql in listed],
            "columns": {
                name: db.execute(f'PRAGMA table_xinfo("{name}")').fetchall() for name in tables
            },
            "rows": rows,
            "settings": {name: db.execute(f"PRAGMA {name}").fetchone() for name in PRAGMAS},
        }


def test_every_table_is_strict(filled):
    with closing(sqlite3.connect(layout.database_path(filled))) as db:
        tables = db.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'")
        loose = {name for name, strict in tables if not strict}
    assert {name for name in loose if not name.startswith("sqlite_")} == {"alembic_version"}


def sweep(before, scripts, revision, work):
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SWEEP), before, scripts, revision, work],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_killed_before_any_statement_a_new_database_is_empty_or_whole(tmp_path):
    (tmp_path / "empty").mkdir()
    outcomes = sweep(tmp_path / "empty", MIGRATIONS, layout.REVISION, tmp_path / "work")
    assert len(outcomes) > 25
    assert outcomes[-1][1] == "whole"
    whole = schema_of(layout.database_path(tmp_path / "work" / outcomes[-1][0]))
    for number, outcome in outcomes[:-1]:
        assert outcome == "killed"
        data_dir = tmp_path / "work" / number
        assert schema_of(layout.database_path(data_dir)) == []
        migrate(data_dir)
        assert schema_of(layout.database_path(data_dir)) == whole


def test_killed_before_any_statement_an_upgrade_leaves_the_old_rows_and_schema(
    tmp_path, filled, later
):
    old = schema_of(layout.database_path(filled))
    outcomes = sweep(filled, later, LATER, tmp_path / "work")
    assert len(outcomes) > 5
    assert outcomes[-1][1] == "whole"
    assert schema_of(layout.database_path(tmp_path / "work" / outcomes[-1][0])) != old
    for number, _ in outcomes[:-1]:
        data_dir = tmp_path / "work" / number
        assert schema_of(layout.database_path(data_dir)) == old
        with closing(queries.connect(data_dir)) as db:
            assert [row["id"] for row in queries.results(db)] == list(range(10, 0, -1))


def test_an_upgrade_keeps_the_rows_and_a_whole_backup(filled, later):
    migrate(filled, migrations=later, revision=LATER)
    with closing(sqlite3.connect(layout.database_path(filled))) as db:
        assert db.execute("SELECT DISTINCT colour FROM captures").fetchall() == [("red",)]
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (10,)
    [backup] = (filled / layout.BACKUPS_NAME).iterdir()
    with closing(sqlite3.connect(backup)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (10,)
        assert db.execute("SELECT version_num FROM alembic_version").fetchone() == (
            layout.REVISION,
        )


def test_a_new_database_needs_no_backup(data_dir):
    data_dir.mkdir()
    migrate(data_dir)
    assert not (data_dir / layout.BACKUPS_NAME).exists()


def test_a_failed_backup_stops_the_upgrade(filled, later):
    old = schema_of(layout.database_path(filled))
    (filled / layout.BACKUPS_NAME).write_text("in the way")
    with pytest.raises(Retryable, match="backup"):
        migrate(filled, migrations=later, revision=LATER)
    assert schema_of(layout.database_path(filled)) == old


def test_a_newer_schema_is_refused_and_not_touched(filled, later, clock):
    migrate(filled, migrations=later, revision=LATER)
    newer = layout.database_path(filled).read_bytes()
    for opening in (lambda: Store.open(filled, clock), lambda: queries.connect(filled)):
        with pytest.raises(Fatal, match=f"{LATER} is newer than {layout.REVISION}") as caught:
            opening()
        assert "upgrade the software" in caught.value.action
    assert layout.database_path(filled).read_bytes() == newer


def test_a_reader_refuses_an_older_schema(filled):
    with closing(sqlite3.connect(layout.database_path(filled))) as db:
        db.execute("UPDATE alembic_version SET version_num = '0000'")
        db.commit()
    with pytest.raises(Fatal, match=f"0000 is older than {layout.REVISION}") as caught:
        queries.connect(filled)
    assert caught.value.exit_code == EXIT_FAILED


def test_another_programs_database_is_refused(data_dir, clock):
    data_dir.mkdir()
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        db.execute("CREATE TABLE moz_places (id INTEGER PRIMARY KEY)")
    for opening in (lambda: Store.open(data_dir, clock), lambda: queries.connect(data_dir)):
        with pytest.raises(Fatal, match="not one of edge_daemon"):
            opening()


def test_what_is_no_database_is_not_overwritten(data_dir, clock):
    data_dir.mkdir()
    layout.database_path(data_dir).write_bytes(b"a letter to the editor " * 100)
    with pytest.raises(Retryable, match="SQLite database"):
        Store.open(data_dir, clock)
    assert layout.database_path(data_dir).read_bytes().startswith(b"a letter")


def test_the_epoch_is_made_with_the_database(tmp_path):
    epochs = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for _ in range(2):
            migrate(tmp_path / name)
            with closing(queries.connect(tmp_path / name)) as db:
                epochs.add(queries.status(db)["epoch"])
    assert len(epochs) == 2


@pytest.mark.parametrize("which", ["current", "new"])
def test_nothing_that_migrates_is_imported_unless_the_database_is_old(which, request, data_dir):
    if which == "current":
        request.getfixturevalue("filled")
    script = """
        import sys
        from pathlib import Path
        from edge_daemon.clock import SystemClock
        from edge_daemon.store.writer import Store
        Store.open(Path(sys.argv[1]), SystemClock()).close()
        migrating = {"alembic", "mako", "sqlalchemy"}
        print(sorted(name for name in sys.modules if name.split(".")[0] in migrating))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), data_dir],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
