"""The table of measures: what is asked, and how every method does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.training import measures
from edge_daemon.training.measures import Kind, Measure, text

if TYPE_CHECKING:
    from edge_daemon.training.evaluate import Evaluation, Twin
    from edge_daemon.training.scores import Score

Values = Mapping[str, float | None]
Scores = Mapping[str, Sequence["Score"]]

RETIC_SPAN: Final = (1.0, 2.0)
LOW_PLATELETS_K: Final = 50.0
ORACLE: Final = "oracle"
BUNDLE: Final = "bundle"
MISSED: Final = " ✗"

HARD: Final[Mapping[str, Callable[[Score], bool]]] = {
    "PLT < 50 K": lambda s: s.plt_k < LOW_PLATELETS_K,
    "macrothrombocytes": lambda s: s.condition == "macrothrombocytes",
    "cats": lambda s: s.species == "cat",
    "microcytosis": lambda s: s.condition == "microcytosis",
    "agglutination": lambda s: s.condition == "agglutination",
    "heavy debris": lambda s: s.condition == "heavy_debris",
}
"""Slices that a bar is set for."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measure over one group of runs.

    Attributes
    ----------
    measure, group
        What is measured, and on which runs.
    kind
        How to write the values: a share, a relative error, a fine one, percentage points, a
        plain number, a count.
    bar
        What is asked, in words; empty where nothing is.
    runs
        Runs of the group with a value by the bundle.
    values
        By method.
    met
        Whether the bundle reaches the bar; None where there is none or it cannot be told.
    """

    measure: str
    group: str
    kind: Kind
    bar: str
    runs: int
    values: Values
    met: bool | None

    @property
    def name(self) -> str:
        """Measure and group in one line."""
        return self.measure if self.group == "all" else f"{self.measure}: {self.group}"


def rows(scores: Scores, twins: Sequence[Twin], rises: Mapping[str, Sequence[float]]) -> list[Row]:
    """Every measure, the ones with a bar first."""
    found = [
        _relative_bar(
            _row(scores, "PLT events, median error", "all", _everyone, measures.PLT_ERROR), 1.3
        ),
        _row(scores, _WITHIN, "all", _everyone, measures.PLT_WITHIN, at_least=0.97),
        *(_row(scores, _WITHIN, n, t, measures.PLT_WITHIN, at_least=0.92) for n, t in HARD.items()),
        _red_row(scores),
        *_retic_rows(scores),
        _row(
            scores,
            "CLUMP%, median difference",
            "all",
            _everyone,
            measures.CLUMP_DIFFERENCE,
            at_most=1.0,
        ),
        *_rise_rows(rises),
        *_coverage_rows(scores),
        *_twin_rows(twins),
        _row(scores, "Not classified", "all", _everyone, measures.NOT_CLASSIFIED),
    ]
    for key in ("species", "condition"):
        for name in sorted({getattr(s, key) for s in next(iter(scores.values()))}):
            found += _slice(scores, name, _is(key, name))
    return found


_WITHIN: Final = "PLT events within ±25 %"


def _everyone(_score: Score) -> bool:
    return True


def _is(key: str, name: str) -> Callable[[Score], bool]:
    return lambda score: getattr(score, key) == name


def _slice(scores: Scores, name: str, test: Callable[[Score], bool]) -> list[Row]:
    shown = name.replace("_", " ")
    return [
        _row(scores, _WITHIN, shown, test, measures.PLT_WITHIN),
        _row(scores, "PLT events, median error", shown, test, measures.PLT_ERROR),
    ]


def _row(
    scores: Scores,
    measure: str,
    group: str,
    test: Callable[[Score], bool],
    measured: Measure,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    kind = measured.kind
    results = {name: measured.of([s for s in all_ if test(s)]) for name, all_ in scores.items()}
    values = {name: value for name, (_, value) in results.items()}
    own = values.get(BUNDLE)
    bar, met = "", None
    if at_least is not None:
        bar = f"≥ {text(kind, at_least)}"
        met = None if own is None else own >= at_least
    if at_most is not None:
        bar = f"≤ {text(kind, at_most)}"
        met = None if own is None else own <= at_most
    return Row(measure, group, kind, bar, results.get(BUNDLE, (0, None))[0], values, met)


def _relative_bar(row: Row, factor: float, limit: float | None = None) -> Row:
    """Set a bar as a multiple of the oracle's value, and perhaps an absolute one as well."""
    own, oracle = row.values.get(BUNDLE), row.values.get(ORACLE)
    words = [f"≤ {text(row.kind, limit)}"] if limit is not None else []
    words.append(f"≤ {factor:g} × oracle")
    limits = ([limit] if limit is not None else []) + ([] if oracle is None else [factor * oracle])
    failed = own is not None and any(own > bound for bound in limits)
    met = None if own is None else False if failed else True if oracle is not None else None
    return Row(row.measure, row.group, row.kind, " and ".join(words), row.runs, row.values, met)


