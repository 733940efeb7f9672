"""Lots of control material and marks from the page: as the commands do it, and audited."""

import contextlib

import pytest

from edge_daemon.store import controls, queries
from edge_daemon.web import lot_form
from edge_daemon.web.numbers import Numbers
from edge_daemon.web.passwords import Passwords

READER = "only looking around"


def known(box):
    with contextlib.closing(queries.connect(box.path)) as db:
        return controls.lots(db)


@pytest.fixture
def add(browser):
    """Send the form; of the values only what is given is filled in."""

    def send(**fields):
        texts = {"lot": "4711", "level": "normal", "material": "Vet control", "by": "Ada"}
        sheet = {"expires": "2027-03-31", "pattern": "QC-N*", "form": "mean", "range_sds": "2"}
        sent = texts | sheet | fields
        return browser.post("/quality/lots", sent, form="/quality/lots")

    return send


def test_a_lot_is_added_as_its_sheet_has_it(box, browser, add):
    box.add(sample_id="QC-N 1")
    answer = add(
        **{"RBC-first": "6,9", "RBC-second": "0.15", "HGB-first": "140", "HGB-second": "2",
           "HGB-unit": "g/L"}
    )  # fmt: skip
    assert answer.status == 303
    [lot] = known(box)
    assert lot["targets"] == {"RBC": {"mean": 6.9, "sd": 0.15}, "HGB": {"mean": 14.0, "sd": 0.2}}
    assert (lot["made_by"], lot["expires"], lot["pattern"]) == ("Ada", "2027-03-31", "QC-N*")
    page = browser.get(answer.headers["Location"]).shown
    assert "Lot 4711 , normal was added. 1 result so far counts as it." in page
    assert "RBC 6.90 ± 0.150; HGB 14.0 ± 0.20" in page
    assert "Control lot 4711, normal" in browser.get("/results/1").shown


def test_ranges_are_of_so_many_standard_deviations(box, add):
    answer = add(
        form="range", range_sds="3", **{"PLT-first": "226", "PLT-second": "274"}, pattern=""
    )
    assert answer.status == 303
    assert known(box)[0]["targets"] == {"PLT": {"mean": 250.0, "sd": 8.0}}


