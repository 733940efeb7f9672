"""Moving averages and agreement, worded for the page: pure.

Takes what ``edge-daemon agreement --json`` prints; docs/agreement.md explains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.store.comparisons import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edge_daemon.web.numbers import Numbers

SIDES: Final = {"ours": "ours", "analyzer": "the analyzer's"}
NEEDED: Final = 120
"""Animals until a stream can be judged: five batches set the target, the sixth is judged."""

_STATES: Final = {
    "in_control": ("ok", "in control"),
    "drift": ("review", "drifts"),
    "too_few": ("info", "too few animals yet"),
}
_VERDICTS: Final = {
    "agrees": ("ok", "agrees"),
    "small": ("ok", "small difference"),
    "undecided": ("info", "not decided"),
    "differs": ("review", "differs"),
}
IN_PERCENT: Final = frozenset({"PLT", "PCT", "RETIC", "RETIC%"})
"""Their differences grow with the value: the limits are shown in percent."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One side of one followed value.

    Attributes
    ----------
    status, words
        Colour and words of its state.
    limit
        Percent about the target, or None before there is one.
    percent
        By number of the batch, in percent about the target.
    """

    code: str
    side: str
    unit: str
    animals: str
    target: str
    newest: str
    off: str
    limit: float | None
    limit_text: str
    status: str
    words: str
    percent: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Group:
    """What is followed of one species on one instrument.

    Attributes
    ----------
    streams
        That can be judged.
    waiting
        Of each side that cannot yet, how many animals there are at most.
    batches
        Numbers of all batches, newest first.
    drifts
        For each value that drifts, what it did and what to do.
    """

    instrument: str
    species: str
    simulated: bool
    streams: tuple[Stream, ...]
    waiting: tuple[str, ...]
    batches: tuple[int, ...]
    drifts: tuple[tuple[str, str, str], ...]


def groups(document: Mapping[str, Any], numbers: Numbers) -> list[Group]:
    """Lay out the moving averages."""
    places: dict[tuple[bool, str, str], list[Mapping[str, Any]]] = {}
    for one in document["streams"]:
        key = one["simulated"], one["instrument"], one["species"]
        places.setdefault(key, []).append(one)
    return [_group(*key, found, numbers) for key, found in places.items()]


def _group(
    simulated: bool,  # noqa: FBT001 - part of the group's key
    instrument: str,
    species: str,
    followed: Sequence[Mapping[str, Any]],
    numbers: Numbers,
) -> Group:
    sides = [
        (one["code"], side, one[side])
        for one in followed
        for side in SIDES
        if one[side] is not None
    ]
    streams = [_stream(*side, numbers) for side in sides if side[2]["target"] is not None]
    batches = {number for stream in streams for number in stream.percent}
    return Group(
        instrument=instrument,
        species=species,
        simulated=simulated,
        streams=tuple(streams),
        waiting=tuple(_waiting(sides, numbers)),
        batches=tuple(sorted(batches, reverse=True)),
        drifts=tuple(_drift(one, numbers) for one in followed if one["drifts"]),
    )


def _waiting(
    sides: Sequence[tuple[str, str, Mapping[str, Any]]], numbers: Numbers
) -> Iterator[str]:
    for side, words in SIDES.items():
        animals = [s["values"] for _, of, s in sides if of == side and s["state"] == "too_few"]
        if animals:
            yield f"{words}: {numbers.whole(max(animals))}"


def _stream(code: str, side: str, found: Mapping[str, Any], numbers: Numbers) -> Stream:
    unit = UNITS.get(code)
    status, words = _STATES[found["state"]]
    first = found["batches"] - len(found["percent"]) + 1
    return Stream(
        code=code,
        side=SIDES[side],
        unit=numbers.unit(code, unit) if unit else "per second",
        animals=numbers.whole(found["values"]),
        target=_value(code, found["target"], numbers),
        newest=_value(code, found["averages"][-1], numbers),
        off=numbers.percent(found["percent"][-1]),
        limit=found["limit_percent"],
        limit_text=f"±{numbers.plain(found['limit_percent'], 1)} %",
        status=status,
        words=words,
        percent=dict(enumerate(found["percent"], first)),
    )


def _value(code: str, value: float, numbers: Numbers) -> str:
    return numbers.value(code, value) if code in UNITS else numbers.plain(value, 0)


def _drift(one: Mapping[str, Any], numbers: Numbers) -> tuple[str, str, str]:
    """Return the value, what it did, and what to do."""
    parts = []
    for side, words in SIDES.items():
        stream = one[side]
        if stream is not None and stream["state"] == "drift":
            count = stream["drifting"]
            batches = f"{count} batches" if count > 1 else "1 batch"
            off = numbers.percent(stream["percent"][-1])
            parts.append(f"{words} is {off} off its target, for {batches} of 20 animals")
    return one["code"], "; ".join(parts), one["action"]


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure of ours beside the analyzer's own, as text."""

    code: str
    unit: str
    n: str
    bias: str
    percent: str
    limits: str
    slope: str
    intercept: str
    status: str
    words: str
    meaning: str
    action: str
    of: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """All measures of one instrument and species."""

    instrument: str
    analyzer: str
    species: str
    simulated: bool
    measures: tuple[Compared, ...]

    @property
    def differing(self) -> tuple[Compared, ...]:
        """Those beyond their goal."""
        return tuple(one for one in self.measures if one.status == "review")

    @property
    def judged(self) -> tuple[Compared, ...]:
        """Those with enough pairs to be judged."""
        return tuple(one for one in self.measures if one.bias)

    @property
    def remarks(self) -> list[tuple[str, Compared]]:
        """What is to be said; the same of several measures once, with all their codes."""
        found: dict[tuple[str, str], list[Compared]] = {}
        for one in self.measures:
            if one.meaning and one.words != "agrees":
                found.setdefault((one.meaning, one.action), []).append(one)
        return [(", ".join(m.code for m in same), same[0]) for same in found.values()]


