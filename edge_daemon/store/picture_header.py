"""What the header of pictures may hold, so that whoever shows them need not doubt it.

The worker that drew them has read untrusted bytes: names, units and numbers are checked before
they are stored and whenever they are read.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.records import CANONICAL_CHANNELS, CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping

SCATTERGRAMS: Final = frozenset({"size_content", "size_dye", "size_width"})
HISTOGRAMS: Final = frozenset({"RBC", "PLT"})

_MOST_PICTURES: Final = 2
_MOST_BINS: Final = 1024
_MOST_TICKS: Final = 64
_LONGEST: Final = 60
_CODE: Final = re.compile(r"[a-z0-9_]{1,60}", re.ASCII)


def check_header(header: Mapping[str, Any]) -> None:
    """Check a header of format 1.

    Raises
    ------
    ValueError, KeyError, TypeError
        Something is missing or not what it must be.
    """
    _require(isinstance(header["simulated"], bool), "simulated")
    _count(header["events"])
    for kind, known in (("scattergrams", SCATTERGRAMS), ("histograms", HISTOGRAMS)):
        _require(isinstance(header[kind], list) and len(header[kind]) <= _MOST_PICTURES, kind)
        for picture in header[kind]:
            _require(picture["name"] in known, "name")
            _picture(picture, scattergram=kind == "scattergrams")
    for value in header.get("example", {}).values():
        _require(_is_count(value) or _is_text(value), "example")


def _picture(picture: Mapping[str, Any], *, scattergram: bool) -> None:
    classes = picture["classes"]
    _require(isinstance(classes, list) and set(classes) <= set(CELL_CLASSES), "classes")
    _require(len(set(classes)) == len(classes) > 0, "classes")
    _axis(picture["x"])
    if scattergram:
        _axis(picture["y"])
        return
    _require("y" not in picture, "y")
    _require(picture["method"] in ("calculated", "measured"), "method")
    for key in ("below", "above", "left_out"):
        _count(picture.get(key, 0))
    why = picture.get("why_no_volume")
    _require(why is None or _CODE.fullmatch(why) is not None, "why_no_volume")
    boundary = picture.get("boundary")
    if boundary is not None:
        _require(_is_number(boundary["at"]) and boundary["at"] > 0, "boundary")
        _count(boundary["platelets_above"])
        _count(boundary["red_cells_below"])


def _axis(axis: Mapping[str, Any]) -> None:
    _require(axis["name"] == "volume" or axis["name"] in CANONICAL_CHANNELS, "axis name")
    _require(axis["unit"] == "" or _is_text(axis["unit"]), "unit")
    _require(axis["scale"] in ("log", "linear"), "scale")
    low, high, ticks = axis["low"], axis["high"], axis["ticks"]
    _require(_is_number(low) and _is_number(high) and low < high, "ends of an axis")
    _require(axis["scale"] == "linear" or low > 0, "ends of an axis")
    _require(_is_count(axis["bins"]) and 0 < axis["bins"] <= _MOST_BINS, "bins")
    _require(isinstance(ticks, list) and len(ticks) <= _MOST_TICKS, "ticks")
    _require(all(_is_number(tick) and low <= tick <= high for tick in ticks), "ticks")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _count(value: object) -> None:
    _require(_is_count(value), "a count")


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise ValueError(f"header of pictures: {what}")
