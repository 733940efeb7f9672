"""``[codec] name = "table"``: delimited tables, CSV and its relatives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from edge_daemon.decode.codec import Codec, Identified
from edge_daemon.decode.codecs.table import FORMAT, ends_whole, peek, read_table
from edge_daemon.decode.codecs.table_layout import LENIENCIES, Layout, malformed
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.numbers import parse_number
from edge_daemon.errors import Quarantine
from edge_daemon.parts import split

if TYPE_CHECKING:
    from edge_daemon.decode.codecs.table_header import Header
    from edge_daemon.decode.table import RawTable

_MAX_HEADER_ROWS: Final = 1000


def _known_options(options: dict[str, bool]) -> dict[str, bool]:
    unknown = [name for name in options if name not in LENIENCIES]
    if unknown:
        raise ValueError(
            f"unknown leniency {', '.join(unknown)}; expected any of {', '.join(LENIENCIES)}"
        )
    return options


MAX_TEXT: Final = 200
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class TableCodec(Codec):
    """A table with one row for each event; docs/codecs.md describes every key."""

    name: Literal["table"]
    encoding: Literal["utf-8", "utf-16", "cp1252", "latin-1"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|", "whitespace"] = ","
    decimal: Literal[".", ","] = "."
    quote: Literal['"', "'"] = '"'
    comment: Annotated[str, Field(max_length=8, pattern=r"^[!-~]*$")] = ""
    names_row: int = Field(default=1, ge=1, le=_MAX_HEADER_ROWS)
    data_row: int | None = Field(default=None, ge=2, le=_MAX_HEADER_ROWS + 1)
    columns: tuple[Text, ...] = ()
    skip_columns: tuple[Text, ...] = ()
    keep: dict[Text, str] = Field(default_factory=dict)
    integer_bits: int | None = Field(default=None, ge=1, le=32)
    count_keyword: Text | None = None
    trailer: Text | None = None
    rows_per_part: int | None = Field(default=None, ge=1)
    options: Annotated[dict[str, bool], AfterValidator(_known_options)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _consistent(self) -> TableCodec:
        if self.decimal == self.delimiter:
            raise ValueError("decimal and delimiter must differ")
        if self.decimal == "," and self.integer_bits is not None:
            raise ValueError("whole numbers (integer_bits) have no decimal comma")
        if self.data_row is not None and self.data_row <= self.names_row:
            raise ValueError("expected data_row below names_row")
        return self

    @property
    def leniencies(self) -> tuple[str, ...]:
        """Names of the leniencies that the section allows."""
        return tuple(name for name, allowed in self.options.items() if allowed)

    @property
    def layout(self) -> Layout:
        """The section as the reader takes it."""
        return Layout(
            encoding=self.encoding,
            delimiter=self.delimiter,
            decimal=self.decimal,
            quote=self.quote,
            comment=self.comment,
            names_row=self.names_row,
            data_row=self.names_row + 1 if self.data_row is None else self.data_row,
            skip_columns=self.skip_columns,
            keep=self.keep,
            integer_bits=self.integer_bits,
            count_keyword=self.count_keyword,
            trailer=self.trailer,
            rows_per_part=self.rows_per_part,
            leniencies=frozenset(self.leniencies),
        )

    def identify(self, data: bytes) -> Identified | None:
        """Read the header; None unless it, or the row below, looks like such a table.

        Raises
        ------
        Quarantine
            A ZIP file that is not the parts of one run.
        """
        split(data)
        found = self._peek(data)
        if found is None:
            return None
        header, row = found
        if not self._names_columns(header) and not self._looks_like_events(header, row):
            return None
        names = ", ".join(name[:30] for name in header.names[:12])
        described = f"a table of {len(header.names)} columns ({names})"
        return Identified(FORMAT, header.keywords, described)

    def read(self, data: bytes, *, dataset: int, limits: Limits) -> RawTable:
        """Read all rows; a table is one data set."""
        if dataset != 1:
            raise malformed(f"data set {dataset} was asked for, a table is one")
        return read_table(data, self.layout, self._raised(limits))

    def is_whole(self, data: bytes) -> bool:
        """Tell whether a table with the columns of this profile reaches its end.

        A profile that does not name its `columns` waits for no file.
        """
        try:
            split(data)
            found = self._peek(data)
            return (
                found is None
                or not self._names_columns(found[0])
                or ends_whole(data, self.layout, self._unbounded(data))
            )
        except Quarantine:
            return True

    def _peek(self, data: bytes) -> tuple[Header, list[str]] | None:
        try:
            return peek(data, self.layout, self._unbounded(data))
        except Quarantine:
            return None

    def _names_columns(self, header: Header) -> bool:
        return bool(self.columns) and set(self.columns) <= set(header.names)

    def _looks_like_events(self, header: Header, row: list[str]) -> bool:
        """Names above, and below them as many fields with a number among them."""
        if len(header.names) < 2 or len(row) - len(header.names) not in {0, 1}:
            return False
        if any(self._is_number(name) for name in header.names):
            return False
        return any(self._is_number(field) for field in row)

    def _is_number(self, field: str) -> bool:
        return parse_number(field.replace(self.decimal, ".")) is not None

    def _unbounded(self, data: bytes) -> Limits:
        """Limits for looking at a capture whose size was checked when it was taken in."""
        return self._raised(Limits(max_bytes=len(data)))

    def _raised(self, limits: Limits) -> Limits:
        if self.max_channels is None:
            return limits
        return replace(limits, max_channels=max(limits.max_channels, self.max_channels))
