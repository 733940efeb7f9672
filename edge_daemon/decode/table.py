"""What every codec returns: the recorded columns, before any profile has given them meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

BLOCK_EVENTS: Final = 8192
"""Events that are read together: their rows stay in the second-level cache meanwhile."""


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
        One per column of `recorded`.
    recorded
        ``(events, columns)``, read-only: as it lies in the file, in any byte order.
    keywords
        Everything the file says about itself; upper-case keys, blanks around values removed.
    datasets
        How many data sets the file holds.
    notes
        Leniencies that were needed, each ``name: what was found``.
    saturated
        Bool of the shape of `recorded`, where the codec itself knows that a value stood at the
        converter's limit, e.g. of a feature of a digitised pulse; or None.
    pulses
        float32 ``(events, detectors, samples)`` of digitised pulses, or None.
    masks
        Bits of each column of integers that carry its values; empty where all do.
    """

    format: str
    columns: tuple[RawColumn, ...]
    recorded: NDArray[Any]
    keywords: Mapping[str, str]
    datasets: int = 1
    notes: tuple[str, ...] = ()
    saturated: NDArray[np.bool_] | None = None
    pulses: NDArray[np.float32] | None = None
    masks: tuple[int, ...] = ()

    @property
    def events(self) -> int:
        """Number of events."""
        return int(self.recorded.shape[0])

    @property
    def values(self) -> NDArray[Any]:
        """All values ``(events, columns)``, read-only, in the machine's byte order.

        Integers are masked to their range and not scaled.
        """
        if self.recorded.dtype.isnative and not self.masks:
            return self.recorded
        values = np.empty(self.recorded.shape[::-1], self.recorded.dtype.newbyteorder("="))
        for block in self.blocks():
            for j, column in enumerate(values):
                column[block] = self.column(j, block)
        values.flags.writeable = False
        return values.T

    def blocks(self) -> Iterator[slice]:
        """Divide the events into runs of `BLOCK_EVENTS`."""
        for begin in range(0, self.events, BLOCK_EVENTS):
            yield slice(begin, min(begin + BLOCK_EVENTS, self.events))

    def column(self, j: int, events: slice = slice(None)) -> NDArray[Any]:
        """Values of one column, one after the other, of all events or some; see `values`."""
        recorded = self.recorded[events, j]
        native = recorded.dtype.newbyteorder("=")
        values: NDArray[Any] = np.ascontiguousarray(recorded, native)
        if self.masks:
            values = np.bitwise_and(values, native.type(self.masks[j]))
        return values
