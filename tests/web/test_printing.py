"""PDF files and explanations: made by programs of their own, or said why not."""

import importlib.util
import json
import subprocess
import sys

import pytest

from edge_daemon.resources import reference_pictures_dir
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.web import printing

needs_reportlab = pytest.mark.skipif(
    importlib.util.find_spec("reportlab") is None, reason="the extra pdf is not installed"
)
LOT = Lot("4711", "normal", "Vet", {"RBC": LotTarget(7.1, 0.1)}, pattern="QC-*")
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


@needs_reportlab
def test_letters_without_a_font_are_said(monkeypatch, tmp_path):
    """Run as the page runs it, and look for the remark in the uncompressed text."""
    code = (
        "import json, sys\n"
        "from edge_daemon.web.paper_fonts import Fonts\n"
        "fonts = Fonts()\n"
        "marked = fonts.marked_up(sys.stdin.read())\n"
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


def test_without_the_extra_the_page_says_what_to_do(box, browser, monkeypatch):
    run = box.add()
    monkeypatch.setattr(printing, "has_pdf", lambda: False)
    answer = browser.get(f"/results/{run}/pdf")
    assert answer.status == 400
    assert "extra `pdf`" in answer.shown
    assert "print the result from the browser" in answer.shown.lower()


def test_what_cannot_be_explained_is_said(box, browser):
    """No profile and model of this box made the result."""
    run = box.add()
    answer = browser.get(f"/results/{run}/why")
    assert answer.status == 400
    assert "Profile sim_optical4/1.0" in answer.shown
    assert browser.get("/results/99/why").status == 404
