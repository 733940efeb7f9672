"""The figures behind the plots, for tables: pure, on what `store.pictures` gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import wording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.web.numbers import Numbers

_ROWS: Final = 24
_STEPS: Final = (0.5, 1, 2, 2.5, 5, 10, 20, 25, 50, 100)

SCATTERGRAMS: Final = {
    "size_content": "Size and haemoglobin content",
    "size_dye": "Size and RNA dye",
    "size_width": "Size and pulse width",
}
HISTOGRAMS: Final = {"RBC": "Red-cell volumes", "PLT": "Platelet volumes"}


@dataclass(frozen=True, slots=True)
class HistogramTable:
    """One histogram in a few wide bins.

    Attributes
    ----------
    title
        What is shown.
    unit
        Of the axis.
    method
        ``calculated`` or ``measured``.
    classes
        Column headings.
    rows
        Range as text, and the cells of each class in it.
    remarks
        What else there is to know: the boundary, cells left out.
    """

    title: str
    unit: str
    method: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    remarks: tuple[str, ...]


def histogram_table(picture: Mapping[str, Any], numbers: Numbers) -> HistogramTable:
    """Bring one histogram into a table that can be read aloud.

    Parameters
    ----------
    picture
        Of ``histograms`` as `store.pictures` gives it.
    numbers
        How to write numbers.
    """
    axis = picture["x"]
    filled = sorted({b for cells in picture["cells"].values() for b in cells["bins"]})
    width = _wide_bin(axis, filled)
    rows: dict[int, dict[str, int]] = {}
    for name, cells in picture["cells"].items():
        for index, count in zip(cells["bins"], cells["counts"], strict=True):
            row = rows.setdefault(index // width, dict.fromkeys(picture["classes"], 0))
            row[name] += count
    return HistogramTable(
        title=HISTOGRAMS.get(picture["name"], picture["name"]),
        unit=axis["unit"],
        method=picture.get("method", ""),
        classes=tuple(wording.CLASS_NAMES[name] for name in picture["classes"]),
        rows=tuple(
            (
                f"{_edge(axis, row * width, numbers)}–{_edge(axis, (row + 1) * width, numbers)}",
                tuple(numbers.whole(count) for count in rows[row].values()),
            )
            for row in sorted(rows)
        ),
        remarks=_remarks(picture, numbers),
    )


def _wide_bin(axis: Mapping[str, Any], filled: list[int]) -> int:
    """So many bins of the picture make one row, which begins at a round figure."""
    if not filled:
        return 1
    least = max(1, -(-(filled[-1] - filled[0] + 1) // _ROWS))
    if axis["scale"] != "linear":
        return least
    one = (axis["high"] - axis["low"]) / axis["bins"]
    return next((round(step / one) for step in _STEPS if step >= least * one - 1e-9), least)


def _edge(axis: Mapping[str, Any], index: int, numbers: Numbers) -> str:
    share = min(index, axis["bins"]) / axis["bins"]
    if axis["scale"] == "log":
        value = axis["low"] * (axis["high"] / axis["low"]) ** share
        return numbers.plain(value, 3 if value < 1 else 1)
    value = axis["low"] + share * (axis["high"] - axis["low"])
    return numbers.plain(value, 0 if float(value).is_integer() else 1)


def _remarks(picture: Mapping[str, Any], numbers: Numbers) -> tuple[str, ...]:
    found = []
    if boundary := picture.get("boundary"):
        found.append(
            f"The dashed line at {numbers.plain(boundary['at'], 1)} fL parts platelets from red "
            f"cells best by volume alone; {numbers.whole(boundary['platelets_above'])} platelets "
            f"lie above it and {numbers.whole(boundary['red_cells_below'])} red cells below. "
            "The calls do not rest on it."
        )
    outside = picture.get("below", 0) + picture.get("above", 0)
    if outside:
        found.append(f"{_cells(outside, numbers)} beyond the axis.")
    if left := picture.get("left_out", 0):
        found.append(f"{_cells(left, numbers)} off the calibration and without a volume.")
    if picture.get("why_no_volume"):
        found.append("Volumes are not known here; the axis is the signal that grows with size.")
    return tuple(found)


def _cells(count: int, numbers: Numbers) -> str:
    return "1 cell lies" if count == 1 else f"{numbers.whole(count)} cells lie"


def class_rows(counts: Mapping[str, int], numbers: Numbers) -> list[tuple[str, str, str, str]]:
    """List key, name, events and share in percent of each class."""
    total = sum(counts.values())
    return [
        (
            key,
            name,
            numbers.whole(counts[key]),
            f"{numbers.plain(100 * counts[key] / total, 2)} %" if total else "–",
        )
        for key, name in wording.CLASS_NAMES.items()
    ]
