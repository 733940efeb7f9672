"""Flags: conditions the technician should know of, each with its figure and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.classify.coincidence import CROWDED, together
from edge_daemon.records import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_daemon.classify.tally import Tally
    from edge_daemon.records import CellBatch, Measurement

Raised = tuple[Flag, tuple[str, ...]]
"""A flag and the codes of the measurements it concerns."""

MIN_PLATELET_EVENTS: Final = 400
MIN_PLATELETS_K: Final = 20.0
CLUMPS_PERCENT: Final = 2.0  # healthy samples stay below 1 %
OTHER_FRACTION: Final = 0.15
FELINE_LOW_K: Final = 200.0
ESTIMATED_FRACTION: Final = 0.05
SATURATED_FRACTION: Final = 0.01

_CELLS = ("RBC", "PLT", "RETIC", "RETIC%", "CLUMP%")
_ABSOLUTE = ("RBC", "PLT", "RETIC")


def raise_flags(
    batch: CellBatch,
    counts: Mapping[str, int],
    tally: Tally,
    measurements: Sequence[Measurement],
) -> list[Raised]:
    """Find every condition that holds for one run.

    Parameters
    ----------
    batch
        The run.
    counts
        Events per class.
    tally
        What they rest on.
    measurements
        The run's values.
    """
    value = {m.code: m.value for m in measurements}
    raised: list[Raised] = []
    raised += _not_reported(batch, value)
    raised += _platelets(batch, counts, value)
    raised += _clumps(value, tally)
    raised += _quality(batch, counts)
    raised += _coincidence(tally)
    return raised


def _not_reported(batch: CellBatch, value: Mapping[str, float | None]) -> list[Raised]:
    raised: list[Raised] = []
    if value["RBC"] is None:
        flag = Flag(
            "no_volume",
            "info",
            "the capture does not state a usable metered volume and dilution, so absolute counts "
            "are not reported",
            "add volume and dilution to the analyzer's export or to the profile, then replay",
        )
        raised.append((flag, _ABSOLUTE))
    if value["RETIC%"] is None:
        flag = Flag(
            "reticulocytes_not_reported",
            "info",
            "the instrument gives no RNA-dye fluorescence, so reticulocytes are not reported",
            "count reticulocytes on a supravital-stained smear if they are needed",
        )
        raised.append((flag, ("RETIC", "RETIC%")))
    if batch.sample.species is None:
        flag = Flag(
            "species_unknown",
            "review",
            "the capture does not name a species the model knows",
            "set the species in the analyzer's work list, or map its text in the profile",
        )
        raised.append((flag, _CELLS))
    return raised


def _platelets(
    batch: CellBatch, counts: Mapping[str, int], value: Mapping[str, float | None]
) -> list[Raised]:
    raised: list[Raised] = []
    plt, events = value["PLT"], counts["platelet"]
    if events < MIN_PLATELET_EVENTS or (plt is not None and plt < MIN_PLATELETS_K):
        measured = f" ({plt:.0f} K/µL)" if plt is not None else ""
        flag = Flag(
            "platelets_count_limited",
            "review",
            f"platelet count rests on {events} event{'' if events == 1 else 's'}{measured};"
            " the interval is wide",
            "confirm on a blood smear, or repeat with more events",
        )
        raised.append((flag, ("PLT",)))
    if batch.sample.species == "cat" and plt is not None and plt < FELINE_LOW_K:
        flag = Flag(
            "feline_platelets_unconfirmed",
            "review",
            f"feline platelets {plt:.0f} K/µL: most low feline counts are platelet clumping",
            "look for clumps at the feathered edge; vortex up to 30 s, or redraw, and re-run",
        )
        raised.append((flag, ("PLT",)))
    return raised


def _clumps(value: Mapping[str, float | None], tally: Tally) -> list[Raised]:
    raised: list[Raised] = []
    hidden_cells, red_cells = tally.hidden_cells, tally.red_cells
    clumps = value["CLUMP%"]
    if clumps is not None and clumps > CLUMPS_PERCENT:
        flag = Flag(
            "rbc_agglutination_suspected",
            "review",
            f"RBC Agglutination? {clumps:.1f} % of red-cell events are clumps (healthy below 1 %)",
            "look at a saline-diluted wet mount; warm the sample to 37 °C and repeat",
        )
        raised.append((flag, ("RBC", "RETIC", "CLUMP%")))
    if red_cells > 0 and hidden_cells > ESTIMATED_FRACTION * red_cells:
        flag = Flag(
            "rbc_partly_estimated",
            "info",
            f"{100 * hidden_cells / red_cells:.0f} % of the red cells were estimated, not counted: "
            "from the extinction of clumps, and from the event rate for cells that passed together",
            "dilute further and repeat if the red-cell count decides",
        )
        raised.append((flag, ("RBC", "RETIC")))
    return raised


def _quality(batch: CellBatch, counts: Mapping[str, int]) -> list[Raised]:
    raised: list[Raised] = []
    other = counts["other"] / max(1, batch.events)
    if other > OTHER_FRACTION:
        flag = Flag(
            "other_events_high",
            "review",
            f"{100 * other:.0f} % of events are debris or coincident cells",
            "run a blank and a rinse; if the count falls on dilution it was coincidence",
        )
        raised.append((flag, _CELLS))
    saturated = float(batch.saturated.any(axis=1).mean()) if batch.events else 0.0
    if saturated > SATURATED_FRACTION:
        flag = Flag(
            "signals_saturated",
            "review",
            f"{100 * saturated:.1f} % of events stand at the converter's limit",
            "have the detector gain checked",
        )
        raised.append((flag, _CELLS))
    return raised


def _coincidence(tally: Tally) -> list[Raised]:
    if tally.crowding <= CROWDED:
        return []
    flag = Flag(
        "coincidence_high",
        "review",
        f"coincidence too high: {100 * together(tally.crowding):.0f} % of red-cell events hold "
        "more than one cell",
        "dilute further and repeat; counts that rise on dilution prove it",
    )
    return [(flag, _CELLS)]
