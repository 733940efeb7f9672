"""Compute the scatter tables that ship with the simulator (needs the ``optics`` extra).

Run ``python -m edge_daemon.simulator.build_tables`` after changing a grid or a configuration.
A sphered red cell is a homogeneous sphere whose refractive index grows linearly with its
haemoglobin concentration; platelets and debris are spheres with a given index step Δn.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import miepython
import numpy as np

from edge_daemon.simulator.optics import (
    CONFIGURATIONS,
    INDEX_STEP_GRID,
    PLAIN_VOLUME_GRID,
    RED_HC_GRID,
    RED_VOLUME_GRID,
    TABLES_FILE,
    OpticalConfiguration,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ANGLE_STEPS = {"LA": 17, "HA": 61, "SS": 121}


def cross_sections(
    configuration: OpticalConfiguration, volume_fl: float, index_step: float, absorption: float
) -> NDArray[np.float64]:
    """Effective cross-sections of one sphere.

    Parameters
    ----------
    configuration
        Wavelength, medium and collection angles.
    volume_fl
        Volume, fL; above 0.
    index_step
        Real refractive index above the medium.
    absorption
        Imaginary part of the refractive index.

    Returns
    -------
    ndarray
        ``(4,)`` LA, HA, SS, EXT in µm², for unpolarised light.
    """
    radius = (3.0 * volume_fl / (4.0 * np.pi)) ** (1.0 / 3.0)
    wavenumber = 2.0 * np.pi * configuration.medium / configuration.wavelength_um
    relative = complex(1.0 + index_step / configuration.medium, -absorption / configuration.medium)
    size = wavenumber * radius
    extinction = miepython.efficiencies_mx(relative, size)[0] * np.pi * radius**2
    collected = []
    for detector, (low, high) in configuration.angles.items():
        theta = np.radians(np.linspace(low, high, _ANGLE_STEPS[detector]))
        s1, s2 = miepython.S1_S2(relative, size, np.cos(theta), norm="wiscombe")
        intensity = (np.abs(s1) ** 2 + np.abs(s2) ** 2) / (2.0 * wavenumber**2)
        collected.append(np.trapezoid(2.0 * np.pi * np.sin(theta) * intensity, theta))
    return np.array([*collected, extinction])


def red_cell(
    configuration: OpticalConfiguration, volume_fl: float, hc_g_dl: float
) -> NDArray[np.float64]:
    """Return LA, HA, SS, EXT (µm²) of a sphered red cell of `volume_fl` fL and `hc_g_dl` g/dL."""
    step = configuration.increment_ml_g * hc_g_dl / 100.0
    return cross_sections(configuration, volume_fl, step, configuration.absorption * hc_g_dl)


def build(target: Path) -> None:
    """Compute every table of every configuration and write them to `target` (npz)."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, configuration in CONFIGURATIONS.items():
        red = [[red_cell(configuration, v, hc) for hc in RED_HC_GRID] for v in RED_VOLUME_GRID]
        plain = [
            [cross_sections(configuration, v, step, 0.0) for step in INDEX_STEP_GRID]
            for v in PLAIN_VOLUME_GRID
        ]
        arrays[f"{name}.red"] = np.array(red, dtype=np.float32)
        arrays[f"{name}.plain"] = np.array(plain, dtype=np.float32)
        sys.stderr.write(f"{name}: done\n")
    np.savez_compressed(target, allow_pickle=False, **arrays)


if __name__ == "__main__":
    build(TABLES_FILE)
