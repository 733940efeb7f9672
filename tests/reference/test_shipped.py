"""What ships is right in itself: complete, sourced, and consistent with the studies named."""

import re
from pathlib import Path

import pytest

from edge_daemon.records import SPECIES
from edge_daemon.reference.interpret import interpret
from edge_daemon.reference.loading import SHIPPED
from edge_daemon.reference.reading import read_file
from edge_daemon.reference.tables import breed_key
from edge_daemon.units import UNITS, is_possible

CLASSIFY = Path(__file__).resolve().parents[2] / "edge_daemon" / "classify"


def test_every_file_is_right_and_every_species_has_one():
    names = {path.stem for path in SHIPPED.glob("*.toml")}
    assert names == {*SPECIES, "rules"}
    for path in SHIPPED.glob("*.toml"):
        assert read_file(path, of_site=False).problems == ()


def test_every_interval_has_unit_source_and_version(shipped):
    assert set(shipped.species) == set(SPECIES)
    for name, table in shipped.species.items():
        every = [*table.intervals.values()]
        every += [i for breed in table.breeds for i in breed.intervals.values()]
        assert every
        for interval in every:
            assert interval.species == name
            assert interval.unit == UNITS[interval.code]
            assert is_possible(interval.code, interval.high)
            assert interval.low < interval.high
            assert interval.source.text
            assert interval.version
            assert interval.site is None


@pytest.mark.parametrize(
    ("species", "code", "low", "high"),
    [
        ("dog", "RBC", 5.65, 8.87),
        ("dog", "RETIC", 10.0, 110.0),
        ("cat", "MCV", 35.9, 53.1),
        ("cat", "PLT", 151.0, 600.0),
        ("horse", "HCT", 34.0, 46.0),
        ("goat", "RBC", 13.6, 23.7),
        ("ferret", "PLT", 172.0, 1281.0),
        ("rabbit", "MCV", 50.0, 75.0),
    ],
)
def test_numbers_are_those_of_the_sources(shipped, species, code, low, high):
    interval = shipped.species[species].intervals[code]
    assert (interval.low, interval.high) == (low, high)


def test_a_llamas_interval_is_never_an_alpacas(shipped):
    assert set(shipped.species["alpaca"].intervals) == {"RBC", "HCT"}


def test_breeds(shipped):
    dog = shipped.species["dog"]
    assert dog.interval("HCT", "GREYHOUND").low == 49.0
    assert dog.interval("PLT", "greyhound").low == 148.0  # no interval of the breed's own
    assert dog.interval("HCT", "Italian Greyhound").low == 37.3  # another breed
    assert dog.interval("HCT", "Labrador").low == 37.3
    assert dog.breed("shiba-inu").name == "Akita"
    assert dog.breed("C.K.C.S.") is None
    assert dog.breed(None) is None


def test_every_rule_can_be_read_and_names_its_study(shipped):
    ids = [rule.id for rule in shipped.rules]
    assert len(ids) == len(set(ids))
    for rule in shipped.rules:
        assert rule.title
        assert rule.cause.endswith(".")
        assert rule.action
        assert not rule.action.endswith(".")
        assert rule.source.text


def test_breeds_of_rules_are_breeds_of_the_tables(shipped):
    known = {key for t in shipped.species.values() for b in t.breeds for key in b.names}
    for rule in shipped.rules:
        assert rule.breeds <= known
        assert all(key == breed_key(key) for key in rule.breeds)


def flag_codes():
    """Every code that the classifier raises."""
    found = set()
    for path in CLASSIFY.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for code in re.findall(r'Flag\(\s*f?"([a-z_{}]+)"', text):
            kinds = ("red_cells", "platelets") if "{what}" in code else ("",)
            found |= {code.replace("{what}", kind) for kind in kinds}
    return found


def test_every_flag_of_the_classifier_has_a_title_and_a_source(shipped):
    codes = flag_codes()
    assert {"platelets_count_limited", "red_cells_off_grid", "species_suspected"} <= codes
    assert codes <= set(shipped.flags)
    assert {rule.same_as for rule in shipped.rules if rule.same_as} <= codes


@pytest.mark.parametrize("species", SPECIES)
def test_an_animal_in_the_middle_of_its_intervals_is_ok(shipped, species, said):
    middle = {
        code.replace("%", "_"): (interval.low + interval.high) / 2
        for code, interval in shipped.species[species].intervals.items()
    }
    found = said(species, **middle)
    assert found.headline == "OK"
    assert found.reason == "nothing asks for a look"
    assert not found.marks
    assert not found.comments


def test_nothing_at_all_is_a_review(shipped):
    assert interpret([], [], "dog", None, shipped).headline == "Review"
