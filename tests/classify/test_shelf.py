import shutil

import pytest

from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.classify.manifest import Identity
from edge_daemon.errors import Quarantine

PROFILE = "sim_optical4/1.0"


def identity(version, name="written"):
    return Identity(name=name, version=version, title="t")


@pytest.fixture
def shelf_dir(tmp_path):
    return tmp_path / "models"


def test_the_newest_version_wins_by_number(make_bundle, shelf_dir):
    for version in ("1.9.0", "1.10.0", "1.2.30"):
        make_bundle(shelf_dir / version, identity=identity(version))
    shelf = BundleShelf.load([shelf_dir])
    assert shelf.for_profile(PROFILE, "dog").id == "written@1.10.0"
    assert shelf.for_profile(PROFILE, None).id == "written@1.10.0"
    assert not shelf.problems


@pytest.mark.parametrize(
    ("profile", "species"), [("sim_optical4/3.0", "dog"), (PROFILE, "horse"), ("", None)]
)
def test_no_valid_bundle_quarantines_and_says_what_there_is(pristine, profile, species):
    shelf = BundleShelf.load([pristine.parent])
    with pytest.raises(Quarantine, match="written@") as caught:
        shelf.for_profile(profile, species)
    assert caught.value.code == "no_bundle"


def test_a_broken_bundle_is_listed_and_does_not_hide_the_others(pristine, shelf_dir):
    for name in ("good", "bad"):
        shutil.copytree(pristine, shelf_dir / name)
    (shelf_dir / "bad" / "stage1.onnx").write_bytes(b"")
    (shelf_dir / "no bundle").mkdir()
    (shelf_dir / "README.md").write_text("x")
    shelf = BundleShelf.load([shelf_dir, shelf_dir / "absent"])
    assert list(shelf.bundles) == ["written@1.2.3"]
    assert [problem.file for problem in shelf.problems] == [str(shelf_dir / "bad" / "stage1.onnx")]


def test_the_same_bundle_in_two_directories_is_one(pristine, shelf_dir):
    shutil.copytree(pristine, shelf_dir / "again")
    shelf = BundleShelf.load([pristine.parent, shelf_dir])
    assert list(shelf.bundles) == ["written@1.2.3"]
    assert not shelf.problems


def test_two_different_bundles_of_one_name_are_both_out(make_bundle, pristine, shelf_dir):
    other = Identity(name="written", version="1.2.3", title="another")
    make_bundle(shelf_dir / "other", identity=other)
    shelf = BundleShelf.load([pristine.parent, shelf_dir])
    assert not shelf.bundles
    assert "two different" in shelf.problems[0].message
    with pytest.raises(Quarantine, match="1 unusable"):
        shelf.for_profile(PROFILE, "dog")


def test_two_names_that_claim_one_profile_are_not_guessed_between(make_bundle, pristine, shelf_dir):
    make_bundle(shelf_dir / "rival", identity=identity("9.0.0", name="rival"))
    shelf = BundleShelf.load([pristine.parent, shelf_dir])
    with pytest.raises(Quarantine, match="rival, written") as caught:
        shelf.for_profile(PROFILE, "dog")
    assert caught.value.code == "no_bundle"


def test_an_unreadable_directory_is_a_problem(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    shelf = BundleShelf.load([file])
    assert shelf.problems[0].file == str(file)
