"""Reports are whole pages: well formed, nothing fetched, and every figure with its numbers."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from edge_daemon.cli import cli
from edge_daemon.errors import EdgeError
from edge_daemon.records import CellCalls
from edge_daemon.training.baselines import Threshold
from edge_daemon.training.evaluate import evaluate, float_twin
from edge_daemon.training.report import evaluation_report, write_report
from edge_daemon.training.report_causes import causes_section, find_causes
from edge_daemon.training.report_figures import Axis, Table, axis, bars, histogram, lines, scatter
from edge_daemon.training.report_page import Section, page
from edge_daemon.training.report_training import Diary, as_batch


@pytest.fixture(scope="module")
def against_truth(trained, captures, registry):
    side = trained.path.with_name(f"{trained.path.name}-report")
    result = evaluate(
        trained, captures, captures / "truth.csv", registry,
        others=[Threshold()], exact=float_twin(trained, side),
    )  # fmt: skip
    return evaluation_report(result)


@pytest.fixture(scope="module")
def after_training(trained):
    side = trained.path.with_name(f"{trained.path.name}-report")
    return (side / "report.html").read_text(encoding="utf-8")


@pytest.fixture(params=["against_truth", "after_training"])
def report(request):
    return request.getfixturevalue(request.param)


def tree(report):
    """Parse as XML, which a page without errors also is."""
    return ET.fromstring(report.removeprefix("<!DOCTYPE html>"))


def test_a_report_is_well_formed_and_marked(report):
    root = tree(report)
    assert root.tag == "html"
    assert root.find(".//div[@class='mark']").text == "SIMULATED"
    assert not root.findall(".//script")


def test_a_report_fetches_nothing(report):
    assert not re.search(r"https?:|url\(|@import|src=|href=", report)


def test_every_figure_has_a_drawing_and_its_numbers(report):
    figures = tree(report).findall(".//figure")
    assert len(figures) >= 6
    for figure in figures:
        title = figure.find("h3").text
        assert figure.find("svg").get("aria-label") == title
        assert len(figure.findall("svg//*")) > 5, title
        rows = figure.findall("details//tbody/tr")
        assert rows, title
        width = len(figure.findall("details//thead//th"))
        assert {len(row) for row in rows} == {width}, title


def test_every_drawing_stays_inside_its_frame(report):
    for svg in tree(report).findall(".//figure/svg"):
        _, _, width, height = map(float, svg.get("viewBox").split())
        for circle in svg.iter("circle"):
            assert 0 <= float(circle.get("cx")) <= width
            assert 0 <= float(circle.get("cy")) <= height
        for rect in svg.iter("rect"):
            assert float(rect.get("x")) + float(rect.get("width")) <= width + 0.1


def test_the_training_report_has_what_can_be_known_without_truth(after_training):
    for words in (
        "Learning curves: stage1", "PLT: Bland–Altman", "PLT residual against debris",
        "How sure the calls are", "Share of events by class", "Int8 against float",
        "size of the bundle", "as called",
    ):  # fmt: skip
        assert words in after_training
    assert "Confusion" not in after_training
    assert "as true" not in after_training


def test_the_report_with_truth_has_confusion_slices_and_calibration(against_truth):
    for words in ("Confusion", "Calibration", "Hard slices", "as true", "Recall and precision"):
        assert words in against_truth


def test_a_report_says_what_made_the_calls(report):
    section = next(
        s for s in tree(report).findall(".//section") if s.find("h2").text == "What made the calls"
    )
    tables = section.findall(".//table")
    assert tables
    assert "Called" in "".join(section.itertext())
    assert {"LA", "HA", "EXT", "FL"} <= {th.text for th in tables[0].findall(".//th")}


def test_evaluate_writes_the_report(trained, captures, tmp_path):
    from click.testing import CliRunner

    file = tmp_path / "r.html"
    arguments = [
        "evaluate", "--bundle", trained.path, "--captures", captures,
        "--truth", captures / "truth.csv", "--report", file,
    ]  # fmt: skip
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert tree(file.read_text(encoding="utf-8")).findall(".//figure")


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match="cannot write the report"):
        write_report(tmp_path / "file" / "r.html", b"")


def test_names_from_outside_are_text_and_not_markup():
    section = Section("<b>", "&", [("<i>", Table(("<th>",), (("<script>",),)))])
    root = tree(page("<title>", "a & b", [section], simulated=False))
    assert root.find(".//h2").text == "<b>"
    assert root.find(".//tbody/tr/td").text == "<script>"
    assert root.find(".//div[@class='mark']") is None


def test_the_diary_keeps_every_epoch_and_passes_it_on():
    heard = []
    diary = Diary(lambda *told: heard.append(told))
    diary("stage1", 1, 2, {"start": 0.5})
    diary("stage1", 2, 2, {"start": 0.25})
    assert diary.losses == {"stage1": {"start": [(1.0, 0.5), (2.0, 0.25)]}}
    assert len(heard) == 2


@pytest.mark.parametrize("log", [False, True])
def test_an_axis_holds_its_values_and_has_ticks(log):
    of = axis("x", [0.3, 7.0, 250.0], log=log)
    assert 2 <= len(of.ticks()) <= 12
    places = [of.at(v) for v in (0.3, 7.0, 250.0)]
    assert places == sorted(places)
    assert min(places) > 0
    assert max(places) < 1
    assert of.at(1e9) == 1.0


@pytest.mark.parametrize("values", [[], [5.0, 5.0], [float("nan")], [0.0]])
@pytest.mark.parametrize("log", [False, True])
def test_an_axis_of_little_data_is_still_an_axis(values, log):
    of = axis("x", values, log=log)
    assert of.low < of.high
    assert np.isfinite(of.at(5.0))


def test_ticks_are_written_short():
    assert Axis("x", -0.5, 0.5, percent=True).text(-0.25) == "−25 %"
    assert Axis("x", 0, 1).text(0.30000000000000004) == "0.3"


def test_figures_draw_each_series_in_its_own_style():
    axes = (axis("x", [0, 1]), axis("y", [0, 1]))
    series = {"a": [(0.0, 0.0), (1.0, 1.0)], "b": [(0.0, 1.0)]}
    for figure in (
        lines("t", "c", series, axes),
        scatter("t", "c", series, axes, levels=(0.5,), diagonal=True),
    ):
        assert [name for _, name in figure.keys] == ["a", "b"]
        assert len({style for style, _ in figure.keys}) == 2
        assert len(figure.table.rows) == 3


def test_a_bar_that_is_not_known_is_not_drawn():
    figure = bars("t", "c", {"a": [0.5, float("nan")]}, ["x", "y"], Axis("share", 0, 1))
    assert figure.svg.count("<rect") == 1
    assert figure.table.rows[1] == ("y", "–")


def test_a_histogram_writes_counts_and_shares():
    figure = histogram("t", "c", {"0–1": 1, "1–2": 3}, "x")
    assert figure.table.rows == (("0–1", "1", "25.000 %"), ("1–2", "3", "75.000 %"))


def test_a_run_without_red_cells_has_no_causes_and_stops_nothing(trained, cohort):
    batch = as_batch(cohort.runs[0], cohort)
    codes = np.full(batch.events, 4, dtype=np.uint8)
    calls = CellCalls(np.eye(5, dtype=np.float32)[codes], codes)
    causes = find_causes("blank", batch, calls, trained)
    assert causes.classes == ()
    assert causes_section([causes]).tables == []
