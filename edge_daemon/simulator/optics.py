"""Scatter and extinction of single cells, looked up in shipped Mie tables.

The tables are computed by `edge_daemon.simulator.build_tables`; this module needs only numpy.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TABLES_FILE: Final = Path(__file__).with_name("mie_tables.npz")

OPTICAL_SIGNALS: Final = ("LA", "HA", "SS", "EXT")
"""Last axis of every table and of every lookup; all in µm²."""


@dataclass(frozen=True, slots=True)
class OpticalConfiguration:
    """A laser and its collection angles.

    Attributes
    ----------
    wavelength_um
        Vacuum wavelength, µm.
    angles
        Collection interval in degrees per scatter detector, in the order of `OPTICAL_SIGNALS`.
    absorption
        Imaginary refractive index per g/dL of oxyhaemoglobin; small in the red.
    increment_ml_g
        Specific refractive increment of haemoglobin, mL/g.
    medium
        Refractive index of the sheath.
    """

    wavelength_um: float
    angles: Mapping[str, tuple[float, float]]
    absorption: float
    increment_ml_g: float = 0.19
    medium: float = 1.333


CONFIGURATIONS: Final[Mapping[str, OpticalConfiguration]] = {
    "hene": OpticalConfiguration(
        wavelength_um=0.6328,
        angles={"LA": (2.0, 3.0), "HA": (5.0, 15.0), "SS": (60.0, 120.0)},
        absorption=1.0e-6,
    ),
    "diode660": OpticalConfiguration(
        wavelength_um=0.660,
        angles={"LA": (1.8, 3.2), "HA": (5.5, 16.0), "SS": (65.0, 115.0)},
        absorption=0.6e-6,
    ),
}

RED_VOLUME_GRID: Final = np.geomspace(1.0, 400.0, 90)
"""fL."""
RED_HC_GRID: Final = np.linspace(0.0, 52.0, 27)
"""g/dL."""
PLAIN_VOLUME_GRID: Final = np.geomspace(0.05, 800.0, 110)
"""fL; debris at the low end, white cells at the high one."""
INDEX_STEP_GRID: Final = np.linspace(0.005, 0.085, 17)
"""Refractive index above the medium, for cells without haemoglobin."""


@dataclass(frozen=True, slots=True)
class OpticalTable:
    """The tables of one configuration.

    Attributes
    ----------
    red
        ``(volumes, concentrations, 4)``, µm².
    plain
        ``(volumes, index steps, 4)``, µm².
    """

    red: Floats
    plain: Floats

    def red_cells(self, volume_fl: Floats, hc_g_dl: Floats) -> Floats:
        """Cross-sections of haemoglobin-filled spheres.

        Parameters
        ----------
        volume_fl, hc_g_dl
            ``(n,)`` volumes in fL and concentrations in g/dL; values outside the grid are
            moved to its edge.

        Returns
        -------
        ndarray
            ``(n, 4)`` in the order of `OPTICAL_SIGNALS`, µm².
        """
        return _bilinear(self.red, RED_VOLUME_GRID, RED_HC_GRID, volume_fl, hc_g_dl)

    def plain_cells(self, volume_fl: Floats, index_step: Floats) -> Floats:
        """Cross-sections of spheres without haemoglobin; as `red_cells`, with Δn for HC."""
        return _bilinear(self.plain, PLAIN_VOLUME_GRID, INDEX_STEP_GRID, volume_fl, index_step)


@functools.cache
def load_table(name: str) -> OpticalTable:
    """Load the shipped tables of one of `CONFIGURATIONS`."""
    with np.load(TABLES_FILE, allow_pickle=False) as arrays:
        return OpticalTable(
            red=arrays[f"{name}.red"].astype(np.float64),
            plain=arrays[f"{name}.plain"].astype(np.float64),
        )


def _bilinear(table: Floats, volumes: Floats, columns: Floats, volume: Floats, y: Floats) -> Floats:
    """Interpolate in log-volume and linearly in the second axis (both grids are uniform)."""
    log_step = np.log(volumes[1] / volumes[0])
    u = np.clip(np.log(np.maximum(volume, 1e-9) / volumes[0]) / log_step, 0.0, len(volumes) - 1.0)
    v = np.clip((y - columns[0]) / (columns[1] - columns[0]), 0.0, len(columns) - 1.0)
    row = np.minimum(u.astype(np.intp), len(volumes) - 2)
    col = np.minimum(v.astype(np.intp), len(columns) - 2)
    du = (u - row)[:, None]
    dv = (v - col)[:, None]
    below: Floats = table[row, col] * (1.0 - dv) + table[row, col + 1] * dv
    above: Floats = table[row + 1, col] * (1.0 - dv) + table[row + 1, col + 1] * dv
    between: Floats = below * (1.0 - du) + above * du
    return between
