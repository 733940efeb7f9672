"""Pictures of a run: two scattergrams and the volume histograms of red cells and platelets.

Counts in bins, not images: small enough to keep with every run, and whoever shows them chooses
colours and size. docs/storage.md describes the bytes; `store.pictures` reads them.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_daemon.classify.indices import Volumes
    from edge_daemon.records import CellBatch, CellCalls, ChannelScale

    Counts = NDArray[np.int64]
    Reals = NDArray[np.floating[Any]]

FORMAT: Final = 1
BINS: Final = 192
"""Along each axis of a scattergram: 50 to a decade, so a population is several bins wide."""
RED_VOLUMES: Final = (0.0, 250.0, 500)
"""From, to, fL, and bins: 0.5 fL resolve the red cells of a goat."""
PLATELET_VOLUMES: Final = (0.0, 60.0, 240)

SIGNAL_BINS: Final = 256

_LEVEL: Final = 4
"""Of zlib: half the time of level 6, and 2.5 % more bytes."""
_FEWEST: Final = 10
"""Cells of each kind that a boundary between them is drawn from."""
_BOUNDARY_BINS: Final = 400
_TINY: Final = 1e-6
_MOST_DECADES: Final = 6
_MOST_TICKS: Final = 64
_LONGEST_UNIT: Final = 60
_SCATTER: Final = ("LA", "HA", "SS", "EXT")
_REACH: Final = {**dict.fromkeys(_SCATTER, (0.05, 2.0)), "FL": (0.5, 15.0)}
"""How far below and above the possible medians of a run an axis reaches: down to platelets, up to
clumps; on the dye's axis up to reticulocytes."""
_PREFERRED: Final = (
    ("size_content", ("HA.H", "SS.H", "EXT.H", "HA.A", "SS.A", "EXT.A")),
    ("size_dye", ("FL.H", "FL.A")),
    ("size_width", ("LA.W", "HA.W", "EXT.W")),
)
"""Scattergrams and the channels of their x axis, best first; the first two that can be had."""
_SCATTERGRAMS: Final = 2
_SIZE: Final = ("LA.H", "LA.A", "HA.H", "EXT.H", "SS.H")
"""Channels that order cells by size, best first."""
_RED: Final = ("pure_rbc", "reticulocyte")
_PLATELETS: Final = ("platelet",)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One plot.

    Attributes
    ----------
    about
        What stands in the header (docs/storage.md).
    counts
        int64 ``(classes, bins)``; of a scattergram the bins of a row follow each other in x,
        and rows from low to high y.
    """

    about: dict[str, Any]
    counts: Counts


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The pictures of one run, or of several together."""

    events: int
    simulated: bool
    scattergrams: tuple[Picture, ...]
    histograms: tuple[Picture, ...]

    def encode(self, **more: object) -> bytes:
        """Serialise; `more` goes into the header."""
        header = {
            "format": FORMAT,
            "simulated": self.simulated,
            "events": self.events,
            "scattergrams": [picture.about for picture in self.scattergrams],
            "histograms": [picture.about for picture in self.histograms],
            **more,
        }
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        head = text.encode("utf-8")
        parts = [_sparse(picture.counts) for picture in self.scattergrams + self.histograms]
        return zlib.compress(b"".join((len(head).to_bytes(4, "little"), head, *parts)), _LEVEL)


def pool(runs: Sequence[Pictures], events: int) -> Pictures:
    """Add up runs of one profile as if they had so many events together.

    Bins that then hold less than half an event are empty, so what remains is what the runs have
    in common.

    Parameters
    ----------
    runs
        One or more, with equal axes.
    events
        That the counts are scaled to.

    Raises
    ------
    ValueError
        The axes differ.
    """
    scale = events / sum(run.events for run in runs)

    def together(pictures: Sequence[Picture]) -> Picture:
        about = pictures[0].about
        axes = [{key: p.about.get(key) for key in ("name", "x", "y", "classes")} for p in pictures]
        if any(axis != axes[0] for axis in axes):
            raise ValueError(f"the axes of picture {about['name']} differ between the runs")
        added = scale * sum(picture.counts for picture in pictures)
        return Picture(
            {key: value for key, value in axes[0].items() if value is not None}
            | ({"method": about["method"]} if "method" in about else {}),
            np.floor(added + 0.5).astype(np.int64),
        )

    return Pictures(
        events,
        any(run.simulated for run in runs),
        tuple(map(together, zip(*(run.scattergrams for run in runs), strict=True))),
        tuple(map(together, zip(*(run.histograms for run in runs), strict=True))),
    )


