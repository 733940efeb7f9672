"""Cell indices of a run: MCV, RDW, HCT, haemoglobin, MPV, PDW and PCT from calibrated optics.

All of them are calculated, never measured: docs/indices.md says how, and how well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.intervals import Z95
from edge_daemon.classify.optics import invert
from edge_daemon.classify.populations import (
    Estimate,
    platelet_population,
    red_population,
    some,
)
from edge_daemon.records import CELL_CLASSES, Flag, Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_daemon.classify.populations import Check
    from edge_daemon.records import CellBatch, CellCalls, OpticalCalibration

    Singles = NDArray[np.float32]

MIN_RED_CELLS: Final = 200
"""MCV is then good to about 1 % and RDW to 5 %."""
MIN_PLATELETS: Final = 50
"""MPV is then good to about 8 %."""
MAX_OFF_GRID: Final = 0.05
"""Losing 5 % of the cells on one side moves MCV by up to 2 %."""
DISAGREEMENT: Final = 3.0
"""Standard uncertainties by which a check may miss before it is flagged."""
REFUSED: Final = 4.0
"""The same, for red cells: beyond it the optics are others, and no index is reported."""

_PURE = CELL_CLASSES.index("pure_rbc")
_RETIC = CELL_CLASSES.index("reticulocyte")
_PLATELET = CELL_CLASSES.index("platelet")

_HEIGHTS: Final = ("LA.H", "HA.H", "EXT.H")

_UNITS: Final = {
    "HCT": "%", "HGB": "g/dL", "MCV": "fL", "MCH": "pg", "MCHC": "g/dL", "RDW": "%",
    "MPV": "fL", "PDW": "fL", "PCT": "%",
}  # fmt: skip
_NAMES: Final = {"red_cells": "red cells", "platelets": "platelets"}
_RED: Final = ("HCT", "HGB", "MCV", "MCH", "MCHC", "RDW")
_PLATELETS: Final = ("MPV", "PDW", "PCT")


@dataclass(frozen=True, slots=True, eq=False)
class Volumes:
    """Volumes of the single cells of a population, as far as they can be had.

    Attributes
    ----------
    events
        intp ``(cells,)``: which events of the run; those off the grid of the calibration and
        those with a saturated height are left out.
    fl
        float32 ``(cells,)``.
    refused
        Code of the flag that says why the population has no volumes; then both are empty.
    """

    events: NDArray[np.intp]
    fl: Singles
    refused: str | None = None

    @classmethod
    def none(cls, refused: str) -> Volumes:
        """Make the answer for a population without volumes."""
        return cls(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32), refused)


@dataclass(frozen=True, slots=True)
class Indices:
    """Calculated values of one run.

    Attributes
    ----------
    measurements
        HCT, HGB, MCV, MCH, MCHC, RDW, MPV, PDW, PCT, in this order; all ``calculated``.
    flags
        Those that the measurements name and that were not raised before.
    red_cells, platelets
        What the values were calculated from.
    """

    measurements: tuple[Measurement, ...]
    flags: tuple[Flag, ...]
    red_cells: Volumes
    platelets: Volumes


_Part = tuple[tuple[Measurement, ...], tuple[Flag, ...], Volumes]


def cell_indices(batch: CellBatch, calls: CellCalls, counted: Sequence[Measurement]) -> Indices:
    """Compute the indices of one run from the heights of its single cells.

    Clumps and doublets are left out: their heights are no cell's. A value that cannot be had is
    None and names the flag that says why. HCT, HGB and PCT also carry the flags of the count
    they rest on.

    Parameters
    ----------
    batch
        The run; ``calibration`` is that of its profile.
    calls
        Its cells.
    counted
        Measurements of the run with their flags, RBC and PLT among them.
    """
    if batch.calibration is None:
        flag = Flag(
            "optics_not_calibrated",
            "info",
            f"profile {batch.profile} carries no optical calibration, so red-cell and platelet "
            "indices, haematocrit and haemoglobin are not reported",
            "take these values from the analyzer's own report",
        )
        none = Volumes.none(flag.code)
        return Indices(tuple(_absent(code, (flag.code,)) for code in _UNITS), (flag,), none, none)
    count = {m.code: m for m in counted}
    red, red_flags, red_volumes = _red_cells(batch, batch.calibration, calls, count["RBC"])
    wrong_optics = tuple(flag.code for flag in red_flags if flag.severity == "invalid")
    if wrong_optics:
        platelets = tuple(_absent(code, wrong_optics) for code in _PLATELETS)
        return Indices(red + platelets, red_flags, red_volumes, Volumes.none(wrong_optics[0]))
    platelets, platelet_flags, volumes = _platelets(batch, batch.calibration, calls, count["PLT"])
    return Indices(red + platelets, red_flags + platelet_flags, red_volumes, volumes)


def _red_cells(
    batch: CellBatch, calibration: OpticalCalibration, calls: CellCalls, rbc: Measurement
) -> _Part:
    called = (calls.codes == _PURE) | (calls.codes == _RETIC)
    events = _measured(batch, called)
    cells = invert(calibration).red_cells(*_heights(batch, events, _HEIGHTS[:2]))
    inside = np.flatnonzero(np.isfinite(cells.volume_fl))
    number = int(np.count_nonzero(called))
    cells = cells.take(inside)
    volumes = Volumes(events.take(inside), cells.volume_fl)
    refused = _refusal("red_cells", number, len(volumes.fl), MIN_RED_CELLS)
    if refused is not None:
        return _refused(_RED, refused, volumes)
    found = red_population(calibration, _heights(batch, some(volumes.events)), cells)
    if found is None:
        return _refused(_RED, _off_grid("red_cells", number, number), volumes)
    flags = _extinction_flags(found.extinction)
    own = tuple(flag.code for flag in flags)
    if any(flag.severity == "invalid" for flag in flags):
        return tuple(_absent(code, own) for code in _RED), flags, Volumes.none(own[0])
    derived = (*own, *rbc.flags)
    return (
        (
            _product("HCT", rbc, found.volume_fl, 0.1, derived),
            _product("HGB", rbc, found.hb_pg, 0.1, derived),
            _measurement("MCV", found.volume_fl, own),
            _measurement("MCH", found.hb_pg, own),
            _measurement("MCHC", found.hc_g_dl, own),
            _measurement("RDW", found.volume_cv, own, 100.0),
        ),
        flags,
        volumes,
    )


def _platelets(
    batch: CellBatch, calibration: OpticalCalibration, calls: CellCalls, plt: Measurement
) -> _Part:
    called = calls.codes == _PLATELET
    events = _measured(batch, called)
    (low,) = _heights(batch, events, _HEIGHTS[:1])
    volume = invert(calibration).platelet_volumes(low, calibration.platelet_index_step)
    inside = np.flatnonzero(np.isfinite(volume))
    number = int(np.count_nonzero(called))
    volumes = Volumes(events.take(inside), volume.take(inside))
    refused = _refusal("platelets", number, len(volumes.fl), MIN_PLATELETS)
    if refused is not None:
        return _refused(_PLATELETS, refused, volumes)
    heights = _heights(batch, some(volumes.events))
    found = platelet_population(calibration, heights, volumes.fl)
    if found is None:
        return _refused(_PLATELETS, _off_grid("platelets", number, number), volumes)
    flags = _mid_angle_flags(found.mid_angle)
    own = tuple(flag.code for flag in flags)
    # Particles wrongly among the platelets, or missing, differ from them by about their volume.
    miscalled = max(0.0, _relative_variance(plt) - 1.0 / len(volume))
    mean = found.volume_fl.doubted(miscalled)
    return (
        (
            _measurement("MPV", mean, own),
            _measurement("PDW", found.width_fl.doubted(miscalled), own),
            _product("PCT", plt, mean, 1e-4, (*own, *plt.flags)),
        ),
        flags,
        volumes,
    )


def _measured(batch: CellBatch, called: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Find the called events whose heights are measured: none of them is saturated."""
    measured = called.copy()
    for name in _HEIGHTS:
        measured &= ~batch.saturated[:, batch.channels.index(name)]
    return np.flatnonzero(measured)


