"""Structured events to stderr, one JSON object a line, from a closed list.

Every event has a name, a stage and a level, and may carry only the fields listed for it here;
anything else is dropped before it is written. File names, sample ids, patient and owner names
are in no list: file names of analyzers often hold them. An event points to its capture by id
and digest, and the message for people stands in the database.
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

Level = Literal["debug", "info", "warning", "error"]
Stage = Literal[
    "service",
    "source",
    "decode",
    "classify",
    "worker",
    "store",
    "health",
    "web",
    "sync",
    "central",
    "updates",
]

_LEVELS: Final[dict[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


@dataclass(frozen=True, slots=True)
class EventSpec:
    """What one event is: its stage, level and the only fields it may carry."""

    stage: Stage
    level: Level
    fields: frozenset[str]


def _spec(stage: Stage, level: Level, *fields: str) -> EventSpec:
    return EventSpec(stage, level, frozenset(fields))


class Event(enum.StrEnum):
    """Every event this product writes; each is explained in docs/events.md."""

    SERVICE_STARTED = "service_started"
    SERVICE_READY = "service_ready"
    SERVICE_STOPPING = "service_stopping"
    SERVICE_STOPPED = "service_stopped"
    SERVICE_FAILED = "service_failed"
    CONFIG_LAST_GOOD = "config_last_good"
    PROFILE_REJECTED = "profile_rejected"
    SOURCE_WATCHING = "source_watching"
    SOURCE_DEGRADED = "source_degraded"
    SOURCE_PAUSED = "source_paused"
    SOURCE_GARBLED = "source_garbled"
    PEER_REFUSED = "peer_refused"
    CAPTURE_ACCEPTED = "capture_accepted"
    CAPTURE_SEEN_AGAIN = "capture_seen_again"
    CAPTURE_REFUSED = "capture_refused"
    CAPTURE_DECODED = "capture_decoded"
    CAPTURE_REPORTED = "capture_reported"
    CAPTURE_CLASSIFIED = "capture_classified"
    CAPTURE_QUARANTINED = "capture_quarantined"
    CAPTURE_RETRIED = "capture_retried"
    WORKER_LOST = "worker_lost"
    WORKERS_UNCONFINED = "workers_unconfined"
    DISK_LOW = "disk_low"
    DISK_OK = "disk_ok"
    ERRANDS_REFUSED = "errands_refused"
    STORE_BUSY = "store_busy"
    STORE_DAMAGED = "store_damaged"
    STORE_RECOVERED = "store_recovered"
    UPKEEP_DONE = "upkeep_done"
    UPKEEP_FAILED = "upkeep_failed"
    RESULT_DAMAGED = "result_damaged"
    ARCHIVE_DAMAGED = "archive_damaged"
    RAW_DELETED = "raw_deleted"
    BALLAST_MADE = "ballast_made"
    BALLAST_GIVEN_UP = "ballast_given_up"
    STALLED_LOOP = "stalled_loop"
    UPDATE_LOOKED_AT = "update_looked_at"
    UPDATE_IN_USE = "update_in_use"
    UPDATE_JUDGED = "update_judged"
    UPDATES_NOT_HAD = "updates_not_had"
    UPDATES_ENDED = "updates_ended"
    SYNC_WORKING = "sync_working"
    SYNC_FAILED = "sync_failed"
    SYNC_ENDED = "sync_ended"
    CENTRAL_REFUSED = "central_refused"
    CENTRAL_INDEX_FAILED = "central_index_failed"
    CONDITION_BEGAN = "condition_began"
    CONDITION_ENDED = "condition_ended"
    WEB_SERVING = "web_serving"
    WEB_UNAVAILABLE = "web_unavailable"
    WEB_DEFECT = "web_defect"
    WEB_SIGNED_IN = "web_signed_in"
    WEB_REFUSED = "web_refused"


EVENTS: Final[dict[Event, EventSpec]] = {
    Event.SERVICE_STARTED: _spec(
        "service", "info", "version", "box", "sources", "workers", "sqlite"
    ),
    Event.SERVICE_READY: _spec("service", "info", "resumed", "profiles"),
    Event.SERVICE_STOPPING: _spec("service", "info", "signal"),
    Event.SERVICE_STOPPED: _spec("service", "info", "unfinished"),
    Event.SERVICE_FAILED: _spec("service", "error", "error_type", "exit_code"),
    Event.CONFIG_LAST_GOOD: _spec("service", "error", "since"),
    Event.PROFILE_REJECTED: _spec("decode", "error", "error_type", "problems"),
    Event.SOURCE_WATCHING: _spec("source", "info", "source", "mode"),
    Event.SOURCE_DEGRADED: _spec("source", "warning", "source", "error_type"),
    Event.SOURCE_PAUSED: _spec("source", "warning", "source", "error_type"),
    Event.SOURCE_GARBLED: _spec("source", "warning", "source", "error_type", "bytes"),
    Event.PEER_REFUSED: _spec("source", "warning", "source", "peer"),
    Event.CAPTURE_ACCEPTED: _spec("source", "info", "source", "capture_id", "sha256", "bytes"),
    Event.CAPTURE_SEEN_AGAIN: _spec("source", "debug", "source", "capture_id", "sha256"),
    Event.CAPTURE_REFUSED: _spec("source", "warning", "source", "error_type"),
    Event.CAPTURE_DECODED: _spec("decode", "debug", "capture_id", "profile", "events"),
    Event.CAPTURE_REPORTED: _spec(
        "decode", "info", "capture_id", "report_id", "profile", "values", "new"
    ),
    Event.CAPTURE_CLASSIFIED: _spec(
        "classify", "info", "capture_id", "run_id", "model", "events", "elapsed_s"
    ),
    Event.CAPTURE_QUARANTINED: _spec("decode", "warning", "capture_id", "error_type"),
    Event.CAPTURE_RETRIED: _spec("worker", "warning", "capture_id", "error_type", "delay_s"),
    Event.WORKER_LOST: _spec("worker", "warning", "capture_id", "error_type", "attempt"),
    Event.WORKERS_UNCONFINED: _spec("worker", "warning", "missing"),
    Event.DISK_LOW: _spec("health", "error", "free_mb", "needed_mb"),
    Event.DISK_OK: _spec("health", "info", "free_mb"),
    Event.ERRANDS_REFUSED: _spec("service", "warning", "error_type"),
    Event.STORE_BUSY: _spec("store", "warning", "error_type"),
    Event.STORE_DAMAGED: _spec("store", "error", "error_type"),
    Event.STORE_RECOVERED: _spec("store", "warning", "backup", "missing", "taken", "unattributed"),
    Event.UPKEEP_DONE: _spec("store", "info", "job"),
    Event.UPKEEP_FAILED: _spec("store", "warning", "error_type", "job"),
    Event.RESULT_DAMAGED: _spec("store", "error", "seq"),
    Event.ARCHIVE_DAMAGED: _spec("store", "error", "capture_id"),
    Event.RAW_DELETED: _spec("store", "info", "captures"),
    Event.BALLAST_MADE: _spec("health", "info", "free_mb"),
    Event.BALLAST_GIVEN_UP: _spec("health", "warning", "free_mb"),
    Event.SYNC_WORKING: _spec("sync", "info", "server"),
    Event.SYNC_FAILED: _spec("sync", "warning", "error_type"),
    Event.SYNC_ENDED: _spec("sync", "warning", "error_type"),
    Event.CENTRAL_REFUSED: _spec("central", "warning", "error_type", "device", "peer"),
    Event.CENTRAL_INDEX_FAILED: _spec("central", "warning", "error_type"),
    Event.STALLED_LOOP: _spec("health", "error", "loop", "silent_s"),
    Event.UPDATE_LOOKED_AT: _spec("updates", "info", "item", "outcome"),
    Event.UPDATE_IN_USE: _spec("updates", "info", "item", "version"),
    Event.UPDATE_JUDGED: _spec("updates", "warning", "item", "outcome", "version"),
    Event.UPDATES_NOT_HAD: _spec("updates", "warning", "error_type"),
    Event.UPDATES_ENDED: _spec("updates", "warning", "error_type"),
    Event.CONDITION_BEGAN: _spec("health", "warning", "condition", "state"),
    Event.CONDITION_ENDED: _spec("health", "info", "condition", "state"),
    Event.WEB_SERVING: _spec("web", "info", "address"),
    Event.WEB_UNAVAILABLE: _spec("web", "warning", "error_type"),
    Event.WEB_DEFECT: _spec("web", "error", "error_type"),
    Event.WEB_SIGNED_IN: _spec("web", "info", "role", "peer"),
    Event.WEB_REFUSED: _spec("web", "warning", "peer", "wait_s"),
}
"""The closed list. ``error_type`` is a quarantine code, an error class's name, or what a framing
calls the bytes that it discards."""


def _only_listed(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let through what the list names for this event; never a name of a person or a file."""
    name = entry.get("event")
    try:
        spec = EVENTS[Event(str(name))]
    except (KeyError, ValueError):
        raise structlog.DropEvent from None
    kept = {field: entry[field] for field in sorted(spec.fields) if entry.get(field) is not None}
    return {"event": str(name), "stage": spec.stage, "level": spec.level, **kept}


class EventLog:
    """Writes events and keeps repeats of a lasting condition down to its changes.

    Parameters
    ----------
    level
        Least serious level that is written.
    stream
        Where to; stderr, which systemd hands to the journal, unless given.
    """

    def __init__(self, level: Level = "info", stream: TextIO | None = None) -> None:
        self._least = _LEVELS[level]
        self._states: dict[str, str] = {}
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(stream or sys.stderr),
            processors=[
                _only_listed,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
        )

    def emit(self, event: Event, **fields: object) -> None:
        """Write one event; fields its specification does not list are dropped."""
        if _LEVELS[EVENTS[event].level] >= self._least:
            self._logger.msg(event.value, **fields)

    def on_change(self, key: str, state: str, event: Event, **fields: object) -> bool:
        """Write the event only if `state` differs from the last one reported for `key`."""
        if self._states.get(key) == state:
            return False
        self._states[key] = state
        self.emit(event, **fields)
        return True

    def forget(self, key: str) -> None:
        """Note that a condition is over, so that its return is reported."""
        self._states.pop(key, None)