def _red_row(scores: Scores) -> Row:
    row = _row(scores, "RBC share, median error", "all", _everyone, measures.RED_ERROR)
    return _relative_bar(row, 2.0, 0.001)


def _retic_rows(scores: Scores) -> list[Row]:
    def in_span(score: Score) -> bool:
        return RETIC_SPAN[0] <= score.true_retic <= RETIC_SPAN[1]

    span = f"{RETIC_SPAN[0]:g}–{RETIC_SPAN[1]:g} %"
    return [
        _row(scores, "RETIC%, r", "all", _everyone, measures.RETIC_R, at_least=0.97),
        _row(scores, "RETIC%, CV", span, in_span, measures.RETIC_CV, at_most=0.12),
        _row(scores, "RETIC%, median bias", span, in_span, measures.RETIC_BIAS),
        _row(
            scores, "False regeneration", "horses", lambda s: s.species == "horse",
            measures.FALSE_REGENERATION, at_most=0.0,
        ),
    ]  # fmt: skip


def _rise_rows(rises: Mapping[str, Sequence[float]]) -> list[Row]:
    if not rises:
        return []
    found = []
    for measure, share, bar in (("median", 0.5, 0.3), ("95th percentile", 0.95, None)):
        values = {name: float(np.quantile(rise, share)) for name, rise in rises.items()}
        met = None if bar is None else values[BUNDLE] <= bar
        words = "" if bar is None else f"≤ {text('points', bar)}"
        name = f"CLUMP% by a higher event rate, {measure}"
        found.append(Row(name, "all", "points", words, len(rises[BUNDLE]), values, met))
    return found


def _coverage_rows(scores: Scores) -> list[Row]:
    own = scores[BUNDLE]
    found = []
    for code in dict.fromkeys(code for s in own for code in s.intervals):
        marks = [low <= true <= high for low, high, true in _intervals(own, code)]
        share = sum(marks) / len(marks)
        met = 0.93 <= share <= 0.97
        name = "95 % interval holds truth"
        found.append(Row(name, code, "share", "93–97 %", len(marks), {BUNDLE: share}, met))
        widths = [(high - low) / 2 / true for low, high, true in _intervals(own, code) if true > 0]
        if widths:
            half = float(np.median(widths))
            found.append(
                Row("95 % interval, median half-width", code, "error", "", len(widths),
                    {BUNDLE: half}, None)
            )  # fmt: skip
    return found


def _intervals(scores: Sequence[Score], code: str) -> list[tuple[float, float, float]]:
    return [s.intervals[code] for s in scores if code in s.intervals]


def _twin_rows(twins: Sequence[Twin]) -> list[Row]:
    if not twins:
        return []
    platelets = [abs(t.platelets) for t in twins if t.platelets is not None]
    worst = max(t.counts for t in twins)
    same = float(np.mean([t.identical for t in twins]))
    count = len(twins)
    found = [
        Row("Int8 against float, largest change of a class's share of events", "all", "fine",
            "≤ 0.10 %", count, {BUNDLE: worst}, worst <= 0.001),
        Row("Int8 against float, events called the same", "all", "fine", "≥ 99.90 %", count,
            {BUNDLE: same}, same >= 0.999),
    ]  # fmt: skip
    if platelets:
        median = float(np.median(platelets))
        found.append(
            Row("Int8 against float, median change of PLT", "all", "fine", "", len(platelets),
                {BUNDLE: median}, None)
        )  # fmt: skip
    return found


def markdown(evaluation: Evaluation) -> list[str]:
    """Table of measures as Markdown lines; a bar that is missed is marked."""
    methods = list(evaluation.scores)
    lines = [
        "| measure | runs | bar | " + " | ".join(methods) + " |",
        "|---|---:|---|" + "---:|" * len(methods),
    ]
    for row in evaluation.table():
        cells = [text(row.kind, row.values.get(name)) for name in methods]
        cells[0] += MISSED if row.met is False else ""
        lines.append(f"| {row.name} | {row.runs} | {row.bar} | " + " | ".join(cells) + " |")
    return lines
