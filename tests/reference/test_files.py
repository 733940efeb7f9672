"""Files of a site: every mistake listed, right ones used, broken ones never half."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.reference.loading import check_file, load_tables
from edge_daemon.reference.reading import read_file
from edge_daemon.reference.tables import Bands, Source, Step
from edge_daemon.units import UNITS, convert, is_possible, to_si


def problems(path):
    return [str(problem) for problem in read_file(path, of_site=True).problems]


def test_a_sites_interval_replaces_the_shipped_one_and_says_whose_it_is(site_file, said):
    path = site_file('HGB = { low = 140, high = 200, unit = "g/L", source = "ours" }')
    tables = load_tables([path])
    (found,) = said("dog", HGB=13.5, tables=tables).values
    assert found.mark == "L"
    assert (found.reference.low, found.reference.unit) == (14.0, "g/dL")
    assert found.reference.site.by == "Dr A. Example"
    assert found.reference.version == "clinic-1"
    # Everything else stays.
    assert tables.species["dog"].intervals["RBC"].site is None
    assert tables.species["cat"] == load_tables().species["cat"]


def test_a_folder_is_read_in_order_and_the_later_file_wins(site_file, tmp_path):
    row = 'HGB = {{ low = {}, high = 20, unit = "g/dL", source = "ours" }}'
    site_file(row.format(14), name="a.toml")
    site_file(row.format(15), name="b.toml")
    (tmp_path / "notes.txt").write_text("no table", encoding="utf-8")
    assert load_tables([tmp_path]).species["dog"].intervals["HGB"].low == 15.0


def test_a_breed_of_the_site_joins_or_changes_the_shipped_one(site_file):
    path = site_file(
        '[breeds.x]\nnames = ["greyhound", "Greyhound X"]\n'
        "[breeds.x.intervals]\n"
        'PLT = { low = 80, high = 200, unit = "10*9/L", source = "ours" }\n'
        '[breeds.y]\nnames = ["Whippet"]\nnote = "quick"\n',
    )
    dog = load_tables([path]).species["dog"]
    assert dog.interval("PLT", "Greyhound").low == 80.0
    assert dog.interval("HCT", "Greyhound").low == 49.0
    assert dog.interval("PLT", "greyhound x").low == 80.0
    assert dog.breed("whippet").note == "quick"
    assert "lower" in dog.breed("Greyhound").note


def test_all_mistakes_are_listed_at_once(site_file):
    path = site_file(
        """
RBC = { low = 5.4, high = 8.6, unit = "g/dL", source = "ours" }
HGB = { low = 131, high = 199, unit = "g/dL", source = "ours" }
HCT = { low = 60, high = 40, unit = "%", source = "ours" }
PLT = { low = "150", high = 400, unit = "10*3/uL", source = "our" }
WBC = { low = 5, high = 15, unit = "10*3/uL", source = "ours" }
MCV = { low = 60, hihg = 70, unit = "fL", source = "ours" }
"""
    )
    found = problems(path)
    assert "intervals.RBC.unit: 'g/dL' is no unit of RBC; ours is 10*6/uL" in found
    assert "intervals.HGB.low: 131 g/dL cannot be: HGB lies within 0.2 to 40 g/dL" in found
    assert "intervals.HCT.high: must be above low" in found
    assert "intervals.PLT.low: '150' is not a number" in found
    assert "intervals.PLT.source: 'our' is not among [sources]; did you mean 'ours'?" in found
    assert any(line.startswith("intervals.WBC: no measurement is called so") for line in found)
    assert "intervals.MCV.high: is missing" in found
    assert any(
        line.startswith("intervals.MCV.hihg: unknown key; did you mean 'high'?") for line in found
    )
    assert len(found) == 8


def test_a_site_must_say_who_and_why(site_file):
    text = 'kind = "intervals"\nspecies = "dog"\nversion = "1"\n'
    found = problems(site_file(text, whole=True))
    assert found == ["site: the table [site] is needed: say who replaced the shipped data, and why"]
    text += '[site]\nby = " "\n'
    assert problems(site_file(text, whole=True)) == [
        "site.by: must be a text that is not empty",
        "site.reason: is missing",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = [", "file: is not TOML"),
        ('kind = "interval"', "kind: 'interval' is not allowed; did you mean 'intervals'?"),
        ("", "kind: is missing"),
        ('kind = "intervals"\nspecies = "god"', "species: 'god' is not allowed"),
    ],
)
def test_what_is_no_table_is_explained(site_file, text, message):
    assert any(line.startswith(message) for line in problems(site_file(text, whole=True)))


def test_what_is_not_utf8_or_not_there_is_explained(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b'kind = "interv\xe4ls"')
    assert problems(tmp_path / "latin.toml") == ["file: byte 14 is not UTF-8"]
    missing = check_file(tmp_path / "none.toml")
    assert [str(p) for p in missing.problems] == ["file: there is no such file or folder"]


def test_a_broken_file_marks_nothing_of_its_species(site_file, said):
    path = site_file('HGB = { low = 140, high = 200, unit = "furlong", source = "ours" }')
    tables = load_tables([path])
    (found,) = said("dog", HGB=5.0, tables=tables).values
    assert found.mark is None
    assert "ours.toml of this site has mistakes" in found.reason
    assert said("cat", HGB=5.0, tables=tables).marks == {"HGB": "L"}


def test_a_file_of_unknown_kind_may_be_about_any_species(site_file, said):
    tables = load_tables([site_file("kind = [", whole=True)])
    assert not said("cat", HGB=5.0, tables=tables).marks


RULES = """
kind = "rules"
version = "clinic-1"
{off}
[site]
by = "Dr A. Example"
reason = "our own smears"
[sources.ours]
text = "our own smears"
"""
RULE = """
[[rule]]
id = "{id}"
severity = "review"
title = "Ours"
cause = "Because."
action = "look"
source = "ours"
when = [{when}]
"""


def test_rules_can_be_replaced_added_and_left_out(site_file, said):
    text = RULES.format(off='off = ["anaemia"]')
    text += RULE.format(
        id="platelets_low", when='{ measure = "PLT", at_most = 0.14, unit = "10*6/uL" }'
    )
    text += RULE.format(
        id="new", when='{ flag = "odd" }, { measure = "RDW", above = 20, unit = "%" }'
    )
    tables = load_tables([site_file(text, whole=True)])
    low = said("dog", PLT=140.0, HCT=10.0, tables=tables)
    assert [c.id for c in low.comments if c.title == "Ours"] == ["platelets_low"]
    assert low.comments[0].site.by == "Dr A. Example"
    assert not [c for c in low.comments if c.id == "anaemia"]
    assert [c.id for c in said("dog", PLT=141.0, tables=tables).comments] == []
    assert [c.id for c in said("dog", RDW=21.0, tables=tables).comments] == []


def test_mistakes_in_rules_are_listed(site_file):
    text = RULES.format(off='off = ["anemia"]')
    assert [str(p) for p in check_file(site_file(text, whole=True)).problems] == [
        "off: there is no rule 'anemia'; did you mean 'anaemia'?"
    ]
    text = RULES.format(off="")
    text += RULE.format(id="a", when='{ measure = "PLT", below = 100, unit = "g/L" }')
    text += RULE.format(
        id="a", when='{ measure = "PLT" }, { measure = "PLTS", below_interval = -5 }'
    )
    text += RULE.format(id="b", when="")
    found = problems(site_file(text, whole=True))
    assert "rule[0].when[0].unit: 'g/L' is no unit of PLT; ours is 10*3/uL" in found
    assert any(line.startswith("rule[1].when[0]: say how it compares") for line in found)
    assert any(line.startswith("rule[1].when[1].measure: 'PLTS' is not allowed") for line in found)
    assert "rule[1].when[1].below_interval: is in percent of the limit, from 0" in found
    assert "rule: 'a' is the id of more than one rule" in found
    assert any(line.startswith("rule[2].when: give at least one") for line in found)


def test_a_sites_bands_replace_the_shipped_ones_and_the_reason_for_none(site_file, said):
    text = (
        RULES.format(off="")
        + """
