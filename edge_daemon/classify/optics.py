"""From the scatter of single cells to their volume and haemoglobin, by inverted Mie tables.

A sphered red cell has two unknowns, volume and haemoglobin concentration, and two scatter heights
that determine them (Tycko 1985). The table of a calibration gives the heights of a cell; its
inverse is computed once, on a grid over the two heights, and looked up for every cell. Where no
cell of the table scatters so, the grid holds NaN: such a cell is off the grid, never guessed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.records import OpticalCalibration

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

LA, HA, EXT = range(3)

NODES: Final = 256
"""Grid nodes along each height; the interpolation costs 0.03 % of volume, at most 0.25 %."""
_REFINE: Final = 6
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class RedCells:
    """What the heights say of each red cell; NaN where it is off the grid.

    Attributes
    ----------
    volume_fl, hc_g_dl
        float32 ``(cells,)``.
    """

    volume_fl: Singles
    hc_g_dl: Singles

    def take(self, inside: NDArray[np.intp]) -> RedCells:
        """Return some of the cells."""
        return RedCells(self.volume_fl.take(inside), self.hc_g_dl.take(inside))


@dataclass(frozen=True, slots=True)
class Inverse:
    """The inverse of a calibration's tables.

    Attributes
    ----------
    start, step
        First node and spacing of the two axes, natural logarithm of the LA and HA height.
    nodes
        float32 ``(3, NODES²)``: log-volume (fL), concentration (g/dL) and log-EXT-height of the
        red cell with these heights, or NaN.
    platelet_log_fl, platelet_log_heights
        Log-volumes ``(volumes,)`` and log-heights ``(volumes, steps, signals)`` of platelets.
    index_step
        ``(steps,)``.
    """

    start: tuple[float, float]
    step: tuple[float, float]
    nodes: Singles
    platelet_log_fl: Floats
    platelet_log_heights: Floats
    index_step: Floats

    def red_cells(self, low: Singles, mid: Singles) -> RedCells:
        """Volume and haemoglobin concentration of red cells.

        Parameters
        ----------
        low, mid
            ``(cells,)`` LA and HA heights in the profile's units.
        """
        log_fl, concentration = self._between(low, mid, self.nodes[:2])
        return RedCells(np.exp(log_fl), concentration)

    def expected_extinction(self, low: Singles, mid: Singles) -> Singles:
        """EXT height of the red cells with these LA and HA heights; NaN off the grid."""
        (log_height,) = self._between(low, mid, self.nodes[2:])
        expected: Singles = np.exp(log_height)
        return expected

    def all_of(self, low: Singles, mid: Singles) -> tuple[RedCells, Singles]:
        """Return `red_cells` and `expected_extinction` of the same heights."""
        log_fl, concentration, log_height = self._between(low, mid, self.nodes)
        return RedCells(np.exp(log_fl), concentration), np.exp(log_height)

    def _between(self, low: Singles, mid: Singles, tables: Singles) -> list[Singles]:
        """Interpolate bilinearly; NaN at a corner makes NaN of what lies between."""
        row, down, in_rows = self._place(low, 0)
        column, across, in_columns = self._place(mid, 1)
        row *= NODES
        row += column
        outside = np.flatnonzero(~(in_rows & in_columns))
        far = down * across
        weights = (1 - down - across + far, across - far, down - far, far)
        found = []
        for table in tables:
            value = np.zeros(len(low), dtype=np.float32)
            for offset, weight in zip((0, 1, NODES, NODES + 1), weights, strict=True):
                corner = table[offset:].take(row)
                corner *= weight
                value += corner
            value[outside] = np.nan
            found.append(value)
        return found

    def _place(
        self, height: Singles, axis: int
    ) -> tuple[NDArray[np.intp], Singles, NDArray[np.bool_]]:
        """Node below each height, the part of a step from there, and whether it is on the axis."""
        u = np.log(np.maximum(height, np.float32(_TINY)))
        u = (u - np.float32(self.start[axis])) / np.float32(self.step[axis])
        inside = (u >= 0) & (u < NODES - 1)
        node = np.where(inside, u, np.float32(0)).astype(np.intp)
        return node, u - node.astype(np.float32), inside

    def platelet_volumes(self, low: Singles, index_step: float) -> Singles:
        """Volumes of platelets whose refractive index stands `index_step` above the medium.

        Low-angle scatter alone: it grows with the square of the volume and depends least on the
        index, while the ratio of two angles drowns in noise for the smallest platelets.

        Parameters
        ----------
        low
            ``(cells,)`` LA heights.
        index_step
            Within the calibration's table.

        Returns
        -------
        ndarray
            float32 ``(cells,)``, fL; NaN above the table. A height below the table, down to
            negative noise, gives its smallest volume.
        """
        heights = self._platelet_column(index_step, LA)
        log_low = np.log(np.maximum(low, np.float32(_TINY)))
        logs = np.interp(log_low, heights, self.platelet_log_fl, right=np.nan)
        return np.exp(logs).astype(np.float32)

    def expected_mid_angle(self, volume_fl: Singles, index_step: float) -> Singles:
        """HA height of platelets of these volumes, fL, and this index step."""
        heights = self._platelet_column(index_step, HA)
        return np.exp(np.interp(np.log(volume_fl), self.platelet_log_fl, heights)).astype(
            np.float32
        )

    def _platelet_column(self, index_step: float, signal: int) -> Floats:
        last = len(self.index_step) - 2
        at = min(max(int(np.searchsorted(self.index_step, index_step, side="right")) - 1, 0), last)
        below, above = self.index_step[at], self.index_step[at + 1]
        weight = (index_step - below) / (above - below)
        before, after = self.platelet_log_heights[:, at : at + 2, signal].T
        column: Floats = before + weight * (after - before)
        return column


@functools.lru_cache(maxsize=8)
def invert(calibration: OpticalCalibration) -> Inverse:
    """Invert a calibration's tables; takes some 20 ms, and is kept for the next run (0.8 MB).

    Along each concentration the low-angle height is followed up to its first maximum over
    volume; at each low-angle height the mid-angle height is then followed over concentration.
    Past a maximum two cells scatter alike, and that part stays off the grid.
    """
    heights = np.log(calibration.red_cells)
    axes = [np.linspace(heights[:, :, k].min(), heights[:, :, k].max(), NODES) for k in (LA, HA)]
    concentration, columns = _along_concentrations(calibration, axes[0])
    nodes = np.full((NODES, NODES, 3), np.nan)
    for i, column in enumerate(columns):
        _fill_row(nodes[i], axes[1], concentration, column)
    # Past a maximum the height says no more than that the platelet is large.
    rising = np.maximum.accumulate(np.log(calibration.platelets), axis=0)
    return Inverse(
        start=(float(axes[0][0]), float(axes[1][0])),
        step=(float(axes[0][1] - axes[0][0]), float(axes[1][1] - axes[1][0])),
        nodes=np.ascontiguousarray(nodes.reshape(-1, 3).T, dtype=np.float32),
        platelet_log_fl=np.log(calibration.platelet_fl),
        platelet_log_heights=rising,
        index_step=calibration.index_step,
    )


def _along_concentrations(calibration: OpticalCalibration, low: Floats) -> tuple[Floats, Floats]:
    """Concentrations ``(c,)``, and per low-angle node: log-volume, log-HA, log-EXT ``(n, c, 3)``.

    The table is refined linearly first, in log-volume and in concentration.
    """
    log_fl = np.log(calibration.volume_fl)
    volumes = _refined(log_fl)
    concentrations = _refined(calibration.hc_g_dl)
    columns = np.full((len(low), len(concentrations), 3), np.nan)
    table = _resampled(calibration.red_cells, log_fl, volumes, 0)
    table = np.log(_resampled(table, calibration.hc_g_dl, concentrations, 1))
    for j in range(len(concentrations)):
        rising = _rising(table[:, j, LA])
        x = table[:rising, j, LA]
        for k, values in enumerate((volumes, table[:, j, HA], table[:, j, EXT])):
            columns[:, j, k] = np.interp(low, x, values[:rising], left=np.nan, right=np.nan)
    return concentrations, columns


def _fill_row(row: Floats, mid: Floats, concentration: Floats, column: Floats) -> None:
    """Fill the nodes of one low-angle height: ``row (n, 3)`` from ``column (c, 3)``."""
    inside = np.flatnonzero(np.isfinite(column[:, 1]))
    if len(inside) < 2:
        return
    inside = inside[: _rising(column[inside, 1])]
    y = column[inside, 1]
    for k, values in enumerate((column[:, 0], concentration, column[:, 2])):
        row[:, k] = np.interp(mid, y, values[inside], left=np.nan, right=np.nan)


def _rising(values: Floats) -> int:
    """Length of the strictly rising beginning."""
    stops = np.flatnonzero(np.diff(values) <= 0)
    return int(stops[0]) + 1 if len(stops) else len(values)


def _refined(axis: Floats) -> Floats:
    count = (len(axis) - 1) * _REFINE + 1
    refined: Floats = np.interp(np.arange(count) / _REFINE, np.arange(len(axis)), axis)
    return refined


def _resampled(table: Floats, at: Floats, wanted: Floats, axis: int) -> Floats:
    """Interpolate a table linearly along one axis, from `at` to `wanted`."""
    low = np.clip(np.searchsorted(at, wanted, side="right") - 1, 0, len(at) - 2)
    shape = [1] * table.ndim
    shape[axis] = len(wanted)
    weight = ((wanted - at[low]) / (at[low + 1] - at[low])).reshape(shape)
    below, above = np.take(table, low, axis=axis), np.take(table, low + 1, axis=axis)
    resampled: Floats = below * (1 - weight) + above * weight
    return resampled