def draw(
    batch: CellBatch,
    calls: CellCalls,
    red_cells: Volumes,
    platelets: Volumes,
    scales: Mapping[str, ChannelScale],
) -> Pictures:
    """Bin the cells of one run.

    Parameters
    ----------
    batch
        The run.
    calls
        Its cells; every event is drawn as the class it was called.
    red_cells, platelets
        Volumes of its single cells, as `quantify` found them.
    scales
        By canonical channel. An axis is the same for all runs of a profile that says where
        medians may lie, so that pictures can be laid over each other; otherwise it is fitted
        to the run.
    """
    signals = dict(zip(batch.channels, batch.signals.T, strict=True))
    size = next((name for name in _SIZE if name in signals), None)
    if size is None:
        return Pictures(batch.events, batch.sample.simulated, (), ())
    y = signal_axis(size, scales.get(size), signals[size], BINS)
    rows = calls.codes * np.intp(BINS)
    rows += _squares(y, signals[size])
    rows *= BINS
    scattergrams: list[Picture] = []
    for name, candidates in _PREFERRED:
        other = next((c for c in candidates if c in signals and c != size), None)
        if other is not None and len(scattergrams) < _SCATTERGRAMS:
            x = signal_axis(other, scales.get(other), signals[other], BINS)
            counts = np.bincount(
                rows + _squares(x, signals[other]),
                minlength=len(CELL_CLASSES) * BINS**2,
            ).reshape(len(CELL_CLASSES), BINS**2)
            about = {"name": name, "x": x, "y": y, "classes": list(CELL_CLASSES)}
            scattergrams.append(Picture(about, counts))
    axis = signal_axis(size, scales.get(size), signals[size], SIGNAL_BINS)
    histograms = _histograms(batch, calls, (red_cells, platelets), signals[size], axis)
    return Pictures(batch.events, batch.sample.simulated, tuple(scattergrams), histograms)


def signal_axis(name: str, scale: ChannelScale | None, values: Reals, bins: int) -> dict[str, Any]:
    """Logarithmic axis of a channel, for all runs of a profile or fitted to these values."""
    below, above = _REACH[name.partition(".")[0]]
    low = high = 0.0
    if scale is not None and scale.median_min is not None and scale.median_max is not None:
        low, high = below * scale.median_min, above * scale.median_max
    if not (low > 0 and math.isfinite(high)):
        low, high = _decades(values)
    low, high = float(f"{low:.6g}"), float(f"{high:.6g}")
    decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    unit = "" if scale is None else scale.unit
    return {
        "name": name,
        "unit": "".join(letter for letter in unit if letter.isprintable())[:_LONGEST_UNIT],
        "scale": "log",
        "low": low,
        "high": high,
        "bins": bins,
        "ticks": [10.0**n for n in decades][:_MOST_TICKS],
    }


def _decades(values: Reals) -> tuple[float, float]:
    """Whole powers of ten around nearly all of the positive values."""
    positive = values[values > 0]
    if not len(positive):
        return 1.0, 10.0
    low, high = np.quantile(positive, (0.001, 0.999)).tolist()
    top = math.floor(math.log10(high)) + 1
    return 10.0 ** max(math.floor(math.log10(low)), top - _MOST_DECADES), 10.0**top


def _volume_axis(low: float, high: float, bins: int, step: float) -> dict[str, Any]:
    ticks = np.arange(low, high + 0.5 * step, step).tolist()
    return {
        "name": "volume", "unit": "fL", "scale": "linear", "low": low, "high": high,
        "bins": bins, "ticks": ticks,
    }  # fmt: skip


def _places(axis: Mapping[str, Any], values: Reals) -> Reals:
    """Position of values on an axis, in bins from its low end; beyond its ends as they are."""
    low, high = axis["low"], axis["high"]
    at = values.astype(np.float32, copy=False)
    if axis["scale"] == "log":
        low, high = math.log(low), math.log(high)
        at = np.log(np.maximum(at, np.float32(_TINY)))
    placed: Reals = (at - np.float32(low)) * np.float32(axis["bins"] / (high - low))
    return placed


def _squares(axis: Mapping[str, Any], values: Reals) -> NDArray[np.intp]:
    """Bin of each value; those beyond the axis stand on its edge, as analyzers show them."""
    return np.clip(_places(axis, values), 0, axis["bins"] - 1).astype(np.intp)


