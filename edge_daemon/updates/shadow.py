"""Holds a candidate model against the one in use: the same captures, results never reported.

It takes what was classified already from the archive, after the fact and one capture at a time,
in a worker of its own: the analysis of new captures is neither delayed nor touched.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edge_daemon.errors import EdgeError, Quarantine, Retryable
from edge_daemon.records import Classified
from edge_daemon.store import queries
from edge_daemon.store.archive import archived_path
from edge_daemon.store.layout import ARCHIVE_NAME
from edge_daemon.tasks import Task, WorkerLimits, dataset_of
from edge_daemon.updates import agreement
from edge_daemon.worker_handle import Worker, WorkerLostError
from edge_daemon.workers import ANALYSIS

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from edge_daemon.tasks import Plan
    from edge_daemon.updates.state import Held


class Shadow:
    """One candidate beside the version in use; made, used and ended by one thread.

    Parameters
    ----------
    data_dir
        Of the box: its results and its archive.
    name
        Of the bundle.
    held
        The candidate.
    plan
        Search folders with the candidate in the place of what is in use.
    """

    def __init__(self, data_dir: Path, name: str, held: Held, plan: Plan) -> None:
        self.held = held
        self._data_dir = data_dir
        self._archive = data_dir / ARCHIVE_NAME
        self._name = name
        self._plan = plan
        self._worker: Worker | None = None

    def end(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def next(self, after: int, seen: set[int]) -> tuple[int, dict[str, Any] | None] | None:
        """Compare on the next result of the model in use.

        Parameters
        ----------
        after
            Number of the run that was looked at last.
        seen
            Captures that were compared already.

        Returns
        -------
        tuple or None
            Number of the run and what was found, None where the run says nothing; None where
            there is no further run.

        Raises
        ------
        Retryable
            No worker could be started now.
        """
        with closing(queries.connect(self._data_dir)) as db:
            number = _next_run(db, self._name, after)
            if number is None:
                return None
            run = queries.run(db, f"run:{number}")
            if run is None or run["capture_id"] in seen:
                return number, None
            task = self._task(db, run)
        found = self._classify(task)
        if found is None:
            return number, None
        why, values = found
        sample = {"run": number, "capture": run["capture_id"], "failed": why, "values": {}}
        if not why:
            sample["values"] = agreement.compare(run["measurements"], values)
        return number, sample

    def _task(self, db: sqlite3.Connection, run: dict[str, Any]) -> Task:
        corrected = "species" in run["corrected"]
        return Task(
            capture_id=run["capture_id"],
            path=str(archived_path(self._archive, run["sha256"])),
            sha256=run["sha256"],
            instrument=run["instrument"],
            source=run["source"],
            name=run["name"],
            profile=run["profile"],
            dataset=dataset_of(queries.notes(db, run["capture_id"])),
            species=run["species"] if corrected else None,
        )

    def _classify(self, task: Task) -> tuple[str, list[dict[str, Any]]] | None:
        """Give the candidate's values, or why there are none; None where the bytes are gone."""
        try:
            steps = list(self._ready().steps(task))
        except WorkerLostError as lost:
            self.end()
            return f"the analysis {lost.detail}", []
        except Quarantine as error:
            return None if error.code == "archive_damaged" else (error.message, [])
        except Retryable:
            raise
        except EdgeError as error:
            return error.message, []
        for step in steps:
            if isinstance(step, Classified):
                if step.model != f"{self._name}@{self.held.version}":
                    return f"{step.model} was used instead", []
                return "", [asdict(value) for value in step.measurements]
        return "it gave no result", []

    def _ready(self) -> Worker:
        if self._worker is not None and self._worker.worn:
            self.end()
        if self._worker is None:
            self._worker = Worker(self._plan, WorkerLimits(), ANALYSIS, (self._archive,))
        try:
            self._worker.wait_ready()
        except Retryable:
            self.end()
            raise
        return self._worker


def _next_run(db: sqlite3.Connection, name: str, after: int) -> int | None:
    found = db.execute(
        "SELECT id FROM runs WHERE id > ? AND substr(model, 1, ?) = ? ORDER BY id LIMIT 1",
        (after, len(name) + 1, f"{name}@"),
    ).fetchone()
    return None if found is None else int(found[0])
