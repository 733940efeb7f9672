"""Marks, remarks, bands and the headline."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.records import SPECIES, Flag, Measurement
from edge_daemon.reference.interpret import interpret, interpret_record
from edge_daemon.reference.loading import load_tables
from edge_daemon.units import SI_UNITS, UNITS, to_si
from edge_daemon.wording import DECIMALS

TABLES = load_tables()


@pytest.mark.parametrize(
    ("value", "mark"),
    [
        (5.65, None),  # both limits belong to the interval
        (8.87, None),
        (8.8749, None),  # reads 8.87
        (8.8751, "H"),
        (5.6449, "L"),
        (5.6451, None),
    ],
)
def test_a_value_is_compared_as_it_is_printed(said, value, mark):
    assert said("dog", RBC=value).values[0].mark == mark


def test_clear_means_the_whole_interval_of_the_value(said):
    assert said("dog", RBC=(9.0, 8.9, 9.1)).values[0].clear
    assert not said("dog", RBC=(9.0, 8.8, 9.2)).values[0].clear
    assert said("dog", RBC=(5.0, 4.9, 5.1)).values[0].clear
    assert not said("dog", RBC=(5.0, 4.0, 6.0)).values[0].clear
    assert not said("dog", RBC=9.0).values[0].clear  # no interval is known


def test_si_units_are_compared_with_the_same_interval():
    value = Measurement("HGB", 120.0, "g/L", 118.0, 122.0, "calculated")
    (found,) = interpret([value], [], "dog", None, TABLES).values
    assert (found.mark, found.clear, found.unit) == ("L", True, "g/L")
    assert found.reference.unit == "g/dL"


def test_a_unit_of_another_quantity_is_said_and_not_compared():
    value = Measurement("HGB", 2.0, "10*9/L", None, None, "calculated")
    found = interpret([value], [], "dog", None, TABLES)
    assert found.values[0].mark is None
    assert found.values[0].reason == "cannot be compared: '10*9/L' is no unit of HGB"
    assert not found.comments


def test_a_value_that_must_not_be_reported_gets_no_mark_and_no_remark(said, flag):
    found = said("dog", HCT=10.0, flags=[flag("extinction_disagrees", "invalid")])
    assert found.headline == "Failed"
    assert found.reason == "extinction_disagrees holds"
    assert found.values[0].mark is None
    assert found.values[0].reason == "not to be used: a flag says why"
    assert not found.comments


def test_unknown_species_gets_no_mark_and_says_so(said):
    found = said(None, HCT=10.0, PLT=5.0)
    assert not found.marks
    assert {value.reason for value in found.values} == {"species unknown: no interval is used"}
    # A limit that holds for every species still does.
    assert [c.id for c in found.comments] == ["platelets_very_low"]
    assert found.regeneration is None


def test_what_has_no_interval_is_said(said):
    (found,) = said("alpaca", MCV=25.0).values
    assert (found.mark, found.reference) == (None, None)
    assert found.reason == "no interval is known"


def test_clumps_need_no_interval(shipped):
    clump = Measurement("CLUMP%", 1.0, "%", 0.5, 1.5, "counted")
    assert interpret([clump], [], "dog", None, shipped).values[0].reason == ""


def ids(found):
    return [comment.id for comment in found.comments]


def test_anaemia_begins_ten_percent_below_the_limit(said):
    assert "anaemia" not in ids(said("dog", HCT=33.6))  # 37.3 - 10 % = 33.57
    found = said("dog", HCT=33.5)
    assert ids(found) == ["anaemia"]
    assert found.headline == "Review"  # nobody may pass a severe anaemia by because it is green
    assert "HCT 33.5 % (interval 37.3 to 61.7)" in found.reason
    assert found.comments[0].facts == ("HCT 33.5 % (interval 37.3 to 61.7)",)
    slight = said("dog", HCT=33.6)
    assert slight.headline == "OK"
    assert slight.reason == "nothing asks for a look; outside the interval: HCT low"


def test_a_greyhound_is_compared_with_greyhounds(said):
    assert said("dog", HCT=63.0).marks == {"HCT": "H"}
    found = said("dog", "Greyhound", HCT=63.0)
    assert not found.marks
    assert found.breed == "Greyhound"
    assert found.values[0].reference.of == "dog, Greyhound"
    assert said("dog", "Greyhound", HCT=44.0).marks == {"HCT": "L"}
    assert "greyhound_platelets" in ids(said("dog", "greyhound", PLT=120.0))
    assert "greyhound_platelets" not in ids(said("dog", PLT=120.0))


def test_low_platelets_of_a_cat_are_unconfirmed(said, flag):
    found = said("cat", PLT=180.0)  # within the interval, below the floor of 200
    assert ids(found) == ["cat_platelets_unconfirmed"]
    assert found.headline == "Review"
    assert found.values[0].unconfirmed
    assert "vortex" in found.comments[0].action
    # The classifier's own flag says the same: the remark is not made twice, the doubt stays.
    flagged = said("cat", PLT=180.0, flags=[flag("feline_platelets_unconfirmed")])
    assert ids(flagged) == []
    assert flagged.values[0].unconfirmed
    assert flagged.reason == "feline_platelets_unconfirmed holds"
    assert "Norman" in flagged.flags[0].source


def test_low_platelets_of_a_dog_ask_for_a_smear(said):
    found = said("dog", PLT=100.0)
    assert ids(found) == ["platelets_low", "edta_pseudothrombocytopenia"]
    assert not found.values[0].unconfirmed
    assert ids(said("dog", PLT=120.0)) == []  # less than 25 % below 148
    assert ids(said("dog", PLT=29.0))[0] == "platelets_very_low"
    assert "ckcs_platelets" in ids(said("dog", "Cavalier King Charles Spaniel", PLT=120.0))


def test_what_is_urgent_stands_before_everything_of_its_severity(said, flag):
    found = said("dog", PLT=12.0, HCT=20.0, flags=[flag("platelets_count_limited", "review")])
    assert ids(found)[:2] == ["platelets_very_low", "anaemia"]
    assert found.headline == "Review"
    first, second, *_ = found.reason.split("; ")
    assert first.startswith("Platelets below 30 K/µL (PLT 12 K/µL")
    assert second == "platelets_count_limited holds"
    failed = said("dog", PLT=12.0, flags=[flag("no_rbc_peak", "invalid")])
    assert failed.headline == "Failed"
    assert failed.reason == "no_rbc_peak holds"


def test_agglutination_needs_all_of_its_pattern(said):
    assert "agglutination_pattern" in ids(said("dog", RBC=3.0, MCV=90.0, MCHC=45.0))
    assert "agglutination_pattern" not in ids(said("dog", RBC=3.0, MCV=90.0, MCHC=35.0))
    found = said("dog", RBC=3.0, MCV=90.0, MCHC=45.0)
    assert {value.code for value in found.values if value.unconfirmed} == {"RBC", "MCV", "MCHC"}


def test_breed_notes_are_for_the_breed_alone(said):
    assert "akita_microcytosis" in ids(said("dog", "Shiba Inu", MCV=55.0))
    assert "akita_microcytosis" not in ids(said("dog", "Beagle", MCV=55.0))
    assert said("dog", "Shiba Inu", MCV=70.0).notes
    assert not said("dog", "Beagle", MCV=70.0).notes


@pytest.mark.parametrize(
    ("species", "retic", "band"),
    [
        ("dog", 91.9, "none"),
        ("dog", 92.0, "equivocal"),
        ("dog", 153.0, "equivocal"),
        ("dog", 153.1, "mild"),
        ("dog", 200.0, "mild"),
        ("dog", 300.0, "moderate"),
        ("dog", 300.1, "marked"),
        ("cat", 60.9, "none"),
        ("cat", 61.0, "equivocal"),
        ("cat", 85.1, "mild"),
        ("cat", 100.1, "moderate"),
        ("cat", 200.1, "marked"),
    ],
)
def test_regeneration_bands(said, species, retic, band):
    found = said(species, HCT=15.0, RETIC=retic)
    assert found.regeneration.band == band
    assert found.regeneration.anaemic is True


def test_bands_that_the_interval_of_the_value_reaches(said):
    found = said("dog", HCT=15.0, RETIC=(150.0, 80.0, 210.0)).regeneration
    assert found.band == "equivocal"
    assert found.could_be == ("none", "equivocal", "mild", "moderate")
    assert "reaches from none to moderate" in found.text


def test_a_band_says_whether_there_is_an_anaemia(said):
    assert said("dog", HCT=50.0, RETIC=20.0).regeneration.anaemic is False
    assert said("dog", RETIC=20.0).regeneration.anaemic is None
    assert said("dog", RBC=3.0, RETIC=20.0).regeneration.anaemic is True
    assert "no anaemia" in said("dog", HCT=50.0, RETIC=20.0).regeneration.text
    assert said("dog", HCT=20.0).regeneration.text == "no band: reticulocytes are not reported"


@pytest.mark.parametrize("species", ["horse", "cow", "sheep", "goat"])
def test_species_without_a_verdict_say_why(said, species):
    found = said(species, HCT=10.0, RETIC=500.0).regeneration
    assert found.band is None
    assert found.text.startswith("no band: ")
    assert found.source


def test_reticulocytes_without_anaemia_are_said_of_dogs(said):
    assert "retic_without_anaemia" in ids(said("dog", HCT=50.0, RETIC=150.0))
    assert "retic_without_anaemia" not in ids(said("dog", HCT=20.0, RETIC=150.0))
    assert "retic_without_anaemia" not in ids(said("dog", RETIC=150.0))  # HCT is not known


def test_an_unknown_flag_still_reads(said, flag):
    found = said("dog", HCT=50.0, flags=[flag("new_thing", "info")])
    assert (found.flags[0].title, found.flags[0].source) == ("New thing", "")
    assert found.headline == "OK"


def test_a_stored_run_is_interpreted_alike(said, flag):
    review = flag("coincidence_high")
    measured = Measurement("PLT", 20.0, UNITS["PLT"], 10.0, 30.0, "counted", (review.code,))
    record = {
        "measurements": [{**dataclasses.asdict(measured), "flags": [review.code]}],
        "flags": [dataclasses.asdict(review)],
        "species": "dog",
        "breed": None,
    }
    assert interpret_record(record, TABLES) == interpret(
        [measured], [Flag(**record["flags"][0])], "dog", None, TABLES
    )


codes = st.sampled_from([code for code in UNITS if code in DECIMALS])


@given(st.sampled_from(SPECIES), codes, st.floats(0.0, 2000.0))
def test_marks_agree_with_what_is_printed(species, code, value):
    measured = Measurement(code, value, UNITS[code], None, None, "calculated")
    (found,) = interpret([measured], [], species, None, TABLES).values
    shown = float(f"{value:.{DECIMALS[code]}f}")
    if found.reference is None:
        assert found.mark is None
        assert found.reason
    else:
        assert (found.mark == "H") == (shown > found.reference.high)
        assert (found.mark == "L") == (shown < found.reference.low)


@given(st.sampled_from(SPECIES), codes, st.floats(0.0, 2000.0))
def test_si_and_conventional_values_get_the_same_mark(species, code, value):
    printed = float(f"{value:.{DECIMALS[code]}f}")
    si, unit = to_si(code, printed)
    marks = {
        interpret([Measurement(code, v, u, None, None, "counted")], [], species, None, TABLES)
        .values[0]
        .mark
        for v, u in ((printed, UNITS[code]), (si, unit))
    }
    assert len(marks) == 1
    assert unit == SI_UNITS[code]
