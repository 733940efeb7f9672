"""The state of the box in the text format of Prometheus; pure, and without a word about patients.

Names, labels and units are stable; docs/health.md lists them, and a test holds it to this list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

Sample = tuple[Mapping[str, str], float]

HELP: Final[dict[str, tuple[str, str]]] = {
    "edge_daemon_info": ("gauge", "Always 1; the labels say which box and version this is."),
    "edge_daemon_state": ("gauge", "1 for the state of the box, 0 for the other states."),
    "edge_daemon_condition": ("gauge", "1 for each condition that lasts; codes as in health.md."),
    "edge_daemon_source_up": ("gauge", "1 while a source takes captures in, 0 while it cannot."),
    "edge_daemon_source_heard_age_seconds": ("gauge", "Since a source was last heard."),
    "edge_daemon_source_messages_total": ("counter", "Messages of a line since the start."),
    "edge_daemon_source_discarded_bytes_total": (
        "counter",
        "Bytes of a line since the start that were no part of a message.",
    ),
    "edge_daemon_captures": ("gauge", "Captures in the store, by state."),
    "edge_daemon_captures_pending": ("gauge", "Captures that wait for their analysis."),
    "edge_daemon_results": ("gauge", "Results in the store."),
    "edge_daemon_reports": ("gauge", "Reports of analyzers in the store."),
    "edge_daemon_refused_files": ("gauge", "Files that were never taken in."),
    "edge_daemon_outbox_waiting": ("gauge", "Items that wait for the central server."),
    "edge_daemon_database_bytes": ("gauge", "Size of the database."),
    "edge_daemon_disk_free_bytes": ("gauge", "Free space on the disk of the data folder."),
    "edge_daemon_upkeep_timestamp_seconds": (
        "gauge",
        "When a job of upkeep was last done, by the box's own clock.",
    ),
    "process_resident_memory_bytes": ("gauge", "Memory of the service without its workers."),
    "process_cpu_seconds_total": ("counter", "CPU time of the service without its workers."),
    "process_open_fds": ("gauge", "Open descriptors of the service."),
}
"""Kind and meaning of every metric."""

STATES: Final = ("ok", "recovered", "degraded", "failing")
_BLIND: Final = frozenset({"degraded", "paused"})


def exposition(
    told: Mapping[str, Any],
    store: Mapping[str, Any],
    machine: Mapping[str, float],
    *,
    box: str,
    version: str,
    now: float,
) -> str:
    """Write every metric that is known.

    Parameters
    ----------
    told
        The service's status file; empty where there is none.
    store
        `queries.status`.
    machine
        Metrics of the process and the disk, by name.
    box, version
        Of this box.
    now
        Monotonic time, s.
    """
    health = told.get("health") or {}
    samples: dict[str, list[Sample]] = {
        "edge_daemon_info": [({"box": box, "version": version}, 1)],
        "edge_daemon_state": [({"state": s}, float(s == health.get("state"))) for s in STATES],
        "edge_daemon_condition": [
            ({key: condition[key] for key in ("code", "severity", "subject")}, 1)
            for condition in health.get("conditions", ())
        ],
        "edge_daemon_captures": [({"state": s}, n) for s, n in store["states"].items()],
        "edge_daemon_captures_pending": [({}, store["pending"])],
        "edge_daemon_results": [({}, store["runs"])],
        "edge_daemon_reports": [({}, store["reports"])],
        "edge_daemon_refused_files": [({}, store["refusals"])],
        "edge_daemon_outbox_waiting": [({}, store["outbox_waiting"])],
        "edge_daemon_database_bytes": [({}, store["database_bytes"])],
        "edge_daemon_upkeep_timestamp_seconds": list(_upkeep(store["upkeep"])),
        **{name: [({}, value)] for name, value in machine.items()},
        **_of_sources(told.get("sources", ()), now),
    }
    lines: list[str] = []
    for name, (kind, words) in HELP.items():
        if found := samples.get(name):
            lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels(labels)} {value:.15g}" for labels, value in found]
    return "\n".join(lines) + "\n"


def _of_sources(sources: Iterable[Mapping[str, Any]], now: float) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for source in sources:
        labels = {"source": source["name"], "kind": source["kind"]}
        up = float(source["state"] not in _BLIND)
        found.setdefault("edge_daemon_source_up", []).append((labels, up))
        if (heard := source.get("heard_at")) is not None:
            age = max(0.0, now - heard)
            found.setdefault("edge_daemon_source_heard_age_seconds", []).append((labels, age))
        if "messages" in source:
            messages = found.setdefault("edge_daemon_source_messages_total", [])
            messages.append((labels, source["messages"]))
        for trouble, count in source.get("discarded", {}).items():
            bad = found.setdefault("edge_daemon_source_discarded_bytes_total", [])
            bad.append(({**labels, "trouble": trouble}, count["bytes"]))
    return found


def _upkeep(jobs: Mapping[str, Any]) -> Iterator[Sample]:
    for name, record in jobs.items():
        try:
            yield {"job": name}, datetime.fromisoformat(record["done"]["wall"]).timestamp()
        except (KeyError, TypeError, ValueError):  # never done, or a stamp damaged on the disk
            continue


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for key, value in labels.items()
    }
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}"
