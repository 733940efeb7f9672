"""What a document means for whoever follows its result: every order of arrival."""

import datetime as dt
import itertools
import json
from dataclasses import replace

import pytest

from edge_daemon.canonical import canonical, digest
from edge_daemon.central.feeds.documents import Told
from edge_daemon.central.feeds.export import message
from edge_daemon.central.feeds.versions import as_run, result_id, sentence, version_after
from tests.central.feeds.conftest import EPOCH, run_body, said_body

DEVICE = "00000000-0000-4000-8000-000000000001"
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def told(number, what, body, *, batch=None, seq=None):
    at = START + dt.timedelta(seconds=number if batch is None else batch)
    return Told(
        number, 1, "Clinic", DEVICE, "Room 2", digest(canonical(body)), what, body["simulated"],
        "2026-01-05T08:01:02.000000Z", "synchronised", at, body, EPOCH, seq or number,
    )  # fmt: skip


def heard(*documents):
    """Standing after each document, None where nothing is told."""
    found = []
    for one in documents:
        version = version_after(one, sorted(documents, key=lambda d: d.id))
        found.append(version.standing if version else None)
    return found


@pytest.mark.parametrize(
    ("status", "standing"), [("ok", "final"), ("review", "preliminary"), ("invalid", "cancelled")]
)
def test_a_first_version_stands_as_its_flags_say(status, standing):
    assert heard(told(1, "run", run_body(status=status))) == [standing]


@pytest.mark.parametrize(
    ("first", "second", "standing"),
    [
        ("ok", {"species": "cat"}, "corrected"),
        ("ok", {"model": "sim@2.0.0"}, "amended"),
        ("ok", {"status": "review"}, "amended"),
        ("ok", {"status": "invalid"}, "entered-in-error"),
        ("review", {"species": "cat"}, "final"),
        ("review", {"status": "invalid"}, "cancelled"),
        ("invalid", {}, "final"),
    ],
)
def test_a_later_version_says_what_it_does_to_the_earlier(first, second, standing):
    body = run_body(number=2, **{"status": "ok"} | second)
    assert heard(told(1, "run", run_body(status=first)), told(2, "run", body))[1] == standing


def test_a_version_that_a_newer_one_has_overtaken_is_not_told():
    """A backlog is sent newest first."""
    old, new = run_body(number=1), run_body(number=2, species="cat")
    assert heard(told(1, "run", new), told(2, "run", old)) == ["final", None]


def test_a_note_is_told_with_its_result_or_after_it():
    run, note = run_body(), said_body("note")
    assert heard(told(1, "run", run), told(2, "note", note)) == ["final", "appended"]
    together = heard(told(1, "run", run, batch=1), told(2, "note", note, batch=1))
    assert together == ["final", None]
    assert heard(told(1, "note", note), told(2, "run", run)) == [None, "final"]
    review = run_body(status="review")
    assert heard(told(1, "run", review), told(2, "note", note)) == ["preliminary", "preliminary"]


def test_what_is_no_patients_is_not_told_and_what_was_told_is_withdrawn():
    run, control = run_body(), said_body("mark")
    patient = said_body("mark", kind="patient", lot=None, level=None)
    assert heard(told(1, "run", run, batch=1), told(2, "mark", control, batch=1)) == [None, None]
    seen = heard(told(1, "run", run), told(2, "mark", control), told(3, "mark", patient))
    assert seen == ["final", "entered-in-error", "corrected"]
    assert heard(told(1, "run", run), told(2, "mark", patient)) == ["final", None]
    never = heard(
        told(1, "run", run, batch=1), told(2, "mark", control, batch=1), told(3, "mark", patient)
    )
    assert never == [None, None, "final"]
    withdrawn = version_after(told(2, "mark", control), [told(1, "run", run),
                                                         told(2, "mark", control)])  # fmt: skip
    made = as_run(withdrawn)
    assert (made["status"], made["reason"]) == ("invalid", "it is control material")


@pytest.mark.parametrize(
    ("first", "then", "last"), [("control", "patient", "final"), ("patient", "control", None)]
)
def test_the_mark_that_was_made_last_counts_not_the_one_that_came_last(first, then, last):
    """A backlog is sent newest first: the older mark comes after the one that took it back."""
    marks = [said_body("mark", kind=kind) for kind in (first, then)]
    newer, older = told(1, "mark", marks[1], seq=3), told(3, "mark", marks[0], seq=2)
    assert heard(newer, told(2, "run", run_body(), seq=1), older) == [None, last, None]
    # A restored backup counts its outbox anew: what it says is newer all the same.
    before, again = told(2, "mark", marks[1]), told(3, "mark", marks[0], seq=1)
    restored = replace(again, epoch=EPOCH.replace("3", "4"))
    standing = heard(told(1, "run", run_body()), before, restored)[-1]
    assert standing == {"control": "entered-in-error", "patient": "corrected"}[first]


