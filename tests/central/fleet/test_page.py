"""The page and the API over real sockets: who gets in, and that nobody sees another clinic."""

import csv
import io
import json
import re

import pytest
from sqlalchemy import select

from edge_daemon.central import schema
from edge_daemon.central.limits import Limiter
from tests.central.fleet.visiting import PASSWORD, Caller, served, signed_in
from tests.central.fleet.world import REVIEW, condition

HOSTILE = "<script>alert(1)</script>\"'&amp;=cmd|x!A1"


@pytest.fixture
def fleet(world):
    """Two clinics of two chains, each with a box, results, a pair, a note and a user."""
    for number, name in enumerate(("First", "Second"), 1):
        chain = world.roster.add_chain(f"Chain {number}")
        clinic = world.clinic(f"{name} clinic", chain)
        box = world.box(clinic, f"{name} box")
        box.tell(
            {"state": "degraded", "conditions": [condition("disk_filling", message=f"{name} disk")]}
        )
        capture = box.run(f"{name}-sample", flags=[REVIEW], who={"patient_id": f"{name}-patient"})
        box.report(f"{name}-sample")
        box.say("note", capture, kind="note", text=f"{name} note")
        box.send()
        world.roster.add(name, "clinic", clinic_id=clinic, password=PASSWORD)
        world.roster.add(f"chain {name}", "chain", chain_id=chain, password=PASSWORD)
    world.roster.add("ops", "operator", password=PASSWORD)
    world.index()
    return world


@pytest.fixture
def page(fleet, url):
    with served(fleet.store, url) as address:
        yield address


SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""
PAGES = ("/", "/results", "/agreement", "/updates", "/audit")
CALLS = ("boxes", "results", "agreement", "drift", "rollouts", "audit", "clinics")


@SQLITE
def test_a_stranger_is_sent_to_sign_in_and_back_and_a_program_told_so(page):
    stranger = Caller(page)
    for path in PAGES:
        answer = stranger.get(path)
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/sign-in?next=%2F")
        assert stranger.get(path, Accept="application/json").status == 401
    for call in (*CALLS, "boxes/x", "results/1", "exports/results.csv"):
        answer = stranger.get(f"/api/v1/{call}")
        assert (answer.status, answer.json["code"]) == (401, "token")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    answer = stranger.sign_in("first", next="/results?species=dog")
    assert (answer.status, answer.headers["Location"]) == (303, "/results?species=dog")
    assert stranger.get("/results?species=dog").status == 200
    assert stranger.post("/sign-out", {}, form="/").status == 303
    assert stranger.get("/").status == 303


@SQLITE
def test_every_answer_has_the_headers_that_keep_browsers_safe(page, fleet, url):
    caller = signed_in(fleet.store, page, "first")
    for path in ("/", "/sign-in", "/nothing", "/api/v1/boxes", "/static/fleet.css"):
        headers = caller.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Strict-Transport-Security"]
        assert (headers["Cache-Control"] == "no-store") == (not path.startswith("/static"))
    cookie = Caller(page).sign_in("first").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    with served(fleet.store, url, secure=True) as secure:
        assert "; Secure" in Caller(secure).sign_in("first").headers["Set-Cookie"]


@SQLITE
def test_forms_of_other_sites_and_of_other_browsers_are_refused(page):
    caller = Caller(page)
    fields = {"name": "first", "password": PASSWORD}
    assert (
        caller.post("/sign-in", fields, form="/sign-in", Origin="https://evil.example").status
        == 403
    )
    assert (
        caller.post("/sign-in", fields, form="/sign-in", Sec_Fetch_Site="cross-site").status == 403
    )
    other = Caller(page)
    token = re.search(r'name="token" value="([^"]+)"', other.get("/sign-in").text)[1]
    answer = caller.post("/sign-in", {**fields, "token": token}, form="/sign-in")
    assert answer.status == 403
    assert "out of date" in answer.shown
    planted = Caller(page)
    planted.cookies["edge_fleet"] = "planted"
    planted.sign_in("first")
    assert planted.cookies["edge_fleet"] != "planted"


