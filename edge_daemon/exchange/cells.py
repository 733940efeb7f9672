"""The cells of a run as FCS 3.1: canonical signals, the class of each event and its posterior."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.exchange.fcs_writer import DELIMITER, FcsColumn, write_fcs
from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge_daemon.records import CellBatch, CellCalls, ChannelScale

CLASS: Final = "CLASS"
TIME: Final = "TIME"
POSTERIORS: Final = tuple(f"P_{name}" for name in CELL_CLASSES)

_CLASSES: Final = ", ".join(f"{code} {name}" for code, name in enumerate(CELL_CLASSES))


def cells_as_fcs(
    run: Mapping[str, Any],
    batch: CellBatch,
    calls: CellCalls,
    scales: Mapping[str, ChannelScale],
    *,
    reproduced: bool,
) -> bytes:
    """Write the cells of one run.

    Parameters
    ----------
    run
        The stored run, as `store.queries.run` gives it. Names and ids of the patient stay out.
    batch, calls
        Its cells, decoded and called again.
    scales
        Units of the channels.
    reproduced
        Whether the calls count exactly as the stored run did.

    Returns
    -------
    bytes
        Parameters: the canonical channels in their units; ``TIME`` in seconds where the instrument
        records it; ``CLASS``, 0 to 4 in the order of `CELL_CLASSES`; five posteriors.
    """
    columns = [
        _column(name, scales[name].unit if name in scales else "", batch.signals[:, i])
        for i, name in enumerate(batch.channels)
    ]
    parts: list[NDArray[Any]] = [batch.signals]
    if batch.time_s is not None:
        columns.append(_column(TIME, "s", batch.time_s))
        parts.append(batch.time_s[:, None])
    columns.append(FcsColumn(CLASS, _CLASSES, 32, len(CELL_CLASSES)))
    columns += [FcsColumn(name, "posterior", 32, 1) for name in POSTERIORS]
    parts += [calls.codes[:, None], calls.posterior]
    values = np.concatenate(parts, axis=1, dtype=np.float32)
    keywords = _keywords(run, batch, reproduced=reproduced)
    return write_fcs(columns, values, keywords, byte_order="little")


def _column(name: str, unit: str, values: NDArray[np.float32]) -> FcsColumn:
    largest = float(values.max()) if len(values) else 0.0
    return FcsColumn(name, _text(unit), 32, max(1, math.ceil(largest)))


def _keywords(run: Mapping[str, Any], batch: CellBatch, *, reproduced: bool) -> dict[str, str]:
    sample = batch.sample
    given: dict[str, object] = {
        "$CYT": sample.instrument_model,
        "$CYTSN": sample.instrument_serial,
        "$SMNO": sample.sample_id,
        "$DATE": _date(sample.acquired_at),
        "$VOL": None if sample.volume_ul is None else 1000.0 * sample.volume_ul,
        "$TIMESTEP": None if batch.time_s is None else 1,
        "$COM": "SIMULATED: not a patient's result" if sample.simulated else None,
        "EDGE_SIMULATED": int(sample.simulated),
        "EDGE_RUN": run["id"],
        "EDGE_DIGEST": run["digest"],
        "EDGE_CAPTURE": run["sha256"],
        "EDGE_PROFILE": f"{run['profile']} {run['profile_sha256']}",
        "EDGE_MODEL": f"{run['model']} {run['model_sha256']}",
        "EDGE_STATUS": run["status"],
        "EDGE_CLASSES": _CLASSES,
        "EDGE_REPRODUCED": int(reproduced),
        "EDGE_SPECIES": sample.species,
        "EDGE_FIRMWARE": sample.firmware,
        "EDGE_DILUTION": sample.dilution,
        "EDGE_ACQUIRED": sample.acquired_at,
    }
    return {key: _text(str(value)) for key, value in given.items() if value is not None}


def _text(value: str) -> str:
    """Keep a text that FCS can hold: printable, and not beginning with the delimiter."""
    kept = "".join(c if c.isprintable() else " " for c in value)
    return f" {kept}" if kept.startswith(DELIMITER) else kept


def _date(acquired_at: str | None) -> str | None:
    """Return ``$DATE`` (dd-mmm-yyyy) of the analyzer's own time, if it can be read."""
    try:
        moment = datetime.fromisoformat(acquired_at or "")
    except ValueError:
        return None
    months = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    return f"{moment.day:02d}-{months[moment.month - 1]}-{moment.year:04d}"
