"""What an explanation says, as frozen records, and the sentences a technician reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_daemon.records import CellClass

Side = Literal["below", "above"]
Background = Literal["red_cells", "run", "others"]
"""What cells are compared with: pure red cells, any event of the run, events called otherwise."""

CALL_NAMES: Final[Mapping[CellClass, str]] = {
    "pure_rbc": "pure red cell",
    "reticulocyte": "reticulocyte",
    "clumped_rbc": "clumped red cell",
    "platelet": "platelet",
    "other": "other event",
}
DETECTOR_NAMES: Final = {
    "LA": "low-angle scatter: mostly cell volume",
    "HA": "intermediate-angle scatter: volume and haemoglobin concentration",
    "SS": "side scatter: granularity",
    "EXT": "extinction: mostly haemoglobin content",
    "FL": "fluorescence: RNA dye",
}
_MAIN_SHARE: Final = 1 / 3  # of the largest value, from which a detector is named as a cause too
_MOST_CAUSES: Final = 3
_MOST_THRESHOLDS: Final = 3


@dataclass(frozen=True, slots=True)
class Contribution:
    """Shapley value of one detector or channel.

    Attributes
    ----------
    name
        ``FL`` or ``FL.A``.
    value
        Part of the log-odds (natural logarithm) of the class; positive: speaks for it.
    standard_error
        Of `value`, from the sampled cells, background cells and orders.
    """

    name: str
    value: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Attribution:
    """What moved the log-odds of a class from the background to the cells.

    Attributes
    ----------
    background
        What the cells are compared with.
    baseline
        Mean log-odds of the class over the background cells.
    value
        Mean log-odds over the explained cells.
    detectors
        Exact over detectors; the values sum to ``value - baseline``.
    channels
        Sampled over channels; the values sum to the same.
    """

    background: Background
    baseline: float
    value: float
    detectors: tuple[Contribution, ...]
    channels: tuple[Contribution, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """Level of a signal beyond which the call changes.

    Attributes
    ----------
    multiple
        Of the run's red-cell median.
    becomes
        What the cell would have been called.
    """

    multiple: float
    becomes: CellClass


@dataclass(frozen=True, slots=True)
class Threshold:
    """Smallest changes of one detector's signal that change a cell's call.

    Height and area are scaled together; width and the other detectors stay.

    Attributes
    ----------
    detector, channel
        The detector, and the channel whose level is given.
    multiple
        The cell's own level, in red-cell medians.
    below, above
        None: no change in that direction, down to a hundredth or up to a hundredfold of the
        median, changes the call.
    """

    detector: str
    channel: str
    multiple: float
    below: Turn | None
    above: Turn | None


@dataclass(frozen=True, slots=True)
class CellExplanation:
    """Why one event was called what it was.

    Attributes
    ----------
    event
        Number of the event in the run, from 0.
    called
        The call.
    posterior
        Probability of each class.
    multiples
        Each channel over the run's red-cell median.
    attributions
        For the log-odds of the called class.
    thresholds
        One for each detector.
    sentence
        The same in words.
    """

    event: int
    called: CellClass
    posterior: Mapping[CellClass, float]
    multiples: Mapping[str, float]
    attributions: tuple[Attribution, ...]
    thresholds: tuple[Threshold, ...]
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Spread:
    """How a detector's threshold lies in the explained cells of one class.

    Attributes
    ----------
    detector, side
        Whether the signal is lowered or raised.
    share
        Part of the cells whose call changes at all.
    median, low, high
        Of their thresholds, in red-cell medians; `low` and `high` hold the middle 80 %.
    """

    detector: str
    side: Side
    share: float
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassExplanation:
    """Why the events of one class were called so.

    Attributes
    ----------
    name
        The class.
    events
        Events of the run with this call.
    explained
        How many of them were drawn.
    attributions
        Averages over the drawn cells, for the log-odds of the class.
    spreads
        Thresholds over the drawn cells; only those that some cell has.
    typical
        The event nearest to the middle of the class.
    """

    name: CellClass
    events: int
    explained: int
    attributions: tuple[Attribution, ...]
    spreads: tuple[Spread, ...]
    typical: CellExplanation


@dataclass(frozen=True, slots=True)
class Explanation:
    """What made the calls of one run.

    Attributes
    ----------
    model
        ``<bundle name>@<version>``.
    red_cell_median
        Of each channel over the events called pure red cell, canonical units.
    classes
        In the order of `CELL_CLASSES`.
    too_few
        Classes that hold too few events to explain → their events.
    seed
        Of the sampling.
    """

    model: str
    red_cell_median: Mapping[str, float]
    classes: tuple[ClassExplanation, ...]
    too_few: Mapping[CellClass, int]
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for JSON."""
        return asdict(self)