@SQLITE
def test_guessing_is_slow_and_written_down(page, fleet):
    caller = Caller(page)
    for _ in range(5):
        assert caller.sign_in("first", "wrong").status == 403
    answer = caller.sign_in("first")
    assert answer.status == 429
    assert "Too many wrong passwords" in answer.shown
    with fleet.store.engine.connect() as db:
        refused = select(schema.audit.c.actor).where(schema.audit.c.action == "sign_in_refused")
        assert db.execute(refused).scalars().all() == ["first"] * 5


@SQLITE
def test_calls_are_limited_for_each_caller(fleet, url):
    with served(fleet.store, url, calls=Limiter(0.001, 3)) as address:
        first, second = (signed_in(fleet.store, address, n) for n in ("first", "second"))
        assert [first.get("/api/v1/drift").status for _ in range(4)] == [200, 200, 200, 429]
        assert int(first.get("/api/v1/drift").headers["Retry-After"]) > 0
        assert second.get("/api/v1/drift").status == 200


@pytest.mark.parametrize(
    ("user", "sees"), [("first", "First"), ("chain first", "First"), ("ops", None)]
)
def test_pages_and_calls_show_a_users_own_clinics_alone(page, fleet, user, sees):
    caller = signed_in(fleet.store, page, user)
    others = {"First", "Second"} - {sees or "First", sees or "Second"}
    asked = [
        *PAGES,
        *(f"/api/v1/{call}?" for call in CALLS),
        "/results?text=",
        "/audit?action=noted",
    ]
    asked += [f"/api/v1/exports/results.{form}?" for form in ("csv", "jsonl")]
    for path in asked:
        answer = caller.get(path)
        assert answer.status == 200, path
        assert not [
            name for name in others if f"{name}-" in answer.text or f"{name} " in answer.text
        ], path
    text = caller.get("/results").text + caller.get("/").text
    for name in {"First", "Second"} - others:
        assert f"{name}-sample" in text
        assert f"{name} disk" in text


def test_guessed_ids_and_filters_of_another_clinic_find_nothing(page, fleet):
    ops, first = (signed_in(fleet.store, page, user) for user in ("ops", "first"))
    theirs = next(
        b for b in ops.get("/api/v1/boxes").json["boxes"] if b["clinic"].startswith("Second")
    )
    every = ops.get("/api/v1/results").json["results"]
    result = next(r for r in every if r["clinic"].startswith("Second"))
    paths = [f"/boxes/{theirs['id']}", f"/results/{result['id']}"]
    paths += [f"/api/v1{path}" for path in (*paths, f"/boxes/{theirs['id']}/history")]
    for path in paths:
        assert ops.get(path).status == 200, path
        answer = first.get(path)
        assert answer.status == 404, path
        assert "Second" not in answer.text
    for words in (f"clinic={theirs['clinic_id']}", "text=Second", f"box={theirs['id']}"):
        assert first.get(f"/api/v1/results?{words}").json["results"] == []
        assert "Second" not in first.get(f"/results?{words}").shown.replace(words, "")
        assert first.get(f"/api/v1/exports/results.jsonl?{words}").body == b""
    assert first.get(f"/api/v1/boxes?clinic={theirs['clinic_id']}").json["boxes"] == []
    for number in range(1, 9):
        seen = first.get(f"/api/v1/results/{number}")
        assert seen.status == 404 or seen.json["clinic"].startswith("First")


@SQLITE
def test_a_program_asks_with_its_token_and_gets_no_page(page, fleet):
    token = fleet.roster.add_token("second", "report")
    program = Caller(page, token=token)
    answer = program.get("/api/v1/results")
    assert [r["sample_id"] for r in answer.json["results"]] == ["Second-sample"]
    assert "Set-Cookie" not in answer.headers
    assert program.get("/").status == 303
    assert Caller(page, token=token + "x").get("/api/v1/results").status == 401
    fleet.roster.remove_token(1)
    assert program.get("/api/v1/results").status == 401