def _histograms(
    batch: CellBatch,
    calls: CellCalls,
    volumes: tuple[Volumes, Volumes],
    size: Reals,
    signal: dict[str, Any],
) -> tuple[Picture, ...]:
    """Volumes of red cells and platelets; where there are none, the signal that grows with it."""
    red_cells, platelets = volumes
    boundary = _boundary(platelets, red_cells)
    # A height in the noise has the smallest volume of the calibration's table: no real volume.
    least = 0.0 if batch.calibration is None else float(batch.calibration.platelet_fl[0])
    called = np.bincount(calls.codes, minlength=len(CELL_CLASSES))
    made = []
    for name, classes, known, axis in (
        ("RBC", _RED, red_cells, _volume_axis(*RED_VOLUMES, 50.0)),
        ("PLT", _PLATELETS, platelets, _volume_axis(*PLATELET_VOLUMES, 10.0)),
    ):
        own = [CELL_CLASSES.index(c) for c in classes]
        if known.refused is None:
            values, codes, used = known.fl, calls.codes.take(known.events), axis
            values = np.where(values > 1.001 * least, values, np.float32(-1.0))
        else:
            wanted = np.flatnonzero(np.isin(calls.codes, own))
            values, codes, used = size.take(wanted), calls.codes.take(wanted), signal
        picture = _histogram(name, classes, used, values, codes)
        picture.about.update(
            left_out=int(called[own].sum()) - len(values),
            method="measured" if known.refused else "calculated",
            why_no_volume=known.refused,
            boundary=None if known.refused else boundary,
        )
        made.append(picture)
    return tuple(made)


def _histogram(
    name: str,
    classes: Sequence[str],
    axis: dict[str, Any],
    values: Reals,
    codes: NDArray[np.uint8],
) -> Picture:
    bins = axis["bins"]
    # One bin below the axis and one above it hold what lies beyond.
    places = np.clip(np.floor(_places(axis, values)), -1, bins).astype(np.intp)
    places += 1
    rows = np.zeros(len(CELL_CLASSES), dtype=np.intp)
    rows[[CELL_CLASSES.index(c) for c in classes]] = range(len(classes))
    places += (rows * (bins + 2)).take(codes)
    counts = np.bincount(places, minlength=len(classes) * (bins + 2)).reshape(len(classes), -1)
    beyond = {"below": int(counts[:, 0].sum()), "above": int(counts[:, -1].sum())}
    about = {"name": name, "x": axis, "classes": list(classes), **beyond}
    return Picture(about, counts[:, 1:-1])


def _boundary(platelets: Volumes, red: Volumes) -> dict[str, Any] | None:
    """Volume that parts platelets from red cells with the fewest on the wrong side.

    The classes do not rest on it: it says how far volume alone would have told them apart, as an
    impedance counter must.
    """
    if min(len(platelets.fl), len(red.fl)) < _FEWEST:
        return None
    edges = np.geomspace(1.0, 250.0, _BOUNDARY_BINS + 1)
    # Below each inner edge; sorted, because edges so spaced are slow to count between.
    under, small = (np.searchsorted(np.sort(v.fl), edges[1:-1]) for v in (red, platelets))
    over = len(platelets.fl) - small
    wrong = under + over
    best = np.flatnonzero(wrong == wrong.min())
    middle = best[len(best) // 2]
    return {
        "at": float(f"{edges[middle + 1]:.4g}"),
        "platelets_above": int(over[middle]),
        "red_cells_below": int(under[middle]),
    }


def _sparse(counts: Counts) -> bytes:
    """Write how many bins are filled, the gaps before each, and each count less one."""
    flat = counts.ravel()
    filled = np.flatnonzero(flat > 0)
    gaps = np.diff(filled, prepend=-1) - 1
    return _varints(np.concatenate(([len(filled)], gaps, flat[filled] - 1)))


def _varints(values: Counts) -> bytes:
    """Write whole numbers with seven bits to a byte, the lowest first (LEB128)."""
    # Nearly all are small: columns beyond the largest would all be left out again.
    shifts = np.arange(0, max(int(values.max(initial=0)).bit_length(), 1), 7)
    parts = values[:, None] >> shifts
    kept = parts > 0
    kept[:, 0] = True
    written = (parts & 0x7F).astype(np.uint8)
    written[:, :-1] |= kept[:, 1:].astype(np.uint8) << 7
    packed: bytes = written[kept].tobytes()
    return packed
