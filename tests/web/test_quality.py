"""The page of quality control: what it answers, and that nobody waits for it."""

import contextlib
import dataclasses
import re
import subprocess
import sys
import threading
from urllib.parse import quote

import pytest

from edge_daemon import own_command
from edge_daemon.errors import EdgeError
from edge_daemon.follower import KEPT_BATCHES, Followed, Follower
from edge_daemon.records import Flag, Measurement, ReportedValue
from edge_daemon.store import controls, queries
from edge_daemon.store.comparisons import Comparisons, Filters
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.web import apart, drift, pairs_plot
from edge_daemon.web.numbers import Numbers
from edge_daemon.web.pages import quality


def stream(state="in_control", *, percent=(0.1,) * 6, values=130, drifting=0):
    judged = state != "too_few"
    return {
        "values": values,
        "repeats": 0,
        "target": 68.0 if judged else None,
        "limit_percent": 3.0 if judged else None,
        "averages": [68.0 * (1 + p / 100) for p in percent] if judged else [],
        "percent": list(percent) if judged else [],
        "batches": len(percent) if judged else 0,
        "state": state,
        "drifting": drifting,
    }


def followed(code="MCV", ours=None, analyzer=None, *, simulated=False, species="dog"):
    sides = [one for one in (ours, analyzer) if one is not None]
    drifts = any(one["state"] == "drift" for one in sides)
    return {
        "instrument": "an1",
        "species": species,
        "simulated": simulated,
        "code": code,
        "ours": ours,
        "analyzer": analyzer,
        "action": "check its calibration" if drifts else "",
        "drifts": drifts,
    }


def test_a_drift_says_what_moved_and_what_to_do():
    off = stream("drift", percent=(0, 0, 0, 0, 0, 0.2, 4.1, 5.0), drifting=2)
    document = {"streams": [followed("MCV", stream(), off)], "measures": []}
    [group] = drift.groups(document, Numbers(comma=True))
    told = "the analyzer's is +5,0 % off its target, for 2 batches of 20 animals"
    assert group.drifts == (("MCV", told, "check its calibration"),)
    assert [(s.side, s.words, s.off) for s in group.streams] == [
        ("ours", "in control", "+0,1 %"),
        ("the analyzer's", "drifts", "+5,0 %"),
    ]
    assert group.batches == (8, 7, 6, 5, 4, 3, 2, 1)


def test_averages_that_drift_alone_come_before_the_controls(browser, monkeypatch):
    """Both stand on one page, and the charts of controls are long."""
    steady = [followed("MCV", stream(), species="cat")]
    off = stream("drift", percent=(0, 0, 0, 0, 0, 0.2, 4.1, 5.0), drifting=2)
    for streams, first in ((steady, "Control"), ([*steady, followed("MCV", off)], "Moving")):
        document = {"streams": streams, "measures": []}
        monkeypatch.setattr(quality, "_look", lambda _, d=document: Followed(d, False, ""))
        shown = browser.get("/quality").text
        titles = re.findall("<h2[^>]*>(Control|Moving)", shown)
        assert titles[0] == first
        species = re.findall("</bdi>, (dog|cat)", shown)
        assert species == ["cat"] if first == "Control" else ["dog", "cat"]


def test_batches_keep_their_numbers_when_only_the_newest_are_kept():
    shortened = stream(percent=(0.5, 0.6)) | {"batches": 90}
    [group] = drift.groups({"streams": [followed(ours=shortened)]}, Numbers())
    assert group.batches == (90, 89)
    assert group.streams[0].percent[90] == 0.6


def test_too_few_animals_are_counted_and_not_judged():
    document = {"streams": [followed(ours=stream("too_few", values=17)),
                            followed("PLT", ours=stream("too_few", values=19))]}  # fmt: skip
    [group] = drift.groups(document, Numbers())
    assert group.streams == ()
    assert group.waiting == ("ours: 19",)


def measure(code="RBC", pairs=((1, 7.0, 6.0), (2, 8.0, 8.0)), **changes):
    """One measure as the command has it; its lines are not those of the pairs."""
    lines = {"bias": 0.1, "low": -0.5, "high": 0.7, "n": 300}
    lines |= {"bias_ci": (0.0, 0.2), "low_ci": (-0.6, -0.4), "high_ci": (0.6, 0.8)}
    return {
        "instrument": "an1", "analyzer": "an1", "species": "dog", "simulated": False, "code": code,
        "absolute": lines, "percent": lines | {"bias": 5.0}, "verdict": {"word": "agrees"},
        "points": pairs,
    } | changes  # fmt: skip


