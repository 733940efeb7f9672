"""Reports to be looked at: of an evaluation with truth, and what they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.errors import EdgeError
from edge_daemon.training.measures import text
from edge_daemon.training.report_causes import causes_section
from edge_daemon.training.report_figures import (
    CLASS_NAMES,
    Axis,
    Figure,
    Table,
    axis,
    bars,
    density,
    lines,
    scatter,
)
from edge_daemon.training.report_page import Section, page
from edge_daemon.training.table import MISSED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_daemon.training.cells import Confusion, Density
    from edge_daemon.training.evaluate import Evaluation, Twin
    from edge_daemon.training.scores import Score

_WITHIN: Final = "PLT events within ±25 %"
_SLICED: Final = ("PLT events within ±25 %: ", "PLT events, median error: ")


def write_report(file: Path, content: bytes) -> None:
    """Write a file of a report, whole or not at all.

    Raises
    ------
    EdgeError
        The file cannot be written.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(file)
    except OSError as error:
        raise EdgeError(
            f"{file}: cannot write the report: {error.strerror}",
            action="choose another place",
        ) from error


def evaluation_report(result: Evaluation) -> str:
    """Page of an evaluation against truth."""
    sections = [
        _measures(result),
        _slices(result),
        _agreement(result.own),
        *([_cells(result.confusion)] if result.confusion else []),
        looks(result.density),
        causes_section(result.causes),
        speed(result.twins, result.us_per_event, result.size_bytes),
    ]
    subtitle = (
        f"{len(result.own)} runs with known truth; {len(result.failed)} without a result. "
        "Only runs that were not trained on say how the bundle will do."
    )
    return page(f"{result.bundle}: measured against truth", subtitle, sections,
                simulated=result.simulated)  # fmt: skip


def _measures(result: Evaluation) -> Section:
    methods = list(result.scores)
    asked, told = [], []
    for row in result.table():
        cells = [text(row.kind, row.values.get(name)) for name in methods]
        cells[0] += MISSED if row.met is False else ""
        if row.bar:
            asked.append((row.name, row.bar, str(row.runs), *cells))
        elif not row.name.startswith(_SLICED):
            told.append((row.name, str(row.runs), *cells))
    words = "Every method on the same runs; ✗ marks a bar that the bundle misses."
    tables = [
        ("With a bar", Table(("measure", "bar", "runs", *methods), tuple(asked))),
        ("Without", Table(("measure", "runs", *methods), tuple(told))),
    ]
    return Section("Measures", words, tables)


def _slices(result: Evaluation) -> Section:
    table = [row for row in result.table() if row.name.startswith(_WITHIN) and row.runs]
    figures = []
    for title, chosen in (
        ("Hard slices", [r for r in table if r.bar]),
        ("By species and condition", [r for r in table if not r.bar]),
    ):
        values = {name: [_or_nan(row.values.get(name)) for row in chosen] for name in result.scores}
        names = [f"{row.group} ({row.runs})" for row in chosen]
        caption = "Runs whose platelet events are within ±25 % of the truth; runs in brackets."
        level = 0.92 if title == "Hard slices" else None
        span = Axis("share of runs", 0.0, 1.0, percent=True)
        figures.append(bars(title, caption, values, names, span, level=level))
    return Section("Slices", "Where a method fails shows in the slices first.", figures=figures)


def _agreement(scores: Sequence[Score]) -> Section:
    figures = []
    told = [s for s in scores if s.plt is not None and s.plt_k > 0]
    figures.append(
        scatter(
            "Platelet error against platelet count",
            "Events found over true events, less 1; broken lines at ±25 %.",
            by_species([(s.species, (s.plt_k, s.plt or 0.0)) for s in told]),
            (
                axis("true PLT, 10³/µL", [s.plt_k for s in told], log=True),
                Axis("error", -0.6, 0.6, percent=True),
            ),
            levels=(-0.25, 0.0, 0.25),
        )
    )
    retic = [s for s in scores if s.retic is not None]
    span = [v for s in retic for v in (max(s.retic or 0.0, 0.01), max(s.true_retic, 0.01))]
    figures.append(
        scatter(
            "Reticulocytes",
            "Reported against true percentage of the recorded single red cells.",
            by_species([(s.species, (max(s.true_retic, 0.01), max(s.retic or 0, 0.01)))
                        for s in retic]),
            (axis("true, %", span, log=True), axis("reported, %", span, log=True)),
            diagonal=True,
        )
    )  # fmt: skip
    clump = [s for s in scores if s.clump is not None]
    span = [v for s in clump for v in (max(s.clump or 0.0, 0.01), max(s.true_clump, 0.01))]
    figures.append(
        scatter(
            "Clumps",
            "Reported against true percentage of the recorded red-cell events.",
            by_species([(s.species, (max(s.true_clump, 0.01), max(s.clump or 0, 0.01)))
                        for s in clump]),
            (axis("true, %", span, log=True), axis("reported, %", span, log=True)),
            diagonal=True,
        )
    )  # fmt: skip
    figures += [_interval_figure(scores, code) for code in ("RBC", "PLT")]
    return Section(
        "Agreement with the truth", "One point a run, coloured by species.", figures=figures
    )


