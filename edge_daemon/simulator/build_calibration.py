"""Write the optical calibration of ``sim_optical4`` from the tables that its light is made with.

Run ``python -m edge_daemon.simulator.build_calibration`` after the simulated optics change, and
put the digest it prints into ``[calibration]`` of both profiles. A real instrument's table is
computed for its own optics and scaled with particles of known size and index.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.instruments import Instrument, find_instrument
from edge_daemon.simulator.optics import (
    CONFIGURATIONS,
    INDEX_STEP_GRID,
    OPTICAL_SIGNALS,
    PLAIN_VOLUME_GRID,
    RED_HC_GRID,
    RED_VOLUME_GRID,
    load_table,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.floating[Any]]]

CALIBRATED: Final = ("sim_optical4", "sim_pulse4")
RED_RANGE_FL: Final = (2.0, 190.0)
"""Beyond 190 fL the two angles no longer tell volume and concentration apart."""
PLATELET_RANGE_FL: Final = (0.5, 150.0)

_COLUMNS: Final = [OPTICAL_SIGNALS.index(name) for name in ("LA", "HA", "EXT")]


def build(instrument: Instrument) -> Arrays:
    """Return the arrays of the calibration's file (docs/profiles.md)."""
    optics = CONFIGURATIONS[instrument.optics]
    table = load_table(instrument.optics)
    red = _within(RED_VOLUME_GRID, RED_RANGE_FL)
    plain = _within(PLAIN_VOLUME_GRID, PLATELET_RANGE_FL)
    containing_haemoglobin = RED_HC_GRID > 0.0
    volume_fl, platelet_fl = RED_VOLUME_GRID[red], PLAIN_VOLUME_GRID[plain]
    sections = table.red[red][:, containing_haemoglobin][:, :, _COLUMNS]
    plain_sections = table.plain[plain][:, :, _COLUMNS]
    nanometres = round(1000.0 * optics.wavelength_um, 6)
    physics = [nanometres, optics.medium, optics.increment_ml_g]
    return {
        "volume_fl": volume_fl,
        "hc_g_dl": RED_HC_GRID[containing_haemoglobin],
        "red_cells": (sections * _height(instrument, volume_fl)).astype(np.float32),
        "platelet_fl": platelet_fl,
        "index_step": INDEX_STEP_GRID,
        "platelets": (plain_sections * _height(instrument, platelet_fl)).astype(np.float32),
        "physics": np.array([*physics, *optics.angles["LA"], *optics.angles["HA"]]),
    }


def _within(grid: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.bool_]:
    return (grid >= bounds[0]) & (grid <= bounds[1])


def _height(instrument: Instrument, volume_fl: NDArray[np.float64]) -> NDArray[np.float64]:
    """Peak height over cross-section, which a long cell lowers, ``(volumes, 1, 1)``."""
    diameter = np.cbrt(6.0 * volume_fl / np.pi)
    beam = instrument.beam_sigma_um
    height: NDArray[np.float64] = beam / np.sqrt(beam**2 + diameter**2 / 20.0)
    return height[:, None, None]


def write(instrument: str) -> str:
    """Write the file beside the instrument's profiles and return its SHA-256."""
    target = profiles_dir() / instrument / "calibration.npz"
    np.savez_compressed(target, allow_pickle=False, **build(find_instrument(instrument)))
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    for name in CALIBRATED:
        sys.stdout.write(f"{name} {write(name)}\n")