def level(multiple: float) -> str:
    """Write a multiple with two significant digits, as far as a person can use them."""
    if multiple < 0.0095:
        return "under 0.01 ×"
    if multiple >= 9.95:
        return f"{multiple:.0f} ×"
    decimals = 1 if multiple >= 0.995 else 2
    return f"{multiple:.{decimals}f} ×"


def describe(called: CellClass, attribution: Attribution, thresholds: tuple[Threshold, ...]) -> str:
    """Say in one sentence what made a call and what would have changed it."""
    causes = _causes(called, attribution, thresholds)
    if called == "pure_rbc":
        levels = ", ".join(f"{t.channel} {level(t.multiple)}" for t in causes)
        cause = f"its signals are near the red-cell median ({levels})"
    else:
        parts = [f"{t.channel} is {level(t.multiple)}" for t in causes]
        cause = f"{_joined(parts)} the red-cell median"
    text = f"Called {CALL_NAMES[called]} because {cause}; "
    turns = nearest_turns(causes) or nearest_turns(thresholds)
    if not turns:
        return f"{text}no change of one signal alone would have changed the call."
    shown = [
        f"with {t.channel} {side} {level(turn.multiple)} it would have been called "
        f"{CALL_NAMES[turn.becomes]}"
        for t, side, turn in turns[: _MOST_THRESHOLDS if called == "pure_rbc" else 1]
    ]
    return f"{text}{_joined(shown)}."


def limits(part: ClassExplanation) -> str:
    """Say where the typical cell's nearest threshold lies in the drawn cells; may be empty."""
    cell = part.typical
    causes = _causes(cell.called, cell.attributions[0], cell.thresholds)
    turns = nearest_turns(causes) or nearest_turns(cell.thresholds)
    for spread in part.spreads:
        if turns and (spread.detector, spread.side) == (turns[0][0].detector, turns[0][1]):
            return (
                f"In {round(spread.share * part.explained)} of {part.explained} such cells the "
                f"call changes with {turns[0][0].channel} {spread.side} {level(spread.median)} "
                f"(median; middle 80 %: {level(spread.low)} to {level(spread.high)})."
            )
    return ""


def nearest_turns(thresholds: Sequence[Threshold]) -> list[tuple[Threshold, Side, Turn]]:
    """List changes of call, the smallest relative change of a signal first."""
    sides: tuple[Side, Side] = ("below", "above")
    found = [
        (max(t.multiple, turn.multiple) / min(t.multiple, turn.multiple), t, side, turn)
        for t in thresholds
        for side, turn in zip(sides, (t.below, t.above), strict=True)
        if turn is not None
    ]
    return [(t, side, turn) for _, t, side, turn in sorted(found, key=lambda item: item[0])]


def _causes(
    called: CellClass, attribution: Attribution, thresholds: tuple[Threshold, ...]
) -> list[Threshold]:
    """Detectors that speak for the call, strongest first; for a pure red cell all of them."""
    if called == "pure_rbc":
        return list(thresholds)
    ranked = sorted(attribution.detectors, key=lambda c: c.value, reverse=True)
    least = max(_MAIN_SHARE * ranked[0].value, 0.0)
    named = [c.name for c in ranked[:_MOST_CAUSES] if c is ranked[0] or c.value >= least]
    by_detector = {t.detector: t for t in thresholds}
    return [by_detector[name] for name in named if name in by_detector]


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
