"""No question of the page or the API reads what it does not show, however large the fleet.

Figures of a million documents: ``python -m tests.benchmarks.questions``, in ``docs/scale.md``.
"""

from __future__ import annotations

import json
import time
from contextlib import closing

import pytest

from edge_daemon.central.limits import Limiter
from edge_daemon.central.store import CentralStore
from tests.benchmarks.questions import measure
from tests.central.conftest import new_database
from tests.central.fleet.crowd import RARE_FLAG, RARE_KIND, RARE_SPECIES, Size, fill
from tests.central.fleet.visiting import served, signed_in

SIZE = Size(documents=20_000, boxes=200)
MOST = 1_300
"""Rows of the large tables that a question may read for its page of fifty. A chain's twenty
clinics each give their newest fifty-one."""
MORE = {
    "/agreement": SIZE.documents,  # all pairs of the time asked for are what it is about
    "species=horse&status=invalid": 4_000,  # two words, and no index of both
    "/exports/": 4 * SIZE.documents // 100,  # all that is found, in parts
}


@pytest.fixture(scope="module")
def large(postgres):
    """The database of a large fleet."""
    url = new_database(postgres(), f"large{time.monotonic_ns()}")
    with closing(CentralStore(url)) as store:
        fill(store, SIZE)
        yield store, url


@pytest.fixture(scope="module")
def callers(large):
    """An operator, somebody of a chain and somebody of a clinic."""
    store, url = large
    with served(store, url, calls=Limiter(1e9, 1e9)) as address:
        yield {name: signed_in(store, address, name) for name in ("ops", "chief", "vet")}


def test_no_question_reads_more_than_it_needs(large):
    """Everything that can be asked, asked once, and every statement explained."""
    found = measure(*large, SIZE, times=0)
    assert sum(one["statements"] for one in found) > 300
    assert [one for one in found if one["scanned"]] == []
    over = {
        (one["user"], one["path"]): one["rows"]
        for one in found
        if one["rows"] > next((most for part, most in MORE.items() if part in one["path"]), MOST)
    }
    assert over == {}


def test_what_is_asked_for_is_found(callers):
    """The questions above are about something."""
    ops = callers["ops"]
    listed = ops.get("/api/v1/results?limit=200").json["results"]
    assert len(listed) == 200
    assert [one["at"] for one in listed] == sorted((one["at"] for one in listed), reverse=True)
    for words, few in (
        (f"species={RARE_SPECIES}", 3),
        (f"flag={RARE_FLAG}", 2),
        (f"instrument={RARE_KIND}", 50),
        ("flag=nothing_of_this_name", 0),
        ("species=horse&status=invalid", 26),
    ):
        assert len(ops.get(f"/api/v1/results?limit=200&{words}").json["results"]) == few, words
    assert ops.get("/agreement?days=90").text.count("agrees") > 3
    assert ops.get("/api/v1/fhir?limit=50").text.count("\n") == 50
    assert len(callers["vet"].get("/api/v1/exports/results.csv").text.splitlines()) == 1 + 96


def test_pages_follow_each_other_without_a_gap(callers):
    """Every result once and in order, for one clinic, a chain and all; by a flag as without."""
    for user, words in (("vet", ""), ("chief", "&flag=no_rbc_peak"), ("ops", "&species=alpaca")):
        ids, rest = [], ""
        while rest is not None:
            more = f"&before={rest}" if rest else ""
            part = callers[user].get(f"/api/v1/results?limit=7{words}{more}").json
            ids += [one["id"] for one in part["results"]]
            rest = part["next"]
        whole = callers[user].get(f"/api/v1/exports/results.jsonl?{words[1:]}").text.splitlines()
        assert ids == [json.loads(line)["id"] for line in whole]
        assert len(ids) == len(set(ids)) > 2