def test_what_its_box_knows_as_a_control_is_never_told_as_a_patients():
    control = run_body(kind="control")
    patient = said_body("mark", kind="patient", lot=None, level=None)
    note = said_body("note")
    assert heard(told(1, "run", control), told(2, "note", note)) == [None, None]
    overruled = heard(told(1, "run", control), told(2, "mark", patient), told(3, "note", note))
    assert overruled == [None, "final", "appended"]
    renamed = run_body(number=2, sample_id="S-9")
    assert heard(told(1, "run", control), told(2, "run", renamed)) == [None, "final"]


def test_a_corrected_sample_id_withdraws_what_is_a_control_after_all():
    first, second = run_body(), run_body(number=2, sample_id="QC-1", kind="control")
    third = run_body(number=3, sample_id="S-1")
    documents = [told(1, "run", first), told(2, "run", second), told(3, "run", third)]
    assert heard(*documents) == ["final", "entered-in-error", "corrected"]
    made = as_run(version_after(documents[1], documents))
    assert (made["status"], made["reason"]) == ("invalid", "it is control material")
    marked = told(3, "mark", said_body("mark", kind="blank", lot=None, level=None))
    assert heard(told(1, "run", first), told(2, "run", second), marked)[2] is None


def test_what_was_received_later_changes_no_message():
    """A message that is made again after a crash is the same to the byte."""
    documents = [
        told(1, "run", run_body()),
        told(2, "note", said_body("note")),
        told(3, "run", run_body(number=2, species="cat"), batch=3),
        told(4, "correction", said_body("correction"), batch=3),
        told(5, "mark", said_body("mark")),
    ]
    for one in documents:
        whole = version_after(one, documents)
        for more in range(one.id, 6):
            until = [d for d in documents if d.id <= max(more, 4 if one.id == 3 else 0)]
            again = version_after(one, until)
            assert (again and again.id) == (whole and whole.id)
            assert (again and as_run(again)) == (whole and as_run(whole))


def test_every_message_of_a_result_has_an_id_of_its_own():
    documents = [
        told(1, "run", run_body()),
        told(2, "note", said_body("note")),
        told(3, "note", said_body("note", text="again")),
        told(4, "run", run_body(number=2, species="cat")),
        told(5, "mark", said_body("mark")),
        told(6, "mark", said_body("mark", kind="patient")),
    ]
    versions = [version_after(one, documents) for one in documents]
    assert len({version.id for version in versions}) == 6
    assert len({as_run(version)["id"] for version in versions}) == 1


def test_results_of_two_boxes_or_captures_are_two():
    import dataclasses

    one = told(1, "run", run_body())
    other = dataclasses.replace(one, device_id=DEVICE[:-1] + "2")
    assert len({result_id(one), result_id(other), result_id(told(1, "run", run_body(2)))}) == 3


def test_what_people_said_is_told_in_words():
    smear = said_body(
        "note", kind="smear", concerns="PLT", verdict="refutes", text="clumps", made_clock="unknown"
    )
    assert sentence(told(1, "note", smear)) == {
        "concerns": "PLT", "text": "Smear by Ann refutes platelets: clumps",
    }  # fmt: skip
    named = said_body("correction", changes={"patient_name": [None, None], "breed": [None, "Pug"]})
    assert sentence(told(1, "correction", named))["text"] == (
        "Corrected by Ann (2026-01-06): breed – → Pug, patient name. typed wrongly"
    )


def test_a_correction_whose_reason_has_not_come_says_so_by_itself():
    run = told(1, "run", run_body(number=2, corrected=["species"]))
    assert as_run(version_after(run, [run]))["said"] == [
        {"concerns": None, "text": "Corrected by a person: species"}
    ]


def test_an_analyzers_own_time_is_not_taken_for_the_centres():
    """The clinic may lie in another zone than the server: its time stays without one."""
    run = told(1, "run", run_body(acquired_at="2026-01-05 08:00:00"))
    version = version_after(run, [run])
    assert b"|20260105080000|" in message(version, "hl7")
    entry = json.loads(message(version, "fhir"))["entry"][0]
    assert entry["resource"]["effectiveDateTime"] == "2026-01-05"


def test_any_order_of_arrival_ends_with_the_newest():
    """Whatever is told last of a result holds its newest version and every note."""
    bodies = [
        ("run", run_body()), ("run", run_body(number=2, species="cat")),
        ("note", said_body("note")),
    ]  # fmt: skip
    for order in itertools.permutations(range(3)):
        documents = [told(n + 1, *bodies[i]) for n, i in enumerate(order)]
        versions = [version_after(one, documents) for one in documents]
        last = [version for version in versions if version][-1]
        assert last.run.body["number"] == 2
        assert [one.what for one in last.said] == ["note"]
