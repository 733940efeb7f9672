"""From called cells to counts, concentrations and their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edge_daemon.classify.flags import ESTIMATED_FRACTION, raise_flags
from edge_daemon.classify.intervals import count_interval, fraction_interval
from edge_daemon.records import CELL_CLASSES, Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.classify.manifest import Manifest
    from edge_daemon.records import CellBatch, CellCalls, Flag

PURE, RETIC, CLUMP, PLATELET, OTHER = range(5)
DOUBLET_RATIO: Final = 1.5
"""Extinction area over the singlet median from which an `other` event holds red cells."""
MAX_CELLS_PER_EVENT: Final = 100.0


_Counted = tuple[float | None, float, float]
"""Expected events (None: not measurable), variance of uncertain calls, run-to-run relative SD."""


@dataclass(frozen=True, slots=True)
class Quantified:
    """What one run says.

    Attributes
    ----------
    counts
        Events per class, whole numbers that sum to the run's events: the expected counts
        under the posterior, not the number of arg-max calls, which is biased for rare classes.
    measurements
        RBC, PLT, RETIC, RETIC%, CLUMP%, in this order.
    flags
        Conditions the technician should know of.
    """

    counts: Mapping[str, int]
    measurements: tuple[Measurement, ...]
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """Expected numbers under the posterior.

    Attributes
    ----------
    events
        Expected events per class, in the order of `CELL_CLASSES`.
    ambiguity
        Variance of each from uncertain calls, events².
    red_cells
        Red cells including those inside clumps and chance doublets.
    hidden_cells
        The part of `red_cells` that was estimated from extinction, not counted one by one.
    """

    events: tuple[float, ...]
    ambiguity: tuple[float, ...]
    red_cells: float
    hidden_cells: float


def quantify(batch: CellBatch, calls: CellCalls, bundle: Bundle) -> Quantified:
    """Count, convert to concentrations and flag.

    Absolute values need the run's metered volume and dilution; reticulocytes need the
    fluorescence detector. What cannot be measured has value None and a flag that says why.

    Parameters
    ----------
    batch
        The run.
    calls
        Its cells, as `Classifier.classify` called them.
    bundle
        The bundle that called them.
    """
    tally = tally_cells(batch, calls)
    dyed = any(c.startswith("FL.") for c in bundle.channels)
    measurements = _measure(tally, batch, bundle.manifest, dyed=dyed)
    counts = whole_counts(tally.events)
    flags = raise_flags(batch, counts, tally.hidden_cells, tally.red_cells, measurements)
    return Quantified(
        counts=counts,
        measurements=tuple(
            replace(m, flags=tuple(f.code for f, codes in flags if m.code in codes))
            for m in measurements
        ),
        flags=tuple(flag for flag, _ in flags),
    )


def tally_cells(batch: CellBatch, calls: CellCalls) -> Tally:
    """Sum posteriors, and estimate the red cells that share an event with others."""
    p = calls.posterior
    events = tuple(p.sum(axis=0, dtype=np.float64).tolist())
    ambiguity = tuple(np.einsum("ij,ij->j", p, 1 - p, dtype=np.float64).tolist())
    ratio = _extinction_ratio(batch, calls)
    in_clumps = float(p[:, CLUMP] @ np.maximum(ratio, 1.0))
    in_doublets = float(p[:, OTHER] @ np.where(ratio >= DOUBLET_RATIO, ratio, 0.0))
    hidden = in_clumps + in_doublets
    return Tally(events, ambiguity, events[PURE] + events[RETIC] + hidden, hidden)


def _extinction_ratio(batch: CellBatch, calls: CellCalls) -> NDArray[np.float32]:
    """Extinction area of each event over the median single red cell: its number of red cells."""
    channel = "EXT.A" if "EXT.A" in batch.channels else "EXT.H"
    singles = calls.codes == PURE
    if channel not in batch.channels or not singles.any():
        return np.ones(batch.events, dtype=np.float32)
    area = batch.signals[:, batch.channels.index(channel)]
    median = float(np.median(area[singles]))
    if median <= 0:
        return np.ones(batch.events, dtype=np.float32)
    ratio: NDArray[np.float32] = np.clip(area / np.float32(median), 0.0, MAX_CELLS_PER_EVENT)
    return ratio


def whole_counts(expected: Sequence[float]) -> dict[str, int]:
    """Round expected counts so that they keep their sum (largest remainder)."""
    whole = [math.floor(value) for value in expected]
    missing = round(sum(expected)) - sum(whole)
    by_remainder = sorted(range(len(whole)), key=lambda i: whole[i] - expected[i])
    for index in by_remainder[:missing]:
        whole[index] += 1
    return dict(zip(CELL_CLASSES, whole, strict=True))


def _measure(
    tally: Tally, batch: CellBatch, manifest: Manifest, *, dyed: bool
) -> list[Measurement]:
    doubt = manifest.uncertainty
    events, ambiguity = tally.events, tally.ambiguity
    singles = events[PURE] + events[RETIC]
    retic = events[RETIC] if dyed else None
    per_ul = _events_to_per_ul(batch)
    plt_per_ul = None if per_ul is None else per_ul * _coincidence_loss(batch, manifest)
    retic_per_ul = None
    if per_ul is not None and singles > 0:
        # Clumps hide reticulocytes as they hide red cells: scale by the cells they hold.
        retic_per_ul = per_ul * tally.red_cells / singles
    # A cell estimated from extinction is uncertain by about half a cell.
    red_variance = ambiguity[OTHER] + tally.hidden_cells / 4
    red = (tally.red_cells, red_variance, doubt.rbc)
    platelets = (events[PLATELET], ambiguity[PLATELET], doubt.platelet)
    retics = (retic, ambiguity[RETIC], doubt.reticulocyte)
    clumps = (events[CLUMP], ambiguity[CLUMP], doubt.clumped_rbc)
    estimated = tally.hidden_cells > ESTIMATED_FRACTION * tally.red_cells
    return [
        _concentration("RBC", red, per_ul, 1e6, "calculated" if estimated else "counted"),
        _concentration("PLT", platelets, plt_per_ul, 1e3, "counted"),
        _concentration("RETIC", retics, retic_per_ul, 1e3, "calculated"),
        _percentage("RETIC%", retics, singles),
        _percentage("CLUMP%", clumps, singles + events[CLUMP]),
    ]


def _coincidence_loss(batch: CellBatch, manifest: Manifest) -> float:
    """Platelets that passed over those that passed alone: a red cell's event hides them."""
    assert batch.sample.volume_ul is not None
    per_ul_diluted = batch.events / batch.sample.volume_ul
    return math.exp(min(2 * manifest.coincidence.window_ul * per_ul_diluted, 1.0))


def _events_to_per_ul(batch: CellBatch) -> float | None:
    volume, dilution = batch.sample.volume_ul, batch.sample.dilution
    if volume is None or dilution is None:
        return None
    if not (math.isfinite(volume) and math.isfinite(dilution) and volume > 0 and dilution >= 1):
        return None
    return dilution / volume


def _concentration(
    code: str,
    counted: _Counted,
    per_ul: float | None,
    scale: float,
    method: Literal["counted", "calculated"],
) -> Measurement:
    unit = f"10*{round(math.log10(scale))}/uL"
    count, ambiguity, relative = counted
    if per_ul is None or count is None:
        return Measurement(code, None, unit, None, None, method)
    low, high = count_interval(count, ambiguity, relative)
    factor = per_ul / scale
    return Measurement(code, count * factor, unit, low * factor, high * factor, method)


def _percentage(code: str, counted: _Counted, whole: float) -> Measurement:
    part, ambiguity, relative = counted
    if part is None or whole <= 0:
        return Measurement(code, None, "%", None, None, "counted")
    low, high = fraction_interval(part, whole, ambiguity, relative)
    return Measurement(code, 100 * part / whole, "%", 100 * low, 100 * high, "counted")
