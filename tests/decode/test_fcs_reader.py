"""Legal variants are read, each illegal one is refused with its code and the place."""

from __future__ import annotations

import numpy as np
import pytest

from edge_daemon.decode.codecs.fcs import STRICT, FcsOptions, read_fcs, read_header
from edge_daemon.decode.codecs.fcs_text import parse_text
from edge_daemon.decode.limits import Limits
from edge_daemon.errors import Quarantine

ROWS = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [65535, 0, 1]]


def refused(data, *, code, match, **kwargs):
    with pytest.raises(Quarantine, match=match) as caught:
        read_fcs(data, **kwargs)
    assert caught.value.code == code
    return caught.value


def options(*names):
    return FcsOptions(**dict.fromkeys(names, True))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("version", ["FCS2.0", "FCS3.0", "FCS3.1", "FCS3.2"])
def test_integers_of_two_bytes(fcs, version, big_endian):
    table = read_fcs(fcs(ROWS, version=version, big_endian=big_endian).build())
    assert table.values.tolist() == ROWS
    assert table.values.dtype == np.uint16
    assert not table.values.flags.writeable
    assert table.format == version
    assert [c.name for c in table.columns] == ["C1", "C2", "C3"]
    assert table.columns[0].maximum == 65535.0
    assert table.notes == ()
    assert table.datasets == 1


def test_two_digit_byte_order(fcs):
    data = fcs(ROWS, big_endian=True, keywords={"$BYTEORD": "2,1"}).build()
    assert read_fcs(data).values.tolist() == ROWS


@pytest.mark.parametrize(
    ("bits", "dtype"),
    [
        ([8, 16, 32], np.uint32),
        ([24, 24, 24], np.uint32),
        ([10, 12, 14], np.uint16),
        ([8, 8, 8], np.uint8),
        ([40, 16, 8], np.uint64),
        ([64, 64, 64], np.uint64),
    ],
)
@pytest.mark.parametrize("big_endian", [False, True])
def test_widths_on_whole_bytes(fcs, bits, dtype, big_endian):
    rows = [[(1 << b) - 1 for b in bits], [0, 1, 2], [3, 200, 77]]
    table = read_fcs(fcs(rows, bits=bits, big_endian=big_endian).build())
    assert table.values.tolist() == rows
    assert table.values.dtype == dtype
    assert [c.bits for c in table.columns] == bits


@pytest.mark.parametrize("big_endian", [False, True])
def test_widths_packed_bit_by_bit(fcs, big_endian):
    bits = [10, 12, 3]
    rows = [[1023, 4095, 7], [512, 1, 0], [3, 2049, 5], [7, 8, 1], [0, 0, 0], [1, 2, 3]]
    data = fcs(rows, bits=bits, big_endian=big_endian, packed=True).build()
    assert read_fcs(data).values.tolist() == rows


def test_packed_bits_across_blocks(fcs):
    rows = [[(7 * i) % 1024, i % 8, i % 2] for i in range(30_000)]
    table = read_fcs(fcs(rows, bits=[10, 3, 1], packed=True).build())
    assert np.array_equal(table.values, rows)


@pytest.mark.parametrize(("datatype", "dtype"), [("F", np.float32), ("D", np.float64)])
@pytest.mark.parametrize("big_endian", [False, True])
def test_floating_point(fcs, datatype, dtype, big_endian):
    rows = [[1.5, -2.25, 1e6], [0.0, 0.5, 3.0]]
    data = fcs(rows, datatype=datatype, big_endian=big_endian, scales=["4,1"] * 3).build()
    table = read_fcs(data)
    assert table.values.tolist() == rows
    assert table.values.dtype == dtype
    assert [(c.maximum, c.log_decades) for c in table.columns] == [(None, 0.0)] * 3


def test_data_type_of_one_column(fcs):
    # FCS 3.2: an integer time beside single-precision signals.
    rows = [[int.from_bytes(np.float32(1.5).tobytes(), "little"), 70_000]]
    data = fcs(
        rows, bits=[32, 32], version="FCS3.2", keywords={"$P1DATATYPE": "F"}, ranges=[9, 1 << 20]
    ).build()
    table = read_fcs(data)
    assert table.values.tolist() == [[1.5, 70_000.0]]
    assert [c.maximum for c in table.columns] == [None, float((1 << 20) - 1)]


