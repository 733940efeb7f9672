"""The statements of docs/scale.md part a database in use, and nothing else changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

import edge_daemon
from edge_daemon.central import schema
from tests.central.test_ingest import item, send, told

SCALE = Path(edge_daemon.__file__).with_name("docs") / "scale.md"


def statements():
    return re.findall(r"```sql\n(.*?)```", SCALE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def database(postgres):
    from time import monotonic_ns

    from tests.central.conftest import new_database

    return new_database(postgres(), f"parts{monotonic_ns()}")


def test_a_database_in_use_is_parted_by_month(running, database, tmp_path):
    ours = running.connect(running.enrol(tmp_path / "ours"))
    other = running.connect(running.enrol(tmp_path / "other"))
    assert told(send(ours, [item(1), item(2)])) == {1: "stored", 2: "stored"}
    engine = create_engine(database)
    for script in statements():
        for _ in range(1 + ("documents_later" in script)):  # the timer's may run again
            with engine.begin() as db:
                db.connection.driver_connection.execute(script)  # % is no placeholder
    # What was there is known, what is new is stored, in the partition of its month.
    assert told(send(ours, [item(2), item(3)])) == {2: "duplicate", 3: "stored"}
    assert told(send(other, [item(1)])) == {1: "stored"}
    with engine.begin() as db:
        # Next month's, as if it were.
        db.execute(text("UPDATE documents SET received_at = received_at + interval '1 month' WHERE seq = 3"))  # fmt: skip  # noqa: E501
        db.execute(text("UPDATE documents SET received_at = received_at + interval '9 years' WHERE seq = 2"))  # fmt: skip  # noqa: E501
        found = db.execute(text("SELECT tableoid::regclass::text, seq FROM documents ORDER BY id"))
        places = [(name, seq) for name, seq in found]
    assert [seq for _, seq in places] == [1, 2, 3, 1]
    names = [name for name, _ in places]
    assert names[0] == names[3] == "documents_before"
    assert names[1] == "documents_later"
    assert re.fullmatch(r"documents_\d{4}_\d\d", names[2])
    with engine.connect() as db:
        for clinic, seqs in ((1, [1, 2, 3]), (2, [1])):
            with db.begin():
                schema.isolate(db, clinic)
                seen = db.execute(text("SELECT seq FROM documents ORDER BY seq")).scalars().all()
                assert seen == seqs
        with db.begin():
            db.execute(text(f"SET LOCAL ROLE {schema.APP_ROLE}"))
            assert db.execute(text("SELECT count(*) FROM documents")).scalar() == 0
    engine.dispose()
