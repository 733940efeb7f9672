"""Results beside the site's reference intervals and rules, read once and again when they change."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import wording
from edge_daemon.reference.interpret import interpret_record
from edge_daemon.reference.loading import load_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from edge_daemon.reference.findings import Interpretation, MarkedValue
    from edge_daemon.reference.tables import Tables


class Shelf:
    """The tables of this site.

    Parameters
    ----------
    places
        Gives the folders and files of tables over the shipped ones as they are now.
    """

    def __init__(self, places: Callable[[], Sequence[Path]] = tuple) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._tables: Tables | None = None

    def tables(self) -> Tables:
        """Return the tables as the site's files stand now."""
        places = self._places()
        seen = tuple(_stand(places))
        with self._lock:
            if self._tables is None or seen != self._seen:
                self._tables, self._seen = load_tables(places), seen
            return self._tables

    def interpret(self, run: Mapping[str, Any]) -> Interpretation:
        """Put one run, as `store.queries` gives it, beside the tables."""
        return interpret_record(run, self.tables())

    def plain(self, run: Mapping[str, Any]) -> Interpretation:
        """Explain the flags of a run that is no patient's: no interval, no rule, no species."""
        bare = replace(self.tables(), rules=())
        return interpret_record({**run, "species": None, "breed": None}, bare)


def _stand(places: Sequence[Path]) -> Iterable[tuple[str, int, int]]:
    for place in places:
        for path in sorted(place.glob("*.toml")) if place.is_dir() else [place]:
            try:
                status = path.stat()
            except OSError:
                continue
            yield str(path), status.st_mtime_ns, status.st_size


STATUS: Final = {"OK": "ok", "Review": "review", "Failed": "invalid"}
"""Headline → status as it is stored."""

_SEVERITY: Final = ("invalid", "review", "info")


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing that a result asks of a person.

    Attributes
    ----------
    code
        Of the flag, rule or remark.
    severity
        ``invalid``, ``review`` or ``info``.
    title
        What it is called; empty where the message says it all.
    facts
        The values it rests on.
    cause, action, source
        Why it is said, what to do next, and the studies behind it.
    urgent
        Whether somebody must act at once.
    """

    code: str
    severity: str
    title: str
    facts: str
    cause: str
    action: str
    source: str
    urgent: bool = False

    @property
    def word(self) -> str:
        """How soon it asks."""
        return "At once" if self.urgent else wording.SEVERITIES[self.severity]


def asking_list(run: Mapping[str, Any], found: Interpretation) -> list[Ask]:
    """List flags, remarks on the analyzer's report, and remarks of the rules, gravest first."""
    asks = [
        Ask(f.code, f.severity, f.title, "", f.message, f.action, f.source) for f in found.flags
    ]
    asks += [
        Ask(r["code"], r["severity"], "", "", r["message"], r["action"], "")
        for r in run["analyzer"]["remarks"]
    ]
    asks += [
        Ask(
            c.id,
            c.severity,
            c.title,
            "; ".join(c.facts),
            c.cause,
            c.action,
            c.source.text,
            c.urgent,
        )
        for c in found.comments
    ]
    return sorted(asks, key=lambda ask: (_SEVERITY.index(ask.severity), not ask.urgent))


@dataclass(frozen=True, slots=True)
class Cited:
    """A source of intervals, with the letter that stands beside the values it is of."""

    letter: str
    text: str


def citations(found: Interpretation) -> tuple[list[Cited], dict[str, str]]:
    """List the sources of the intervals that are used, and the letter of each value by code."""
    letters: dict[str, str] = {}
    by_code: dict[str, str] = {}
    for value in found.values:
        if (text := _source(value)) is not None:
            letters.setdefault(text, chr(ord("a") + len(letters)))
            by_code[value.code] = letters[text]
    return [Cited(letter, text) for text, letter in letters.items()], by_code


def _source(value: MarkedValue) -> str | None:
    reference = value.reference
    if reference is None or value.value is None:
        return None
    parts = [f"{reference.of}, version {reference.version}: {reference.source}"]
    if reference.caution:
        parts.append(reference.caution)
    if reference.site is not None:
        parts.append(f"this site: {reference.site.by}, {reference.site.reason}")
    return "; ".join(parts)


def unmarked(found: Interpretation) -> list[tuple[str, str]]:
    """List why values have no interval or mark: codes, and the reason they share."""
    reasons = dict.fromkeys(value.reason for value in found.values if value.reason)
    return [
        (" ".join(v.code for v in found.values if v.reason == reason), reason) for reason in reasons
    ]
