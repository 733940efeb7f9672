"""Four tasks as somebody does them who never saw the page, on the real service."""

import re

import pytest

from tests.web.browser.looks import too_wide, violations
from tests.web.browser.practice import furnish, runs_of, serve
from tests.web.browser.shots import LARGEST, PICTURES, SHOTS, TOGETHER, take

WIDE = (1280, 900)
PAPER_PX = 696
"""What A4 leaves between margins of 13 mm, at 96 px an inch."""


@pytest.fixture(scope="module")
def practice(tmp_path_factory):
    """Address and newest runs of a practice that is some months old."""
    folder = tmp_path_factory.mktemp("practice")
    furnish(folder / "data")
    with serve(folder) as url:
        yield url, runs_of(folder / "data")


@pytest.fixture
def begin(visit, practice):
    """Open the page as a browser does that was just started."""

    def open_page(path="/", size=WIDE, scheme="light"):
        watched = visit(size, scheme, origin=practice[0])
        watched.go(path)
        return watched

    return open_page


def test_yesterdays_cat_with_low_platelets_and_what_to_do(begin):
    watched = begin()
    page = watched.page
    page.get_by_label("Search").fill("yesterday cat")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/?q=yesterday*")
    rows = page.locator("table.list tbody tr")
    assert rows.count() == 2
    low = rows.filter(has=page.locator("td[data-label=PLT] .hl", has_text="L"))
    assert low.count() == 1
    watched.keep("task-1-found")
    low.get_by_role("link").click()
    watched.drawn()
    assert page.get_by_role("heading", name="Minka").is_visible()
    steps = page.locator(".flags .action").all_inner_texts()
    assert any("smear" in step for step in steps), steps
    watched.keep("task-1-what-to-do")


def test_last_tuesdays_horse_is_printed(begin):
    watched = begin()
    page = watched.page
    page.keyboard.press("/")
    page.keyboard.type("tuesday horse")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=tuesday*")
    page.get_by_role("link", name="Sturmwind").click()
    watched.drawn()
    page.evaluate("window.print = () => { window.printed = true; }")
    page.get_by_role("button", name="Print").click()
    assert page.evaluate("window.printed")
    page.emulate_media(media="print")
    paper = page.locator("main").inner_text()
    assert "Sturmwind" in paper
    assert "printed" in paper
    assert page.pdf(format="A4").startswith(b"%PDF")
    watched.keep("task-2-on-paper")


def test_the_widest_table_of_values_fits_on_paper(begin, practice):
    """Of a patient with a last visit, and values of the analyzer's own."""
    watched = begin(f"/results/{practice[1]['bello']}", (PAPER_PX, 1000))
    page = watched.page
    page.emulate_media(media="print")
    head = page.locator(".values thead")
    assert "Last visit" in head.inner_text()
    assert "Analyzer" in head.inner_text()
    assert head.is_visible(), "a table, not the cards of a phone"
    assert page.locator("table.values").evaluate("t => t.scrollWidth") <= PAPER_PX


def test_whether_the_analyzer_has_drifted(begin):
    watched = begin()
    page = watched.page
    page.get_by_role("link", name="Quality").click()
    page.wait_for_url("**/quality")
    watched.drawn()
    answer = page.locator(".headline").first.inner_text()
    assert "Out of control: hold results back" in answer
    assert re.search(r"its own values: .*MCV", answer)
    assert "Moving averages of patients drift too: MCV (dog)" in answer
    text = page.locator("main").inner_text()
    assert re.search(r"Rule (1-3s|2-2s|4-1s) is broken: .*MCV", text)
    assert "MCV drifts: The analyzer's is +" in text
    assert "Only the analyzer's moved" in text
    assert "our values: in control" in text
    watched.keep("task-3-drift")


@pytest.mark.parametrize("look", ["desktop", "phone-dark"])
def test_how_far_both_are_apart_is_drawn(begin, look):
    watched = begin(
        "/quality", *(((390, 844), "dark") if look == "phone-dark" else (WIDE, "light"))
    )
    page = watched.page
    page.get_by_role("link", name="Bias, limits and regression").click()
    page.wait_for_url("**/agreement")
    watched.drawn()
    before = page.locator("[data-pairs] canvas").evaluate("c => c.toDataURL()")
    page.get_by_label("Show", exact=True).select_option("analyzer, dog (SIMULATED): PLT")
    page.get_by_role("button", name="Show").press("Enter")
    page.wait_for_url("**of=*PLT*")
    watched.drawn()
    assert page.locator("[data-pairs] canvas").evaluate("c => c.toDataURL()") != before
    lines = page.locator(".lines-of tbody tr")
    assert lines.locator("th").all_inner_texts() == ["Bias", "Lower limit", "Upper limit"]
    assert all("%" in text for text in lines.locator("td").all_inner_texts())
    assert "all are drawn" in page.locator("[data-pairs]").inner_text()
    page.get_by_text("Samples, newest first").click()
    samples = page.locator("[data-pairs] table[data-points] tbody tr")
    told = page.locator("[data-pairs]").inner_text()
    assert f"Lines from {samples.count()} pairs" in told
    assert violations(page) == []
    assert too_wide(page) == []
    watched.keep(f"agreement-{look}")
    page.emulate_media(media="print")
    assert page.locator("[data-pairs] canvas").is_visible()
    assert not page.get_by_label("Show", exact=True).is_visible()
    samples.first.get_by_role("link").evaluate("a => a.click()")
    page.wait_for_url("**/results/*")
    watched.drawn()


def test_a_dog_entered_as_a_cat(begin, practice):
    watched = begin()
    page = watched.page
    page.get_by_role("link", name="Rex").first.click()
    watched.drawn()
    assert "Entered as cat" in page.locator("main").inner_text()
    page.get_by_role("link", name=re.compile("Correct", re.IGNORECASE)).first.click()
    page.get_by_role("link", name="The patient, species or sample is wrong").click()
    page.get_by_label("Species", exact=True).select_option("dog")
    page.get_by_label("Why").fill("wrong species at the analyzer")
    page.get_by_label("Your name or initials").fill("Ada")
    watched.keep("task-4-form")
    page.get_by_role("button", name="Correct").click()
    page.wait_for_url("**/results/*#said")
    page.get_by_text("being analysed again").wait_for(state="detached")
    watched.drawn()
    assert "dog corrected" in page.locator(".patient").inner_text()
    assert "Entered as cat" not in page.locator("main").inner_text()
    said = page.locator("#said").inner_text()
    assert "Species corrected from cat to dog: wrong species at the analyzer" in said
    assert "Ada" in said
    watched.keep("task-4-corrected")


def test_the_pictures_of_the_guide_can_be_taken(begin, practice, tmp_path):
    """Each as ``shots.py`` takes it for the guide."""
    url, runs = practice
    page = begin().page
    files = [take(page, url, shot, runs, tmp_path) for shot in SHOTS]
    sizes = {file.name: file.stat().st_size for file in files}
    assert max(sizes.values()) <= LARGEST, sizes
    assert sum(sizes.values()) <= TOGETHER, sizes
    assert {file.name for file in PICTURES.iterdir()} == set(sizes)