def test_the_same_lot_and_level_again_takes_its_place(box, browser, add):
    add(**{"RBC-first": "6.9", "RBC-second": "0.15"})
    page = browser.get(f"/quality/lots?again={known(box)[0]['id']}").text
    assert 'name="RBC-first" value="6.9"' in page
    assert 'value="2027-03-31"' in page
    add(**{"RBC-first": "7", "RBC-second": "0.15"}, by="Bo")
    [lot] = known(box)
    assert (lot["made_by"], lot["targets"]["RBC"]["mean"]) == ("Bo", 7.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "a lot needs a target for at least one value"),
        ({"RBC-first": "6.9"}, "RBC: give mean and standard deviation, or leave both empty."),
        ({"RBC-first": "6x", "RBC-second": "1"}, "RBC: '6x' is no number."),
        ({"RBC-first": "1,234.5", "RBC-second": "1"}, "RBC: '1,234.5' is no number."),
        ({"HGB-first": "140", "HGB-second": "2"}, "the target 140 of HGB cannot be"),
        ({"HGB-first": "14", "HGB-second": "2", "HGB-unit": "fL"}, "'fL' is no unit of HGB"),
        ({"RBC-first": "7", "RBC-second": "8"}, "must be above 0 and below its mean"),
        ({"form": "range", "RBC-first": "7", "RBC-second": "6"}, "must begin below its end"),
        ({"form": "range", "range_sds": "9", "RBC-first": "6", "RBC-second": "7"}, "not '9'"),
        ({"lot": " ", "RBC-first": "7", "RBC-second": "1"}, "the number of the lot is missing"),
        ({"by": "", "RBC-first": "7", "RBC-second": "1"}, "who adds the lot is missing"),
        ({"pattern": "*", "RBC-first": "7", "RBC-second": "1"}, "would take patients for controls"),
        ({"expires": "soon", "RBC-first": "7", "RBC-second": "1"}, "'soon' is no date"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_typed_is_lost(box, add, changed, said):
    answer = add(**changed)
    assert answer.status == 400
    assert said.casefold() in answer.shown.casefold()
    assert "Nothing was stored" in answer.shown
    assert known(box) == []
    for field, text in changed.items():
        if field.endswith(("-first", "-second")):
            assert f'name="{field}" value="{text}"' in answer.text


def test_everything_that_is_wrong_is_said_at_once(add):
    answer = add(**{"RBC-first": "a", "RBC-second": "1", "PLT-first": "1"})
    assert "RBC: 'a' is no number." in answer.shown
    assert "PLT: give mean" in answer.shown
    assert answer.text.count('aria-invalid="true"') == 4


def test_units_are_those_that_the_browser_reads(browser):
    page = browser.get("/quality/lots").text
    assert '<option value="g/dL" selected>' in page
    browser.cookies["edge_view"] = "v1.si"
    assert '<option value="g/L" selected>' in browser.get("/quality/lots").text


def test_what_is_filled_in_again_is_what_was_stored():
    lot = {
        "lot": "1", "level": "low", "material": "V", "expires": None, "pattern": None,
        "instrument": None, "targets": {"HGB": {"mean": 14.05, "sd": 0.2}},
    }  # fmt: skip
    for numbers in (Numbers(), Numbers(comma=True, si=True)):
        filled = lot_form.again(lot, numbers)
        assert (filled.targets, filled.problems) == (lot["targets"], ())


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ({"kind": "control", "lot": "1"}, ("control", "4711", "normal")),
        ({"kind": "blank"}, ("blank", None, None)),
        ({"kind": "check", "lot": "1"}, ("check", None, None)),
    ],
)
def test_a_result_is_marked_and_taken_back(box, browser, add, sent, kind):
    add(**{"RBC-first": "7", "RBC-second": "1"})
    run = box.add(sample_id="D-7")
    path = f"/results/{run}"
    answer = browser.post(f"{path}/mark", {"by": "Ada", **sent}, form=f"{path}/amend?what=mark")
    assert (answer.status, answer.headers["Location"]) == (303, path)
    with contextlib.closing(queries.connect(box.path)) as db:
        [mark] = controls.marks(db).values()
    assert (mark["kind"], mark["lot"], mark["level"], mark["made_by"]) == (*kind, "Ada")
    assert "Marked by Ada" in browser.get(path).shown
    assert "said by Ada" in browser.get(f"{path}/amend?what=mark").shown
    browser.post(f"{path}/mark", {"by": "Bo", "kind": "patient"}, form=f"{path}/amend?what=mark")
    assert "No patient" not in browser.get(path).shown


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"kind": "control"}, "No lot was chosen"),
        ({"kind": "control", "lot": "99"}, "No lot was chosen"),
        ({"kind": "blank", "by": ""}, "Who marks it is missing"),
        ({}, "is no kind of run"),
    ],
)
def test_what_cannot_be_marked_is_said(box, browser, sent, said):
    path = f"/results/{box.add()}"
    answer = browser.post(f"{path}/mark", {"by": "Ada", **sent}, form=f"{path}/amend?what=mark")
    assert answer.status == 400
    assert said in answer.shown
    with contextlib.closing(queries.connect(box.path)) as db:
        assert controls.marks(db) == {}


def test_forms_are_for_technicians_and_carry_their_token(box, serve, open_browser):
    run = box.add()
    Passwords(box.path).set("reader", READER)
    Passwords(box.path).set("technician", READER + "!")
    browser = open_browser(serve().url)
    browser.sign_in(READER)
    assert "Sign in as a technician" in browser.get("/quality/lots").shown
    assert browser.post("/quality/lots", {"lot": "1"}).status == 403
    assert browser.post(f"/results/{run}/mark", {"kind": "blank"}).status == 403
    technician = open_browser(browser.origin)
    technician.sign_in(READER + "!")
    assert technician.post("/quality/lots", {"lot": "1"}).status == 403
    assert technician.post(f"/results/{run}/mark", {"kind": "blank"}).status == 403
    assert known(box) == []
    sent = {"kind": "blank", "by": "Somebody else"}
    technician.post(f"/results/{run}/mark", sent, form=f"/results/{run}/amend?what=mark")
    assert "Marked by Ada" in technician.get(f"/results/{run}").shown


def test_instruments_are_offered_by_name(box, browser):
    box.add()
    assert "<option>analyzer</option>" in browser.get("/quality/lots").text
