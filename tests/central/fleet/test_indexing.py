"""Documents are followed in their order, and none is passed over."""

import pytest
from sqlalchemy import func, select, text

from edge_daemon.central import schema
from edge_daemon.central.fleet.indexing import Indexer
from edge_daemon.central.fleet.tables import indexed


def test_a_number_that_is_seen_late_is_waited_for(world):
    """The lower number lies with the transaction that began later, and ends last."""
    engine = world.store.engine
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite receives one batch at a time")
    device = world.box(world.clinic("One")).device
    row = {
        "clinic_id": device.clinic_id, "device_id": device.id, "epoch": "e", "digest": "d",
        "type": "run.clinical", "schema": 1, "created_at": "", "clock_state": "", "body": "{}",
        "received_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    indexer = Indexer(engine)
    indexer.catch_up()
    with engine.connect() as quick, engine.connect() as slow:
        for db in (quick, slow):  # each has its transaction's number before a document's
            db.execute(text("SELECT pg_current_xact_id()"))
        for seq, db in ((1001, slow), (1002, quick)):
            db.execute(schema.documents.insert().values(**row, seq=seq))
        quick.commit()
        assert [indexer.step() for _ in range(3)] == [0, 0, 0]
        slow.commit()
    assert indexer.catch_up() == 2
    with engine.connect() as db:
        highest = db.execute(select(func.max(schema.documents.c.id))).scalar_one()
        assert db.execute(select(indexed.c.upto)).scalar_one() == highest