def test_wide_integers_beside_floating_point_would_lose_bits(fcs):
    data = fcs([[1, 2]], bits=[32, 64], version="FCS3.2", keywords={"$P1DATATYPE": "F"}).build()
    refused(data, code="unsupported", match="53 bits")


def test_values_are_masked_to_the_range(fcs):
    rows = [[0xFC00 | 5, 0xFFFF, 0xF3E8]]
    table = read_fcs(fcs(rows, ranges=[1024, 65536, 1000]).build())
    assert table.values.tolist() == [[5, 0xFFFF, 0x3E8]]
    assert [c.maximum for c in table.columns] == [1023.0, 65535.0, 999.0]


def test_masks_of_mixed_widths(fcs):
    table = read_fcs(fcs([[0xFF, 0xFFFFFF]], bits=[8, 24], ranges=[16, 1024]).build())
    assert table.values.tolist() == [[15, 1023]]


def test_columns_report_scale_gain_and_label(fcs):
    keywords = {"$P1S": "Forward", "$P2G": "2.5", "$P1N": "FSC/H"}
    table = read_fcs(fcs(ROWS, scales=["0,0", "4.0, 0", "3,0.1"], keywords=keywords).build())
    assert [(c.log_decades, c.log_offset) for c in table.columns] == [
        (0.0, 0.0),
        (4.0, 1.0),
        (3.0, 0.1),
    ]
    assert (table.columns[0].name, table.columns[0].label) == ("FSC/H", "Forward")
    assert (table.columns[1].label, table.columns[1].gain) == (None, 2.5)


def test_keywords_are_upper_case_without_blanks(fcs):
    table = read_fcs(fcs(ROWS, keywords={"Species": " dog  ", "$tot": "4"}, drop=("$TOT",)).build())
    assert table.keywords["SPECIES"] == "dog"
    assert table.values.shape == (4, 3)


@pytest.mark.parametrize("delimiter", ["/", "|", "\x0c", "\\", "\t", "\x01", "A", "é"])
def test_any_delimiter_and_its_escape(fcs, delimiter):
    keywords = {"NOTE": f"a{delimiter}b{delimiter}"}
    data = fcs(
        ROWS, delimiter=delimiter, keywords=keywords, encoding="latin-1", names=["X", "Y", "Z"]
    ).build()
    if delimiter == "A":  # $PAR then holds the delimiter, escaped in the keyword
        assert read_header(data).keywords["$PAR"] == "3"
    assert read_fcs(data).keywords["NOTE"] == keywords["NOTE"].rstrip("\t")


def test_text_that_is_not_utf8_is_latin1(fcs):
    data = fcs(ROWS, keywords={"NOTE": "µL"}, encoding="latin-1").build()
    assert read_fcs(data).keywords["NOTE"] == "µL"
    assert read_fcs(fcs(ROWS, keywords={"NOTE": "µL"}).build()).keywords["NOTE"] == "µL"


def test_a_delimiter_that_completes_a_character():
    # A\xc2 and the delimiter \xb5 together are UTF-8 for µ; the keyword alone is not.
    keywords, _ = parse_text(b"\xb5A\xc2\xb51\xb5", STRICT, where="TEXT")
    assert keywords == {"AÂ": "1"}


def test_padding_after_the_last_delimiter(fcs):
    assert read_fcs(fcs(ROWS, text_padding=b"  \0\r\n").build()).notes == ()


@pytest.mark.parametrize("header", [(0, 0)])
def test_offsets_only_in_text(fcs, header):
    data = fcs(ROWS, header_data=header).build()
    assert read_fcs(data).values.tolist() == ROWS
    blank = data[:26] + b" " * 16 + data[42:]
    assert read_fcs(blank).values.tolist() == ROWS


def test_supplemental_text(fcs):
    extra = b"/EXTRA/yes/$TOT/999/"
    plain = fcs(ROWS, keywords={"$BEGINSTEXT": "00000000", "$ENDSTEXT": "00000000"}).build()
    begin = len(plain)
    keywords = {"$BEGINSTEXT": f"{begin:08d}", "$ENDSTEXT": f"{begin + len(extra) - 1:08d}"}
    data = fcs(ROWS, keywords=keywords).build() + extra
    table = read_fcs(data)
    assert table.keywords["EXTRA"] == "yes"
    assert read_header(data).keywords == table.keywords
    assert table.values.shape == (4, 3)  # primary TEXT wins
    broken = data.replace(extra, b"PK\x03\x04" + extra[4:])
    refused(broken, code="malformed", match="supplemental TEXT")
    table = read_fcs(broken, options=options("unreadable_supplemental_text"))
    assert table.notes[0].startswith("unreadable_supplemental_text: ")


