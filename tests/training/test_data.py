import csv
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_daemon.errors import EdgeError
from edge_daemon.resources import profiles_dir
from edge_daemon.training import data
from edge_daemon.training.data import HEADER, load_cohort, load_references


@pytest.fixture
def table(tmp_path):
    def write(*rows, header=HEADER):
        file = tmp_path / "references.csv"
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
        return file

    return write


GOOD = ("a.fcs", "dog", "7.1", "300", "1.2", "1000", "2.5")


def test_a_cohort_holds_every_capture_with_its_report(cohort, captures):
    assert len(cohort.runs) == 14
    assert cohort.simulated
    assert set(cohort.species) == {"dog", "cat"}
    assert set(cohort.profiles) <= {"sim_optical4/1.0", "sim_optical4/2.0"}
    assert not cohort.dropped
    for run in cohort.runs:
        assert run.events == 1500
        assert np.isfinite(run.logs).all()
        assert (captures / run.reference.capture).is_file()


def test_one_profile_leaves_the_others_out(captures, registry, monkeypatch):
    monkeypatch.setattr(data, "MIN_RUNS", 2)
    references = captures / "references.csv"
    parts = [
        load_cohort(captures, references, registry, profile_id=f"sim_optical4/{version}")
        for version in ("1.0", "2.0")
    ]
    assert sum(len(part.runs) for part in parts) == 14
    assert [part.profiles for part in parts] == [("sim_optical4/1.0",), ("sim_optical4/2.0",)]


def test_empty_fields_are_not_known(table):
    rows, _ = load_references(table(GOOD, ("b.fcs", "", "7", "", "", "1000", "2.5")))
    assert rows[0].retic_pct == 1.2
    assert rows[1].species is rows[1].plt is rows[1].retic_pct is None
    assert rows[0].blood_ul == pytest.approx(0.0025)


def test_rows_without_a_volume_cannot_be_used(table):
    rows, _ = load_references(table(GOOD, ("b.fcs", "dog", "7", "300", "", "1000", "")))
    assert [row.capture for row in rows] == ["a.fcs"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.fcs", "dog", "7.1", "-3", "1", "1000", "2.5"), "plt_10e3_per_ul is '-3'"),
        (("a.fcs", "dog", "x", "300", "1", "1000", "2.5"), "rbc_10e6_per_ul is 'x'"),
        (("a.fcs", "dog", "nan", "300", "1", "1000", "2.5"), "rbc_10e6_per_ul is 'nan'"),
        (("a.fcs", "yak", "7", "300", "1", "1000", "2.5"), "species 'yak'"),
        (("../a.fcs", "dog", "7", "300", "1", "1000", "2.5"), "not a file name"),
        (("", "dog", "7", "300", "1", "1000", "2.5"), "not a file name"),
        (("a.fcs", "dog", "7", "300", "1", "0", "2.5"), "dilution is '0'"),
    ],
)
def test_impossible_values_are_named_by_line(table, row, message):
    with pytest.raises(EdgeError, match="line 2") as caught:
        load_references(table(row))
    assert message in caught.value.message


def test_every_wrong_line_is_listed(table):
    bad = ("a.fcs", "yak", "-1", "300", "1", "1000", "2.5")
    with pytest.raises(EdgeError) as caught:
        load_references(table(bad, GOOD, bad))
    assert "4 problem(s)" in caught.value.message
    assert "line 4" in caught.value.message


def test_rows_that_contradict_each_other_are_refused(table):
    other = ("a.fcs", "dog", "7.1", "20", "1.2", "1000", "2.5")
    with pytest.raises(EdgeError, match="contradict"):
        load_references(table(GOOD, other))
    assert len(load_references(table(GOOD, GOOD))[0]) == 1


def test_a_missing_column_is_named(table):
    with pytest.raises(EdgeError, match="volume_ul"):
        load_references(table(GOOD[:-1], header=HEADER[:-1]))


@given(content=st.binary(max_size=300))
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_bytes_raise_anything_else(tmp_path, content):
    file = tmp_path / "r.csv"
    file.write_bytes(content)
    with pytest.raises(EdgeError):
        load_references(file)


def test_too_few_captures_are_refused_with_the_number(captures, registry, table):
    rows = list(csv.reader((captures / "references.csv").read_text().splitlines()))[1:6]
    with pytest.raises(EdgeError, match="5 usable captures"):
        load_cohort(captures, table(*rows), registry)


def test_reports_that_belong_to_other_captures_are_refused(captures, registry, table):
    rows = list(csv.reader((captures / "references.csv").read_text().splitlines()))[1:]
    for row in rows[:6]:
        row[2] = str(float(row[2]) * 3)
    with pytest.raises(EdgeError, match=r"contradict|usable") as caught:
        load_cohort(captures, table(*rows), registry)
    assert "events recorded" in caught.value.message


def test_a_missing_capture_is_left_out_and_named(captures, registry, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(captures, folder)
    victim = min(folder.glob("*.fcs"))
    victim.unlink()
    cohort = load_cohort(folder, folder / "references.csv", registry)
    assert len(cohort.runs) == 13
    assert victim.name in cohort.dropped[0]


def test_captures_without_the_anchor_channel_are_left_out_with_the_reason(
    registry, tmp_path, table
):
    prefix = "00-15.sample."
    for path in (profiles_dir() / "sysmex_xn_ret").glob(f"{prefix}*"):
        shutil.copy(path, tmp_path / path.name.removeprefix(prefix))
    first = max(path.name for path in tmp_path.glob("*.116.csv"))
    with pytest.raises(EdgeError, match=r"no channel EXT\.A, which training needs"):
        load_cohort(tmp_path, table((first, "dog", "7", "300", "1", "200", "1")), registry)
