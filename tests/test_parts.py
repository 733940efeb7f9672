"""Which files are one run, and the container that makes them one capture."""

from __future__ import annotations

import io
import zipfile

import pytest

from edge_daemon.errors import Quarantine
from edge_daemon.parts import (
    MAX_PARTS,
    Part,
    PartNames,
    join,
    missing_part,
    read_run,
    split,
)

SYSMEX = r".*\.116(?P<PART>\(\d+\))?\.csv"
COUNTED = r"(.*)_(?P<PART>\d+)\.csv"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("RET_[1].116.csv", Part("RET_[1].116.csv", 0, 0)),
        ("RET_[1].116(1).csv", Part("RET_[1].116.csv", 1, 0)),
        ("a/b/RET_[1].116(12).csv", Part("a/b/RET_[1].116.csv", 12, 0)),
        ("run_3.csv", Part("run_.csv", 3, 1)),
        ("run.csv", None),
        ("x" * 300 + ".116.csv", None),
    ],
)
def test_names(name, part):
    assert PartNames([SYSMEX, COUNTED]).of(name) == part


def test_without_patterns_no_file_is_a_part():
    assert PartNames([]).of("X.116(1).csv") is None


def test_a_digit_of_another_script_is_no_number():
    assert PartNames([r".*(?P<PART>\(\d+\))?"]).of("X(٣)").number == 0


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["X.116.csv"], None),
        (["X.116(1).csv", "X.116.csv"], None),
        (["X.116(1).csv"], 0),
        (["X.116.csv", "X.116(2).csv"], 1),
        (["r_2.csv", "r_1.csv"], None),
        (["r_2.csv"], 1),
    ],
)
def test_what_lacks(names, missing):
    of = PartNames([SYSMEX, COUNTED]).of
    assert missing_part([of(name) for name in names]) == missing


def test_a_part_number_out_of_all_measure_is_missing_its_first():
    part = PartNames([SYSMEX]).of(f"X.116({'9' * 30}).csv")
    assert missing_part([part]) == 0


def test_a_container_is_a_plain_zip_file():
    parts = [("X.116.csv", b"A\n1\n"), ("X.116(1).csv", b"A\n2\n"), ("Größe", b"")]
    data = join([(f"folder/{name}", content) for name, content in parts])
    assert data == join(parts)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert [(i.filename, archive.read(i)) for i in archive.infolist()] == parts
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert split(data) == parts


def test_a_single_part_stays_as_it_is():
    assert join([("X", b"abc")]) == b"abc"
    assert split(b"abc") == [("", b"abc")]


def foreign(**how):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **how) as archive:
        archive.writestr("a", b"x" * 1000)
        archive.writestr("b", b"y")
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        foreign(),
        foreign(compression=zipfile.ZIP_DEFLATED),
        join([("a", b"1"), ("b", b"2")])[:-1],
        join([("a", b"1"), ("b", b"2")]) + b"\0",
        join([("a", b"1"), ("b", b"2")]).replace(b"b", b"a"),
        b"PK\x03\x04",
        b"PK\x03\x04" + b"\xff" * 100,
    ],
    ids=["dated", "compressed", "cut", "longer", "same name", "no entry", "noise"],
)
def test_any_other_zip_file_is_refused(data):
    with pytest.raises(Quarantine) as caught:
        split(data)
    assert caught.value.code == "malformed"


def test_a_container_of_very_many_entries_is_not_walked_through():
    many = join([(f"{n}", b"") for n in range(MAX_PARTS + 1)])
    with pytest.raises(Quarantine, match=f"readable entries: {MAX_PARTS}"):
        split(many)


def test_the_files_of_a_run_are_read_as_one(tmp_path):
    names = PartNames([SYSMEX])
    for name in ("X.116(1).csv", "X.116.csv", "Y.116(1).csv", "other"):
        (tmp_path / name).write_bytes(name.encode())
    for part in ("X.116(1).csv", "X.116.csv"):
        name, data = read_run(tmp_path / part, names)
        assert name == "X.116.csv"
        assert [n for n, _ in split(data)] == ["X.116.csv", "X.116(1).csv"]
    assert read_run(tmp_path / "other", names) == ("other", b"other")
    with pytest.raises(Quarantine, match="part 0 of this run is not there"):
        read_run(tmp_path / "Y.116(1).csv", names)
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path / "Z.116.csv", names)