def test_exports_are_safe_in_spreadsheets_whole_and_written_down(page, fleet):
    box = fleet.box(1, "=1+1")
    box.run(HOSTILE, simulated=True, who={"breed": "@SUM(A1)", "patient_id": "+1"})
    box.send()
    fleet.index()
    caller = signed_in(fleet.store, page, "first")
    answer = caller.get("/api/v1/exports/results.csv?species=dog")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    safe = HOSTILE.replace(";=", ";'=")
    assert {row["sample_id"] for row in rows} == {"First-sample", safe}
    risky = next(row for row in rows if row["sample_id"] == safe)
    assert (risky["box"], risky["breed"], risky["patient_id"]) == ("'=1+1", "'@SUM(A1)", "'+1")
    assert {row["simulated"] for row in rows} == {"yes", "no"}
    plain = next(row for row in rows if row["sample_id"] == "First-sample")
    assert float(plain["RBC [10*6/uL]"]) == pytest.approx(7.0, rel=0.1)
    assert plain["RETIC [10*3/uL]"] == "", "not reported is no zero"
    lines = caller.get("/api/v1/exports/results.jsonl?flag=platelets_count_limited").text
    assert [json.loads(line)["sample_id"] for line in lines.splitlines()] == ["First-sample"]
    assert caller.get("/api/v1/exports/results.xml").status == 404
    deeds = caller.get("/api/v1/audit?action=exported").json["deeds"]
    assert [(d["subject"], d["details"]) for d in deeds] == [
        ("results.jsonl", {"flag": "platelets_count_limited"}),
        ("results.csv", {"species": "dog"}),
    ]


def test_lists_go_on_where_they_ended(page, fleet):
    box = fleet.box(1, "another")
    for number in range(7):
        box.run(f"R{number}")
    box.send()
    fleet.index()
    caller = signed_in(fleet.store, page, "ops")
    for call, rows, word in (("results", "results", "before"), ("audit", "deeds", "before_id"),
                             ("boxes", "boxes", "after")):  # fmt: skip
        whole = [one["id"] for one in caller.get(f"/api/v1/{call}?limit=200").json[rows]]
        seen, more = [], ""
        while more is not None:
            part = caller.get(f"/api/v1/{call}?limit=2{f'&{word}={more}' if more else ''}").json
            seen += [one["id"] for one in part[rows]]
            more = part["next"]
        assert seen == whole
        assert len(whole) > 2


WRONG = (
    ("results?spieces=dog", "spieces: unknown parameter"),
    ("results?species=unicorn", "species: 'unicorn' is not what is expected"),
    ("results?limit=0", "limit: '0'"),
    ("results?limit=1&limit=2", "limit: given twice"),
    ("results?since=yesterday", "since: 'yesterday'"),
    ("results?text=%00", "text: "),
    ("results?before=5", "before: '5'"),
    ("results?clinic=99999999999", "clinic: "),
    ("boxes?after=nothing", "after: no box of this list"),
    ("audit?before_id=-1", "before_id: '-1'"),
)


@SQLITE
def test_a_word_that_is_wrong_is_named(page, fleet):
    caller = signed_in(fleet.store, page, "ops")
    for path, says in WRONG:
        answer = caller.get(f"/api/v1/{path}")
        assert answer.status == 422, path
        assert answer.json["code"] == "parameter"
        assert answer.json["message"].startswith(says), path


@SQLITE
def test_a_wrong_word_on_the_page_is_said_on_the_page(page, fleet):
    answer = signed_in(fleet.store, page, "ops").get("/results?since=2026-13-01")
    assert answer.status == 422
    assert "Since: " in answer.shown
    assert "Search" in answer.shown


@SQLITE
def test_what_a_result_says_stands_on_its_page(page, fleet):
    caller = signed_in(fleet.store, page, "first")
    number = caller.get("/api/v1/results").json["results"][0]["id"]
    shown = caller.get(f"/results/{number}").shown
    assert "Review: Few platelets were seen." in shown
    assert "Look at a smear." in shown
    assert "Analyzer’s own" in shown
    assert "First note Ada" in shown
    box = caller.get("/api/v1/boxes").json["boxes"][0]["id"]
    shown = caller.get(f"/boxes/{box}").shown
    assert "Disk full: First disk." in shown
    assert "Do the next thing." in shown
