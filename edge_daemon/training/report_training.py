"""The report that `train` leaves beside a bundle: everything that can be known without truth.

Measured on the runs that no gradient came from, against what an analyzer reported for them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.errors import Quarantine
from edge_daemon.records import CELL_CLASSES, CellBatch, SampleInfo
from edge_daemon.training.bundling import exact_twin
from edge_daemon.training.cells import densities
from edge_daemon.training.report import by_species, looks, speed, write_report
from edge_daemon.training.report_causes import Causes, causes_section, find_causes
from edge_daemon.training.report_figures import (
    CLASS_NAMES,
    Axis,
    Figure,
    Table,
    axis,
    bars,
    histogram,
    lines,
    scatter,
)
from edge_daemon.training.report_page import Section, page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.training.cells import Density
    from edge_daemon.training.data import Cohort, Run
    from edge_daemon.training.evaluate import Twin
    from edge_daemon.training.fit import Fitted
    from edge_daemon.training.trainer import Report

SHOWN_RUNS: Final = 3
SURE_EDGES: Final = (0.0, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999)
"""Bins of the called class's posterior."""


class Diary:
    """Keeps what training reports after every epoch, and passes it on.

    Parameters
    ----------
    onward
        Whoever else wants to know.

    Attributes
    ----------
    losses
        By stage and loss: ``(epoch, value)``.
    """

    def __init__(self, onward: Report | None = None) -> None:
        self._onward = onward
        self.losses: dict[str, dict[str, list[tuple[float, float]]]] = {}

    def __call__(self, stage: str, epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
        """Note one epoch."""
        for name, value in losses.items():
            curve = self.losses.setdefault(stage, {}).setdefault(name, [])
            curve.append((float(epoch), float(value)))
        if self._onward is not None:
            self._onward(stage, epoch, epochs, losses)


@dataclass
class _Checked:
    """What the finished bundle says of the validation runs."""

    agreement: dict[str, list[tuple[str, float, float, float]]] = field(
        default_factory=lambda: {code: [] for code in ("RBC", "PLT", "RETIC%")}
    )
    """By measurand: species, reported, measured, and the run's share of `other`."""
    shares: dict[str, list[Any]] = field(default_factory=dict)
    sure: Any = field(default_factory=lambda: np.zeros(len(SURE_EDGES), dtype=np.int64))
    us_per_event: list[float] = field(default_factory=list)
    density: list[Density] = field(default_factory=list)
    causes: list[Causes] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)
    refused: list[tuple[str, str]] = field(default_factory=list)


def leave_report(
    bundle: Bundle, cohort: Cohort, fitted: Fitted, diary: Diary, twins: Sequence[Twin]
) -> Path:
    """Write ``<bundle>-report/`` beside a bundle: ``report.html`` and the float graphs.

    Parameters
    ----------
    bundle
        As written.
    cohort, fitted
        What it was trained on, and the networks before quantization.
    diary
        Losses of every epoch.
    twins
        The validation runs by the int8 and by the float graphs.

    Returns
    -------
    Path
        The folder; ``evaluate --float`` takes it.

    Raises
    ------
    EdgeError
        The folder cannot be written.
    """
    folder = bundle.path.with_name(f"{bundle.path.name}-report")
    exact = exact_twin(bundle, fitted.networks)
    checked = _check(bundle, [cohort.runs[i] for i in fitted.validation], cohort)
    title = f"{bundle.id}: training report"
    subtitle = (
        f"{len(cohort.runs)} runs of {', '.join(cohort.profiles)}; {len(cohort.dropped)} captures "
        f"left out. Measured on {len(fitted.validation)} of the runs, which no gradient came from. "
        "No cell's class is known here: the page compares with what an analyzer reported."
    )
    sections = [
        _curves(diary),
        _agreement(checked),
        _classes(checked),
        looks(checked.density),
        causes_section(checked.causes),
        speed(twins, checked.us_per_event, _size(bundle)),
        *([_reasons(cohort, checked)] if cohort.dropped or checked.refused else []),
    ]
    content = page(title, subtitle, sections, simulated=cohort.simulated)
    for name, graph in (("stage1", exact.stage1), ("stage2", exact.stage2)):
        write_report(folder / f"{name}.onnx", graph)
    write_report(folder / "report.html", content.encode())
    return folder


def _size(bundle: Bundle) -> int:
    return sum(f.stat().st_size for f in bundle.path.iterdir() if f.is_file())


def _check(bundle: Bundle, runs: Sequence[Run], cohort: Cohort) -> _Checked:
    classifier = Classifier(bundle)
    checked = _Checked()
    for run in runs:
        batch = as_batch(run, cohort)
        start = time.process_time()
        try:
            calls = classifier.classify(batch)
            result = quantify(batch, calls, bundle)
        except Quarantine as error:
            checked.refused.append((run.reference.capture, error.message))
            continue
        checked.us_per_event.append(1e6 * (time.process_time() - start) / batch.events)
        share = calls.posterior.mean(axis=0, dtype=np.float64)
        species = run.reference.species or "not said"
        checked.shares.setdefault(species, []).append(share)
        top = calls.posterior.max(axis=1)
        place = np.searchsorted(SURE_EDGES, top, side="right") - 1
        checked.sure += np.bincount(place, minlength=len(SURE_EDGES))
        value = {m.code: m.value for m in result.measurements}
        reference = run.reference
        reported = {"RBC": reference.rbc, "PLT": reference.plt, "RETIC%": reference.retic_pct}
        for code, said in reported.items():
            found = value.get(code)
            if said and found:
                checked.agreement[code].append((species, said, found, float(share[-1])))
        if len(checked.shown) < SHOWN_RUNS and species not in checked.shown:
            checked.shown.add(species)
            checked.density += densities(f"{species}: as called", batch, calls.codes)
            checked.causes.append(find_causes(species, batch, calls, bundle))
    return checked


