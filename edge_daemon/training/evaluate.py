"""Measure a bundle against a cohort whose truth is known, beside any other methods.

Truth is read here and nowhere else in the product. Runs are read, classified and forgotten one
by one.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import decode
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.parts import PartNames, read_run
from edge_daemon.training.cells import Confusion, Density, densities
from edge_daemon.training.report_causes import Causes, find_causes
from edge_daemon.training.scores import (
    CLUMPS,
    RETICULOCYTES,
    Method,
    Score,
    refused,
    score_calls,
    score_result,
)
from edge_daemon.training.table import Row, rows
from edge_daemon.training.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.decode.registry import Registry
    from edge_daemon.records import CellBatch, CellCalls
    from edge_daemon.training.truth import Sample

    Progress = Callable[[int, int], None]

SHOWN_RUNS: Final = 3
"""Runs whose density is kept to be looked at, each of another species."""


class Called:
    """A bundle's classifier under a name for the table."""

    tells = frozenset({RETICULOCYTES, CLUMPS})

    def __init__(self, bundle: Bundle, name: str) -> None:
        self.name = name
        self._classifier = Classifier(bundle)

    def classify(self, batch: CellBatch) -> CellCalls:
        """Call every event as the box does."""
        return self._classifier.classify(batch)


@dataclass(frozen=True, slots=True)
class Twin:
    """One run by the int8 bundle and by its float graphs.

    Attributes
    ----------
    counts
        Largest difference of a class's expected count, in share of all events.
    platelets
        Platelet count, int8 over float, minus 1; None where float finds none.
    identical
        Share of events called the same.
    """

    capture: str
    counts: float
    platelets: float | None
    identical: float


@dataclass(frozen=True)
class Evaluation:
    """All runs of a cohort by all methods.

    Attributes
    ----------
    bundle, size_bytes
        The bundle's id, and its files together.
    simulated
        Whether any run is simulated.
    scores
        By method; the bundle's own is the first.
    unreadable
        Captures that could not be decoded, with the reason.
    confusion
        Of the bundle; None where no cell's class is known.
    twins
        Int8 against float; empty when no float graphs were given.
    rises
        By method: what a higher event rate added to CLUMP% beyond what it added to the true
        one, points, for each run present at both rates.
    density
        Pictures of some runs, as called and as true.
    causes
        What made the calls of the same runs.
    us_per_event
        CPU microseconds per event to classify and quantify, for each run.
    """

    bundle: str
    size_bytes: int
    simulated: bool
    scores: Mapping[str, tuple[Score, ...]]
    unreadable: tuple[str, ...]
    confusion: Confusion | None
    twins: tuple[Twin, ...]
    rises: Mapping[str, tuple[float, ...]]
    density: tuple[Density, ...]
    causes: tuple[Causes, ...]
    us_per_event: tuple[float, ...]

    @property
    def own(self) -> tuple[Score, ...]:
        """Scores of the bundle itself."""
        return next(iter(self.scores.values()))

    @property
    def failed(self) -> tuple[str, ...]:
        """Captures without a result of the bundle, with the reason."""
        return self.unreadable + tuple(f"{s.capture}: {s.refused}" for s in self.own if s.refused)

    def table(self) -> list[Row]:
        """Every measure, with the bars, for every method."""
        return rows(self.scores, self.twins, self.rises)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "bundle": self.bundle,
            "simulated": self.simulated,
            "runs": len(self.own),
            "failed": list(self.failed),
            "methods": list(self.scores),
            "table": [asdict(row) for row in self.table()],
            "classes": self.confusion.classes() if self.confusion else None,
            "confusion": self.confusion.matrix.tolist() if self.confusion else None,
            "us_per_event": float(np.median(self.us_per_event)),
            "scores": {name: [asdict(s) for s in of] for name, of in self.scores.items()},
        }


@dataclass
class _Collector:
    scores: dict[str, list[Score]]
    simulated: bool = False
    unreadable: list[str] = field(default_factory=list)
    confusion: Confusion | None = None
    twins: list[Twin] = field(default_factory=list)
    density: list[Density] = field(default_factory=list)
    causes: list[Causes] = field(default_factory=list)
    us_per_event: list[float] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)


