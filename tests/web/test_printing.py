"""PDF files and explanations: made by programs of their own, or said why not."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from edge_daemon.resources import reference_pictures_dir
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.web import printing

needs_reportlab = pytest.mark.skipif(
    importlib.util.find_spec("reportlab") is None, reason="the extra pdf is not installed"
)
LOT = Lot("4711", "normal", "Vet", {"RBC": LotTarget(7.1, 0.1)}, pattern="QC-*")
ENGINES = {"raqm": ImageFont.Layout.RAQM, "basic": ImageFont.Layout.BASIC}
HARD = "Ζεύς <b>כלב</b> ポチ 小白 바둑이 🐶 & co"


@needs_reportlab
def test_a_result_becomes_a_pdf(box, browser):
    example = (reference_pictures_dir() / "sim_optical4" / "cat.pictures").read_bytes()
    run = box.add(species="cat", patient_name=HARD, sample_id="a/b\r\nc", pictures=example)
    answer = browser.get(f"/results/{run}/pdf")
    assert answer.status == 200
    assert answer.body.startswith(b"%PDF")
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="a-b-c-run{run}.pdf"'


@needs_reportlab
def test_a_result_without_anything_becomes_a_pdf(box, browser):
    run = box.add(patient_name=None, patient_id=None, species=None, sample_id=None, measurements=())
    box.store.correct(run, {"sample_id": "S-2"}, by="Ada", reason="it was missing")
    assert browser.get(f"/results/{run}/pdf").body.startswith(b"%PDF")


def test_a_control_is_printed_beside_its_target(box, browser, monkeypatch):
    box.store.add_lot(LOT, by="Ada")
    run = box.add(sample_id="QC-1", patient_name="Bello")
    laid_out = []
    monkeypatch.setattr(printing, "make_pdf", lambda said: laid_out.append(said) or b"%PDF")
    assert browser.get(f"/results/{run}/pdf").status == 200
    [said] = laid_out
    assert said["headline"] == "Control, lot 4711, normal"
    assert said["reason"].startswith("No patient's sample. Every value with a target")
    assert said["values"][0][4] == "Target ± SD"
    assert said["values"][1][4] == "7.10 ± 0.100 +0.2 SD"
    text = str({key: said[key] for key in said if key != "pictures"})
    assert not [word for word in ("Bello", "dog", "smear", "interval is") if word in text]


def test_a_result_that_was_replaced_says_so_on_paper(box, browser, monkeypatch):
    run = box.add(patient_name="Bello")
    made = box.store.correct(run, {"patient_name": "Luna"}, by="Ada", reason="mistyped").run_id
    laid_out = []
    monkeypatch.setattr(printing, "make_pdf", lambda said: laid_out.append(said) or b"%PDF")
    for one in (run, made):
        assert browser.get(f"/results/{one}/pdf").status == 200
    assert [f"run {made}" in said["replaced"] for said in laid_out] == [True, False]


@needs_reportlab
def test_letters_without_a_font_are_said(monkeypatch, tmp_path):
    """Run as the page runs it, and look for the remark in the uncompressed text."""
    code = (
        "import json, sys\n"
        "from edge_daemon.web.paper_fonts import Fonts\n"
        "fonts = Fonts()\n"
        "marked = fonts.marked_up(sys.stdin.read(), fonts.regular, 9, 500)\n"
        "print(json.dumps([marked, fonts.missing]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=HARD, capture_output=True, text=True, check=True
    )
    marked, missing = json.loads(done.stdout)
    assert missing  # no font of a box has the dog
    assert '<font name="HeiseiKakuGo-W5">ポチ</font>' in marked
    assert '<font name="HYGothic-Medium">바둑이</font>' in marked
    assert "&lt;b&gt;" in marked
    assert "&amp; co" in marked


def fits(line):
    return len(line) <= 20


@needs_reportlab
@pytest.mark.parametrize(
    ("read", "drawn"),
    [
        ("Bello", ["Bello"]),
        ("כלב", ["בלכ"]),
        ("כלב (3)", ["(3) בלכ"]),
        ("كلب", ["\ufe90\ufee0\ufedb"]),  # kaf begins, lam joins, beh ends; from right to left
        ("dog, \u2068כלב\u2069 · 12", ["dog, בלכ · 12"]),
        ("dog, \u2068כלב אא בב גג דד הה וו\u2069 · 12", ["dog, דד גג בב אא בלכ", "וו הה · 12"]),
        ("אא בב גג דד הה וו זז חח", ["זז וו הה דד גג בב אא", "חח"]),
    ],
    ids=["latin", "hebrew", "brackets", "arabic", "isolated", "isolated, broken", "broken"],
)
def test_letters_stand_in_the_order_they_are_drawn_in(read, drawn):
    from edge_daemon.web.paper_text import lines

    assert lines(read, fits) == drawn


def ink(image):
    """Where the letters are: the image cut to them, as true and false."""
    dark = np.asarray(image.convert("L")) < 128
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    return dark[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def alike(one, other):
    """Share of the letters' area that two pictures have in common, at one size."""
    size = one.shape[::-1]
    scaled = np.asarray(Image.fromarray(other).resize(size)) > 0
    return (one & scaled).sum() / (one | scaled).sum()


@needs_reportlab
@pytest.mark.parametrize("name", ["كلب أبيض", "כלב לבן", "Жучка"])
def test_a_name_on_paper_looks_as_a_browser_would_draw_it(box, browser, name, tmp_path):
    """Compared with Pillow, whose text goes through HarfBuzz and FriBidi, in the same font."""
    font = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")
    if shutil.which("pdftoppm") is None or not font.exists():
        pytest.skip("system: no pdftoppm, or no DejaVu fonts")
    if not features.check("raqm"):
        pytest.skip("this Pillow lays out no scripts")
    run = box.add(patient_name=name)
    (tmp_path / "r.pdf").write_bytes(browser.get(f"/results/{run}/pdf").body)
    command = ["pdftoppm", "-r", "300", "-singlefile", "-png", "r.pdf", "r"]
    subprocess.run(command, cwd=tmp_path, check=True)
    page = Image.open(tmp_path / "r.png")
    rows = np.flatnonzero((np.asarray(page.convert("L")) < 128).any(1))
    end = rows[np.flatnonzero(np.diff(rows) > 6)[0]] + 1
    title = ink(page.crop((0, 0, page.width, int(end))))
    pictures = {}
    for how in ("raqm", "basic"):
        drawn = Image.new("L", (2000, 300), 255)
        letters = ImageFont.truetype(font, 16 * 300 // 72, layout_engine=ENGINES[how])
        ImageDraw.Draw(drawn).text((50, 60), name, 0, font=letters)
        pictures[how] = ink(drawn)
    assert alike(title, pictures["raqm"]) > 0.8
    if name != "Жучка":
        assert alike(title, pictures["basic"]) < 0.6, "the test can tell"


def test_without_the_extra_the_page_says_what_to_do(box, browser, monkeypatch):
    run = box.add()
    monkeypatch.setattr(printing, "has_pdf", lambda: False)
    answer = browser.get(f"/results/{run}/pdf")
    assert answer.status == 400
    assert "extra pdf" in answer.shown
    assert "print the result from the browser" in answer.shown.lower()


def test_what_cannot_be_explained_is_said(box, browser):
    """No profile and model of this box made the result."""
    run = box.add()
    answer = browser.get(f"/results/{run}/why")
    assert answer.status == 400
    assert "Profile sim_optical4/1.0" in answer.shown
    assert browser.get("/results/99/why").status == 404
