"""What every codec returns: the recorded columns, before any profile has given them meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RawColumn:
    """One recorded parameter.

    Attributes
    ----------
    name
        Short name (``$PnN``); not necessarily unique in a file.
    label
        Long name (``$PnS``) or None.
    bits
        Width as recorded.
    maximum
        Largest recordable value of an integer column; None for floating point.
    log_decades
        Decades of a logarithmic amplifier; 0.0 means linear. Always 0.0 for floating point,
        whose values are final whatever ``$PnE`` says.
    log_offset
        Value that channel 0 stands for when logarithmic; 0.0 when linear.
    gain
        Linear amplifier gain (``$PnG``), reported and never applied.
    """

    name: str
    label: str | None
    bits: int
    maximum: float | None
    log_decades: float = 0.0
    log_offset: float = 0.0
    gain: float = 1.0


@dataclass(frozen=True, slots=True)
class RawTable:
    """One data set as the instrument recorded it.

    Attributes
    ----------
    format
        Format and version, for example ``FCS3.1``.
    columns
        One per column of `values`.
    values
        ``(events, columns)``, read-only: integers masked to their range and not scaled, or
        the floating-point values themselves.
    keywords
        Everything the file says about itself; upper-case keys, blanks around values removed.
    datasets
        How many data sets the file holds.
    notes
        Leniencies that were needed, each ``name: what was found``.
    saturated
        Bool of the shape of `values`, where the codec itself knows that a value stood at the
        converter's limit, e.g. of a feature of a digitised pulse; or None.
    pulses
        float32 ``(events, detectors, samples)`` of digitised pulses, or None.
    """

    format: str
    columns: tuple[RawColumn, ...]
    values: NDArray[Any]
    keywords: Mapping[str, str]
    datasets: int = 1
    notes: tuple[str, ...] = ()
    saturated: NDArray[np.bool_] | None = None
    pulses: NDArray[np.float32] | None = None
