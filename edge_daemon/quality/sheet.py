"""Targets as the sheet of a lot gives them: a mean and its standard deviation, or a range. Pure."""

from __future__ import annotations

from typing import Final, Literal

from edge_daemon.errors import EdgeError
from edge_daemon.units import UNITS, convert

Form = Literal["mean", "range"]
RANGE_SDS: Final = 2.0
"""How many standard deviations to either side a range is, where its sheet says nothing else."""
RANGES: Final = (1.0, 4.0)
"""Fewest and most that a sheet can mean."""


def target(
    code: str, form: Form, first: float, second: float, unit: str, range_sds: float = RANGE_SDS
) -> dict[str, float]:
    """Read one line of a sheet.

    Parameters
    ----------
    code
        A key of `units.UNITS`.
    form
        Whether the two numbers are ``mean`` and one standard deviation, or the ends of a
        ``range``.
    first, second
        In `unit`, as the sheet has it.
    range_sds
        How many standard deviations to either side a range is.

    Returns
    -------
    dict
        ``mean`` and ``sd`` in our unit.

    Raises
    ------
    EdgeError
        The unit is none of the value's, or a range does not begin below its end.
    """
    ours = [convert(code, number, unit) for number in (first, second)]
    if ours[0] is None or ours[1] is None:
        raise EdgeError(f"{unit!r} is no unit of {code}", action=f"ours is {UNITS[code]}")
    if form == "mean":
        return {"mean": ours[0], "sd": ours[1]}
    if ours[0] >= ours[1]:
        raise EdgeError(
            f"the range of {code} must begin below its end, found {first:g} to {second:g}",
            action="write the lower end first",
        )
    return {"mean": (ours[0] + ours[1]) / 2, "sd": (ours[1] - ours[0]) / (2 * range_sds)}
