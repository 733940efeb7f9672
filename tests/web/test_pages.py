"""What each page shows, over real sockets."""

import hashlib
import re
import time
from contextlib import closing
from dataclasses import replace

import pytest

from edge_daemon.records import Flag
from edge_daemon.resources import reference_pictures_dir
from edge_daemon.signin.static import LOOK
from edge_daemon.store import pictures, queries, searching
from edge_daemon.store.searching import Wanted
from edge_daemon.web import plots
from edge_daemon.web.numbers import Numbers
from edge_daemon.web.pages import listing
from edge_daemon.web.render import STATIC
from tests.web.conftest import MEASUREMENTS


@pytest.fixture(scope="module")
def example():
    """Bytes of pictures as a run has them."""
    return (reference_pictures_dir() / "sim_optical4" / "dog.pictures").read_bytes()


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
    assert "Red cell clumps 1.3 %; Low platelets unconfirmed: clumps?" in page.shown
    assert "H 70.1" not in page.shown  # MCV stands on the result's own page
    assert "L 154" not in page.shown.split("Bello")[1]  # within a dog's interval
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


@pytest.fixture
def berlin(monkeypatch):
    with monkeypatch.context() as there:
        there.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_a_day_of_the_other_season_begins_at_its_own_midnight(browser, monkeypatch):
    """It had begun at today's offset from UTC, an hour early or late for half of the year."""
    asked = []
    find = searching.find
    monkeypatch.setattr(searching, "find", lambda db, w, **o: asked.append(w) or find(db, w, **o))
    browser.get("/?q=2026-07-10")
    browser.get("/?q=2026-01-10")
    assert [w.since for w in asked] == [
        "2026-07-09T22:00:00.000000Z",
        "2026-01-09T23:00:00.000000Z",
    ]


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
    addresses = re.findall(r'rel="stylesheet" href="([^"]+)"', page.text)
    for address, file in zip(addresses, (LOOK / "look.css", STATIC / "page.css"), strict=True):
        answer = browser.get(address)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert address.endswith(hashlib.sha256(file.read_bytes()).hexdigest()[:12])
    assert "no-store" in page.headers["Cache-Control"]


def test_values_stand_beside_the_interval_of_their_species(box, browser):
    run = box.add()
    page = browser.get(f"/results/{run}")
    assert "5.65–8.87 a" in page.shown
    assert "a dog, version" in page.shown
    assert "IDEXX ProCyte Dx reference intervals" in page.shown
    cat = browser.get(f"/results/{box.add(species='cat')}")
    assert "H 70.1" in cat.shown
    assert "unconfirmed" in cat.shown
    assert "Norman et al. 2001" in cat.shown
    unknown = browser.get(f"/results/{box.add(species=None)}")
    assert "Species unknown: no interval is used." in unknown.shown


def test_the_regeneration_band_is_said_with_its_source(box, browser):
    shown = browser.get(f"/results/{box.add()}").shown
    assert "Regeneration none: 35.6 K/µL" in shown
    assert "absolute reticulocyte count" in shown


def test_intervals_of_the_site_count_without_a_restart(box, serve, open_browser, tmp_path):
    own = tmp_path / "tables" / "dog.toml"
    own.parent.mkdir()
    page = open_browser(serve(reference=[str(own.parent)]).url)
    run = box.add()
    assert "IDEXX" in page.get(f"/results/{run}").shown
    own.write_text(
        'kind = "intervals"\nspecies = "dog"\nversion = "2026-11"\n'
        '[site]\nby = "Dr A"\nreason = "own dogs"\n[sources.ours]\ntext = "120 dogs"\n'
        '[intervals]\nRBC = { low = 7.5, high = 8.6, unit = "10*12/L", source = "ours" }\n'
    )
    shown = page.get(f"/results/{run}").shown
    assert "L 7.12" in shown
    assert "this site: Dr A, own dogs" in shown
    own.write_text("kind = 3")
    assert "has mistakes: no interval is used" in page.get(f"/results/{run}").shown


def test_the_gravest_of_several_smear_cards_comes_first(box, browser):
    few = [replace(m, value=12.0, low=9.0, high=15.0) if m.code == "PLT" else m
           for m in MEASUREMENTS]  # fmt: skip
    run = box.add(patient_name="Bello", measurements=few)
    what = browser.get(f"/results/{run}").shown.partition("What to do")[2]
    assert what.strip().startswith("At once: Platelets below 30 K/µL")
    assert what.index("Confirm on a smear at once") < what.index("Red cell clumps")
    assert "Note what the smear showed" in what
    assert "Platelets below 30" in browser.get("/").shown.partition("Review")[2][:200]