def evaluate(
    bundle: Bundle,
    captures: Path,
    truth: Path,
    registry: Registry,
    *,
    others: Sequence[Method] = (),
    exact: Bundle | None = None,
    busy: Path | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Evaluation:
    """Classify every capture of a cohort by every method and compare with its truth.

    Parameters
    ----------
    bundle
        What is measured.
    captures, truth
        Folder of captures and their ``truth.csv``.
    registry
        Instrument profiles.
    others
        Methods to show beside it.
    exact
        The same bundle with float graphs.
    busy
        Folder of the same samples at another event rate, with its ``truth.csv``.
    progress
        Called with runs done and runs in all.

    Raises
    ------
    EdgeError
        A truth file is not of the expected form, or no capture could be classified.
    """
    known = Truth(truth)
    fast = Truth(busy / truth.name) if busy else None
    total = len(known.samples) + (len(fast.samples) if fast else 0)
    methods = [Called(bundle, "bundle"), *others]
    twin = Called(exact, "float") if exact else None
    kept = _Collector({m.name: [] for m in methods}, confusion=Confusion())
    for done, sample in enumerate(known.samples, start=1):
        batch = _read(captures, sample, registry, kept.unreadable)
        if batch is not None:
            kept.simulated |= batch.sample.simulated
            _own(kept, bundle, methods[0], twin, batch, sample, known)
            _beside(kept, methods[1:], batch, sample)
        progress(done, total)
    if not any(not s.refused for s in kept.scores["bundle"]):
        reasons = kept.unreadable or [s.refused for s in kept.scores["bundle"]]
        raise EdgeError(
            f"{captures}: no capture of {truth} could be classified: {'; '.join(reasons[:5])}",
            action="check that the folder, the truth and the bundle belong to one instrument",
        )
    rises: dict[str, tuple[float, ...]] = {}
    if busy and fast:
        rises = _rises(kept, methods, bundle, busy, fast, registry,
                       lambda done: progress(len(known.samples) + done, total))  # fmt: skip
    return Evaluation(
        bundle=bundle.id,
        size_bytes=sum(f.stat().st_size for f in bundle.path.iterdir() if f.is_file()),
        simulated=kept.simulated,
        scores={name: tuple(found) for name, found in kept.scores.items()},
        unreadable=tuple(kept.unreadable),
        confusion=kept.confusion if known.has_cells else None,
        twins=tuple(kept.twins),
        rises=rises,
        density=tuple(kept.density),
        causes=tuple(kept.causes),
        us_per_event=tuple(kept.us_per_event),
    )


def float_twin(bundle: Bundle, folder: Path) -> Bundle:
    """Take the bundle with the float graphs of a folder instead of its own.

    Raises
    ------
    EdgeError
        A graph cannot be read.
    """
    try:
        stages = [(folder / f"{name}.onnx").read_bytes() for name in ("stage1", "stage2")]
    except OSError as error:
        raise EdgeError(
            f"{folder}: no stage1.onnx and stage2.onnx in float: {error.strerror}",
            action="give the folder that `train` wrote beside the bundle",
        ) from error
    return replace(bundle, stage1=stages[0], stage2=stages[1])


def _read(
    captures: Path, sample: Sample, registry: Registry, unreadable: list[str]
) -> CellBatch | None:
    file = captures / sample.capture
    try:
        name, data = read_run(file, PartNames(registry.part_patterns))
        return decode(data, registry.match(data, name), name=name)
    except OSError as error:
        unreadable.append(f"{file.name}: {error.strerror}")
    except Quarantine as error:
        unreadable.append(f"{file.name}: {error.message}")
    return None


def _own(
    kept: _Collector,
    bundle: Bundle,
    method: Method,
    twin: Method | None,
    batch: CellBatch,
    sample: Sample,
    known: Truth,
) -> None:
    """Measure the bundle itself on one run."""
    start = time.process_time()
    try:
        calls = method.classify(batch)
        result = quantify(batch, calls, bundle)
    except Quarantine as error:
        kept.scores[method.name].append(refused(sample, error.message))
        return
    kept.us_per_event.append(1e6 * (time.process_time() - start) / batch.events)
    kept.scores[method.name].append(score_result(sample, result))
    if twin is not None:
        kept.twins.append(compare_twins(sample.capture, calls, twin.classify(batch)))
    codes = known.codes(sample) if known.has_cells else None
    if codes is not None and kept.confusion is not None:
        kept.confusion.add(calls, codes)
    if len(kept.shown) < SHOWN_RUNS and sample.species not in kept.shown:
        kept.shown.add(sample.species)
        title = f"{sample.species}, {sample.condition.replace('_', ' ')}"
        kept.density += densities(f"{title}: as called", batch, calls.codes)
        kept.causes.append(find_causes(title, batch, calls, bundle))
        if codes is not None:
            kept.density += densities(f"{title}: as true", batch, codes)


def _beside(kept: _Collector, methods: Sequence[Method], batch: CellBatch, sample: Sample) -> None:
    for method in methods:
        try:
            score = score_calls(sample, method.classify(batch), method.tells)
        except Quarantine as error:
            score = refused(sample, error.message)
        kept.scores[method.name].append(score)


def compare_twins(capture: str, int8: CellCalls, exact: CellCalls) -> Twin:
    """Compare one run's calls by the int8 bundle with those of its float graphs."""
    counts = [calls.posterior.sum(axis=0, dtype=np.float64) for calls in (int8, exact)]
    platelets = float(counts[1][3])
    return Twin(
        capture=capture,
        counts=float(np.abs(counts[0] - counts[1]).max() / len(int8.codes)),
        platelets=float(counts[0][3]) / platelets - 1 if platelets > 0 else None,
        identical=float((int8.codes == exact.codes).mean()),
    )


def _rises(
    kept: _Collector,
    methods: Sequence[Method],
    bundle: Bundle,
    busy: Path,
    fast: Truth,
    registry: Registry,
    progress: Callable[[int], None],
) -> dict[str, tuple[float, ...]]:
    """Rise of CLUMP% with the event rate, over that of the truth, by method."""
    usual = {name: {s.capture: s for s in found} for name, found in kept.scores.items()}
    found: dict[str, list[float]] = {m.name: [] for m in methods if CLUMPS in m.tells}
    for done, sample in enumerate(fast.samples, start=1):
        batch = _read(busy, sample, registry, kept.unreadable)
        for method in methods if batch is not None else ():
            before = usual[method.name].get(sample.capture)
            if method.name not in found or before is None or before.clump is None:
                continue
            assert batch is not None
            try:
                calls = method.classify(batch)
                after = (
                    score_result(sample, quantify(batch, calls, bundle))
                    if method is methods[0]
                    else score_calls(sample, calls, method.tells)
                )
            except Quarantine:
                continue
            if after.clump is not None:
                rise = after.clump - before.clump - (after.true_clump - before.true_clump)
                found[method.name].append(rise)
        progress(done)
    return {name: tuple(values) for name, values in found.items() if values}
