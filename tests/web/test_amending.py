"""Corrections and notes from the page: audited, and the original kept."""

import json

import pytest

from edge_daemon.web.passwords import Passwords

TECHNICIAN = "correct horse battery"


def fields(run, **changed):
    """What a browser sends of the form when `changed` was typed."""
    same = {"patient_name": "Bello", "patient_id": "P-7", "sample_id": "D-0001", "species": "dog"}
    return {**same, "breed": "Labrador", "reason": "wrong label", "by": "Ada", **changed}


@pytest.fixture
def correct(browser):
    def send(run, **changed):
        path = f"/results/{run}"
        return browser.post(
            f"{path}/correct", fields(run, **changed), form=f"{path}/amend?what=note"
        )

    return send


@pytest.fixture
def note(browser):
    def send(run, **said):
        path = f"/results/{run}"
        sent = {"text": "a long look", "by": "Ada", "verdict": "", "concerns": "", **said}
        return browser.post(f"{path}/note", sent, form=f"{path}/amend?what=note")

    return send


def test_a_corrected_name_is_found_and_the_original_kept(box, browser, correct):
    run = box.add()
    answer = correct(run, patient_name="Bellina")
    assert answer.status == 303
    made = int(answer.headers["Location"].split("/")[2].split("#")[0])
    shown = browser.get(f"/results/{made}").shown
    assert "Name corrected from Bello to Bellina : wrong label Ada" in shown
    assert "corrected" in browser.get("/?q=bellina").shown
    old = browser.get(f"/results/{run}").shown
    assert "replaced by a later one" in old
    assert "Bello" in old


def test_only_what_was_changed_is_corrected(box, browser, correct):
    run = box.add(sample_id="D-0001\r\n")
    made = correct(run, breed="").headers["Location"]
    shown = browser.get(made.split("#")[0]).shown
    assert "Breed corrected from Labrador to nothing" in shown
    assert "Sample corrected" not in shown


def test_a_corrected_species_is_analysed_again(box, browser, correct):
    run = box.add()
    answer = correct(run, species="cat")
    path = answer.headers["Location"].split("#")[0]
    page = browser.get(path)
    assert "analysed again for the corrected species" in page.shown
    assert 'data-awaited="' in page.text
    assert json.loads(browser.get(f"{path}/newest.json").body)["newest"] == int(path.split("/")[2])
    assert json.loads(browser.get(f"/results/{run}/newest.json").body)["newest"] > run
    assert len(box.store.pending()) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "nothing would change"),
        ({"reason": " ", "breed": "Pug"}, "The reason for the correction is missing"),
        ({"by": "", "breed": "Pug"}, "Who corrects is missing"),
        ({"species": "dragon"}, "&#39;dragon&#39; is no species"),
    ],
)
def test_what_cannot_be_corrected_is_said_and_nothing_typed_is_lost(box, correct, changed, said):
    answer = correct(box.add(sample_id="D-0001"), **changed)
    assert answer.status == 400
    assert said.lower() in answer.text.lower()
    assert f'value="{changed.get("breed", "Labrador")}"' in answer.text


def test_only_the_newest_can_be_corrected(box, browser, correct):
    run = box.add()
    correct(run, breed="Pug")
    assert "correct the newest one" in browser.get(f"/results/{run}/amend?what=correct").shown
    answer = browser.post(
        f"/results/{run}/correct",
        fields(run, breed="Boxer"),
        form=f"/results/{run}/amend?what=note",
    )
    assert answer.status == 400
    assert "was replaced by run" in answer.shown


def test_the_page_asks_first_what_it_is_about(box, browser, note):
    run = box.add()
    asked = browser.get(f"/results/{run}/amend")
    assert "What is it about?" in asked.shown
    assert '<form class="form"' not in asked.text
    for what, button in (("correct", "Correct"), ("note", "Add"), ("mark", "Mark")):
        page = browser.get(f"/results/{run}/amend?what={what}").text
        assert page.count('<form class="form"') == 1
        assert f"<button>{button}</button>" in page
        assert page.count('aria-current="true"') == 1
    assert browser.get(f"/results/{run}/amend?what=x").text.count('<form class="form"') == 0
    refused = note(run, text=" ")
    assert refused.text.count('<form class="form"') == 1
    assert "<button>Add</button>" in refused.text


def test_notes_and_smears_are_kept(box, browser, note):
    run = box.add()
    assert note(run).status == 303
    assert note(run, verdict="refutes", concerns="clumps", text="<b>no</b>\nclumps").status == 303
    page = browser.get(f"/results/{run}")
    assert "a long look Ada" in page.shown
    assert "Smear refutes clumps:" in page.shown
    assert "&lt;b&gt;no&lt;/b&gt;" in page.text
    assert note(run, text=" ").status == 400
    assert "What the smear confirms" in note(run, verdict="confirms").shown
    assert note(run, verdict="maybe").status == 400


def test_whoever_signed_in_stands_in_the_trail(box, serve, open_browser):
    """The name of the session counts, whatever the form says."""
    Passwords(box.path).set("technician", TECHNICIAN)
    run = box.add()
    page = open_browser(serve().url)
    page.sign_in(TECHNICIAN, name="Grace")
    assert "Your name or initials" not in page.get(f"/results/{run}/amend?what=note").shown
    sent = {"text": "seen", "by": "Mallory"}
    page.post(f"/results/{run}/note", sent, form=f"/results/{run}/amend?what=note")
    shown = page.get(f"/results/{run}").shown
    assert "seen Grace" in shown
    assert "Mallory" not in shown


def test_a_reader_is_not_offered_what_is_refused(box, serve, open_browser):
    passwords = Passwords(box.path)
    passwords.set("reader", "only looking at it")
    run = box.add()
    page = open_browser(serve().url)
    page.sign_in("only looking at it")
    assert "Correct, or add a note" not in page.get(f"/results/{run}").shown
    assert "may look at results but not change" in page.get(f"/results/{run}/amend").shown
    for part in ("correct", "note"):
        sent = {"token": page.token("/settings"), "text": "x"}
        assert page.post(f"/results/{run}/{part}", sent).status == 403
