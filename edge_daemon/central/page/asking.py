"""What somebody asks for in an address, checked word by word: pure.

The API and the page ask for the same; a word that is unknown or out of its range is an error that
names it, so that a misspelt one does not quietly ask for everything.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.central.audit import ACTIONS
from edge_daemon.central.fleet.results import LARGEST_PAGE, PLACE, Place, Wanted
from edge_daemon.central.fleet.words import KINDS
from edge_daemon.errors import EdgeError
from edge_daemon.records import SPECIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PRINTABLE: Final = r"^[^\x00-\x1f\x7f]{1,100}$"
DATE: Final = r"^\d{4}-\d{2}-\d{2}$"
STATUS: Final = ("ok", "review", "invalid")
_LARGEST: Final = 2**31 - 1


class AskingError(EdgeError):
    """A parameter that is unknown, or cannot be what it is; `name` says which."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class Parameter:
    """One word that can be asked with.

    Attributes
    ----------
    read
        Text → value; raises ValueError.
    schema
        JSON schema of the text, or of the value that it is written for.
    meaning
        One line.
    """

    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    meaning: str


def _matching(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if not compiled.search(text):
            raise ValueError(text)
        return text

    return read


def _one_of(words: Iterable[str]) -> Parameter:
    known = tuple(words)

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    return Parameter(read, {"type": "string", "enum": list(known)}, "")


def _whole(low: int, high: int) -> Parameter:
    def read(text: str) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Parameter(read, {"type": "integer", "minimum": low, "maximum": high}, "")


def _day(text: str) -> dt.datetime:
    if not re.match(DATE, text):
        raise ValueError(text)
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def _after(text: str) -> dt.datetime:
    day = _day(text)
    return day + dt.timedelta(days=1) if day.year < 9999 else day


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _say(one: Parameter, meaning: str) -> Parameter:
    return Parameter(one.read, one.schema, meaning)


_TEXT: Final = {"type": "string", "pattern": PRINTABLE}
_DATE: Final = {"type": "string", "format": "date", "pattern": DATE}

PARAMETERS: Final[Mapping[str, Parameter]] = {
    "text": Parameter(
        _matching(PRINTABLE), _TEXT, "Beginning of a sample id or patient id, in any case."
    ),
    "species": _say(_one_of(SPECIES), "Only this species."),
    "status": _say(_one_of(STATUS), "Only this status; `invalid` is shown as Failed."),
    "flag": Parameter(_matching(PRINTABLE), _TEXT, "Only results with this flag."),
    "instrument": Parameter(_matching(PRINTABLE), _TEXT, "Only this kind of instrument."),
    "clinic": _say(_whole(1, _LARGEST), "Only the clinic of this number."),
    "box": Parameter(_matching(PRINTABLE), _TEXT, "Only the box of this id."),
    "since": Parameter(_day, _DATE, "Only from this day on, UTC."),
    "until": Parameter(_after, _DATE, "Only up to this day, UTC, and it too."),
    "simulated": Parameter(_truth, {"type": "boolean"}, "Only simulated results, or none of them."),
    "kind": _say(_one_of(KINDS), "Only boxes that are this."),
    "action": _say(_one_of(ACTIONS), "Only this deed."),
    "days": _say(_whole(1, 730), "How many days to look back; 90 unless given."),
    "limit": _say(_whole(1, LARGEST_PAGE), "Most rows; 50 unless given."),
    "before": Parameter(
        Place.read,
        {"type": "string", "pattern": PLACE},
        "Where the page before ended: its `next`.",
    ),
    "after_id": _say(_whole(0, 2**62), "Where the page before ended: `next`; 0 for the first."),
    "before_id": _say(_whole(1, 2**62), "Where the page before ended: its `next`."),
    "after": Parameter(_matching(PRINTABLE), _TEXT, "Where the page before ended: its `next`."),
}
"""Every word that can be asked with, by name."""

SEARCH: Final = (
    "text", "species", "status", "flag", "instrument", "clinic", "box", "since", "until",
    "simulated",
)  # fmt: skip
"""Words that narrow a list of results."""


def ask(given: Iterable[tuple[str, str]], known: Iterable[str]) -> dict[str, Any]:
    """Read the words of an address.

    Parameters
    ----------
    given
        Names and texts.
    known
        Names that this question takes.

    Raises
    ------
    AskingError
        One is unknown, given twice, or out of its range.
    """
    names = tuple(known)
    found: dict[str, Any] = {}
    for name, text in given:
        if name not in names:
            raise AskingError(
                name[:60], f"unknown parameter; known are {', '.join(names) or 'none'}"
            )
        if name in found:
            raise AskingError(name, "given twice")
        try:
            found[name] = PARAMETERS[name].read(text)
        except (ValueError, OverflowError) as error:
            schema = PARAMETERS[name].schema
            expected = ", ".join(f"{key} {value}" for key, value in schema.items())
            raise AskingError(name, f"{text[:60]!r} is not what is expected: {expected}") from error
    return found


def wanted(asked: Mapping[str, Any]) -> Wanted:
    """Say what results are asked for."""
    search = {name: asked[name] for name in SEARCH if name in asked}
    if "box" in search:
        search["device"] = search.pop("box")
    return Wanted(**search)
