"""What is found out about one result; `interpret` makes it, commands and pages show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.reference.tables import Severity, Site, Source

Headline = Literal["OK", "Review", "Failed"]
Mark = Literal["H", "L"]


@dataclass(frozen=True, slots=True)
class Reference:
    """The interval that stands beside a value, in our unit of it."""

    low: float
    high: float
    unit: str
    of: str
    source: str
    caution: str
    version: str
    site: Site | None


@dataclass(frozen=True, slots=True)
class MarkedValue:
    """One value beside its interval.

    Attributes
    ----------
    mark
        ``H`` above, ``L`` below the interval, None within it or where there is none.
    clear
        The whole 95 % interval of the value lies beyond the limit, too.
    unconfirmed
        A remark says that the value must not be taken for granted yet.
    reason
        Why there is no interval or no mark; empty where there is both, or nothing to mark.
    """

    code: str
    value: float | None
    unit: str
    method: str
    mark: Mark | None
    clear: bool
    unconfirmed: bool
    reference: Reference | None
    reason: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A remark that a rule makes.

    Attributes
    ----------
    facts
        The values it rests on, in words.
    codes
        Their codes.
    urgent
        Whether somebody must act at once.
    """

    id: str
    severity: Severity
    title: str
    cause: str
    action: str
    source: Source
    facts: tuple[str, ...]
    codes: tuple[str, ...]
    urgent: bool
    site: Site | None


@dataclass(frozen=True, slots=True)
class ExplainedFlag:
    """A flag of the result with its name for people and the studies behind it."""

    code: str
    severity: Literal["info", "review", "invalid"]
    title: str
    message: str
    action: str
    source: str


@dataclass(frozen=True, slots=True)
class Regeneration:
    """How strongly the marrow answers, by absolute reticulocytes.

    Attributes
    ----------
    band
        Name of the band; None where the species has none, or reticulocytes are not reported.
    could_be
        Every band that the 95 % interval of the value reaches, lowest first.
    anaemic
        Whether HCT (RBC where it is not reported) is below its interval; None where unknown. A
        band describes the answer to an anaemia: without one it says little.
    text
        All of it in one sentence.
    """

    band: str | None
    could_be: tuple[str, ...]
    anaemic: bool | None
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Interpretation:
    """What a result says, beside the intervals and rules of its species.

    Attributes
    ----------
    headline, reason
        The worst of flags and remarks, and why, in words.
    breed
        As the tables call it; empty where they know nothing of it.
    notes
        What holds for species and breed and fits no interval.
    """

    headline: Headline
    reason: str
    species: str | None
    breed: str
    values: tuple[MarkedValue, ...]
    comments: tuple[Comment, ...]
    flags: tuple[ExplainedFlag, ...]
    regeneration: Regeneration | None
    notes: tuple[str, ...]

    @property
    def marks(self) -> Mapping[str, Mark]:
        """Code → mark of the values outside their interval."""
        return {value.code: value.mark for value in self.values if value.mark}
