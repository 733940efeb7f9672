"""Read the optical calibration that a profile names: a table of heights beside it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.arrays import ArraysError, read_arrays
from edge_daemon.decode.schema import CALIBRATED
from edge_daemon.records import OpticalCalibration

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_daemon.decode.schema import Calibration

    Arrays = dict[str, NDArray[np.float64]]

MAX_TABLE_BYTES: Final = 4 * 2**20
MAX_ARRAY_BYTES: Final = 16 * 2**20
MAX_AXIS: Final = 500
"""Longest axis of a table; the shipped ones have about a hundred values."""

_AXES: Final = {
    "red_cells": ("volume_fl", "hc_g_dl"),
    "platelets": ("platelet_fl", "index_step"),
}
PHYSICS: Final = "physics"
"""Array of the table's file that states what it was computed for (`Calibration.physics`)."""


class TableError(Exception):
    """The table's file is not what the profile says; the text says what was expected."""


def read_calibration(settings: Calibration, folder: Path) -> OpticalCalibration:
    """Read and check the table of a ``[calibration]`` section.

    Parameters
    ----------
    settings
        The checked section.
    folder
        Folder of the profile; the table lies in it.

    Raises
    ------
    TableError
        When the file cannot be read, is not the one that was hashed, was computed for another
        optics than the section states, or holds no usable tables.
    """
    arrays = _load(_verified(settings, folder))
    stated, found = settings.physics, arrays.get(PHYSICS, np.empty(0)).tolist()
    if list(stated) != found:
        raise TableError(
            f"{settings.table} was computed for {found}, expected wavelength, medium, increment "
            f"and angles of this section: {list(stated)}"
        )
    for table, axes in _AXES.items():
        _check_table(arrays, table, axes)
    step, steps = settings.platelet_index_step, arrays["index_step"]
    if not steps[0] <= step <= steps[-1]:
        raise TableError(
            f"platelet_index_step {step} lies outside the table, {steps[0]:g} to {steps[-1]:g}"
        )
    detectors = [getattr(settings, name) for name in CALIBRATED]
    return OpticalCalibration(
        **{name: arrays[name] for table, axes in _AXES.items() for name in (table, *axes)},
        gain_uncertainty=tuple(d.gain_uncertainty for d in detectors),
        light_uncertainty=settings.light_uncertainty,
        noise_floor=tuple(d.noise_floor for d in detectors),
        noise_shot=tuple(d.noise_shot for d in detectors),
        light_cv=settings.light_cv,
        increment_uncertainty=settings.increment_uncertainty,
        platelet_index_step=step,
        platelet_index_uncertainty=settings.platelet_index_uncertainty,
        platelet_index_cv=settings.platelet_index_cv,
    )


def _verified(settings: Calibration, folder: Path) -> bytes:
    try:
        with (folder / settings.table).open("rb") as stream:
            data = stream.read(MAX_TABLE_BYTES + 1)
    except OSError as error:
        raise TableError(f"{settings.table} cannot be read: {error.strerror}") from error
    if len(data) > MAX_TABLE_BYTES:
        raise TableError(f"{settings.table} has more than {MAX_TABLE_BYTES} bytes")
    digest = hashlib.sha256(data).hexdigest()
    if digest != settings.sha256:
        raise TableError(f"{settings.table} has SHA-256 {digest}, expected {settings.sha256}")
    return data


def _load(data: bytes) -> Arrays:
    wanted = {PHYSICS, *_AXES, *(axis for axes in _AXES.values() for axis in axes)}
    try:
        found = read_arrays(data, MAX_ARRAY_BYTES)
    except ArraysError as error:
        raise TableError(f"the table is not a file of named arrays (npz): {error}") from error
    with np.errstate(invalid="ignore"):  # what is no number is refused below
        return {n: values.astype(np.float64) for n, values in found.items() if n in wanted}


def _check_table(arrays: Arrays, name: str, axes: tuple[str, str]) -> None:
    missing = [key for key in (name, *axes) if key not in arrays]
    if missing:
        raise TableError(f"the table lacks {', '.join(missing)}")
    shape = []
    for axis in axes:
        values = arrays[axis]
        if values.ndim != 1 or not 2 <= len(values) <= MAX_AXIS:
            raise TableError(f"{axis}: expected 2 to {MAX_AXIS} values, found {values.shape}")
        if not (np.isfinite(values).all() and values[0] > 0 and (np.diff(values) > 0).all()):
            raise TableError(f"{axis}: expected ascending positive numbers")
        shape.append(len(values))
    expected = (*shape, len(CALIBRATED))
    if arrays[name].shape != expected:
        raise TableError(f"{name}: expected shape {expected}, found {arrays[name].shape}")
    if not (np.isfinite(arrays[name]).all() and (arrays[name] > 0).all()):
        raise TableError(f"{name}: expected positive numbers")
