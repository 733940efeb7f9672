"""Each leniency: refused by name without it, read and noted with it."""

from __future__ import annotations

import pytest

from edge_daemon.decode.codecs.fcs import FcsOptions, read_fcs, read_header
from edge_daemon.errors import Quarantine

ROWS = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [65535, 0, 1]]


def lenient_only(data, name, rows=ROWS):
    with pytest.raises(Quarantine, match=f"leniency {name}") as caught:
        read_fcs(data)
    assert caught.value.code == "malformed"
    everything_else = FcsOptions(**{key: key != name for key in FcsOptions.__dataclass_fields__})
    with pytest.raises(Quarantine):
        read_fcs(data, options=everything_else)
    table = read_fcs(data, options=FcsOptions(**{name: True}))
    assert table.values.tolist() == rows
    assert [note.split(":")[0] for note in table.notes] == [name]
    return table


def test_data_end_off_by_one(fcs):
    data = fcs(ROWS)
    first, last = read_header(data.build()).data
    lenient_only(
        fcs(ROWS, header_data=(first, last + 1), end_data=last + 1).build(), "data_end_off_by_one"
    )


def test_offsets_disagree_and_one_fits(fcs):
    first, last = read_header(fcs(ROWS).build()).data
    for data in (
        fcs(ROWS, header_data=(first - 30, last)),
        fcs(ROWS, begin_data=first + 2),
    ):
        lenient_only(data.build(), "offset_disagreement")


def test_offsets_disagree_and_both_fit(fcs):
    first, last = read_header(fcs(ROWS).build()).data
    data = fcs(ROWS, begin_data=first + 46, end_data=last + 46).build() + bytes(100)
    table = lenient_only(data, "offset_disagreement")
    assert table.notes[0].endswith("taken from HEADER")


def test_an_exact_fit_goes_before_one_that_is_off_by_one(fcs):
    first, last = read_header(fcs(ROWS).build()).data
    data = fcs(ROWS, header_data=(first, last + 1)).build()
    table = lenient_only(data, "offset_disagreement")
    assert table.notes[0].endswith("taken from TEXT")
    assert read_fcs(data, options=FcsOptions.lenient()).notes == table.notes


def test_offsets_disagree_and_none_fits(fcs):
    first, last = read_header(fcs(ROWS).build()).data
    data = fcs(ROWS, header_data=(first, last + 9), end_data=last + 7).build() + bytes(20)
    with pytest.raises(Quarantine, match=r"\$TOT = 4") as caught:
        read_fcs(data, options=FcsOptions.lenient())
    assert caught.value.code == "malformed"


def test_missing_final_delimiter(fcs):
    class Open(fcs):
        def text(self, begin, end):
            return super().text(begin, end)[:-1] + b"  "

    lenient_only(Open(ROWS).build(), "missing_final_delimiter")


def test_doubled_final_delimiter(fcs):
    # As an Accuri C6 writes it.
    lenient_only(fcs(ROWS, text_padding=b"/").build(), "doubled_final_delimiter")


def test_empty_values(fcs):
    for keywords in ({"NOTE": ""}, {"A": "", "B": "x", "C": ""}):
        table = lenient_only(fcs(ROWS, keywords=keywords).build(), "empty_values")
        assert {key: table.keywords[key] for key in keywords} == keywords


def test_spaced_keywords(fcs):
    data = fcs(ROWS, keywords={"  $TOT": "4"}, drop=("$TOT",)).build()
    lenient_only(data, "spaced_keywords")
