"""An FCS writer of our own, so that every legal and illegal layout can be made."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest

PROFILE = """
schema = 1
[profile]
title = "Test analyzer"
vendor = "acme"
model = "cell9"
firmware = "{firmware}"
revision = 1
provenance = "generated"
[source]
kind = "folder"
patterns = ["*.fcs"]
[match]
format = "fcs"
keywords = {{ "$CYT" = "Cell9", "FIRMWARE" = "{firmware}" }}
[codec]
name = "fcs"
[[channel]]
column = "FSC-H"
canonical = "LA.H"
gain = 0.5
offset = 1.0
unit = "um2"
[[channel]]
column = "FL-H"
canonical = "FL.H"
scale = "log"
unit = "1"
[time]
column = "TIME"
keyword = "$TIMESTEP"
[metadata]
sample_id = {{ keyword = "$SMNO" }}
species = {{ keyword = "SPECIES", map = {{ CANINE = "dog" }} }}
volume_ul = {{ keyword = "$VOL", scale = 1e-3 }}
"""


@dataclass
class Fcs:
    """One data set to write. Values are a list of events."""

    values: list
    bits: list = field(default_factory=list)
    ranges: list = field(default_factory=list)
    names: list = field(default_factory=list)
    scales: list = field(default_factory=list)
    datatype: str = "I"
    big_endian: bool = False
    packed: bool = False
    version: str = "FCS3.0"
    delimiter: str = "/"
    keywords: dict = field(default_factory=dict)
    drop: tuple = ()
    begin_data: int | None = None
    end_data: int | None = None
    header_data: tuple | None = None
    text_padding: bytes = b""
    encoding: str = "utf-8"

    def columns(self) -> int:
        return len(self.values[0]) if self.values else len(self.bits)

    def payload(self) -> bytes:
        if self.datatype in "FD":
            mark = (">" if self.big_endian else "<") + self.datatype.lower()
            return b"".join(struct.pack(mark, v) for event in self.values for v in event)
        widths = self.bits or [16] * self.columns()
        if not self.packed:
            order = "big" if self.big_endian else "little"
            return b"".join(
                v.to_bytes(-(-w // 8), order)
                for event in self.values
                for v, w in zip(event, widths, strict=True)
            )
        bits = ""
        for event in self.values:
            for v, w in zip(event, widths, strict=True):
                digits = f"{v:0{w}b}"
                bits += digits if self.big_endian else digits[::-1]
        bits += "0" * (-len(bits) % 8)
        chunks = [bits[i : i + 8] for i in range(0, len(bits), 8)]
        return bytes(int(c if self.big_endian else c[::-1], 2) for c in chunks)

    def stated(self, begin: int, end: int) -> dict:
        columns = self.columns()
        default = {"I": 16, "F": 32, "D": 64}.get(self.datatype, 16)
        keys = {
            "$BEGINDATA": str(begin).rjust(10, "0"),
            "$ENDDATA": str(end).rjust(10, "0"),
            "$BYTEORD": "4,3,2,1" if self.big_endian else "1,2,3,4",
            "$DATATYPE": self.datatype,
            "$MODE": "L",
            "$NEXTDATA": "0",
            "$PAR": str(columns),
            "$TOT": str(len(self.values)),
        }
        for i in range(columns):
            bits = self.bits[i] if self.bits else default
            keys[f"$P{i + 1}B"] = str(bits)
            keys[f"$P{i + 1}R"] = str(self.ranges[i] if self.ranges else 1 << bits)
            keys[f"$P{i + 1}E"] = self.scales[i] if self.scales else "0,0"
            keys[f"$P{i + 1}N"] = self.names[i] if self.names else f"C{i + 1}"
        keys.update(self.keywords)
        return {key: value for key, value in keys.items() if key not in self.drop}

    def text(self, begin: int, end: int) -> bytes:
        d = self.delimiter
        body = d + "".join(
            f"{key.replace(d, d + d)}{d}{value.replace(d, d + d)}{d}"
            for key, value in self.stated(begin, end).items()
        )
        return body.encode(self.encoding) + self.text_padding

    def build(self) -> bytes:
        payload = self.payload()
        size = len(self.text(0, 0))
        begin = 58 + size
        end = begin + len(payload) - 1
        text = self.text(
            begin if self.begin_data is None else self.begin_data,
            end if self.end_data is None else self.end_data,
        )
        assert len(text) == size
        first, last = self.header_data or (begin, end)
        offsets = (58, 57 + size, first, last, 0, 0)
        header = self.version.encode() + b"    " + b"".join(b"%8d" % n for n in offsets)
        return header + text + payload


@pytest.fixture(scope="session")
def fcs() -> type[Fcs]:
    return Fcs


@pytest.fixture
def write_profile(tmp_path):
    """Write the test profile under acme_cell9/, with replacements in its text."""

    def write(firmware="1.0", *, root=None, folder="acme_cell9", name=None, replace=()):
        text = PROFILE.format(firmware=firmware)
        for old, new in replace:
            assert old in text, old
            text = text.replace(old, new)
        path = (root or tmp_path) / folder / f"{name or firmware}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def capture(fcs):
    """Make a capture of the test analyzer."""

    def make(values=None, **changes):
        keywords = {
            "$CYT": "Cell9",
            "FIRMWARE": "1.0",
            "$SMNO": "S-1",
            "SPECIES": "CANINE",
            "$VOL": "12000",
            "$TIMESTEP": "0.25",
        } | changes.pop("keywords", {})
        settings = {
            "bits": [16, 16, 32],
            "ranges": [1024, 1024, 1 << 32],
            "names": ["FSC-H", "FL-H", "TIME"],
            "scales": ["0,0", "4,1", "0,0"],
        } | changes
        rows = [[100, 0, 4], [1023, 512, 8], [0, 1023, 12]] if values is None else values
        return fcs(rows, keywords=keywords, **settings).build()

    return make
