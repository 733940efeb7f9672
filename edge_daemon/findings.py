"""From facts about the running service to what a person should know; pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from edge_daemon.conditions import Finding
from edge_daemon.flow import LOSSES_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_daemon.clock import Stamp
    from edge_daemon.disk import Disk
    from edge_daemon.flow import Analysis
    from edge_daemon.health import Loop

_BLIND: Final = {"folder": "folder_blind", "serial": "port_blind", "tcp": "network_blind"}
_LOSSES: Final = 3
_STANDING_S: Final = 600.0
_QUEUES: Final = (10_000, 1_000, 100)
_CLOCK_MARGIN: Final = 16  # of an ISO time: whole minutes, so that a leap is no fault


def of_sources(
    sources: Iterable[Mapping[str, Any]], silent_h: Mapping[str, float], since: float, now: float
) -> list[Finding]:
    """Judge the sources.

    Parameters
    ----------
    sources
        As in the status file: name, kind, state, reason; of a line also what is garbled.
    silent_h
        Hours of silence of each source that are worth a question.
    since
        Monotonic time the service runs since, s.
    now
        Monotonic time, s.
    """
    found = []
    for source in sources:
        name = source["name"]
        if source["state"] == "degraded":
            reason = {"reason": source["reason"]}
            found.append(Finding(_BLIND[source["kind"]], name, reason))
        elif source["state"] == "paused":
            found.append(Finding("source_paused", name, {"reason": source["reason"]}))
        if trouble := source.get("garbled"):
            found.append(Finding("source_garbled", name, {"trouble": trouble}))
        if warning := source.get("warning"):
            found.append(Finding("port_fleeting", name, {"reason": warning}))
        heard = source.get("heard_at")
        silent = (now - (since if heard is None else heard)) / 3600
        if silent >= silent_h.get(name, float("inf")):
            found.append(Finding("source_silent", name, {"hours": int(silent)}))
    return found


def of_loops(loops: Iterable[Loop], now: float) -> list[Finding]:
    """Judge the loops: those that have stood still for longer than they may."""
    return [
        Finding("loop_standing", loop.name, {"seconds": int(loop.allowance_s)})
        for loop in loops
        if now - loop.progressed_at > loop.allowance_s
    ]


def of_analysis(analysis: Analysis, wall_s: float) -> list[Finding]:
    """Judge the analysis; `wall_s` is the longest time one capture may take."""
    found = [
        Finding("model_rejected", bundle, {"reason": reason})
        for bundle, reason in analysis.rejected
    ]
    if analysis.start_failure:
        found.append(Finding("no_worker", values={"reason": analysis.start_failure}))
    if analysis.losses >= _LOSSES:
        values = {"losses": analysis.losses, "minutes": int(LOSSES_S / 60)}
        found.append(Finding("worker_failing", values=values))
    allowed = max(_STANDING_S, 3 * wall_s)
    if analysis.waiting and analysis.still_s > allowed:
        values = {"waiting": analysis.waiting, "minutes": int(allowed / 60)}
        found.append(Finding("analysis_standing", values=values))
    if (bound := next((q for q in _QUEUES if analysis.waiting > q), None)) is not None:
        found.append(Finding("queue_growing", values={"waiting": bound}))
    return found


def of_disk(disk: Disk, needed_mb: int, *, reserve_used: bool = False) -> list[Finding]:
    """Judge the disk of the data folder, and whether its reserve is used."""
    if disk.reason:
        return [Finding("disk_unreadable", values={"reason": disk.reason})]
    found = [Finding("disk_read_only")] if disk.read_only else []
    if reserve_used:
        found.append(Finding("reserve_used"))
    space = {"free_mb": disk.free_mb // 10 * 10, "needed_mb": needed_mb}
    if disk.free_mb < needed_mb:
        found.append(Finding("disk_low", values=space))
    elif disk.free_mb < 2 * needed_mb:
        found.append(Finding("disk_filling", values=space))
    return found


def of_sandbox(missing: Iterable[str]) -> list[Finding]:
    """Say which parts of the kernel that confine workers are not there."""
    parts = ", ".join(missing)
    return [Finding("workers_unconfined", values={"missing": parts})] if parts else []


def of_store(trouble: str) -> list[Finding]:
    """Judge the database: why it could not be written at the last try, or nothing."""
    return [Finding("store_busy", values={"reason": trouble})] if trouble else []


def of_quarantine(captures: int) -> list[Finding]:
    """Say how many captures were set aside."""
    return [Finding("quarantine_waiting", values={"captures": captures})] if captures else []


def of_profiles(files: Iterable[str]) -> list[Finding]:
    """Say which profiles, each ``<folder>/<firmware>.toml``, could not be loaded."""
    names = list(files)
    return [Finding("profile_rejected", names[0], {"problems": len(names)})] if names else []


def of_clock(stamp: Stamp, newest: str | None) -> list[Finding]:
    """Judge the clock.

    Parameters
    ----------
    stamp
        The present moment.
    newest
        Wall time of the newest capture, if it was made while the clock was synchronised.
    """
    if stamp.state == "synchronised":
        return []
    if newest is not None and stamp.wall[:_CLOCK_MARGIN] < newest[:_CLOCK_MARGIN]:
        values = {"wall": f"{stamp.wall[:10]}", "newest": newest[:10]}
        return [Finding("clock_wrong", values=values)]
    return [Finding("clock_unsynchronised")]