def test_a_plot_says_what_it_leaves_out():
    drawn = pairs_plot.plot([measure()], "", "", Numbers(comma=True))
    assert (drawn.n, drawn.hidden, drawn.percent) == (300, 298, False)
    assert [(p.run, p.x, p.y, p.difference, p.beyond) for p in drawn.points] == [
        (2, 8.0, 0.0, "0,00", False),
        (1, 6.5, 1.0, "+1,00", True),
    ]
    assert [(one.name, one.value, one.interval) for one in drawn.lines] == [
        ("Bias", "+0,10", "0,00 to +0,20"),
        ("Lower limit", "−0,50", "−0,60 to −0,40"),
        ("Upper limit", "+0,70", "+0,60 to +0,80"),
    ]


def test_a_plot_in_percent_leaves_out_what_has_no_percentage():
    drawn = pairs_plot.plot([measure("PLT", ((1, 110.0, 90.0), (2, 0.0, 0.0)))], "", "", Numbers())
    assert drawn.percent, "its differences grow with the value"
    assert [(p.run, p.y, p.difference) for p in drawn.points] == [(1, 20.0, "+20.0 %")]
    assert not pairs_plot.plot([measure("PLT")], "", "unit", Numbers()).percent


def test_a_plot_is_drawn_in_the_units_that_are_read():
    drawn = pairs_plot.plot([measure("HGB", ((1, 15.0, 14.0),))], "", "", Numbers(si=True))
    assert (drawn.unit, drawn.y_unit, drawn.points[0].x, drawn.points[0].y) == (
        "g/L",
        "g/L",
        145,
        10,
    )
    assert (drawn.lines[0].at, drawn.lines[0].value) == (1.0, "+1")


def test_what_can_be_plotted_and_what_is_plotted_first():
    few = measure("MCV", absolute=None, percent=None, verdict=None)
    differs = measure("HCT", verdict={"word": "differs"}, simulated=True)
    measures = [few, measure(), differs]
    listed = pairs_plot.choices(measures)
    assert listed == [
        ("an1/an1/dog/clinical/RBC", "an1, dog: RBC"),
        ("an1/an1/dog/simulated/HCT", "an1, dog (SIMULATED): HCT"),
    ]
    assert pairs_plot.plot(measures, "", "", Numbers()).code == "HCT"
    assert pairs_plot.plot(measures, listed[0][0], "", Numbers()).code == "RBC"
    assert pairs_plot.plot([few], listed[0][0], "", Numbers()) is None


@pytest.fixture
def compared(box):
    """A dozen dogs that the analyzer reports too; its MCV is a tenth higher."""
    for number in range(12):
        rbc, mcv = 5.0 + 0.25 * number, 66.0 + 0.3 * (number % 5)
        measured = (
            Measurement("RBC", rbc, "10*6/uL", None, None, "counted"),
            Measurement("MCV", mcv, "fL", None, None, "calculated"),
        )
        box.add(measurements=measured, flags=(), patient_id=f"P-{number}", simulated=False)
        told = (
            ReportedValue("RBC", "RBC", rbc, "10*6/uL", f"{rbc:.2f}", "10*6/uL"),
            ReportedValue("MCV", "MCV", 1.1 * mcv, "fL", f"{1.1 * mcv:.1f}", "fL"),
        )
        sample = f"D-{box.count:04d}"
        box.tell(told, (), sample_id=sample, patient_id=f"P-{number}", simulated=False)
    return box


def test_the_page_answers_at_once_and_then_knows(compared, browser, wait_until):
    first = browser.get("/quality")
    assert first.status == 200
    assert "Being worked out" in first.shown
    wait_until(lambda: browser.get("/quality/ready.json").text == '{"working":false}')
    page = browser.get("/quality")
    assert "Nothing can be said yet" in page.shown
    assert "Too few of 120 animals yet to judge (ours: 12, the analyzer's: 12)" in page.shown
    assert "MCV differs" in page.shown
    assert "SIMULATED" not in page.shown
    full = browser.get("/quality/agreement")
    assert "MCV: Ours is 9.5 % lower than the analyzer's on average" in full.shown
    assert "run control material" in full.shown.lower()
    assert "RBC agrees" in full.shown
    assert "Each sample: MCV of analyzer, dog" in full.shown, "what differs is drawn first"
    assert full.text.count("data-beyond") == 0
    rows = re.findall(r'<tr data-x="([0-9.]+)" data-y="(-[0-9.]+)">', full.text)
    assert len(rows) == 12
    assert '<a href="/results/12">12</a>' in full.text
    wanted = re.search(r'<option value="([^"]*RBC)">', full.text)[1]
    rbc = browser.get(f"/quality/agreement?of={quote(wanted)}&as=percent")
    assert "Bias 0.0 % 0.0 % to 0.0 %" in rbc.shown
    assert "Lines from 12 pairs; all are drawn." in rbc.shown


