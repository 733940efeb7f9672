"""Measure this box: each stage on arrays, then whole captures from disk to committed results.

The captures are simulated and the store is a temporary one that is deleted afterwards. CPU
seconds are those of all threads and worker processes together: they hardly depend on what else
the machine does, wall time does.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.columns import channels_of
from edge_daemon.classify.pictures import draw
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import BATCH_ROWS, Classifier
from edge_daemon.classify.session import Stages
from edge_daemon.clock import SystemClock
from edge_daemon.decode import decode
from edge_daemon.decode.registry import Registry
from edge_daemon.dispatcher import Pipeline
from edge_daemon.errors import Fatal
from edge_daemon.log import EventLog
from edge_daemon.pipeline import default_plan
from edge_daemon.records import RawCapture
from edge_daemon.simulator.cohort import sample
from edge_daemon.store.writer import Store
from edge_daemon.tasks import Plan, WorkerLimits
from edge_daemon.worker_handle import rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.decode.profile import Profile
    from edge_daemon.records import CellBatch, CellCalls

SEED: Final = 20_26
DISTINCT: Final = 6
"""Samples that are simulated; further captures differ from them by one padding byte."""
INSTRUMENT: Final = "bench"

_PATIENCE_S: Final = 300.0
_POLL_S: Final = 0.002
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_WHOLE: Final = "all stages"
_PURE: Final = "pure inference"


@dataclass(frozen=True, slots=True)
class StageTime:
    """One row of the table: best of the rounds, for each run.

    Attributes
    ----------
    stage
        What was done.
    cpu_s
        CPU seconds a run.
    events_per_s
        Events a CPU second.
    """

    stage: str
    cpu_s: float
    events_per_s: float


@dataclass(frozen=True, slots=True)
class Through:
    """Captures from disk to committed results.

    Attributes
    ----------
    captures, workers
        How many, and by how many worker processes.
    wall_s, cpu_s
        For all of them together; service and workers.
    latency_s
        Median and longest of single captures given to the idle box, wall seconds.
    written_bytes
        For each capture, beyond its raw bytes: database, logs of origins.
    service_rss, worker_rss
        Resident memory at the end, bytes; `worker_rss` is the largest.
    """

    captures: int
    workers: int
    wall_s: float
    cpu_s: float
    latency_s: tuple[float, float]
    written_bytes: float
    service_rss: int
    worker_rss: int


@dataclass(frozen=True, slots=True)
class Report:
    """What `measure` found.

    Attributes
    ----------
    events
        Mean events of a capture.
    channels
        Of the model.
    cores
        That this process may use.
    folder
        On whose disk the results were committed.
    """

    events: int
    channels: int
    cores: int
    model: str
    folder: str
    stages: list[StageTime] = field(default_factory=list)
    through: Through | None = None

    def seconds(self, stage: str) -> float:
        """CPU seconds a run of one stage."""
        return next(row.cpu_s for row in self.stages if row.stage == stage)

    def over_inference(self) -> float:
        """Everything a worker does over running the two graphs alone."""
        return self.seconds(_WHOLE) / self.seconds(_PURE)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"over_inference": self.over_inference()}


@dataclass(frozen=True, slots=True)
class Run:
    """One capture with everything that stands before and after each stage."""

    capture: RawCapture
    profile: Profile
    bundle: Bundle
    batch: CellBatch
    calls: CellCalls


def simulated(events: int, count: int) -> list[RawCapture]:
    """Make so many different captures with `events` cells each."""
    made = [sample(i, events=events, seed=SEED) for i in range(min(count, DISTINCT))]
    captures = []
    for i in range(count):
        one = made[i % len(made)]
        data = one.data + bytes(i // len(made))
        captures.append(raw_capture(f"{i:04d}_{one.name}", data))
    return captures


def raw_capture(name: str, data: bytes) -> RawCapture:
    """Make a capture of bytes."""
    return RawCapture.of(INSTRUMENT, INSTRUMENT, name, data)


def prepare(captures: Sequence[RawCapture], plan: Plan) -> list[Run]:
    """Take every capture through all stages once, which also warms them up."""
    registry, shelf = Registry.load(plan.profile_dirs), BundleShelf.load(plan.model_dirs)
    runs = []
    classifiers: dict[str, Classifier] = {}
    for capture in captures:
        profile = registry.match(capture.data, capture.name)
        batch = decode(capture.data, profile, name=capture.name)
        bundle = shelf.for_profile(profile.id, batch.sample.species)
        classifier = classifiers.setdefault(bundle.id, Classifier(bundle))
        runs.append(Run(capture, profile, bundle, batch, classifier.classify(batch)))
    return runs


def measure_stages(runs: Sequence[Run], rounds: int) -> list[StageTime]:
    """Time every stage by itself, all of them together, and inference alone."""
    classifier = Classifier(runs[0].bundle)
    bundle = runs[0].bundle
    graphs = Stages(bundle.stage1, bundle.stage2, bundle.id)
    found = {id(run): quantify(run.batch, run.calls, run.bundle) for run in runs}

    def decoded(run: Run) -> CellBatch:
        return decode(run.capture.data, run.profile, name=run.capture.name)

    def drawn(run: Run) -> bytes:
        seen = found[id(run)]
        return draw(
            run.batch, run.calls, seen.red_cells, seen.platelets, run.profile.scales
        ).encode()

    def whole(run: Run) -> bytes:
        batch = decoded(run)
        calls = classifier.classify(batch)
        seen = quantify(batch, calls, run.bundle)
        return draw(batch, calls, seen.red_cells, seen.platelets, run.profile.scales).encode()

    stages: dict[str, Callable[[Run], object]] = {
        "decode": decoded,
        "classify": lambda run: classifier.classify(run.batch),
        "quantify": lambda run: quantify(run.batch, run.calls, run.bundle),
        "draw": drawn,
        _WHOLE: whole,
        _PURE: pure_inference(runs, graphs),
    }
    events = sum(run.batch.events for run in runs)
    rows = []
    for stage, work in stages.items():
        # What a run gives is let go before the next one, as in a worker.
        cpu = best_cpu(lambda work=work: deque(map(work, runs), maxlen=0), rounds)  # type: ignore[misc]
        rows.append(StageTime(stage, cpu / len(runs), events / cpu))
    return rows


def pure_inference(runs: Sequence[Run], graphs: Stages) -> Callable[[Run], object]:
    """Return a function that runs the two graphs and nothing else on a run's arrays."""
    arrays = {}
    for run in runs:
        channels, anchor = run.bundle.channels, run.bundle.manifest.input.anchor
        signals = channels_of(run.batch, channels)
        arrays[id(run)] = signals, red_cell_peak(signals, channels, anchor)

    def infer(run: Run) -> None:
        signals, peak = arrays[id(run)]
        for start in range(0, len(signals), BATCH_ROWS):
            graphs.posteriors(signals[start : start + BATCH_ROWS], peak)

    return infer