def as_batch(run: Run, cohort: Cohort) -> CellBatch:
    """Make a run of the cohort what the box would see."""
    reference = run.reference
    return CellBatch(
        signals=run.signals,
        channels=cohort.channels,
        saturated=np.zeros(run.signals.shape, dtype=bool),
        sample=SampleInfo(
            species=reference.species,
            volume_ul=reference.volume_ul,
            dilution=reference.dilution,
            simulated=cohort.simulated,
        ),
        profile=cohort.profiles[0],
    )


def _curves(diary: Diary) -> Section:
    figures = []
    for stage, losses in diary.losses.items():
        values = [value for curve in losses.values() for _, value in curve]
        longest = max(len(curve) for curve in losses.values())
        figures.append(
            lines(
                f"Learning curves: {stage}",
                "Each objective by epoch; validation is on runs that no gradient came from.",
                losses,
                (
                    axis("epoch", [1.0, float(max(longest, 2))]),
                    axis("loss", values, log=min(values) > 0),
                ),
            )
        )
    return Section("Learning", "Training stops when validation no longer falls.", figures=figures)


def _agreement(checked: _Checked) -> Section:
    figures: list[Figure] = []
    for code, points in checked.agreement.items():
        if not points:
            continue
        errors = [float(np.log(found / said)) for _, said, found, _ in points]
        bias, spread = float(np.mean(errors)), 1.96 * float(np.std(errors))
        figures.append(
            scatter(
                f"{code}: Bland–Altman against the reported value",
                f"Lines: bias {bias:+.1%}, limits of agreement ±{spread:.1%}; the analyzer's own "
                "imprecision is in it.",
                by_species(
                    [
                        (species, ((said * found) ** 0.5, float(np.log(found / said))))
                        for species, said, found, _ in points
                    ]
                ),
                (
                    axis(f"geometric mean of both, {code}",
                         [(said * found) ** 0.5 for _, said, found, _ in points], log=True),
                    axis("log of measured over reported", [*errors, bias - spread, bias + spread],
                         percent=True),
                ),
                levels=(bias - spread, bias, bias + spread),
            )
        )  # fmt: skip
    platelets = checked.agreement["PLT"]
    if platelets:
        errors = [float(np.log(found / said)) for _, said, found, _ in platelets]
        other = [100 * max(share, 1e-4) for *_, share in platelets]
        figures.append(
            scatter(
                "PLT residual against debris and doublets",
                "A slope would mean that debris is taken for platelets, or the reverse.",
                by_species(
                    [(p[0], (x, e)) for p, x, e in zip(platelets, other, errors, strict=True)]
                ),
                (
                    axis("events called other, %", other, log=True),
                    axis("log of measured over reported", [*errors, 0.0], percent=True),
                ),
                levels=(0.0,),
            )
        )
    return Section(
        "Agreement with the reported values", "One point a run, coloured by species.",
        figures=figures,
    )  # fmt: skip


def _classes(checked: _Checked) -> Section:
    names = list(CLASS_NAMES.values())
    species = sorted(checked.shares)
    means = {name: np.mean(checked.shares[name], axis=0) for name in species}
    table = Table(
        ("species", "runs", *names),
        tuple(
            (name, str(len(checked.shares[name])), *(f"{100 * v:.2f} %" for v in means[name]))
            for name in species
        ),
    )
    if not species:
        return Section("Classes", "No run of the check was classified.")
    minor = bars(
        "Share of events by class",
        "Mean over the runs of a species, without single red cells.",
        {
            CLASS_NAMES[kind]: [float(means[s][k]) for s in species]
            for k, kind in enumerate(CELL_CLASSES)
            if k
        },
        species,
        Axis("share of events", 0.0, max(float(m[1:].max()) for m in means.values()) * 1.05 or 1.0,
             percent=True),
    )  # fmt: skip
    ends = [*SURE_EDGES[1:], 1.0]
    sure = histogram(
        "How sure the calls are",
        "Posterior of the called class. Without truth this says how often the model hesitates, "
        "not how often it is right.",
        {
            f"{100 * low:g}–{100 * high:g}": int(n)
            for low, high, n in zip(SURE_EDGES, ends, checked.sure, strict=True)
        },
        "posterior, %",
    )
    return Section(
        "Classes", "Shares should be those of the species' blood.", [("", table)], [minor, sure]
    )


def _reasons(cohort: Cohort, checked: _Checked) -> Section:
    rows = [("left out", reason) for reason in cohort.dropped]
    rows += [("not classified", f"{name}: {reason}") for name, reason in checked.refused]
    return Section(
        "Captures left out or not classified",
        "The first were not used in training; the second the finished bundle refuses.",
        [("", Table(("", "capture and reason"), tuple(rows)))],
    )
