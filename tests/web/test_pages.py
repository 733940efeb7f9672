"""What each page shows, over real sockets."""

import hashlib

import pytest

from edge_daemon.web.render import STATIC


def test_an_empty_box_says_so(browser):
    page = browser.get()
    assert page.status == 200
    assert "No results yet" in page.shown
    assert "No analyzer has been heard yet" in page.shown


def test_the_list_has_the_newest_first_with_headline_and_reason(box, browser):
    box.add(patient_name="Bello", flags=())
    box.add(patient_name="Mia", species="cat")
    page = browser.get()
    assert page.shown.index("Mia") < page.shown.index("Bello")
    assert "Review" in page.shown
    assert "Red cell clumps 1.3 %." in page.shown
    assert "SIMULATED" in page.shown
    assert "Analyzer last heard just now." in page.shown


def test_pages_of_the_list_follow_by_key(box, browser):
    for _ in range(45):
        box.add(flags=())
    first = browser.get()
    assert first.text.count('class="open"') == 40
    older = first.text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0]
    second = browser.get(older)
    assert second.text.count('class="open"') == 5
    assert 'rel="next"' not in second.text


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("bel", ["Bello"]),
        ("P-9", ["Mia"]),
        ("cat", ["Mia"]),
        ("review", ["Bello", "Mia"]),
        ("ok", ["Thor"]),
        ("clumps", ["Bello", "Mia"]),
        ("clumps dog", ["Bello"]),
        ("today horse", ["Thor"]),
        ("yesterday", []),
        ("hor", ["Thor"]),  # inside a name, as no name begins so
        ('"cat"', []),
    ],
)
def test_search(box, browser, asked, found):
    box.add(patient_name="Bello", patient_id="P-7")
    box.add(patient_name="Mia", patient_id="P-9", species="cat")
    box.add(patient_name="Thor", patient_id="P-1", species="horse", flags=())
    page = browser.get("/?q=" + asked.replace(" ", "+").replace('"', "%22"))
    shown = [name for name in ("Bello", "Mia", "Thor") if f"<bdi>{name}</bdi></a>" in page.text]
    assert shown == found
    if not found:
        assert "No result matches" in page.shown


def test_a_result_in_full(box, browser):
    run = box.add()
    box.tell()
    page = browser.get(f"/results/{run}")
    assert page.status == 200
    shown = page.shown
    for text in ("Bello", "dog, Labrador", "7.12", "6.98–7.27", "calculated", "sim@0.1.0"):
        assert text in shown
    assert "→" not in shown  # the arrow is decoration, not text
    assert "Look at a smear; redraw if confirmed." in shown
    assert "7.00 +0.12 (+1.8 %)" in shown  # the analyzer's value, and ours less it
    assert "WBC 8.14 10^9/L H" in shown
    assert "PLT Clumps?" in shown


def test_the_last_visit_stands_beside(box, browser):
    first = box.add()
    other = box.add(patient_id="P-8")
    second = box.add()
    page = browser.get(f"/results/{second}")
    assert f'href="/results/{first}"' in page.text
    assert f'href="/results/{other}"' not in page.text
    assert "Last visit" not in browser.get(f"/results/{first}").shown


def test_a_result_that_is_not_there(browser):
    page = browser.get("/results/99")
    assert page.status == 404
    assert "Not found" in page.shown
    assert browser.get("/nowhere").status == 404


def test_what_was_set_aside(box, browser):
    assert "Nothing is set aside" in browser.get("/set-aside").shown
    box.set_aside()
    shown = browser.get("/set-aside").shown
    assert "The file ends in the middle of its data." in shown
    assert "Export it again." in shown
    assert "A symbolic link" in shown or "a symbolic link" in shown


def test_numbers_as_this_browser_wants_them(box, browser):
    run = box.add()
    answer = browser.post(
        "/settings", {"decimal": "comma", "units": "si", "keys": "on"}, form="/settings"
    )
    assert answer.status == 303
    shown = browser.get(f"/results/{run}").shown
    assert "7,12 10¹²/L 6,98–7,27" in shown
    assert "171 g/L" in shown
    assert "0,499 L/L" in shown


def test_static_files_are_kept_by_version(browser):
    page = browser.get()
    address = page.text.split('rel="stylesheet" href="')[1].split('"')[0]
    answer = browser.get(address)
    assert answer.status == 200
    assert "immutable" in answer.headers["Cache-Control"]
    assert address.endswith(hashlib.sha256((STATIC / "page.css").read_bytes()).hexdigest()[:12])
    assert "no-store" in page.headers["Cache-Control"]
