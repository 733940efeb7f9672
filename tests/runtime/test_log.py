"""Events: a closed list, documented, and free of names."""

from __future__ import annotations

import io
import json

from edge_daemon.errors import QUARANTINE_CODES
from edge_daemon.log import EVENTS, Event, EventLog
from edge_daemon.resources import docs_dir


def table(name: str) -> dict[str, list[str]]:
    """Rows of a documentation table by their code."""
    text = (docs_dir() / name).read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_every_event_is_specified_and_documented_as_it_is():
    assert set(EVENTS) == set(Event)
    documented = table("events.md")
    assert set(documented) == {event.value for event in Event}
    for event, spec in EVENTS.items():
        stage, level, fields, meaning = documented[event.value]
        assert (stage, level) == (spec.stage, spec.level)
        assert {field.strip("`") for field in fields.split(", ")} == spec.fields
        assert meaning


def test_every_quarantine_code_is_explained_with_an_action():
    documented = table("quarantine.md")
    assert set(documented) == QUARANTINE_CODES
    assert all(len(row) == 2 and all(row) for row in documented.values())


def test_no_event_may_carry_a_name():
    forbidden = {"name", "file", "path", "sample_id", "patient", "patient_name", "owner", "message"}
    assert all(not spec.fields & forbidden for spec in EVENTS.values())


def test_fields_that_are_not_listed_are_dropped():
    stream = io.StringIO()
    EventLog("info", stream).emit(
        Event.CAPTURE_REFUSED,
        source="an1",
        error_type="refused",
        patient_name="Rex",
        name="rex.fcs",
    )
    entry = json.loads(stream.getvalue())
    assert "ex" not in stream.getvalue().replace("error", "")
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "capture_refused",
        "stage": "source",
        "level": "warning",
        "source": "an1",
        "error_type": "refused",
    }


def test_an_event_that_is_not_listed_is_not_written():
    stream = io.StringIO()
    EventLog("debug", stream)._logger.msg("surprise", patient_name="Rex")
    assert stream.getvalue() == ""


def test_the_level_holds_back_what_is_less_serious():
    stream = io.StringIO()
    log = EventLog("warning", stream)
    log.emit(Event.SERVICE_READY, resumed=0)
    log.emit(Event.SOURCE_DEGRADED, source="an1")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "source_degraded"
    ]


def test_a_lasting_condition_is_written_when_it_changes():
    stream = io.StringIO()
    log = EventLog("info", stream)
    for state in ("low", "low", "ok", "ok", "low"):
        event = Event.DISK_LOW if state == "low" else Event.DISK_OK
        log.on_change("disk", state, event, free_mb=1)
    log.forget("disk")
    log.on_change("disk", "low", Event.DISK_LOW, free_mb=1)
    written = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert written == ["disk_low", "disk_ok", "disk_low", "disk_low"]
