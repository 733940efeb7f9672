"""Check values of the published catalogue, and a bit by bit reference."""

from __future__ import annotations

import binascii

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.crc import CrcModel, crc

# name, width, poly, init, refin, refout, xorout, value of b"123456789"
CATALOGUE = [
    ("8/smbus", 8, 0x07, 0, False, False, 0, 0xF4),
    ("8/maxim-dow", 8, 0x31, 0, True, True, 0, 0xA1),
    ("8/rohc", 8, 0x07, 0xFF, True, True, 0, 0xD0),
    ("8/cdma2000", 8, 0x9B, 0xFF, False, False, 0, 0xDA),
    ("12/umts", 12, 0x80F, 0, False, True, 0, 0xDAF),
    ("16/arc", 16, 0x8005, 0, True, True, 0, 0xBB3D),
    ("16/modbus", 16, 0x8005, 0xFFFF, True, True, 0, 0x4B37),
    ("16/usb", 16, 0x8005, 0xFFFF, True, True, 0xFFFF, 0xB4C8),
    ("16/xmodem", 16, 0x1021, 0, False, False, 0, 0x31C3),
    ("16/ibm-3740", 16, 0x1021, 0xFFFF, False, False, 0, 0x29B1),
    ("16/kermit", 16, 0x1021, 0, True, True, 0, 0x2189),
    ("16/ibm-sdlc", 16, 0x1021, 0xFFFF, True, True, 0xFFFF, 0x906E),
    ("16/genibus", 16, 0x1021, 0xFFFF, False, False, 0xFFFF, 0xD64E),
    ("16/dnp", 16, 0x3D65, 0, True, True, 0xFFFF, 0xEA82),
    ("24/openpgp", 24, 0x864CFB, 0xB704CE, False, False, 0, 0x21CF02),
    ("32/iso-hdlc", 32, 0x04C11DB7, 0xFFFFFFFF, True, True, 0xFFFFFFFF, 0xCBF43926),
    ("32/bzip2", 32, 0x04C11DB7, 0xFFFFFFFF, False, False, 0xFFFFFFFF, 0xFC891918),
    ("32/mpeg-2", 32, 0x04C11DB7, 0xFFFFFFFF, False, False, 0, 0x0376E6E7),
    ("32/jamcrc", 32, 0x04C11DB7, 0xFFFFFFFF, True, True, 0, 0x340BC6D9),
    ("32/iscsi", 32, 0x1EDC6F41, 0xFFFFFFFF, True, True, 0xFFFFFFFF, 0xE3069283),
]


def bit_by_bit(model: CrcModel, data: bytes) -> int:
    """The definition, most significant bit first."""
    register = model.init
    for byte in data:
        for index in range(8):
            bit = byte >> (index if model.refin else 7 - index) & 1
            high = register >> (model.width - 1) & 1
            register = (register << 1) & ((1 << model.width) - 1)
            if bit ^ high:
                register ^= model.poly
    if model.refout:
        register = int(f"{register:0{model.width}b}"[::-1], 2)
    return register ^ model.xorout


@pytest.mark.parametrize("entry", CATALOGUE, ids=[entry[0] for entry in CATALOGUE])
def test_the_check_value_of_the_catalogue(entry):
    assert crc(CrcModel(*entry[1:-1]), b"123456789") == entry[-1]


@settings(deadline=None, max_examples=60)
@given(entry=st.sampled_from(CATALOGUE), data=st.binary(max_size=70))
def test_every_length_agrees_with_the_definition(entry, data):
    model = CrcModel(*entry[1:-1])
    assert crc(model, data) == bit_by_bit(model, data)


@settings(deadline=None, max_examples=40)
@given(data=st.binary(max_size=300))
def test_the_standard_library_agrees(data):
    zip_model = CrcModel(32, 0x04C11DB7, 0xFFFFFFFF, True, True, 0xFFFFFFFF)
    assert crc(zip_model, data) == binascii.crc32(data)
    assert crc(CrcModel(16, 0x1021), data) == binascii.crc_hqx(data, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 7, "poly": 1}, "width is 7; expected 8 to 32"),
        ({"width": 64, "poly": 1}, "width is 64; expected 8 to 32"),
        ({"width": 16, "poly": 0x18005}, "poly is 98309; expected 0 to 65535"),
        ({"width": 16, "poly": 0x8004}, "poly is 0x8004; expected an odd number"),
        ({"width": 8, "poly": 7, "init": 256}, "init is 256"),
        ({"width": 8, "poly": 7, "xorout": -1}, "xorout is -1"),
    ],
)
def test_wrong_parameters_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        CrcModel(**wrong)
