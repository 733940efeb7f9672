"""`/healthz` and `/metrics`: read as monitoring reads them, and with nobody's name in them."""

from __future__ import annotations

import json
import shutil
import ssl

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_daemon.health import STATUS_NAME
from edge_daemon.resources import docs_dir
from edge_daemon.web.metrics import HELP, STATES, exposition
from edge_daemon.web.passwords import Passwords

TOLD = {
    "health": {
        "state": "degraded",
        "conditions": [
            {"code": "source_garbled", "severity": "warning", "subject": 'a"1\\', "message": "x"}
        ],
    },
    "sources": [
        {"name": "an1", "kind": "folder", "state": "watching", "heard_at": 40.0},
        {
            "name": "xn",
            "kind": "serial",
            "state": "degraded",
            "heard_at": None,
            "messages": 7,
            "discarded": {"noise": {"bytes": 12, "times": 2}},
        },
    ],
}
STORE = {
    "states": {"classified": 3, "quarantined": 1},
    "pending": 0, "runs": 4, "reports": 2, "refusals": 1, "outbox_waiting": 3,
    "database_bytes": 123_456_789_012,
    "upkeep": {
        "backup": {"done": {"wall": "2026-11-28T06:00:00.000000Z"}}, "results": {"done": None},
    },
}  # fmt: skip


def families(text):
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(text):
    """Every sample by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families(text).values()
        for sample in family.samples
    }


@pytest.fixture
def full():
    machine = {name: 1.5 for name in HELP if name.startswith("process_")}
    machine["edge_daemon_disk_free_bytes"] = 5e9
    return exposition(TOLD, STORE, machine, box="clinic", version="1.2", now=100.0)


def test_a_parser_of_prometheus_reads_every_metric_that_is_documented(full):
    found = families(full)
    names = {f"{n}_total" if f.type == "counter" else n for n, f in found.items()}
    assert names == set(HELP)
    assert {f.type for f in found.values()} == {"gauge", "counter"}
    assert all(family.documentation for family in found.values())
    page = (docs_dir() / "health.md").read_text()
    table = page.split("| Metric | Kind |")[1].split("## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("`"): (row[1], row[-1]) for row in rows}
    assert documented == HELP


def test_numbers_and_labels_come_out_as_they_went_in(full):
    found = values(full)
    assert found["edge_daemon_state", ("state", "degraded")] == 1
    assert sum(found["edge_daemon_state", ("state", state)] for state in STATES) == 1
    key = (("code", "source_garbled"), ("severity", "warning"), ("subject", 'a"1\\'))
    assert found["edge_daemon_condition", *key] == 1
    folder, line = ((("kind", k), ("source", n)) for k, n in (("folder", "an1"), ("serial", "xn")))
    assert (found["edge_daemon_source_up", *folder], found["edge_daemon_source_up", *line]) == (
        1,
        0,
    )
    assert found["edge_daemon_source_heard_age_seconds", *folder] == 60
    assert found["edge_daemon_source_messages_total", *line] == 7
    assert found["edge_daemon_source_discarded_bytes_total", *line, ("trouble", "noise")] == 12
    assert found["edge_daemon_database_bytes",] == 123_456_789_012
    assert found["edge_daemon_upkeep_timestamp_seconds", ("job", "backup")] == 1_795_845_600
    assert not any("results" in map(str, key) for key in found if "upkeep" in key[0])


def test_the_box_answers_with_what_it_holds_and_no_name_of_a_patient(box, serve, open_browser):
    box.add(patient_name="Bello", sample_id="D-77", name="bello_miller.fcs")
    box.set_aside()
    browser = open_browser(serve().url)
    answer = browser.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = values(answer.text)
    assert found["edge_daemon_results",] == 1
    assert found["edge_daemon_captures", ("state", "quarantined")] == 1
    assert found["process_resident_memory_bytes",] > 1e7
    for word in ("bello", "miller", "d-77", "p-7", "labrador", "link.fcs", "broken"):
        assert word not in answer.text.lower()


@pytest.mark.parametrize(
    ("state", "status"), [("ok", 200), ("degraded", 200), ("failing", 503), (None, 503)]
)
def test_healthz_is_one_word_and_a_status(box, serve, open_browser, state, status):
    if state is not None:
        (box.path / STATUS_NAME).parent.mkdir(exist_ok=True)
        (box.path / STATUS_NAME).write_text(json.dumps({"health": {"state": state}}))
    answer = open_browser(serve().url).get("/healthz")
    assert answer.status == status
    assert json.loads(answer.text) == {"state": state or "unknown"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="system: no openssl program")
@pytest.mark.parametrize("metrics", [False, True])
def test_other_computers_see_metrics_only_where_that_is_set(box, serve, open_browser, metrics):
    Passwords(box.path).set("technician", "correct horse battery")
    url = serve(listen="0.0.0.0:0", metrics=metrics).url.replace("0.0.0.0", "127.0.0.1")
    browser = open_browser(url, context=ssl._create_unverified_context())
    assert browser.get("/healthz").status == 503  # nothing is known of it, and no sign-in asked
    assert browser.get("/metrics").status == (200 if metrics else 404)
    assert browser.get("/").status == 303
