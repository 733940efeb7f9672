"""What is typed into the search box, understood."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.store.searching import Wanted
from edge_daemon.web.asking import understand

NOW = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)  # a Tuesday
FLAGS = ("clumps", "no_volume")


def asked(text, now=NOW):
    return understand(text, FLAGS, now).wanted


def day(first, after):
    ends = (f"2026-{moment}T00:00:00.000000Z" for moment in (first, after))
    return dict(zip(("since", "until"), ends, strict=True))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Wanted()),
        ("  ", Wanted()),
        ("Bello", Wanted(text="Bello")),
        ("von  Schloss", Wanted(text="von Schloss")),
        ("cat", Wanted(species="cat")),
        ("CAT", Wanted(species="cat")),
        ('"cat"', Wanted(text="cat")),
        ("cat cat", Wanted(species="cat", text="cat")),
        ("failed", Wanted(status="invalid")),
        ("controls", Wanted(patients=False)),
        ("patients dog", Wanted(patients=True, species="dog")),
        ("clumps dog ok", Wanted(flag="clumps", species="dog", status="ok")),
        ("today", Wanted(**day("11-24", "11-25"))),
        ("yesterday cat", Wanted(species="cat", **day("11-23", "11-24"))),
        ("monday", Wanted(**day("11-23", "11-24"))),
        ("tuesday", Wanted(**day("11-17", "11-18"))),  # the last one that is over
        ("wednesday", Wanted(**day("11-18", "11-19"))),
        ("2026-11-02", Wanted(**day("11-02", "11-03"))),
        ("2.11.2026", Wanted(**day("11-02", "11-03"))),
        ("2026-10", Wanted(**day("10-01", "11-01"))),
        ("week", Wanted(**day("11-18", "11-25"))),
        ("2026-13-01", Wanted(text="2026-13-01")),
        ("31.2.2026", Wanted(text="31.2.2026")),
        ("0000-00", Wanted(text="0000-00")),
        ("9999-12", Wanted(text="9999-12")),
    ],
)
def test_words(text, wanted):
    assert asked(text) == wanted


def test_days_begin_where_the_box_stands():
    here = timezone(timedelta(hours=2))
    wanted = asked("today", datetime(2026, 11, 24, 1, 0, tzinfo=here))
    assert wanted.since == "2026-11-23T22:00:00.000000Z"
    assert wanted.until == "2026-11-24T22:00:00.000000Z"


def test_it_says_how_words_were_taken():
    words = dict(understand("yesterday cat bel", FLAGS, NOW).words)
    assert words == {"yesterday": "23 Nov 2026", "cat": "species cat"}


@given(st.text())
def test_anything_can_be_typed(text):
    understand(text, FLAGS, NOW)