def _heights(
    batch: CellBatch, events: NDArray[np.intp], names: Sequence[str] = _HEIGHTS
) -> Singles:
    """Heights of some events, ``(3, events)``, or as many as are named."""
    return np.stack([batch.signals[:, batch.channels.index(name)].take(events) for name in names])


def _refusal(what: str, called: int, inside: int, fewest: int) -> Flag | None:
    """Say why a population cannot be described, if it cannot."""
    if called < fewest:
        return Flag(
            f"{what}_too_few",
            "info",
            f"{called} single {_NAMES[what]} were seen; indices need {fewest}",
            "repeat with more events",
        )
    off = called - inside
    return _off_grid(what, off, called) if off > MAX_OFF_GRID * called else None


def _off_grid(what: str, off: int, called: int) -> Flag:
    return Flag(
        f"{what}_off_grid",
        "review",
        f"{100 * off / called:.0f} % of the {_NAMES[what]} scatter as no cell of the calibration "
        "does",
        "run calibration particles; look at a blood smear",
    )


def _refused(codes: tuple[str, ...], flag: Flag, volumes: Volumes) -> _Part:
    """Report no index; of few cells the volumes are still known, of a part of them they mislead."""
    known = volumes if flag.severity == "info" else Volumes.none(flag.code)
    return tuple(_absent(code, (flag.code,)) for code in codes), (flag,), known


