"""From recorded columns to canonical channels: linearisation, gain, offset, saturation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_daemon.decode.numbers import parse_number
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.decode.profile import Profile
    from edge_daemon.decode.schema import Channel, Time
    from edge_daemon.decode.table import RawColumn, RawTable

_LARGEST_LOOKUP = 1 << 16
_ACTION = (
    "Check the analyzer's export settings and firmware, and choose or write the profile that "
    "fits them."
)


def canonical_signals(
    table: RawTable, profile: Profile
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Apply the channel map.

    Returns
    -------
    tuple
        Signals, float32 ``(events, channels)`` in the profile's canonical units, and the mask
        of values that stood at the converter's limit, bool of the same shape. Both lie in memory
        channel by channel, because all that follows reads channels.

    Raises
    ------
    Quarantine
        ``profile_mismatch`` when a column is absent, ambiguous or of another scale than the
        profile says; ``implausible`` when a value is not finite.
    """
    sources = _locate(table, profile)
    for channel, j in zip(profile.channel, sources, strict=True):
        _check_scale(channel, table.columns[j])
    shape = (len(sources), table.events)
    signals = np.empty(shape, np.float32)
    saturated = np.zeros(shape, np.bool_)
    limits = [_limit(table.columns[j], table.recorded.dtype) for j in sources]
    for block in table.blocks():
        rows = signals[:, block], saturated[:, block]
        # Infinite values are looked for below.
        with np.errstate(over="ignore", invalid="ignore"):
            for channel, j, limit, signal, mark in zip(
                profile.channel, sources, limits, *rows, strict=True
            ):
                recorded = table.column(j, block)
                _scale(recorded, table.columns[j], channel, signal, table.events)
                if limit is not None:
                    _mark_limits(recorded, limit, channel, mark)
                if table.saturated is not None:
                    np.logical_or(mark, table.saturated[block, j], out=mark)
        _check_finite(signals[:, block], block.start, profile)
    return signals.T, saturated.T


def _scale(
    recorded: NDArray[Any],
    column: RawColumn,
    channel: Channel,
    signal: NDArray[np.float32],
    events: int,
) -> None:
    """Linearise and apply gain and offset in float64; the result goes into `signal`."""
    if channel.scale == "log":
        signal[:] = _linearised(recorded, column, channel, events)
    elif channel.offset == 0.0:
        np.multiply(recorded, channel.gain, out=signal, dtype=np.float64, casting="unsafe")
    else:
        linear = recorded.astype(np.float64)
        linear *= channel.gain
        np.add(linear, channel.offset, out=signal, casting="unsafe")


def acquisition_time(table: RawTable, time: Time) -> NDArray[np.float32]:
    """Return seconds since the start of acquisition, float32 ``(events,)``.

    Raises
    ------
    Quarantine
        ``profile_mismatch`` when the column or the keyword of its unit is absent;
        ``implausible`` when a time is not finite.
    """
    j = _column_index(table, time.column)
    unit = _time_unit(table, time)
    with np.errstate(over="ignore", invalid="ignore"):
        seconds = np.empty(table.events, np.float32)
        np.multiply(table.column(j), unit, out=seconds, dtype=np.float64, casting="unsafe")
    if not np.isfinite(seconds).all():
        raise Quarantine(
            "implausible", f"column {time.column}: a time is not finite", action=_ACTION
        )
    return seconds


def _time_unit(table: RawTable, time: Time) -> float:
    if time.keyword is None:
        assert time.seconds_per_unit is not None  # the schema wants exactly one of both
        return time.seconds_per_unit
    written = table.keywords.get(time.keyword.upper(), "")
    unit = parse_number(written)
    if unit is None or unit <= 0:
        raise Quarantine(
            "profile_mismatch",
            f"keyword {time.keyword}: expected the seconds of one unit of column "
            f"{time.column}, found {repr(written[:40]) if written else 'nothing'}",
            action=_ACTION,
        )
    return unit


