"""The server's database moves forward in one transaction, from every state it can be in."""

import shutil
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, inspect, text

from edge_daemon.central import schema
from edge_daemon.central.fleet import tables
from edge_daemon.central.migrate import MIGRATIONS, REVISION, migrate
from edge_daemon.central.store import CentralStore
from edge_daemon.errors import Fatal
from tests.central.conftest import new_database

HERE = Path(__file__).parent


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'central.sqlite3'}"
    return new_database(request.getfixturevalue("postgres")(), f"empty{time.monotonic_ns()}")


@pytest.fixture
def engine(url):
    made = create_engine(url)
    yield made
    made.dispose()


@pytest.fixture
def store(url):
    made = CentralStore(url)
    yield made
    made.close()


def before_migrations(engine):
    """Make what the first release made, with a clinic and a box in it."""
    kind = engine.dialect.name
    statements = (HERE / f"before_migrations.{kind}.sql").read_text().split(";")
    with engine.begin() as db:
        if kind == "postgresql":  # of the whole server, so another test may have made it
            db.exec_driver_sql(
                "DO $$ BEGIN CREATE ROLE edge_app NOLOGIN;"
                " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            )
        for statement in filter(str.strip, statements):
            db.exec_driver_sql(statement)
        now = "2026-11-01 10:00:00"
        db.exec_driver_sql(f"INSERT INTO clinics (name, created_at) VALUES ('Old', '{now}')")
        db.exec_driver_sql(
            "INSERT INTO devices (id, clinic_id, name, certificate_sha256, not_after, enrolled_at)"
            f" VALUES ('d1', 1, 'Room 1', 'c1', '{now}', '{now}')"
        )
        db.exec_driver_sql(
            "INSERT INTO health (device_id, clinic_id, received_at, body)"
            f" VALUES ('d1', 1, '{now}', '{{}}')"
        )


def differences(engine):
    with engine.connect() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True})
        return compare_metadata(context, schema.metadata)


def revision(engine):
    with engine.connect() as db:
        return db.execute(text("SELECT version_num FROM alembic_version")).scalar()


def test_every_table_is_made_known():
    """What is compared below is all there is."""
    assert tables.results.metadata is schema.metadata


def test_a_new_database_is_what_the_schema_says(store, engine):
    store.create()
    assert differences(engine) == []
    assert revision(engine) == REVISION
    store.create()  # nothing more to do
    newest = max(p.name[:4] for p in (MIGRATIONS / "versions").glob("0*.py"))
    assert newest == REVISION


def test_a_running_fleets_database_from_before_migrations_keeps_its_rows(store, engine):
    before_migrations(engine)
    store.create()
    assert differences(engine) == []
    assert revision(engine) == REVISION
    assert [(b["clinic"], b["name"]) for b in store.boxes()] == [("Old", "Room 1")]
    assert store.add_clinic("New") == 2
    copies = list(Path(engine.url.database).parent.glob("*.before-0001-to-*"))
    assert len(copies) == (1 if engine.dialect.name == "sqlite" else 0)


def test_a_newer_schema_is_refused_and_not_touched(store, engine):
    store.create()
    with engine.begin() as db:
        db.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Fatal, match="newer than") as refused:
        store.create()
    assert "upgrade the server" in refused.value.action
    assert revision(engine) == "9999"


def test_tables_of_something_else_are_refused(store, engine):
    with engine.begin() as db:
        db.exec_driver_sql("CREATE TABLE guests (id INTEGER)")
    with pytest.raises(Fatal, match="not one of a central server"):
        store.create()
    assert inspect(engine).get_table_names() == ["guests"]


def test_a_migration_that_breaks_leaves_all_as_it_was(store, engine, tmp_path):
    before_migrations(engine)
    folder = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    with (folder / "versions" / "9998_broken.py").open("w") as file:
        file.write(
            f"from alembic import op\nrevision = '9998'\ndown_revision = '{REVISION}'\n"
            "branch_labels = None\ndepends_on = None\n\n\n"
            "def upgrade():\n"
            "    op.execute('CREATE TABLE half (id INTEGER)')\n"
            "    op.execute('DROP TABLE nothing_of_this_name')\n"
        )
    with pytest.raises(Exception, match="nothing_of_this_name"):
        migrate(store.engine, migrations=folder, revision="9998")
    names = set(inspect(engine).get_table_names())
    assert not names & {"half", "users", "alembic_version"}
    store.create()
    assert differences(engine) == []


def test_who_dies_in_the_middle_leaves_the_old_database(store, engine):
    """Every statement in turn is the last one: the connection is gone before COMMIT."""
    before_migrations(engine)
    old = set(inspect(engine).get_table_names())
    count = {"left": 0}

    def cut(*_):
        count["left"] -= 1
        if count["left"] == 0:
            raise KeyboardInterrupt

    event.listen(store.engine, "before_cursor_execute", cut)
    for last in range(8, 60, 7):
        count["left"] = last
        try:
            store.create()
        except KeyboardInterrupt:
            assert set(inspect(engine).get_table_names()) == old
        else:
            break
    else:
        count["left"] = 0
        store.create()
    assert differences(engine) == []