def test_the_headline_searched_for_is_the_one_shown(box, browser):
    """A rule can ask for a look where no flag does."""
    box.add(patient_name="Mia", species="cat", flags=())  # PLT 155: unconfirmed in a cat
    box.add(patient_name="Bello", flags=())
    review, ok = browser.get("/?q=review").text, browser.get("/?q=ok").text
    assert "Mia" in review
    assert "Bello" not in review
    assert "Bello" in ok
    assert "Mia" not in ok


def test_the_headline_filter_pages_on(box, browser):
    for _ in range(3):
        box.add(patient_name="Mia", species="cat", flags=())
        for _ in range(15):
            box.add(flags=())
    page = browser.get("/?q=review")
    assert page.text.count('class="open"') == 3
    first = browser.get("/?q=ok")
    assert first.text.count('class="open"') == 40
    older = first.text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0]
    assert browser.get(older.replace("&amp;", "&")).text.count('class="open"') == 5


def test_pictures_come_as_they_were_stored(box, browser, example):
    run = box.add(pictures=example)
    answer = browser.get(f"/results/{run}/pictures")
    assert answer.status == 200
    assert answer.body == example
    assert browser.get(f"/results/{run}/normal").status == 200
    without = box.add(species="alpaca", instrument_model="x")
    assert browser.get(f"/results/{without}/pictures").status == 404
    assert "made before pictures" in browser.get(f"/results/{without}").shown
    assert browser.get("/results/99/normal").status == 404


def test_the_table_of_a_histogram_has_every_cell(example):
    for picture in pictures.decode(example)["histograms"]:
        table = plots.histogram_table(picture, Numbers())
        told = sum(int(c.replace("\u202f", "")) for _, counts in table.rows for c in counts)
        assert told == sum(sum(cells["counts"]) for cells in picture["cells"].values())
        assert 5 <= len(table.rows) <= 30


def test_the_trend_has_every_visit_with_its_interval(box, browser):
    runs = [box.add(flags=()) for _ in range(3)]
    page = browser.get(f"/results/{runs[1]}")
    assert page.text.count('data-code="HCT" data-at=') == 3
    assert 'data-value="49.9" data-low="47.7" data-high="52.2"' in page.text
    assert 'data-low="37.3" data-high="61.7"' in page.text
    assert "(this one)" in page.shown


def test_histories_are_never_mixed(box, browser):
    box.add(simulated=False)
    box.add(patient_id=None, species="cat")
    run = box.add(patient_id=None)
    same = box.add(patient_id=None)
    shown = browser.get(f"/results/{same}")
    assert f'href="/results/{run}"' in shown.text
    assert "check that it is the same animal" in shown.shown
    assert shown.text.count('data-code="HCT" data-at=') == 2


def test_a_search_that_looks_through_many_can_go_on(box, browser, monkeypatch):
    monkeypatch.setattr(listing, "LOOKED_AT", 40)
    box.add(patient_name="Mia", species="cat", flags=())
    for _ in range(60):
        box.add(flags=())
    page = browser.get("/?q=review")
    assert "Look further back" in page.shown
    older = page.text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0]
    assert "Mia" in browser.get(older.replace("&amp;", "&")).shown


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(text="Bel"),
        Wanted(species="dog"),
        Wanted(status="review"),
        Wanted(flag="clumps"),
        Wanted(since="2026", until="2027"),
        Wanted(text="Bel", species="dog", flag="clumps", since="2026"),
        Wanted(patients=True),
    ],
)
def test_no_search_walks_the_whole_table(box, wanted):
    box.add()
    asked = []
    with closing(queries.connect(box.path)) as db:
        db.set_trace_callback(asked.append)
        found = searching.find(db, wanted)
        db.set_trace_callback(None)
        plan = [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {asked[-1]}")]
    assert len(found) == 1
    scans = [line for line in plan if line.startswith("SCAN")]
    assert not [s for s in scans if "subquery" not in s and "json_each" not in s], plan


def test_flag_codes_are_skipped_through(box):
    for flag in (Flag(code, "info", "m") for code in ("no_rbc_peak", "clumps", "no_fluorescence")):
        box.add(flags=(flag,))
        box.add(flags=(flag,))
    with closing(queries.connect(box.path)) as db:
        assert searching.flag_codes(db) == ["clumps", "no_fluorescence", "no_rbc_peak"]
        steps = "EXPLAIN QUERY PLAN SELECT min(code) AS code FROM flags WHERE code > 'a'"
        plan = [row["detail"] for row in db.execute(steps)]
    assert plan == ["SEARCH flags USING COVERING INDEX flags_by_code (code>?)"]


def test_a_command_in_a_sentence_is_typed_as_it_is_and_nothing_else(box, browser):
    box.set_aside("a.fcs", message="see `edge-daemon doctor` <b>now</b> and `<i>`")
    page = browser.get("/set-aside").text
    assert (
        "See <code>edge-daemon doctor</code> &lt;b&gt;now&lt;/b&gt; and <code>&lt;i&gt;</code>."
        in page
    )