def test_an_empty_box_has_nothing_to_compare(browser, wait_until):
    assert browser.get("/quality").status == 200
    wait_until(lambda: browser.get("/quality/ready.json").text == '{"working":false}')
    page = browser.get("/quality")
    assert "No results to average yet" in page.shown
    assert "No result has a report of the analyzer's own values yet" in page.shown


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def answers(monkeypatch):
    """What the command would print, one call after the other; it waits to be let go."""
    given, go = [], threading.Semaphore(0)

    def ask(arguments, *, timeout_s, what):
        assert arguments[:2] == ["agreement", "--json"]
        assert go.acquire(timeout=60)
        answer = given.pop(0)
        if isinstance(answer, EdgeError):
            raise answer
        return answer

    monkeypatch.setattr(own_command, "ask", ask)
    return given, go


def test_it_is_worked_out_once_for_what_is_stored(tmp_path, answers, wait_until):
    given, go = answers
    clock = Clock()
    follower = Follower(tmp_path, clock)
    long = stream(percent=tuple(range(100)))
    given += [{"streams": [followed(ours=long)]}, EdgeError("no", action="look"), {"streams": []}]
    assert follower.look(1).working
    assert follower.look(1).document is None
    go.release()
    wait_until(lambda: not follower.look(1).working)
    kept = follower.look(1).document["streams"][0]["ours"]
    assert kept["batches"] == 100
    assert kept["percent"][-1] == 99
    assert len(kept["percent"]) == KEPT_BATCHES

    assert not follower.look(2).working, "newer results wait for a while"
    clock.now += 60
    assert follower.look(2).working
    go.release()
    wait_until(lambda: not follower.look(2).working)
    failed = follower.look(2)
    assert failed.problem == "no. look"
    assert failed.document is not None, "what was known stays"
    clock.now += 60
    assert follower.look(2).working, "what failed is tried again"
    go.release()
    wait_until(lambda: not follower.look(2).working)
    assert dataclasses.astuple(follower.look(2)) == ({"streams": []}, False, "")


TARGETS = {"RBC": LotTarget(7.1, 0.1), "PLT": LotTarget(155.0, 12.0)}


@pytest.fixture
def controlled(box):
    """Three measurements of a lot: in, in, and far too high; a blank that counts too much."""
    box.store.add_lot(Lot("4711", "normal", "Vet control", TARGETS, pattern="QC-N*"), by="Ada")
    for rbc in (7.12, 7.05, 7.5):
        measured = (
            Measurement("RBC", rbc, "10*6/uL", None, None, "counted"),
            Measurement("PLT", 150.0, "10*3/uL", None, None, "counted"),
        )
        box.add(sample_id="QC-N", measurements=measured, flags=(), simulated=False)
    measured = (Measurement("PLT", 25.0, "10*3/uL", None, None, "counted"),)
    box.add(sample_id="BLANK-1", measurements=measured, flags=(), simulated=False)
    return box


def test_a_broken_rule_says_what_to_do(controlled, browser):
    page = browser.get("/quality")
    assert "Out of control: hold results back" in page.shown
    assert "Control material of analyzer, our values: RBC" in page.shown
    assert "Rule 1-3s is broken: RBC" in page.shown
    assert "mix the control well and run it again once" in page.shown
    assert "1-2s" not in page.shown.split("Blank and carry-over")[0].split("Measured Lot")[0]
    assert "7.10 ± 0.100" in page.shown
    assert 'data-y="4.0"' in page.text
    assert "data-beyond" in page.text
    assert "PLT 25 (at most 10 K/µL): too high" in page.shown
    assert "RBC not reported (at most 0.05 M/µL): proves nothing" in page.shown


def test_an_expired_lot_is_told(box, browser):
    old = Lot("9", "normal", "Vet control", TARGETS, pattern="QC-N*", expires="2020-01-31")
    box.store.add_lot(old, by="Ada")
    box.add(sample_id="QC-N", flags=())
    assert "past its day of expiry (2020-01-31)" in browser.get("/quality").shown


def test_carry_over_of_six_results(box, browser):
    for rbc, plt in ((7.0, 400),) * 3 + ((1.012, 20), (1.0, 20), (1.0, 20)):
        measured = (
            Measurement("RBC", rbc, "10*6/uL", rbc - 0.01, rbc + 0.01, "counted"),
            Measurement("PLT", float(plt), "10*3/uL", None, None, "counted"),
        )
        box.add(measurements=measured, flags=())
    page = browser.get("/quality?runs=1+2+3+4+5+6")
    assert "RBC: 0.20 % (95 %:" in page.shown
    assert "PLT: 0.00 %" in page.shown
    assert "passes" in page.shown
    assert "third high run" in browser.get("/quality?runs=4+5+6+1+2+3").shown
    assert "there are 2" in browser.get("/quality?runs=1+2").shown
    assert "There is no result 99" in browser.get("/quality?runs=1+2+3+4+5+99").shown


