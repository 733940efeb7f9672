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
_TOGETHER: Final = ("all", "width")


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
        Of the run's red-cell median, except as `Threshold` says.
    becomes
        What the cell would have been called.
    """

    multiple: float
    becomes: CellClass


@dataclass(frozen=True, slots=True)
class Threshold:
    """Smallest changes of one signal that change a cell's call; every other signal stays.

    Attributes
    ----------
    signal
        A detector, whose height and area are scaled together; ``all`` detectors together, as in
        a larger or smaller cell; or ``width``, that of all detectors, as in a longer one.
    channel
        The channel whose level is given.
    multiple
        The cell's own level, in red-cell medians. ``all`` signals have no common level: theirs
        is 1, and changes are multiples of the cell's own signals.
    below, above
        None: no change in that direction, between a thousandth and a hundred times the median,
        changes the call.
    """

    signal: str
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
        One for each detector, for all of them together, and for the pulse width.
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
    """How a signal's threshold lies in the explained cells of one class.

    Attributes
    ----------
    signal, side
        As in `Threshold`; whether the signal is lowered or raised.
    share
        Part of the cells whose call changes at all.
    median, low, high
        Of their thresholds, as in `Turn`; `low` and `high` hold the middle 80 %.
    """

    signal: str
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
    """Write a multiple with the digits a person can use."""
    if multiple < 0.00105:
        return "under 0.001 ×"
    decimals = 3 if multiple < 0.0095 else 2 if multiple < 1.95 else 1 if multiple < 9.95 else 0
    return f"{multiple:.{decimals}f} ×"


def describe(
    called: CellClass,
    attribution: Attribution,
    multiples: Mapping[str, float],
    thresholds: tuple[Threshold, ...],
) -> str:
    """Say in one sentence what made a call and what would have changed it.

    Parameters
    ----------
    called
        The call.
    attribution
        Against the most telling background.
    multiples
        Channels over the red-cell median.
    thresholds
        Of every signal.
    """
    if called == "pure_rbc":
        singles = [t for t in thresholds if t.signal not in _TOGETHER]
        levels = ", ".join(f"{t.channel} {level(t.multiple)}" for t in singles)
        cause = f"its signals are near the red-cell median ({levels})"
    else:
        parts = [f"{c} is {level(multiples[c])}" for c in _main_channels(attribution)]
        cause = f"{_joined(parts)} the red-cell median"
    text = f"Called {CALL_NAMES[called]} because {cause}; "
    turns = telling_turns(called, attribution, thresholds)
    if not turns:
        return f"{text}no change of one signal alone would have changed the call."
    shown = [
        f"with {_beyond(t, side, turn.multiple)} it would have been called "
        f"{CALL_NAMES[turn.becomes]}"
        for t, side, turn in turns[: _MOST_THRESHOLDS if called == "pure_rbc" else 1]
    ]
    return f"{text}{_joined(shown)}."


def limits(part: ClassExplanation) -> str:
    """Say where the typical cell's nearest threshold lies in the drawn cells; may be empty."""
    cell = part.typical
    turns = telling_turns(cell.called, cell.attributions[0], cell.thresholds)
    for spread in part.spreads:
        if turns and (spread.signal, spread.side) == (turns[0][0].signal, turns[0][1]):
            threshold, side, _ = turns[0]
            changed = _beyond(threshold, side, spread.median)
            bounds = sorted(_shown(threshold, side, bound) for bound in (spread.low, spread.high))
            return (
                f"In {round(spread.share * part.explained)} of {part.explained} such cells the "
                f"call changes with {changed} (median; middle 80 %: {level(bounds[0])} to "
                f"{level(bounds[1])})."
            )
    return ""


def telling_turns(
    called: CellClass, attribution: Attribution, thresholds: Sequence[Threshold]
) -> list[tuple[Threshold, Side, Turn]]:
    """Order changes of call by what made it, the smallest relative change first.

    One detector that made the call alone is judged alone; if several did, changing them together
    may be the smaller change. Other signals count only where these change nothing.
    """
    main = _main_channels(attribution)
    signals = {"width" if c.endswith(".W") else c.partition(".")[0] for c in main}
    if len(signals) > 1 or called == "pure_rbc":
        signals |= {"all"}
    if called == "pure_rbc":
        signals = {t.signal for t in thresholds}
    return _nearest([t for t in thresholds if t.signal in signals]) or _nearest(thresholds)


def _nearest(thresholds: Sequence[Threshold]) -> list[tuple[Threshold, Side, Turn]]:
    sides: tuple[Side, Side] = ("below", "above")
    found = [
        (max(t.multiple, turn.multiple) / min(t.multiple, turn.multiple), t, side, turn)
        for t in thresholds
        for side, turn in zip(sides, (t.below, t.above), strict=True)
        if turn is not None
    ]
    return [(t, side, turn) for _, t, side, turn in sorted(found, key=lambda item: item[0])]


def _beyond(threshold: Threshold, side: Side, multiple: float) -> str:
    """Say the changed signal, e.g. ``FL.A below 2.3 ×``."""
    shown = level(_shown(threshold, side, multiple))
    if threshold.signal == "all":
        return f"all signals {shown} {'larger' if side == 'above' else 'smaller'}"
    name = "pulse width" if threshold.signal == "width" else threshold.channel
    return f"{name} {side} {shown}"


def _shown(threshold: Threshold, side: Side, multiple: float) -> float:
    """Nobody thinks in "0.4 × larger"."""
    return 1 / multiple if threshold.signal == "all" and side == "below" else multiple


def _main_channels(attribution: Attribution) -> list[str]:
    """Channels that speak for the call, one of each detector; always at least one.

    Height and area say nearly the same, so area stands for both unless width outweighs them.
    """
    ranked = sorted(attribution.detectors, key=lambda c: c.value, reverse=True)
    least = max(_MAIN_SHARE * ranked[0].value, 0.0)
    named = [c.name for c in ranked[:_MOST_CAUSES] if c is ranked[0] or c.value >= least]
    values = {c.name: c.value for c in attribution.channels}
    channels = []
    for name in named:
        levels = [c for c in (f"{name}.A", f"{name}.H") if c in values]
        width = f"{name}.W"
        longer = width in values and values[width] > sum(values[c] for c in levels)
        channels.append(width if longer or not levels else levels[0])
    return channels


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
