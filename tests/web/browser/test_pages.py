"""Every page as people meet it: desktop, phone in the dark, paper, keyboard, screen reader."""

import re

import pytest

from tests.web.browser.looks import too_wide, violations
from tests.web.browser.watching import NARROW, WIDE

LOOKS = {"desktop": (WIDE, "light"), "phone-dark": (NARROW, "dark")}
PAGES = (
    "/",
    "/?q=bello+week",
    "/?q=nobody",
    "/quality",
    "/quality/agreement",
    "/quality?runs=1+2",
    "/quality/lots",
    "/guide",
    "/guide/flags",
    "/guide/connecting",
    "/set-aside",
    "/device",
    "/settings",
    "/sign-in",
)
RESULTS = (
    "dog",
    "cat",
    "bello",
    "every flag",
    "nothing",
    "no events",
    "hostile",
    "long",
    "unbroken",
)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("path", PAGES)
def test_a_page(visit, path, look):
    size, scheme = LOOKS[look]
    watched = visit(size, scheme)
    page = watched.go(path)
    assert too_wide(page) == []
    assert violations(page) == []
    watched.keep(f"{path}-{look}")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", RESULTS)
def test_a_result(visit, clinic, name, look):
    size, scheme = LOOKS[look]
    watched = visit(size, scheme)
    page = watched.go(f"/results/{clinic.runs[name]}")
    assert page.locator("h1").is_visible()
    assert too_wide(page) == []
    assert violations(page) == []
    watched.keep(f"result-{name}-{look}")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    "part", ["amend", "amend?what=correct", "amend?what=note", "amend?what=mark", "why"]
)
def test_what_hangs_on_a_result(visit, clinic, part, look):
    size, scheme = LOOKS[look]
    watched = visit(size, scheme)
    page = watched.go(f"/results/{clinic.runs['cat']}/{part}")
    assert too_wide(page) == []
    assert violations(page) == []
    watched.keep(f"result-{part}-{look}")


def test_a_person_corrects_and_notes(visit, clinic):
    run = clinic.box.add(patient_name="Mitzi", patient_id="P-77", species="cat")
    watched = visit()
    page = watched.go(f"/results/{run}")
    page.get_by_role("link", name="Correct, add a note").click()
    page.get_by_role("link", name="The patient, species or sample is wrong").click()
    page.get_by_label("Patient's name").fill("Moritz")
    page.get_by_label("Why").fill("wrong tube label")
    page.get_by_label("Your name or initials").fill("Ada")
    page.get_by_role("button", name="Correct").click()
    page.wait_for_url("**#said")
    assert page.locator("h1").inner_text() == "Moritz"
    assert "Mitzi to Moritz: wrong tube label" in page.locator("#said").inner_text()
    assert violations(page) == []
    watched.keep("result-corrected")
    page.get_by_role("link", name="Correct, add a note").click()
    page.get_by_role("link", name="A note, or what a smear showed").click()
    page.get_by_label("a smear that confirms").check()
    page.get_by_label("About", exact=True).select_option("platelet")
    page.get_by_label("Text").fill("clumps at the feathered edge")
    page.locator("#note-by").fill("Ada")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**#said")
    assert "Smear confirms platelets: clumps" in page.locator("#said").inner_text()


def test_a_person_adds_a_lot_and_marks_a_result(visit, clinic):
    run = clinic.box.add(sample_id="vial 3")
    watched = visit()
    page = watched.go("/quality")
    page.get_by_role("link", name="Lots and targets").click()
    page.get_by_label("Lot number").fill("4711")
    page.get_by_label("Level", exact=True).fill("normal")
    page.get_by_label("Name of the material").fill("Vet control")
    page.get_by_label("RBC, mean or lower end").fill("seven")
    page.get_by_label("RBC, SD or upper end").fill("0.1")
    page.get_by_label("Your name or initials").fill("Ada")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("alert").wait_for()
    assert "RBC: 'seven' is no number." in page.get_by_role("alert").inner_text()
    assert violations(page) == []
    watched.keep("lots-wrong")
    assert [told for told in watched.complaints if "status of 400" not in told] == []
    watched.complaints.clear()  # Chromium tells of the refusal that was asked for
    page.get_by_label("RBC, mean or lower end").fill("7")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**added=*")
    assert "Lot 4711, normal was added." in page.get_by_role("status").inner_text()
    page = watched.go(f"/results/{run}")
    page.get_by_role("link", name="mark as control").click()
    page.get_by_role("link", name="It is no patient’s sample").click()
    page.get_by_label("control material", exact=True).check()
    page.get_by_label("Lot and level").select_option("4711, normal")
    page.get_by_label("Your name or initials").fill("Ada")
    page.get_by_role("button", name="Mark").click()
    page.wait_for_url(f"**/results/{run}")
    watched.drawn()
    assert "Control lot 4711, normal" in page.locator(".patient").inner_text().replace("\n", " ")
    assert "+1.2 SD" in page.locator("table.values").inner_text()
    assert violations(page) == []
    watched.keep("result-control")