def test_the_page_needs_no_numpy():
    code = (
        "import sys; from edge_daemon.web.pages import quality, guide;"
        " print([m for m in ('numpy', 'edge_daemon.quality.agreement') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_report_of_control_material_is_no_patients(box):
    """Also where the analyzer does not say so: its sample id fits the pattern of a lot."""
    box.store.add_lot(Lot("4711", "normal", "Vet control", TARGETS, pattern="QC-N*"), by="Ada")
    box.add(sample_id="QC-N", flags=())
    box.tell(sample_id="QC-N")
    box.add(sample_id="D-1", flags=())
    box.tell(sample_id="D-1")
    with contextlib.closing(queries.connect(box.path)) as db:
        held = Comparisons(db, Filters())
        assert [len(list(side)) for side in (held.ours(), held.reported())] == [1, 1]
    assert held.left_out.control_runs == held.left_out.control_reports == 1


def test_what_is_no_patients_cannot_be_taken_for_one(controlled, browser):
    """In the list and on its own page: a tag, its lot, and no word about animals."""
    controlled.add(patient_name="Bello", species="dog", flags=())
    page = browser.get("/").shown
    assert page.count("Control QC-N lot 4711, normal") == 3
    assert page.count("Blank BLANK-1 no patient") == 1
    assert page.count("No patient’s sample.") == 4
    assert page.count("species unknown") == 0
    assert page.count(" dog ") == 1
    assert [browser.get(f"/?q={word}").text.count('class="open"') for word in (
        "controls", "patients", "controls+patients", "patients+ok", "ok", "controls+review",
    )] == [4, 1, 0, 1, 1, 0]  # fmt: skip


def test_a_control_stands_beside_its_target(controlled, browser):
    page = browser.get("/results/3").shown
    assert "Control lot 4711, normal" in page
    assert "No patient's sample:" in page
    assert "Target ± SD" in page
    assert "7.50 M/µL 7.10 ± 0.100 +4.0 SD" in page
    assert "150 K/µL 155 ± 12.0 −0.4 SD" in page
    assert "Beyond 2 SD of the target: RBC." in page
    for word in ("Reference", "interval is used", "species", "Last visit", "dog", "Bello"):
        assert word not in page.replace("no interval of a species holds", ""), word
    assert 'href="/quality"' in browser.get("/results/3").text
    assert "Every value with a target is within 2 SD of it." in browser.get("/results/1").shown


def test_a_control_that_reports_nothing_proves_nothing():
    targets = {"RBC": {"mean": 7.1, "sd": 0.1}, "PLT": {"mean": 155.0, "sd": 12.0}}
    what = apart.Apart("control", "Control", "", "", targets)

    def verdict(rbc, plt):
        values = (("RBC", "10*6/uL", rbc), ("PLT", "10*3/uL", plt))
        told = [{"code": c, "unit": unit, "value": value} for c, unit, value in values]
        return apart.hold(what, {"measurements": told}, [], None).verdict

    assert verdict(None, None) == "no value with a target is reported: it proves nothing"
    assert verdict(7.1, None).endswith("; not reported: PLT")
    assert verdict(7.1, 155.0) == "every value with a target is within 2 SD of it"


def test_a_blank_stands_beside_its_limit(controlled, browser):
    page = browser.get("/results/4").shown
    assert "Blank" in page
    assert "Too high: PLT." in page
    assert "rinse and repeat with fresh diluent" in page.lower()
    assert "At most" in page


def test_flags_of_a_control_are_those_of_the_measurement(box, browser):
    """Of a blank nothing is looked at; a smear is asked for of neither."""
    named = [
        ("platelets_count_limited", "review"), ("species_unknown", "review"),
        ("signals_saturated", "review"), ("no_rbc_peak", "invalid"),
    ]  # fmt: skip
    flags = [Flag(code, grave, f"{code} said", f"do {code}") for code, grave in named]
    for sample in ("QC-1", "BLANK"):
        box.add(sample_id=sample, flags=flags)
    box.store.add_lot(Lot("4711", "normal", "Vet control", TARGETS, pattern="QC-*"), by="Ada")
    control, blank = browser.get("/results/1").shown, browser.get("/results/2").shown
    assert "Failed No_rbc_peak said" in control
    assert "Signals_saturated said" in control
    for word in ("platelets_count_limited", "species_unknown"):
        assert word not in control
    assert "said" not in blank
    rows = browser.get("/?q=failed").text
    assert rows.count('class="open"') == 1
    assert "Failed" in rows


def test_a_mark_is_a_reason_to_work_out_agreement_again(box):
    box.add()
    with contextlib.closing(queries.connect(box.path)) as db:
        before = controls.said(db)
        box.store.mark(1, "check", by="Ada")
        assert controls.said(db) != before
