"""Every page of the fleet as people meet it: desktop, phone in the dark, keyboard, reader."""

import io
import os
import re
import struct

import pytest
from PIL import Image

from edge_daemon.resources import docs_dir
from tests.central.fleet.visiting import PASSWORD
from tests.web.browser.looks import too_wide, violations
from tests.web.browser.watching import HOSTILE, LONG, NARROW, SCRIPTS, WIDE

LOOKS = {"desktop": (WIDE, "light"), "phone-dark": (NARROW, "dark")}
BOTH = (
    "/",
    "/boxes/{boxes[hard]}",
    "/results",
    "/results/{results[said]}",
    "/agreement",
    "/updates",
)
WIDE_ONLY = (
    "/?kind=behind&clinic=1",
    "/boxes/{boxes[Harbour]}",
    "/results?since=2026-13-01",
    "/results/{results[empty]}",
    "/audit",
)
SEEN = [(path, look) for path in BOTH for look in LOOKS]
SEEN += [(path, "desktop") for path in WIDE_ONLY]


@pytest.mark.parametrize(("path", "look"), SEEN)
def test_a_page(visit, fleet, path, look):
    size, scheme = LOOKS[look]
    watched = visit(size, scheme)
    page = watched.page
    page.goto(fleet.url + path.format(boxes=fleet.boxes, results=fleet.results))
    assert page.locator("h1").is_visible()
    assert "This page failed" not in page.locator("h1").inner_text()
    assert too_wide(page) == []
    assert violations(page) == []
    watched.keep(f"fleet-{path}-{look}")
    if "2026-13" in path:
        watched.complaints.clear()  # the browser notes the status of the page itself


def test_signing_in_and_out(visit):
    watched = visit(*LOOKS["phone-dark"], user=None)
    page = watched.go("/agreement?species=dog")
    assert page.locator("h1").inner_text() == "Sign in"
    assert too_wide(page) == []
    assert violations(page) == []
    page.get_by_label("Name").fill("Chief")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    assert "do not belong together" in page.get_by_role("alert").inner_text()
    assert violations(page) == []
    watched.keep("fleet-sign-in")
    watched.complaints.clear()  # the browser notes the status 403 of the page itself
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/agreement?species=dog")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")


def test_names_of_any_script_and_markup_are_text(visit, fleet):
    watched = visit()
    shown = watched.go("/results?box=" + fleet.boxes["hard"]).locator("a.open").all_inner_texts()
    assert {*SCRIPTS, HOSTILE, LONG, "W" * 200} <= set(shown)
    for name in (*SCRIPTS, HOSTILE, LONG, "W" * 200):
        page = watched.go(f"/results/{fleet.results[name]}")
        assert page.locator("h1").inner_text() == name
        assert name in page.locator(".flags").inner_text()
    page = watched.go("/?kind=failing")
    assert HOSTILE in page.locator("h2").all_inner_texts()


def test_the_operator_finds_the_silent_box_and_what_to_do(visit):
    watched = visit()
    page = watched.go("/")
    page.get_by_role("link", name=re.compile("^Silent")).click()
    page.wait_for_url("**/?kind=silent")
    words = page.locator(".fleet > li").inner_text()
    assert "Meadow Veterinary Clinic" in words
    assert "Is silent, for 6 days." in words
    assert "Ask the clinic whether the box has power and network" in words
    page.get_by_role("link", name="Laboratory").click()
    page.wait_for_url("**/boxes/*")
    assert page.locator("h1").inner_text() == "Laboratory"
    assert page.locator(".spells tbody tr").count() >= 1


def test_the_drifting_analyzer_is_named_with_what_to_do(visit):
    page = visit().go("/agreement")
    drift = page.locator(".averages tbody tr")
    assert drift.count() == 1
    text = drift.inner_text()
    assert "MCV" in text
    assert "Only ours moved" in text
    cats, dogs = page.locator(".agreement").all_inner_texts()
    assert "1 of the 6 boxes it takes" in cats
    assert "6 with too few pairs." in cats
    assert "agrees" in dogs