def test_names_of_any_script_and_markup_are_text(visit, clinic, hard_names):
    watched = visit()
    for name, run in hard_names(clinic):
        page = watched.go(f"/results/{run}")
        assert page.locator("h1").inner_text() == name
    page = watched.go("/")
    shown = page.locator("a.open").all_inner_texts()
    assert {name for name, _ in hard_names(clinic)} <= set(shown)


def test_what_is_told_of_a_run_without_events(visit, clinic):
    page = visit().go(f"/results/{clinic.runs['no events']}")
    text = page.locator("main").inner_text()
    assert "Failed" in text
    assert "NaN" not in text
    values = page.locator(".values td.value").all_inner_texts()
    assert values == ["not reported"] * 3


def test_every_flag_says_what_to_do(visit, clinic):
    page = visit().go(f"/results/{clinic.runs['every flag']}")
    flags = page.locator(".flags > li")
    assert flags.count() >= 15
    assert flags.first.inner_text().startswith("Failed")
    assert page.locator(".flags .action").count() == flags.count()


def test_cells_are_drawn_by_class_with_a_normal_example(visit, clinic):
    watched = visit()
    page = watched.go(f"/results/{clinic.runs['cat']}")
    canvas = page.locator("canvas.own").first

    def picture():
        return canvas.evaluate("c => c.toDataURL()")

    everything = picture()
    page.get_by_role("checkbox", name="platelets").uncheck()
    without = picture()
    assert without != everything
    page.get_by_role("checkbox", name="platelets").check()
    assert picture() == everything
    page.get_by_label(re.compile("lay over")).check()
    assert picture() != everything
    page.get_by_label("beside").check()
    assert page.locator(".normal canvas").first.is_visible()
    watched.keep("result-cat-beside")
    assert page.locator(".u-wrap").count() == 2  # both histograms


def test_a_trend_follows_the_chosen_measurement(visit, clinic):
    page = visit().go(f"/results/{clinic.runs['bello']}")
    trend = page.locator(".trend")
    assert trend.locator(".visits tbody tr").count() == 4
    before = trend.locator("canvas").evaluate("c => c.toDataURL()")
    trend.get_by_label("Show").select_option("PLT")
    assert trend.locator("canvas").evaluate("c => c.toDataURL()") != before


def test_colours_follow_the_computer(visit, clinic):
    page = visit(WIDE, "light").go(f"/results/{clinic.runs['dog']}")
    canvas = page.locator("canvas.own").first
    light = canvas.evaluate("c => c.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "before => document.querySelector('canvas.own').toDataURL() !== before", arg=light
    )


def test_the_keyboard_alone_is_enough(visit, clinic):
    watched = visit()
    # Other tests add results of the same name.
    expected = watched.go("/?q=bello").locator("a.open").count()
    assert expected >= 4
    page = watched.go("/")
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    watched.keep("keys")
    page.keyboard.press("Escape")
    assert not page.locator("dialog#keys").is_visible()
    page.keyboard.press("/")
    page.keyboard.type("bello")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=bello")
    assert page.locator("a.open").count() == expected
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    focused = page.evaluate("document.activeElement.pathname")
    assert focused == page.locator("a.open").first.evaluate("a => a.pathname")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{focused}")
    watched.drawn()
    page.keyboard.press("g")
    page.wait_for_url(re.compile(r"/$"))


def test_tab_reaches_everything_and_is_seen(visit):
    page = visit().go("/settings")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.textContent || document.activeElement.name"))
        style = page.evaluate(
            "document.activeElement === document.body ? 'body'"
            " : getComputedStyle(document.activeElement).outlineStyle"
        )
        assert style in ("solid", "body", "auto")
    assert {"Results", "Save"} <= seen


def test_keys_can_be_turned_off(visit):
    watched = visit()
    page = watched.go("/settings")
    page.get_by_label(re.compile("single keys")).uncheck()
    page.get_by_label(re.compile("comma")).check()
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/settings?saved")
    page.keyboard.press("?")
    assert page.locator("dialog").count() == 0
    page.goto(watched.origin)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") != "q"


def test_a_result_prints_on_paper(visit, clinic):
    watched = visit(WIDE, "dark")
    page = watched.go(f"/results/{clinic.runs['cat']}")
    printed = page.pdf(format="A4", print_background=True)
    assert printed.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 1 <= pages <= 3
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".bar").is_visible()
    assert not page.locator(".plot-tools").is_visible()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    watched.keep("result-cat-print")


@pytest.mark.parametrize("without", [None, "EventSource"], ids=["events", "polling"])
def test_a_new_result_appears_by_itself(visit, clinic, without):
    watched = visit()
    if without:
        watched.page.add_init_script(f"delete window.{without}")
    page = watched.go("/")
    name = f"Newcomer {without}"
    run = clinic.box.add(patient_name=name, patient_id=name, flags=())
    link = page.locator(f'a.open[href="/results/{run}"]')
    link.wait_for()
    assert link.inner_text() == name
    assert "just now" in page.locator("#heard").inner_text()
