"""``[codec] name = "fcs"``: FCS list mode."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, Field

from edge_daemon.decode.codec import Codec, Identified
from edge_daemon.decode.codecs.fcs import FcsOptions, read_fcs, read_header
from edge_daemon.decode.codecs.fcs_text import HEADER_BYTES, headers, keyword_int
from edge_daemon.decode.limits import Limits
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.decode.table import RawTable

_MAGIC: Final = b"FCS"
_LENIENT: Final = FcsOptions.lenient()


def _known_options(options: dict[str, bool]) -> dict[str, bool]:
    allowed = [field.name for field in fields(FcsOptions)]
    unknown = [name for name in options if name not in allowed]
    if unknown:
        raise ValueError(
            f"unknown leniency {', '.join(unknown)}; expected any of {', '.join(allowed)}"
        )
    return options


class FcsCodec(Codec):
    """FCS 2.0 to 3.2; `options` are the leniencies that are allowed (`FcsOptions`)."""

    name: Literal["fcs"]
    options: Annotated[dict[str, bool], AfterValidator(_known_options)] = Field(
        default_factory=dict
    )

    @property
    def leniencies(self) -> tuple[str, ...]:
        """Names of the leniencies that the section allows."""
        return tuple(name for name, allowed in self.options.items() if allowed)

    @property
    def recognises_as(self) -> str:
        """One for all: leniencies are the profile's to refuse, once it is known which."""
        return self.name

    def identify(self, data: bytes) -> Identified | None:
        """Read HEADER and TEXT; None unless the capture begins with ``FCS``."""
        if not data.startswith(_MAGIC):
            return None
        header = read_header(data, limits=Limits(max_bytes=len(data)), options=_LENIENT)
        return Identified(
            header.version, header.keywords, _describe(header.version, header.keywords)
        )

    def read(self, data: bytes, *, dataset: int, limits: Limits) -> RawTable:
        """Read one list-mode data set."""
        if self.max_channels is not None:
            limits = replace(limits, max_channels=max(limits.max_channels, self.max_channels))
        return read_fcs(data, dataset=dataset, limits=limits, options=FcsOptions(**self.options))

    def is_whole(self, data: bytes) -> bool:
        """Tell whether every data set reaches the end that its header names."""
        if not data.startswith(_MAGIC):
            return not _MAGIC.startswith(data)
        if len(data) < HEADER_BYTES:
            return False
        try:
            for header in headers(data, Limits(max_bytes=len(data)), _LENIENT):
                end = header.data[1] or keyword_int(header.keywords, "$ENDDATA") or 0
                # Some writers name the byte after the last one; that file is whole all the same.
                if header.base + end > len(data):
                    return False
        except Quarantine as error:
            return error.code != "truncated"
        return True


def _describe(version: str, keywords: Mapping[str, str]) -> str:
    cytometer = keywords.get("$CYT", "")
    origin = f"from {cytometer[:60]!r}" if cytometer else "that names no instrument (no $CYT)"
    events, columns = _count(keywords, "$TOT"), _count(keywords, "$PAR")
    return f"{version} {origin}, {events} events × {columns} columns"


def _count(keywords: Mapping[str, str], key: str) -> str:
    """Show a count that has not been checked yet."""
    text = keywords.get(key, "?").strip()[:12]
    return f"{int(text):,}" if text.isascii() and text.isdigit() else text
