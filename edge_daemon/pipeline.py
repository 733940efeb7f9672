"""The whole path over given files: read, store, analyse, report, in the order they were given.

`dispatcher.Pipeline` is the same path for the service, where captures come by themselves.
"""

from __future__ import annotations

import collections
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from edge_daemon.clock import SystemClock
from edge_daemon.config import usable_cores
from edge_daemon.decode.registry import Registry
from edge_daemon.dispatcher import Pipeline, Recorder, task_for
from edge_daemon.errors import EdgeError, Quarantine, Retryable
from edge_daemon.log import EventLog
from edge_daemon.parts import PartNames, gather, join
from edge_daemon.records import RawCapture
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.sources.directory import (
    Root,
    check_regular,
    check_size,
    label,
    observation,
    wanted,
)
from edge_daemon.store import queries
from edge_daemon.store.writer import Store
from edge_daemon.tasks import DATASET_NOTE, Plan, Task, WorkerLimits, dataset_note
from edge_daemon.workers import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from edge_daemon.store.writer import Acceptance

__all__ = [
    "INSTRUMENT",
    "Pipeline",
    "analyse_again",
    "default_plan",
    "process_files",
    "select_files",
]

INSTRUMENT: Final = "process"
"""Source and instrument of captures that were given by hand."""

_ALWAYS_TAKEN: Final = ("*.fcs", "*.lmd")
_AHEAD: Final = 4  # files read ahead of the oldest result, for each worker
_MAX_BYTES: Final = 64 << 20


def default_plan(
    profile_dirs: Sequence[Path] = (), model_dirs: Sequence[Path] = (), max_bytes: int = _MAX_BYTES
) -> Plan:
    """Shipped profiles and bundles first, then further folders."""
    return Plan(
        profile_dirs=(profiles_dir(), *profile_dirs),
        model_dirs=(models_dir(), *model_dirs),
        max_bytes=max_bytes,
    )


def select_files(
    paths: Iterable[Path],
    plan: Plan,
    *,
    profile_id: str | None = None,
    skipped: Callable[[Path], None] | None = None,
) -> list[Path]:
    """List the files to process: those named, and in folders those some profile takes.

    Parameters
    ----------
    paths
        Files and folders. A file that was named is taken whatever its name.
    plan
        Says where the profiles lie.
    profile_id
        A profile that is to be used whether it matches or not.
    skipped
        Called with every file of a folder that no profile takes.

    Returns
    -------
    list of Path
        In the order given; a folder's files by name, sub-folders included. Of a run in several
        files the first stands for all.
    """
    registry = Registry.load(plan.profile_dirs)
    patterns = set(_ALWAYS_TAKEN)
    for profile in registry.profiles.values():
        # What never matches by itself takes nothing by itself: generic_csv, any table beside runs.
        if profile.match is not None or profile.id == profile_id:
            patterns.update(profile.source.patterns)
    taken: list[Path] = []
    for path in paths:
        if not path.is_dir():
            taken.append(path)
            continue
        for found in sorted(p for p in path.rglob("*") if not p.is_dir()):
            if wanted(found.name, sorted(patterns)):
                taken.append(found)
            elif skipped is not None:
                skipped(found)
    names = PartNames(registry.part_patterns)
    return list(dict.fromkeys(gather(file, names)[0][0] for file in taken))