def _extinction_flags(check: Check) -> tuple[Flag, ...]:
    """Two unknowns, three heights: the third tells whether the calibration still holds."""
    if not check.missed_by(DISAGREEMENT):
        return ()
    flag = Flag(
        "extinction_disagrees",
        "invalid" if check.missed_by(REFUSED) else "review",
        f"the extinction of red cells is {100 * math.expm1(check.deviation):+.0f} % off what "
        "their scatter says: a detector's gain or the optics have moved",
        "run calibration particles; do not report indices until they agree",
    )
    return (flag,)


def _mid_angle_flags(check: Check) -> tuple[Flag, ...]:
    if not check.missed_by(DISAGREEMENT):
        return ()
    flag = Flag(
        "platelet_scatter_disagrees",
        "review",
        f"the intermediate-angle scatter of platelets is {100 * math.expm1(check.deviation):+.0f} "
        "% off what their low-angle scatter says: other particles are among them, or their "
        "refractive index is unusual, as in giant platelets",
        "look at a blood smear before using MPV",
    )
    return (flag,)


def _absent(code: str, flags: tuple[str, ...]) -> Measurement:
    return Measurement(code, None, _UNITS[code], None, None, "calculated", flags)


def _measurement(
    code: str, found: Estimate, flags: tuple[str, ...], factor: float = 1.0
) -> Measurement:
    value, low, high = (factor * v for v in (found.value, found.low, found.high))
    return Measurement(code, value, _UNITS[code], low, high, "calculated", flags)


def _product(
    code: str, count: Measurement, found: Estimate, factor: float, flags: tuple[str, ...]
) -> Measurement:
    """Count times mean; the uncertainties of the two are independent."""
    if not count.value:
        return _absent(code, flags)
    product = Estimate.of(count.value * found.value, found.variance + _relative_variance(count))
    return _measurement(code, product, flags, factor)


def _relative_variance(count: Measurement) -> float:
    """Of a count, from its interval; none is known of a count that is not reported."""
    if not count.value or count.low is None or count.high is None:
        return 0.0
    return min((count.high - count.low) / (2 * Z95 * count.value), 1.0) ** 2