[[bands]]
species = "horse"
measure = "RETIC"
unit = "10*9/L"
counts = "reticulocytes"
source = "ours"
steps = [{ name = "few", up_to = 10 }, { name = "many" }]
"""
    )
    tables = load_tables([site_file(text, whole=True)])
    assert said("horse", RETIC=10.0, tables=tables).regeneration.band == "few"
    assert said("horse", RETIC=10.1, tables=tables).regeneration.band == "many"
    wrong = text.replace('name = "few", up_to = 10', 'name = "few", up_to = 10, below = 3')
    wrong = wrong.replace(
        '{ name = "many" }', '{ name = "x", up_to = 5 }, { name = "y", up_to = 9 }'
    )
    found = problems(site_file(wrong, whole=True))
    assert "bands[0].steps[0]: give either below or up_to" in found
    assert "bands[0].steps[2]: the last step has no end: leave out below and up_to" in found


codes = st.sampled_from(list(UNITS))


@given(codes, st.floats(0.01, 5000.0))
def test_an_interval_in_si_is_the_same_interval(code, high):
    if not is_possible(code, high):
        return
    si, unit = to_si(code, high)
    assert convert(code, si, unit) == pytest.approx(high, rel=1e-12)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["intervals", "rules"]),
    st.sampled_from(
        [
            "version",
            "site",
            "sources",
            "intervals",
            "breeds",
            "notes",
            "rule",
            "bands",
            "off",
            "no_bands",
            "flags",
            "species",
        ]
    ),
)
def test_no_content_of_a_key_ends_in_anything_but_problems(value, kind, key):
    """Whatever TOML may hold there, it is read or explained."""
    from edge_daemon.reference import reading
    from edge_daemon.reference.section import Section

    found = []
    top = Section({"kind": kind, key: value}, "", found)
    head = reading._Head(top, of_site=True)
    content = reading._species_table if kind == "intervals" else reading._rules
    content(top, head)
    top.finish()
    assert found  # something that is needed is always missing


@given(
    st.lists(st.floats(1.0, 1000.0), min_size=1, max_size=6, unique=True), st.floats(0.0, 2000.0)
)
def test_a_value_lies_in_exactly_one_band(ends, value):
    ends = sorted(ends)
    steps = (
        *(Step(str(i), end, inclusive=i % 2 == 0) for i, end in enumerate(ends)),
        Step("l", None),
    )
    bands = Bands("dog", "RETIC", "10*3/uL", "x", steps, Source(""))
    for one in (value, *ends):
        below = sum(one > e or (one == e and i % 2 == 1) for i, e in enumerate(ends))
        assert bands.name(one) == (str(below) if below < len(ends) else "l")
