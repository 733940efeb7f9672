"""What is read for somebody shows their clinics alone, whatever the query asks."""

import datetime as dt
from contextlib import closing

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from edge_daemon.central import schema
from edge_daemon.central.audit import Actor, note
from edge_daemon.central.fleet import tables
from edge_daemon.central.reading import EVERYTHING, Reader, Scope
from edge_daemon.central.store import CentralStore, _now

OPS = Actor("root", "command")


@pytest.fixture
def url(database, tmp_path):
    return database or f"sqlite:///{tmp_path / 'central.sqlite3'}"


@pytest.fixture
def reader(url):
    """A reader of three clinics, two of a chain, each with a row in every table."""
    store = CentralStore(url)
    store.create()
    with store.engine.begin() as db:
        for number in (1, 2):
            db.execute(
                insert(schema.chains).values(id=number, name=f"C{number}", created_at=_now())
            )
        for clinic, chain in ((1, 1), (2, 1), (3, 2)):
            _fill(db, clinic, chain)
        note(db, OPS, "user_added", "of chain 1", chain_id=1)
        note(db, OPS, "user_added", "of nobody")
    store.close()
    with closing(Reader(url)) as made:
        yield made


def _fill(db, clinic, chain):
    now, device = _now(), f"d{clinic}"
    db.execute(
        insert(schema.clinics).values(id=clinic, name=f"N{clinic}", created_at=now, chain_id=chain)
    )
    common = {"clinic_id": clinic, "device_id": device}
    db.execute(
        insert(schema.devices).values(
            id=device, clinic_id=clinic, name=device, certificate_sha256=device, not_after=now,
            enrolled_at=now,
        )
    )  # fmt: skip
    db.execute(insert(schema.receipts).values(**common, epoch="e", seq=1, digest="x"))
    db.execute(
        insert(schema.documents).values(
            **common, epoch="e", seq=1, digest="x", type="run.clinical", schema=1, created_at="",
            clock_state="", received_at=now, body="{}",
        )
    )  # fmt: skip
    db.execute(
        insert(schema.raw_objects).values(clinic_id=clinic, sha256="x", size=1, stored_at=now)
    )
    db.execute(insert(schema.health).values(**common, received_at=now, body="{}"))
    db.execute(
        insert(schema.health_history).values(**common, first_at=now, last_at=now, summary="{}")
    )
    for table in tables.ISOLATED:
        db.execute(insert(table).values(**_any_row(table, clinic, device)))
    note(db, OPS, "claim_made", "a box", clinic_id=clinic)


def _any_row(table, clinic, device):
    """A row of any values; only whose it is matters."""
    given = {"clinic_id": clinic, "device_id": device, "document_id": clinic, "run_id": clinic}
    kinds = {str: "x", int: 1, bool: False, dt.datetime: _now()}
    return {c.name: given.get(c.name, kinds[c.type.python_type]) for c in table.columns}


def seen(db, table):
    """Clinics whose rows a query sees that forgets to ask for the clinic."""
    column = table.c.id if table is schema.clinics else table.c.clinic_id
    return sorted(db.execute(select(column)).scalars())


OF_CLINICS = [t for t in tables.READABLE if t not in (schema.chains, schema.audit)]


@pytest.mark.parametrize(
    ("scope", "clinics", "chains"),
    [
        (Scope(frozenset({2})), [2], [1]),
        (Scope(frozenset({1, 2}), 1), [1, 2], [1]),
        (Scope(frozenset({3}), 2), [3], [2]),
        (Scope(frozenset()), [], []),
        (EVERYTHING, [1, 2, 3], [1, 2]),
    ],
    ids=["clinic", "chain", "other-chain", "nothing", "operator"],
)
def test_a_query_that_forgets_the_clinic_sees_nothing_of_others(reader, scope, clinics, chains):
    with reader.reading(scope) as db:
        for table in OF_CLINICS:
            assert seen(db, table) == clinics, table.name
        assert sorted(db.execute(select(schema.chains.c.id)).scalars()) == chains
        joined = select(schema.documents.c.clinic_id).join(
            schema.devices, schema.devices.c.id == schema.documents.c.device_id
        )
        assert sorted(db.execute(joined).scalars()) == clinics


def test_deeds_are_seen_by_whom_they_concern(reader):
    def subjects(scope):
        with reader.reading(scope) as db:
            rows = db.execute(select(schema.audit.c.subject, schema.audit.c.clinic_id))
            return sorted((s, c or 0) for s, c in rows)

    assert subjects(Scope(frozenset({2}))) == [("a box", 2)]
    chain = [("a box", 1), ("a box", 2), ("of chain 1", 0)]
    assert subjects(Scope(frozenset({1, 2}), 1)) == chain
    assert len(subjects(EVERYTHING)) == 5


def test_a_scope_does_not_outlast_its_transaction(reader):
    for scope, clinics in ((EVERYTHING, [1, 2, 3]), (Scope(frozenset({1})), [1])) * 3:
        with reader.reading(scope) as db:
            assert seen(db, schema.documents) == clinics


@pytest.mark.parametrize("table", ["users", "sessions", "api_tokens", "claims"])
def test_what_nobody_may_read_cannot_be_read(reader, table, database):
    with reader.reading(Scope(frozenset({1}))) as db:
        if database is None:
            assert db.execute(text(f"SELECT * FROM {table}")).all() == []
        else:
            with pytest.raises(DBAPIError, match="permission denied"):
                db.execute(text(f"SELECT * FROM {table}"))


@pytest.mark.parametrize("scope", [Scope(frozenset({1})), EVERYTHING], ids=["clinic", "operator"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET body = 'forged'",
        "DELETE FROM audit",
        "INSERT INTO clinics (id, name, created_at) VALUES (9, 'x', '2026-01-01')",
    ],
)
def test_nothing_can_be_changed(reader, scope, statement):
    with pytest.raises(DBAPIError), reader.reading(scope) as db:
        db.execute(text(statement))
    with reader.reading(EVERYTHING) as db:
        assert seen(db, schema.clinics) == [1, 2, 3]
        assert set(db.execute(select(schema.documents.c.body)).scalars()) == {"{}"}
