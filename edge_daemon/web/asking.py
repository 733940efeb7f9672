"""What a technician types into the search box, as what to find: pure.

``yesterday cat``, ``review tuesday``, ``bel``, ``2026-11-22 platelets_count_limited``. Words that
are a day, a species, a headline, a flag, ``patients`` or ``controls`` narrow the list; everything
else is the beginning of a sample id, a patient id or a patient's name. In double quotes a word is
always a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from edge_daemon.clock import format_wall
from edge_daemon.records import SPECIES
from edge_daemon.store.searching import Wanted

if TYPE_CHECKING:
    from collections.abc import Collection

_STATUS: Final = {"ok": "ok", "review": "review", "failed": "invalid"}
_WHOSE: Final = {"patients": "patients only", "controls": "controls, blanks and checks"}
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WORD: Final = re.compile(r'"([^"]*)"|(\S+)')
_DATE: Final = re.compile(r"(\d{4})-(\d{1,2})(?:-(\d{1,2}))?|(\d{1,2})\.(\d{1,2})\.(\d{4})")


@dataclass(frozen=True, slots=True)
class Asked:
    """A search, understood.

    Attributes
    ----------
    wanted
        What to find.
    words
        How each word that narrows the list was taken, e.g. ``("yesterday", "27 Nov 2026")``.
    """

    wanted: Wanted
    words: tuple[tuple[str, str], ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether anything was asked for at all."""
        return self.wanted != Wanted()


def understand(text: str, flags: Collection[str], now: datetime) -> Asked:
    """Read a search.

    Parameters
    ----------
    text
        As typed.
    flags
        Codes of flags that may be asked for.
    now
        The present moment, with the zone in which days begin and end; without one that is the
        box's own, in which a day of summer begins at another hour than one of winter.
    """
    wanted = Wanted()
    names: list[str] = []
    words: list[tuple[str, str]] = []
    for quoted, word in _WORD.findall(text):
        found = None if quoted else _narrow(wanted, word.lower(), flags, now)
        if found is None:
            names.append(quoted or word)
        else:
            wanted, meaning = found
            words.append((word, meaning))
    name = " ".join(names).strip()
    return Asked(replace(wanted, text=name or None), tuple(words))


def _narrow(
    wanted: Wanted, word: str, flags: Collection[str], now: datetime
) -> tuple[Wanted, str] | None:
    """Take a word as a restriction that is not there yet, or None if it is a name."""
    if word in SPECIES and wanted.species is None:
        return replace(wanted, species=word), f"species {word}"
    if word in _STATUS and wanted.status is None:
        return replace(wanted, status=_STATUS[word]), f"headline {word}"
    if word in flags and wanted.flag is None:
        return replace(wanted, flag=word), f"flag {word}"
    if word in _WHOSE and wanted.patients is None:
        return replace(wanted, patients=word == "patients"), _WHOSE[word]
    days = _days(word, now.date()) if wanted.since is None else None
    if days is None:
        return None
    first, after = days
    last = after - timedelta(days=1)
    shown = _day(first) if first == last else f"{_day(first)} to {_day(last)}"
    since, until = (_midnight(day, now) for day in days)
    return replace(wanted, since=since, until=until), shown


def _days(word: str, today: date) -> tuple[date, date] | None:
    """First day that a word means, and the day after its last."""
    one = timedelta(days=1)
    if word == "today":
        return today, today + one
    if word == "yesterday":
        return today - one, today
    if word == "week":
        return today - 6 * one, today + one
    if word in _DAYS:
        # The last one that is over: on a Tuesday, "tuesday" is a week ago.
        ago = (today.weekday() - _DAYS.index(word) - 1) % 7 + 1
        return today - ago * one, today - (ago - 1) * one
    match = _DATE.fullmatch(word)
    return None if match is None else _written(match)


def _written(match: re.Match[str]) -> tuple[date, date] | None:
    try:
        if match[1] and not match[3]:
            first = date(int(match[1]), int(match[2]), 1)
            return first, (first + timedelta(days=31)).replace(day=1)
        year, month, day = (
            (match[1], match[2], match[3]) if match[1] else (match[6], match[5], match[4])
        )
        first = date(int(year), int(month), int(day))
        return first, first + timedelta(days=1)
    except (ValueError, OverflowError):
        return None


def _midnight(day: date, now: datetime) -> str:
    """Begin of a day of the box's own zone, as stored rows carry time."""
    local = datetime.combine(day, time(), tzinfo=None)
    # astimezone of a naive moment takes that day's own offset; a zone of now knows only today's.
    moment = local.astimezone() if now.tzinfo is None else local.replace(tzinfo=now.tzinfo)
    return format_wall(moment.astimezone(UTC))


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