def _interval_figure(scores: Sequence[Score], code: str) -> Figure:
    """Bland–Altman of the reported concentration over the truth of the blood."""
    told = [(s, s.intervals[code]) for s in scores if code in s.intervals and s.intervals[code][2]]
    points = [(s.species, (true, ((low + high) / 2) / true - 1)) for s, (low, high, true) in told]
    errors = [point[1] for _, point in points]
    spread = 1.96 * float(np.std(errors)) if errors else 0.0
    bias = float(np.mean(errors)) if errors else 0.0
    return scatter(
        f"{code}: middle of the interval against the blood",
        f"Relative difference; lines: bias {bias:+.1%} and limits of agreement ±{spread:.1%}.",
        by_species(points),
        (
            axis(f"true {code}", [p[0] for _, p in points], log=True),
            Axis("difference", -0.5, 0.5, percent=True)
            if code == "PLT"
            else axis("difference", errors, percent=True),
        ),
        levels=(bias - spread, bias, bias + spread),
    )


def _cells(confusion: Confusion) -> Section:
    names = list(CLASS_NAMES.values())
    matrix = confusion.matrix
    counts = Table(
        ("true \\ called", *names, "cells"),
        tuple(
            (name, *(f"{100 * n / max(row.sum(), 1):.2f} %" for n in row), f"{row.sum():,}")
            for name, row in zip(names, matrix, strict=True)
        ),
    )
    classes = confusion.classes()
    scores = Table(
        ("class", "cells", "recall", "precision"),
        tuple(
            (CLASS_NAMES[c["class"]], f"{c['cells']:,}", text("share", c["recall"]),
             text("share", c["precision"]))
            for c in classes
        ),
    )  # fmt: skip
    series = {
        CLASS_NAMES[c["class"]]: [(b["posterior"], b["true"]) for b in c["calibration"]]
        for c in classes
    }
    unit = Axis("posterior", 0.0, 1.0, percent=True)
    curve = lines(
        "Calibration",
        "Of the cells given a posterior, how many are of that class; the diagonal is ideal.",
        series,
        (unit, Axis("truly of the class", 0.0, 1.0, percent=True)),
        classes=True,
    )
    both = bars(
        "Recall and precision",
        "Of the cells of a class, how many are called so; of those called so, how many are.",
        {
            "recall": [_or_nan(c["recall"]) for c in classes],
            "precision": [_or_nan(c["precision"]) for c in classes],
        },
        names,
        Axis("share of cells", 0.0, 1.0, percent=True),
    )
    return Section(
        "Single cells",
        "Rows of the first table sum to 100 %. Counts are made from posteriors, not from calls, "
        "so they can be right where calls are not.",
        tables=[("Confusion", counts), ("Classes", scores)],
        figures=[both, curve],
    )


def looks(views: Sequence[Density]) -> Section:
    """Scattergrams of some runs."""
    caption = "Colour: the class most common at that place; stronger where there are more events."
    return Section(
        "Scattergrams",
        "Populations should be compact and lie where haematology expects them: platelets small "
        "and dim, reticulocytes bright at red-cell size, clumps beyond the red cells.",
        figures=[density(caption, view) for view in views],
    )


def speed(twins: Sequence[Twin], us_per_event: Sequence[float], size_bytes: int) -> Section:
    """Int8 against float, time and size."""
    median = float(np.median(us_per_event)) if us_per_event else 0.0
    rows = [
        ("CPU time to classify and quantify 100,000 events", f"{median * 100:.0f} ms"),
        ("size of the bundle", f"{size_bytes / 1024:.0f} KiB"),
    ]
    figures = []
    if twins:
        rows += [
            ("events called the same by int8 and float",
             text("fine", float(np.mean([t.identical for t in twins])))),
            ("largest change of a class's share of events",
             text("fine", max(t.counts for t in twins))),
        ]  # fmt: skip
        figures.append(
            scatter(
                "Int8 against float",
                "One point a run: the largest change of a class's share, over runs in order.",
                {"runs": [(float(i), t.counts) for i, t in enumerate(twins, start=1)]},
                (
                    axis("run", [1.0, float(len(twins))]),
                    axis("change", [0.0, 0.001, *(t.counts for t in twins)], percent=True),
                ),
                levels=(0.001,),
            )
        )
    table = Table(("", ""), tuple(rows))
    return Section("Int8, time and size", "Measured on this machine.", [("", table)], figures)


def by_species(
    points: Sequence[tuple[str, tuple[float, float]]],
) -> dict[str, list[tuple[float, float]]]:
    """Group points into one series for each species, in alphabetical order."""
    grouped: dict[str, list[tuple[float, float]]] = {}
    for name, point in sorted(points, key=lambda item: item[0]):
        grouped.setdefault(name, []).append(point)
    return grouped


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