def best_cpu(work: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return max(best, 1e-9)  # a tiny input may take less than the clock's step


class Box:
    """A store, its workers and nothing else, on a folder of its own; use as a context manager."""

    def __init__(self, folder: Path, plan: Plan, workers: int) -> None:
        self._clock = SystemClock()
        self.store = Store.open(folder, self._clock)
        self.pipeline = Pipeline(
            self.store,
            plan,
            guard=lambda: None,
            limits=WorkerLimits(),
            count=workers,
            log=EventLog("error"),
            clock=self._clock,
        )

    def __enter__(self) -> Self:
        self.pipeline.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.stop(0.0)
        self.store.close()

    def analyse(self, files: Sequence[Path]) -> float:
        """Read files, take them in and wait for the last result; wall seconds.

        Raises
        ------
        Fatal
            A capture was set aside, or nothing came for minutes.
        """
        begin = time.perf_counter()
        for file in files:
            self.pipeline.accept(raw_capture(file.name, file.read_bytes()))
        deadline = begin + _PATIENCE_S
        # The count in memory costs nothing to ask; the store is right.
        while self.pipeline.analysis().waiting or self.store.pending(limit=1):
            self.pipeline.check()
            if time.perf_counter() > deadline:
                raise Fatal(
                    "the box gave no result for minutes", action="Run `edge-daemon doctor`."
                )
            time.sleep(_POLL_S)
        return time.perf_counter() - begin

    def cpu_s(self) -> float:
        """CPU seconds of this process and its workers until now."""
        return time.process_time() + sum(map(_cpu_s, self.pipeline.worker_pids()))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _written() -> int:
    """Bytes this process has handed to the kernel for writing, pipes included."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    return 0


def measure_through(
    captures: Sequence[RawCapture], folder: Path, plan: Plan, workers: int, singles: int
) -> Through:
    """Take captures from disk to committed results, all at once and then one by one."""
    files = _files(captures, folder / "export")
    warm, many, alone = files[:workers], files[workers:-singles], files[-singles:]
    with Box(folder / "data", plan, workers) as box:
        box.analyse(warm)
        cpu, written = box.cpu_s(), _written()
        wall = box.analyse(many)
        cpu, written = box.cpu_s() - cpu, _written() - written
        latencies = [box.analyse([file]) for file in alone]
        pids = box.pipeline.worker_pids()
        worker_rss = max(map(rss_bytes, pids))
    raw = sum(file.stat().st_size for file in many)
    return Through(
        captures=len(many),
        workers=workers,
        wall_s=wall,
        cpu_s=cpu,
        latency_s=(statistics.median(latencies), max(latencies)),
        written_bytes=(written - raw) / len(many),
        service_rss=rss_bytes(os.getpid()),
        worker_rss=worker_rss,
    )


def _files(captures: Sequence[RawCapture], folder: Path) -> list[Path]:
    folder.mkdir()
    return [_file(folder / capture.name, capture.data) for capture in captures]


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def measure(
    *, events: int, captures: int, rounds: int, workers: int, folder: Path | None = None
) -> Report:
    """Measure everything.

    Parameters
    ----------
    events
        Cells in each simulated capture.
    captures
        How many go from disk to committed results at once.
    rounds
        Of each stage, of which the best counts.
    workers
        Worker processes.
    folder
        Below which the temporary store is made, so that the box's own disk is measured.

    Raises
    ------
    Fatal
        The folder cannot be written, or the box gave no result.
    """
    plan = default_plan()
    singles = min(10, captures)
    made = simulated(events, captures + workers + singles)
    runs = prepare(made[: min(DISTINCT, captures)], plan)
    with tempfile.TemporaryDirectory(prefix="edge-daemon-bench-", dir=folder) as place:
        return Report(
            events=round(statistics.mean(run.batch.events for run in runs)),
            channels=len(runs[0].bundle.channels),
            cores=len(os.sched_getaffinity(0)),
            model=runs[0].bundle.id,
            folder=str(Path(place).parent),
            stages=measure_stages(runs, rounds),
            through=measure_through(made, Path(place), plan, workers, singles),
        )
