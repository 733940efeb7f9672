"""What made the calls of the shown runs, class by class, for a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.classify.explain import explain
from edge_daemon.errors import EdgeError
from edge_daemon.training.report_figures import CLASS_NAMES, Table
from edge_daemon.training.report_page import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.classify.explanation import ClassExplanation
    from edge_daemon.records import CellBatch, CellCalls

CELLS: Final = 16
"""Cells explained of each class: enough for a mean over detectors, in about a second."""


@dataclass(frozen=True, slots=True)
class Causes:
    """One run's classes with what made them.

    Attributes
    ----------
    title
        The run.
    classes
        Of the explanation.
    """

    title: str
    classes: tuple[ClassExplanation, ...]


def find_causes(title: str, batch: CellBatch, calls: CellCalls, bundle: Bundle) -> Causes:
    """Explain the calls of one run; no class where too few red cells are called to compare with."""
    try:
        classes = explain(batch, calls, bundle, cells_per_class=CELLS).classes
    except EdgeError:
        classes = ()
    return Causes(title, classes)


def causes_section(causes: Sequence[Causes]) -> Section:
    """Detectors' parts in every class, and a typical cell in words."""
    return Section(
        "What made the calls",
        "Shapley values: the part of each detector in the log-odds of the class, mean over cells "
        "of the class, against the background named. Positive speaks for the class. A detector "
        "that decides where haematology says it should not is a warning.",
        [(found.title, _table(found)) for found in causes if found.classes],
    )


def _table(causes: Causes) -> Table:
    detectors = list(
        dict.fromkeys(
            c.name for part in causes.classes for c in part.attributions[0].detectors
        )
    )  # fmt: skip
    rows = []
    for part in causes.classes:
        first = part.attributions[0]
        value = {c.name: c.value for c in first.detectors}
        cells = (f"{value[name]:+.1f}" if name in value else "–" for name in detectors)
        background = first.background.replace("_", " ")
        rows.append(
            (CLASS_NAMES[part.name], f"{part.events:,}", background, *cells,
             part.typical.sentence)
        )  # fmt: skip
    return Table(("class", "events", "against", *detectors, "a typical one"), tuple(rows))
