"""Who may read: passwords, sessions, tokens, and what is written down of them."""

import datetime as dt
import json
from contextlib import closing

import pytest
from sqlalchemy import select, update

from edge_daemon.central import audit, schema
from edge_daemon.central.audit import Actor
from edge_daemon.central.roster import Roster
from edge_daemon.central.store import CentralStore
from edge_daemon.central.users import IDLE, Users
from edge_daemon.errors import EdgeError, Fatal

OPS = Actor("root", "command")
PASSWORD = "four random words here"


@pytest.fixture
def store(database, tmp_path):
    with closing(CentralStore(database or f"sqlite:///{tmp_path / 'central.sqlite3'}")) as made:
        made.create()
        yield made


@pytest.fixture
def users(store):
    return Users(store.engine)


@pytest.fixture
def roster(store):
    made = Roster(store.engine, OPS)
    first, _ = store.add_clinic("First"), store.add_clinic("Second")
    made.move_clinic(first, made.add_chain("Chain"))
    made.add("Ada ", "clinic", clinic_id=2, password=PASSWORD)
    made.add("chief", "chain", chain_id=1, password=PASSWORD)
    made.add("ops", "operator", password=PASSWORD)
    made.add("robot", "operator")
    return made


def deeds(store):
    with store.engine.connect() as db:
        rows = db.execute(select(schema.audit).order_by(schema.audit.c.id)).mappings()
        return [(r["actor"], r["origin"], r["action"], r["subject"]) for r in rows]


def test_the_role_says_whose_rows_somebody_sees(users, roster, store):
    ada = users.sign_in(" ADA", PASSWORD)
    assert (ada.name, ada.role, ada.reach, ada.scope.clinics) == ("ada", "clinic", "Second", {2})
    chief = users.sign_in("chief", PASSWORD)
    assert (chief.scope.clinics, chief.scope.chain) == ({1}, 1)
    assert users.sign_in("ops", PASSWORD).scope.clinics is None
    roster.move_clinic(2, 1)
    assert users.sign_in("chief", PASSWORD).scope.clinics == {1, 2}
    roster.move_clinic(1, None)
    assert users.sign_in("chief", PASSWORD).scope.clinics == {2}


def test_wrong_passwords_unknown_names_and_users_without_one_stay_out(users, roster):
    assert users.sign_in("ada", PASSWORD + "x") is None
    assert users.sign_in("nobody", PASSWORD) is None
    assert users.sign_in("robot", "") is None
    roster.remove("ada")
    assert users.sign_in("ada", PASSWORD) is None
    with pytest.raises(EdgeError, match="there is, or was, a user named 'ada'"):
        roster.add("ada", "operator", password=PASSWORD)


@pytest.mark.parametrize(
    ("role", "reach", "message"),
    [
        ("clinic", {}, "needs the number of a clinic"),
        ("clinic", {"clinic_id": 1, "chain_id": 1}, "needs the number of a clinic"),
        ("operator", {"clinic_id": 1}, "neither a clinic nor a chain"),
        ("clinic", {"clinic_id": 99}, "there is no clinic 99"),
        ("chain", {"chain_id": 99}, "there is no chain 99"),
    ],
)
def test_a_user_that_reaches_nothing_or_too_much_is_refused(roster, role, reach, message):
    with pytest.raises(EdgeError, match=message):
        roster.add("new", role, password=PASSWORD, **reach)


def test_a_password_is_kept_as_a_hash_and_must_have_eight_characters(roster, store):
    with pytest.raises(EdgeError, match="7 characters"):
        roster.set_password("ada", "7 chars")
    with store.engine.connect() as db:
        stored = db.execute(select(schema.users.c.password)).scalars().all()
    assert all(p is None or p.startswith("$argon2id$") for p in stored)


def age(store, table, **moments):
    past = {name: dt.datetime.now(dt.UTC) - long for name, long in moments.items()}
    with store.engine.begin() as db:
        db.execute(update(table).values(**past))


def test_a_session_ends_with_signing_out_with_time_and_with_another_password(users, roster, store):
    ada = users.sign_in("ada", PASSWORD)
    token = users.open_session(ada)
    assert users.by_session(token).name == "ada"
    assert users.by_session(token + "x") is None
    users.close_session(token, ada)
    assert users.by_session(token) is None

    token = users.open_session(ada)
    age(store, schema.sessions, used_at=IDLE)
    assert users.by_session(token) is None

    token = users.open_session(ada)
    age(store, schema.sessions, opened_at=dt.timedelta(days=8))
    assert users.by_session(token) is None

    token = users.open_session(ada)
    roster.set_password("ada", "another password")
    assert users.by_session(token) is None
    with store.engine.connect() as db:
        assert db.execute(select(schema.sessions)).all() == []


def test_a_session_that_is_used_stays(users, roster, store):
    token = users.open_session(users.sign_in("ada", PASSWORD))
    age(store, schema.sessions, used_at=IDLE / 2)
    assert users.by_session(token) is not None
    with store.engine.connect() as db:
        used = db.execute(select(schema.sessions.c.used_at)).scalar()
    assert dt.datetime.now(dt.UTC) - used.replace(tzinfo=dt.UTC) < dt.timedelta(minutes=5)


def test_a_program_reads_as_its_user_until_its_token_ends(users, roster, store):
    token = roster.add_token("chief", "monthly report", days=1)
    program = users.by_token(token)
    assert (program.scope.clinics, program.actor) == ({1}, Actor("chief (monthly report)", "api"))
    with store.engine.connect() as db:
        assert token not in str(db.execute(select(schema.api_tokens)).all())
    listed = next(row for row in roster.listed() if row["name"] == "chief")
    assert [t["name"] for t in listed["tokens"]] == ["monthly report"]
    assert listed["tokens"][0]["used_at"] is not None
    roster.remove_token(listed["tokens"][0]["token"])
    assert users.by_token(token) is None
    with pytest.raises(Fatal, match="there is no token"):
        roster.remove_token(listed["tokens"][0]["token"])

    other = roster.add_token("robot", "x", days=1)
    age(store, schema.api_tokens, expires_at=dt.timedelta(seconds=1))
    assert users.by_token(other) is None
    third = roster.add_token("robot", "y")
    roster.remove("robot")
    assert users.by_token(third) is None


def test_deeds_are_written_down_with_who_did_them(users, roster, store):
    ada = users.sign_in("ada", PASSWORD)
    users.close_session(users.open_session(ada), ada)
    users.note_refused("mallory", "192.0.2.7")
    store.by = OPS
    store.make_claim(2, "Room 1")
    written = deeds(store)
    assert written[0] == ("server", "command", "clinic_added", "First")
    assert ("root", "command", "chain_added", "Chain") in written
    assert ("root", "command", "clinic_moved", "First") in written
    assert ("root", "command", "user_added", "ada") in written
    assert written[-4:] == [
        ("ada", "page", "signed_in", ""),
        ("ada", "page", "signed_out", ""),
        ("mallory", "page", "sign_in_refused", ""),
        ("root", "command", "claim_made", "Room 1"),
    ]
    with store.engine.connect() as db:
        assert all(json.loads(d) is not None for d in db.scalars(select(schema.audit.c.details)))
        assert set(db.scalars(select(schema.audit.c.action))) <= set(audit.ACTIONS)