def test_supplemental_text_that_overlaps_the_primary(fcs):
    data = fcs(ROWS, keywords={"$BEGINSTEXT": "00000100", "$ENDSTEXT": "00000200"}).build()
    refused(data, code="malformed", match="overlaps the primary TEXT")


def chain(fcs, *sets):
    blocks = []
    for number, data in enumerate(sets, start=1):
        size = len(data.build())
        data.keywords["$NEXTDATA"] = f"{0:06d}"
        size = len(data.build())
        if number < len(sets):
            data.keywords["$NEXTDATA"] = f"{size:06d}"
        blocks.append(data.build())
    return b"".join(blocks)


def test_several_data_sets(fcs):
    data = chain(fcs, fcs(ROWS, version="FCS2.0"), fcs([[1]], bits=[32]), fcs([[9, 8]]))
    assert read_fcs(data).values.tolist() == ROWS
    assert read_fcs(data, dataset=2).values.tolist() == [[1]]
    third = read_fcs(data, dataset=3)
    assert third.values.tolist() == [[9, 8]]
    assert third.datasets == 3
    error = refused(data, dataset=4, code="malformed", match="the file has 3")
    assert error.action == "Choose a data set from 1 to 3."
    refused(data, dataset=0, code="malformed", match="data set 0")


def test_data_sets_that_never_end(fcs):
    one = fcs(ROWS, keywords={"$NEXTDATA": "1"}).build()
    refused(one, code="malformed", match=r"\$NEXTDATA")
    refused(chain(fcs, *(fcs([[1]]) for _ in range(65))), code="too_large", match="64 data sets")
    far = fcs(ROWS, keywords={"$NEXTDATA": "99999"}).build()
    refused(far, code="truncated", match=r"\$NEXTDATA")
    text = fcs(ROWS, keywords={"$NEXTDATA": "00500"}).build() + b"x" * 1000
    refused(text, code="malformed", match="next data set")


def test_no_events(fcs):
    data = fcs([], bits=[16, 16], header_data=(0, 0), begin_data=0, end_data=0).build()
    assert read_fcs(data).values.shape == (0, 2)
    # DATA of no bytes: its last byte stands before its first.
    assert read_fcs(fcs([], bits=[16, 16]).build()).values.shape == (0, 2)


def test_fcs20_without_total(fcs):
    data = fcs(ROWS, version="FCS2.0", drop=("$TOT",)).build()
    assert read_fcs(data).values.tolist() == ROWS
    refused(fcs(ROWS, drop=("$TOT",)).build(), code="malformed", match=r"\$TOT")
    torn = fcs(ROWS, version="FCS2.0", drop=("$TOT",))
    first, last = read_header(torn.build()).data
    torn.header_data = (first, last - 1)
    refused(torn.build(), code="malformed", match=r"\$TOT")


def test_fcs20_without_names(fcs):
    data = fcs([[1]], version="FCS2.0", drop=("$P1N", "$P1E")).build()
    assert read_fcs(data).columns[0].name == "P1"
    refused(fcs([[1]], drop=("$P1N",)).build(), code="malformed", match=r"\$P1N")
    refused(fcs([[1]], drop=("$P1E",)).build(), code="malformed", match=r"\$P1E")


def test_header_only(fcs):
    data = fcs(ROWS, keywords={"$CYT": "Cell9"}).build()
    header = read_header(data)
    assert header.version == "FCS3.0"
    assert header.keywords["$CYT"] == "Cell9"
    assert read_header(data[: header.text[1] + 1]) == header


# Refused whatever is allowed.