def process_files(  # noqa: PLR0913 - the options of a command
    paths: Iterable[Path],
    *,
    data_dir: Path,
    plan: Plan | None = None,
    profile_id: str | None = None,
    dataset: int = 1,
    workers: int | None = None,
    replay: bool = False,
    progress: Callable[[int, int], None] | None = None,
    skipped: Callable[[Path], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Process files once and yield one JSON-able result for each, in input order.

    Bytes that were processed before are not processed again: the stored result is returned,
    with ``duplicate_of``. They are if `replay` is set, if another profile or data set is asked
    for than the stored result was made with, or if it ended in quarantine.

    Parameters
    ----------
    paths
        Files and folders, see `select_files`.
    data_dir
        Where captures and results are stored.
    plan
        Profiles, models and limits; the shipped ones unless given.
    profile_id
        Profile to use; None: the one that matches.
    dataset
        Which data set of each file, from 1.
    workers
        Worker processes; the cores of the machine, at most four, unless given.
    replay
        Analyse again what was analysed before.
    progress
        Called with the number of finished files and of all files.
    skipped
        Called with every file of a folder that no profile takes.

    Yields
    ------
    dict
        ``file, sha256, status, reason, simulated, sample_id, species, profile, model, events,
        counts, measurements, flags, duplicate_of, capture_id, run_id, report_ids``; ``status``
        is ``classified``, ``decoded`` (no cells to classify: a decode-only profile, or nothing
        but the analyzer's own report), ``quarantined`` or ``refused`` (never became a capture).

    Raises
    ------
    Fatal
        Another process uses the data folder, or it was written by newer software.
    Retryable
        Disk or machine cannot do it now.
    EdgeError
        There is no profile `profile_id`.
    """
    plan = plan or default_plan()
    if profile_id is not None:
        Registry.load(plan.profile_dirs).get(profile_id)
    files = select_files(paths, plan, profile_id=profile_id, skipped=skipped)
    count = min(workers or usable_cores(), max(len(files), 1))
    with (
        Store.open(data_dir, SystemClock()) as store,
        _OneShot(store, data_dir, plan, count) as run,
    ):
        results = run.results(files, profile_id, dataset, replay=replay)
        for done, result in enumerate(results, start=1):
            yield result
            if progress is not None:
                progress(done, len(files))


def analyse_again(store: Store, capture_id: int, plan: Plan) -> None:
    """Analyse one capture that waits, where no service does it.

    Raises
    ------
    EdgeError
        It could not be analysed now; it still waits. One that is set aside raises nothing.
    """
    over = threading.Event()
    problems: list[EdgeError] = []

    def ended(_: Task, error: EdgeError | None) -> None:
        if error is not None and not isinstance(error, Quarantine):
            problems.append(error)
        over.set()

    item = next(waiting for waiting in store.pending() if waiting.capture_id == capture_id)
    recorder = Recorder(store, EventLog("error"), ended)
    readable = (store.archive_dir,)
    pool = Pool(plan, recorder, limits=WorkerLimits(), count=1, readable=readable)
    pool.start()
    try:
        while not pool.offer(task_for(item), timeout_s=1.0):
            pool.check()
        while not over.wait(1.0):
            pool.check()
    finally:
        pool.close(grace_s=0.0)
    if problems:
        raise problems[0]


@dataclass(slots=True)
class _Job:
    """One file on its way; `over` is set when its analysis, or that of its twin, has ended."""

    file: Path
    sha256: str | None = None
    acceptance: Acceptance | None = None
    refusal: Quarantine | None = None
    over: threading.Event = field(default_factory=threading.Event)


class _OneShot:
    """Store and workers of one `process_files` call. Use as a context manager."""

    def __init__(self, store: Store, data_dir: Path, plan: Plan, count: int) -> None:
        self._store = store
        self._max_bytes = plan.max_bytes
        self._names = PartNames(Registry.load(plan.profile_dirs).part_patterns)
        self._ahead = count * _AHEAD
        self._running: dict[int, threading.Event] = {}
        self._errors: dict[int, EdgeError] = {}
        self._db = queries.connect(data_dir)
        recorder = Recorder(store, EventLog("error"), self._ended)
        readable = (store.archive_dir,)
        self._pool = Pool(plan, recorder, limits=WorkerLimits(), count=count, readable=readable)
        self._pool.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close(grace_s=0.0)
        self._db.close()

    def results(
        self, files: Sequence[Path], profile_id: str | None, dataset: int, *, replay: bool
    ) -> Iterator[dict[str, Any]]:
        """Keep the workers busy some files ahead of the result that is waited for."""
        jobs: collections.deque[_Job] = collections.deque()
        for file in files:
            jobs.append(self._begin(file, profile_id, dataset, replay=replay))
            if len(jobs) > self._ahead:
                yield self._finish(jobs.popleft())
        while jobs:
            yield self._finish(jobs.popleft())

    def _begin(self, file: Path, profile_id: str | None, dataset: int, *, replay: bool) -> _Job:
        """Store a file's bytes and hand it to the workers if it needs them."""
        job = _Job(file)
        try:
            capture = _read(file, self._names, self._max_bytes)
        except Quarantine as refusal:
            self._store.refuse(INSTRUMENT, label(file.name), refusal)
            job.refusal = refusal
            return job
        job.sha256 = capture.sha256
        job.acceptance = self._store.accept(capture, restore=True)
        capture_id = job.acceptance.capture_id
        if (running := self._running.get(capture_id)) is not None and not running.is_set():
            job.over = running
            return job
        row = self._row(job)
        if row["finished"]:
            if not replay and self._serves(row, profile_id, dataset):
                job.over.set()
                return job
            self._store.requeue(capture_id)
        self._running[capture_id] = job.over
        item = next(p for p in self._store.pending() if p.capture_id == capture_id)
        task = task_for(item, profile=profile_id, dataset=dataset)
        while not self._pool.offer(task, timeout_s=1.0):
            self._pool.check()
        return job

    def _serves(self, row: dict[str, Any], profile_id: str | None, dataset: int) -> bool:
        """Whether the stored result is the one that is asked for."""
        if row["state"] == "quarantined" or profile_id not in {None, row["profile"]}:
            return False
        notes = queries.notes(self._db, row["id"])
        return dataset_note(dataset) in notes or (
            dataset == 1 and not any(note.startswith(DATASET_NOTE) for note in notes)
        )

    def _ended(self, task: Task, error: EdgeError | None) -> None:
        if error is not None and not isinstance(error, Quarantine):
            self._errors[task.capture_id] = error
        self._running[task.capture_id].set()

    def _finish(self, job: _Job) -> dict[str, Any]:
        """Wait for one file and describe what became of it."""
        if job.acceptance is None:
            return _describe(job, {"state": "refused"}, None)
        while not job.over.wait(1.0):
            self._pool.check()
        if (error := self._errors.get(job.acceptance.capture_id)) is not None:
            raise error
        row = self._row(job)
        run = None
        if row["state"] == "classified":
            run = queries.run(self._db, f"run:{row['run_id']}")
        return _describe(job, row, run)

    def _row(self, job: _Job) -> dict[str, Any]:
        assert job.acceptance is not None
        same = queries.captures(self._db, sha256=job.sha256, limit=1000)
        return next(row for row in same if row["id"] == job.acceptance.capture_id)


def _describe(job: _Job, row: dict[str, Any], run: dict[str, Any] | None) -> dict[str, Any]:
    duplicate = None
    if job.acceptance is not None and not job.acceptance.new:
        duplicate = {
            "capture_id": job.acceptance.capture_id,
            "name": row["name"],
            "sighting": job.acceptance.sighted,
        }
    reason = None
    if job.refusal is not None:
        reason = _reason(
            job.refusal.code, job.refusal.message, job.refusal.action, job.refusal.candidates
        )
    elif row["state"] == "quarantined":
        reason = _reason(
            row["reason_code"],
            row["reason_message"],
            row["reason_action"],
            row["reason_candidates"],
        )
    return {
        "file": label(str(job.file)),
        "sha256": job.sha256,
        "status": row["state"],
        "reason": reason,
        "simulated": bool(row.get("simulated")),
        "sample_id": row.get("sample_id"),
        "species": row.get("species"),
        "profile": row.get("profile"),
        "model": run["model"] if run else None,
        "events": row.get("events"),
        "counts": run["counts"] if run else None,
        "measurements": run["measurements"] if run else [],
        "flags": run["flags"] if run else [],
        "duplicate_of": duplicate,
        "capture_id": row.get("id"),
        "run_id": run["id"] if run else None,
        "report_ids": row.get("report_ids", []),
    }


def _reason(code: str, message: str, action: str, candidates: Iterable[str]) -> dict[str, Any]:
    return {"code": code, "message": message, "action": action, "candidates": list(candidates)}


def _read(file: Path, names: PartNames, max_bytes: int) -> RawCapture:
    """Read the files of a run that were given by hand, with the care of a watched folder."""
    files, missing = gather(file, names)
    if missing is not None:
        what = f"part {missing} of this run is not there"
        raise _refused(label(str(file)), what, "put all files of the run into one folder")
    parts = [(label(part.name), _read_file(part, max_bytes)) for part in files]
    data = join(parts)
    check_size(file.name, len(data), max_bytes)
    return RawCapture.of(INSTRUMENT, INSTRUMENT, parts[0][0], data)


def _read_file(file: Path, max_bytes: int) -> bytes:
    name = label(str(file))
    try:
        with Root(file.parent) as root:
            if (status := root.status(file.name)) is None:
                raise _refused(name, "there is no such file", "check the path")
            check_regular(file.name, status)
            check_size(file.name, status.st_size, max_bytes)
            return root.read(file.name, observation(status), max_bytes)
    except Retryable as error:
        raise _refused(name, error.message, error.action or "try again") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refused(name, reason, "check the file's permissions") from error


def _refused(name: str, what: str, action: str) -> Quarantine:
    return Quarantine("refused", f"{name}: {what}", action=action)
