"""A proposal for a delimited table of events: separator, decimal mark and header are tried out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from edge_daemon.decode.codecs.table_codec import MAX_TEXT, TableCodec
from edge_daemon.decode.codecs.table_layout import LENIENCIES
from edge_daemon.decode.draft.channels import suggest, unambiguous
from edge_daemon.decode.draft.render import CELL_QUESTIONS, Proposal, ProposedChannel, quote
from edge_daemon.decode.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_daemon.decode.table import RawTable

_LOOKED_AT: Final = 1 << 18
_LONGEST_HEADER: Final = 60
_ROWS: Final = 20
_NUMBER: Final = {
    ".": re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*"),
    ",": re.compile(r"\s*[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?\s*"),
}
_FORMS: Final = (
    (";", ","), (";", "."), ("\t", ","), ("\t", "."), ("|", "."), (",", "."),
    ("whitespace", "."),
)  # fmt: skip


def propose_table(data: bytes, name: str) -> Proposal | None:
    """Propose a profile for a table; None where no form of one fits.

    Of the forms that fit, the one with the most columns of numbers is proposed; decimal commas
    before points, since a semicolon beside commas means them.

    Raises
    ------
    Quarantine
        The first rows are a table, and a later one does not fit.
    """
    encoding, text = _text(data)
    if text is None:
        return None
    lines = text.splitlines()[:-1] if len(data) > _LOOKED_AT else text.splitlines()
    found = max(_forms(lines), key=lambda form: form[0], default=None)
    if found is None:
        return None
    _, settings = found
    if encoding != "utf-8":
        settings["encoding"] = encoding
    table, needed = _read(data, settings)
    in_force = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    if needed:
        in_force.append(f"options = {{ {', '.join(f'{n} = true' for n in needed)} }}")
    suggested = unambiguous([suggest(c.name, c.label) for c in table.columns])
    return Proposal(
        codec="table",
        format=table.format,
        patterns=(f"*{PurePath(name).suffix or '.csv'}",),
        settings=tuple(in_force),
        identifying={k: v for k, v in table.keywords.items() if k != "COLUMNS" and len(v) < 80},
        channels=tuple(
            ProposedChannel(column.name, canonical)
            for column, canonical in zip(table.columns, suggested, strict=True)
        ),
        metadata={},
        questions=_questions(needed),
    )


def _text(data: bytes) -> tuple[str, str | None]:
    head = data[:_LOOKED_AT]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16", head[: len(head) // 2 * 2].decode("utf-16", "replace")
    if b"\0" in head:
        return "", None
    try:
        # The cut may have gone through a character.
        return "utf-8", head.decode("utf-8-sig", "strict" if len(data) <= _LOOKED_AT else "ignore")
    except UnicodeDecodeError:
        return "cp1252", head.decode("cp1252", "replace")


def _forms(lines: list[str]) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield each form that fits, with the number of its columns of numbers."""
    for delimiter, decimal in _FORMS:
        for row in range(min(len(lines) - 1, _LONGEST_HEADER)):
            names = _split(lines[row], delimiter)
            below = [_split(line, delimiter) for line in lines[row + 1 : row + 1 + _ROWS] if line]
            if len(names) < 2 or not below or any(len(r) != len(names) for r in below):
                continue
            number = _NUMBER[decimal].fullmatch
            if len(set(names)) < len(names) or any(map(number, names)):
                continue
            text = [
                name
                for j, name in enumerate(names)
                if not all(number(value) for value in {r[j] for r in below} - {""} or {"?"})
            ]
            nameable = all(0 < len(name) <= MAX_TEXT for name in text)
            if len(text) < len(names) and nameable:
                yield len(names) - len(text), _settings(delimiter, decimal, row, text)
            break


def _settings(delimiter: str, decimal: str, row: int, text: list[str]) -> dict[str, object]:
    settings: dict[str, object] = {"delimiter": delimiter}
    if decimal != ".":
        settings["decimal"] = decimal
    if row:
        settings["names_row"] = row + 1
    if text:
        settings["skip_columns"] = text
    return settings


def _split(line: str, delimiter: str) -> list[str]:
    fields = line.split() if delimiter == "whitespace" else line.split(delimiter)
    return [field.strip().strip('"') for field in fields]


def _read(data: bytes, settings: dict[str, object]) -> tuple[RawTable, list[str]]:
    """Read the whole table; what it needed of the leniencies is proposed."""
    wanted = {"name": "table", "options": dict.fromkeys(LENIENCIES, True), **settings}
    codec = TableCodec.model_validate_json(json.dumps(wanted))
    limits = replace(Limits(max_bytes=max(len(data), 1)), max_channels=256)
    table = codec.read(data, dataset=1, limits=limits)
    return table, sorted({n.split(":")[0] for n in table.notes} & set(LENIENCIES))


def _questions(needed: list[str]) -> tuple[str, ...]:
    asked = [
        (
            "What tells this analyzer's tables from any other's? Name its columns under [codec] "
            "columns, or take keywords from the file name with [file_name]."
        ),
        *CELL_QUESTIONS,
        "Are values whole numbers of a converter? Then integer_bits says which of them saturated.",
    ]
    if needed:
        asked.append(
            f"Reading needed {', '.join(map(quote, needed))}: is that how every export of this "
            "analyzer is written?"
        )
    return tuple(asked)