def _locate(table: RawTable, profile: Profile) -> list[int]:
    names = [column.name for column in table.columns]
    missing = [c.column for c in profile.channel if c.column not in names]
    if missing:
        raise Quarantine(
            "profile_mismatch",
            f"profile {profile.id} needs columns {', '.join(missing)}; the file has "
            f"{', '.join(repr(name[:30]) for name in names[:20])}"
            f"{' …' if len(names) > 20 else ''}",
            action=_ACTION,
        )
    return [_column_index(table, channel.column) for channel in profile.channel]


def _column_index(table: RawTable, name: str) -> int:
    found = [j for j, column in enumerate(table.columns) if column.name == name]
    if len(found) != 1:
        raise Quarantine(
            "profile_mismatch",
            f"expected one column named {name}, found {len(found) or 'none'}",
            action=_ACTION,
        )
    return found[0]


def _check_scale(channel: Channel, column: RawColumn) -> None:
    recorded = "log" if column.log_decades else "linear"
    if recorded != channel.scale:
        raise Quarantine(
            "profile_mismatch",
            f"column {column.name}: expected {channel.scale} values, found {recorded} ones"
            + (f" of {column.log_decades:g} decades" if column.log_decades else ""),
            action=_ACTION,
        )


def _limit(column: RawColumn, dtype: np.dtype[Any]) -> float | None:
    """Largest value that the converter gives, or None."""
    if column.maximum is None or dtype.kind != "u":
        return column.maximum
    # As a Python integer: a float would promote the whole column to float64.
    return min(int(column.maximum), np.iinfo(dtype).max)


def _mark_limits(
    recorded: NDArray[Any], limit: float, channel: Channel, mark: NDArray[np.bool_]
) -> None:
    """Mark what stands at a limit of the converter; where nothing does, the mask is not touched."""
    if recorded.max() >= limit:
        np.greater_equal(recorded, limit, out=mark)
    if channel.saturates_low:
        mark |= recorded == 0


def _linearised(
    recorded: NDArray[Any], column: RawColumn, channel: Channel, events: int
) -> NDArray[Any]:
    """Undo a logarithmic amplifier, then apply gain and offset; a table pays from some events."""
    assert column.maximum is not None  # only integer columns carry decades
    limit = column.maximum + 1.0
    amplifier = (column.log_decades / limit, column.log_offset, channel.gain, channel.offset)
    # A value may exceed the range up to the next power of two, which is where it is masked.
    entries = 1 << (int(limit) - 1).bit_length()
    if recorded.dtype.kind == "u" and entries <= min(_LARGEST_LOOKUP, events):
        return np.take(_lookup(entries, *amplifier), recorded)
    return _amplified(recorded.astype(np.float64), *amplifier)


def _amplified(
    recorded: NDArray[np.float64], step: float, start: float, gain: float, offset: float
) -> NDArray[np.float64]:
    """Offset of the amplifier × 10^(decades × channel / range), times gain, plus offset."""
    return start * np.power(10.0, recorded * step) * gain + offset


@functools.lru_cache(maxsize=16)
def _lookup(entries: int, *amplifier: float) -> NDArray[np.float32]:
    """Signal of every recordable value; kept for the next run of the instrument (0.3 MB)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _amplified(np.arange(entries, dtype=np.float64), *amplifier).astype(np.float32)


def _check_finite(signals: NDArray[np.float32], first: int, profile: Profile) -> None:
    """Check signals ``(channels, events)``, the first of which is the run's event `first`."""
    finite = np.isfinite(signals)
    if finite.all():
        return
    event, k = np.argwhere(~finite.T)[0]
    channel = profile.channel[k]
    raise Quarantine(
        "implausible",
        f"column {channel.column} ({channel.canonical}): the value of event {first + event + 1} "
        f"is {signals[k, event]}, expected a finite number",
        action=_ACTION,
    )