def test_the_operator_sees_where_an_update_failed_and_what_to_do(visit):
    watched = visit()
    page = watched.go("/")
    page.get_by_role("link", name="Updates").click()
    page.wait_for_url("**/updates")
    update = page.locator(".update").filter(has_text="Model sim_optical4 0.5.0")
    assert "On its way" in update.inner_text()
    ring = update.locator("tbody tr").nth(1)
    assert ring.locator("td").all_inner_texts()[:3] == ["2", "1", "1"]  # boxes, use it, failed
    assert "rollout halt model/sim_optical4@0.5.0" in update.inner_text()
    halted = page.locator(".update").filter(has_text="Halted")
    assert "Cats are flagged that should not be." in halted.inner_text()
    update.get_by_role("link", name="Laboratory, Hill Road").click()
    page.wait_for_url("**/boxes/*")
    assert "Hill Road" in page.locator("main").inner_text()


def test_results_of_a_chain_are_narrowed_and_taken_as_a_file(visit):
    watched = visit(user="chief")
    page = watched.go("/results")
    page.get_by_label("Headline").select_option("Failed")
    page.get_by_label("Species").select_option("dog")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**status=invalid**")
    rows = page.locator("table.list tbody tr")
    assert rows.count() >= 2
    assert all("Failed" in text for text in rows.all_inner_texts())
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == rows.count() + 1
    page = watched.go("/audit")
    assert "exported results.csv" in page.locator(".deeds").inner_text()


def test_simulated_results_and_controls_are_marked_wherever_they_stand(visit, fleet):
    watched = visit()
    page = watched.go("/results?text=SIM-1")
    assert "SIMULATED" in page.locator("table.list").inner_text()
    assert (
        "SIMULATED"
        in watched.go(f"/results/{fleet.results['SIM-1']}").locator(".patient").inner_text()
    )
    page = watched.go("/results?text=QC-1")
    assert "control, no patient" in page.locator("table.list").inner_text()
    assert page.get_by_label("Simulated").locator("option").count() == 3
    page = watched.go("/results?text=SIM-1&simulated=false")
    assert "No result matches" in page.locator("main").inner_text()


def test_the_keyboard_alone_is_enough(visit):
    watched = visit(user="chief")
    page = watched.go("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") in (
            "solid",
            "auto",
        )
    page.get_by_role("link", name="Results", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/results")
    page.get_by_label("Sample or patient id").focus()
    page.keyboard.type("l-7")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=l-7**")
    page.locator("a.open").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/results/*")
    assert "Species corrected" not in page.locator("main").inner_text()
    assert "from cat to dog" in page.locator(".said").inner_text()


def test_a_clinic_sees_only_its_own(visit, fleet):
    watched = visit(user="harbour")
    page = watched.go("/")
    assert page.locator(".fleet > li").count() == 1
    assert "Harbour Veterinary Clinic" in page.locator(".who").inner_text()
    page.goto(f"{fleet.url}/boxes/{fleet.boxes['Meadow']}")
    assert page.locator("h1").inner_text() == "Not found"
    watched.complaints.clear()  # the browser notes the status 404 of the page itself


IMAGES = docs_dir() / "images"
LARGEST = 80_000
PICTURES = {
    "fleet-boxes.png": ("/?clinic=0", (1120, 760)),
    "fleet-results.png": ("/results?text=", (1120, 640)),
    "fleet-agreement.png": ("/agreement?species=dog", (1180, 720)),
    "fleet-updates.png": ("/updates", (1120, 640)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_the_documentation(visit, name):
    """``EDGE_WRITE_PICTURES=1`` makes them anew."""
    path, size = PICTURES[name]
    page = visit(size, user="chief").go(path.replace("?clinic=0", "").replace("?text=", ""))
    shot = page.screenshot()
    if os.environ.get("EDGE_WRITE_PICTURES") == "1":
        image = Image.open(io.BytesIO(shot)).convert("RGB")
        image.quantize(256, Image.Quantize.MAXCOVERAGE).save(IMAGES / name, optimize=True)
    stored = (IMAGES / name).read_bytes()
    assert len(stored) < LARGEST
    assert struct.unpack(">II", stored[16:24]) == size