@pytest.mark.parametrize(
    ("changes", "code", "match"),
    [
        ({"version": "FCS1.0"}, "unsupported", "FCS1.0"),
        ({"version": "FCSx.0"}, "malformed", "byte 0"),
        ({"keywords": {"$MODE": "C"}}, "unsupported", "histograms"),
        ({"keywords": {"$MODE": "Q"}}, "malformed", r"\$MODE"),
        ({"drop": ("$MODE",)}, "malformed", r"\$MODE: expected L, found nothing"),
        ({"keywords": {"$DATATYPE": "A"}}, "unsupported", "ASCII"),
        ({"keywords": {"$DATATYPE": "X"}}, "malformed", r"\$DATATYPE"),
        ({"keywords": {"$BYTEORD": "3,4,1,2"}}, "unsupported", r"\$BYTEORD"),
        ({"keywords": {"$BYTEORD": "1"}}, "unsupported", r"\$BYTEORD"),
        ({"drop": ("$BYTEORD",)}, "malformed", r"\$BYTEORD"),
        ({"drop": ("$PAR",)}, "malformed", r"\$PAR"),
        ({"keywords": {"$PAR": "-3"}}, "malformed", r"\$PAR"),
        ({"keywords": {"$PAR": "four"}}, "malformed", r"\$PAR"),
        ({"keywords": {"$PAR": "٣"}}, "malformed", r"\$PAR"),
        ({"keywords": {"$PAR": "9" * 30}}, "malformed", r"\$PAR"),
        ({"keywords": {"$PAR": "65"}}, "too_large", "65 columns"),
        ({"keywords": {"$PAR": "4"}}, "malformed", r"\$P4B"),
        ({"keywords": {"$TOT": "5"}}, "truncated", r"\$TOT = 5"),
        ({"keywords": {"$TOT": "3"}}, "malformed", r"\$TOT = 3"),
        ({"keywords": {"$TOT": "1000000000"}}, "too_large", "1000000000 events"),
        ({"keywords": {"$TOT": "1e3"}}, "malformed", r"\$TOT"),
        ({"keywords": {"$P1B": "0"}}, "malformed", r"\$P1B"),
        ({"keywords": {"$P1B": "65"}}, "unsupported", "65 bits"),
        ({"keywords": {"$P1B": "25"}}, "truncated", r"\$TOT = 4"),
        ({"keywords": {"$P1R": "0"}}, "malformed", r"\$P1R"),
        ({"drop": ("$P2R",)}, "malformed", r"\$P2R"),
        ({"keywords": {"$P1E": "4"}}, "malformed", r"\$P1E"),
        ({"keywords": {"$P1E": "-1,1"}}, "malformed", r"\$P1E"),
        ({"keywords": {"$P1E": "nan,1"}}, "malformed", r"\$P1E"),
        ({"keywords": {"$P1G": "x"}}, "malformed", r"\$P1G"),
        ({"keywords": {"$tot": "7"}}, "malformed", "given twice"),
        ({"header_data": (5, 28)}, "malformed", "58 or more"),
        ({"header_data": (60, 83), "begin_data": 60, "end_data": 83}, "malformed", "overlaps"),
    ],
)
def test_refused(fcs, changes, code, match):
    refused(fcs(ROWS, **changes).build(), code=code, match=match, options=FcsOptions.lenient())


@pytest.mark.parametrize("bits", [16, 64])
def test_float_width_must_fit(fcs, bits):
    data = fcs([[1.0]], datatype="F", bits=[bits]).build()
    refused(data, code="malformed", match=r"\$P1B: expected 32")


def test_header_field_that_is_no_number(fcs):
    data = fcs(ROWS).build()
    for at in (10, 18, 26, 34):
        broken = data[:at] + b"    -1x " + data[at + 8 :]
        refused(broken, code="malformed", match=f"byte {at}", options=FcsOptions.lenient())


def test_text_outside_the_file(fcs):
    data = fcs(ROWS).build()
    refused(data[:18] + b"99999999" + data[26:], code="too_large", match="TEXT")
    refused(data[:18] + b"  999999" + data[26:], code="truncated", match="TEXT")
    refused(data[:10] + b"      10" + data[18:], code="malformed", match="TEXT")
    refused(data[:40], code="truncated", match="HEADER")
    refused(data[: read_header(data).text[1]], code="truncated", match="TEXT ends at byte")
    refused(b"", code="not_recognised", match="byte 0")


def test_a_file_cut_short_is_truncated(fcs):
    data = fcs(ROWS).build()
    error = refused(data[:-1], code="truncated", match="the file ends after 23")
    assert "Export the file again" in error.action


def test_caps(fcs):
    data = fcs(ROWS).build()
    for limits, match in (
        (Limits(max_bytes=len(data) - 1), "bytes, the limit"),
        (Limits(max_events=3), "4 events"),
        (Limits(max_channels=2), "3 columns"),
        (Limits(max_expansion=23), "decode to 24 bytes"),
        (Limits(max_text=100), "TEXT"),
    ):
        refused(data, code="too_large", match=match, limits=limits)
    exact = Limits(len(data), max_events=4, max_channels=3, max_expansion=24)
    assert read_fcs(data, limits=exact).values.shape == (4, 3)