def agreements(document: Mapping[str, Any], numbers: Numbers) -> list[Agreement]:
    """Lay out the comparison of our values with the analyzer's."""
    places: dict[tuple[str, str, str, bool], list[Compared]] = {}
    for one in document["measures"]:
        key = one["instrument"], one["analyzer"], one["species"], one["simulated"]
        places.setdefault(key, []).append(_compared(one, numbers))
    return [Agreement(*key, tuple(found)) for key, found in places.items()]


def plot_key(one: Mapping[str, Any]) -> str:
    """Name a measure of an instrument and species in an address."""
    kind = "simulated" if one["simulated"] else "clinical"
    return "/".join((one["instrument"], one["analyzer"], one["species"], kind, one["code"]))


def _compared(one: Mapping[str, Any], numbers: Numbers) -> Compared:
    code, absolute, percent, line = one["code"], one["absolute"], one["percent"], one["line"]
    verdict = one["verdict"]
    status, words = _VERDICTS[verdict["word"]] if verdict else ("info", "cannot be said")
    limits = ""
    if code in IN_PERCENT and percent:
        limits = f"{numbers.percent(percent['low'])} to {numbers.percent(percent['high'])}"
    elif absolute:
        limits = _range(code, (absolute["low"], absolute["high"]), numbers)
    return Compared(
        code=code,
        unit=numbers.unit(code, UNITS[code]),
        n=numbers.whole(one["n"]),
        bias=numbers.signed(code, absolute["bias"]) if absolute else "",
        percent=numbers.percent(percent["bias"]) if percent else "",
        limits=limits,
        slope=_slope(line, numbers) if line else "",
        intercept=f"{numbers.signed(code, line['intercept'])}"
        f" ({_range(code, line['intercept_ci'], numbers)})"
        if line
        else "",
        status=status,
        words=words,
        meaning=(verdict or {}).get("meaning") or one["refused"] or "",
        action=(verdict or {}).get("action") or "",
        of=plot_key(one),
    )


def _range(code: str, bounds: Sequence[float | None], numbers: Numbers) -> str:
    return " to ".join(numbers.signed(code, end) or "no end" for end in bounds)


def _slope(line: Mapping[str, Any], numbers: Numbers) -> str:
    low, high = ("no end" if end is None else numbers.plain(end, 3) for end in line["slope_ci"])
    return f"{numbers.plain(line['slope'], 3)} ({low} to {high})"
