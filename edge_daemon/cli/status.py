"""Say whether the box is well; sees the store and the lock, never a stage."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors, wording
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from edge_daemon.cli.output import Record
    from edge_daemon.conditions import Finding

STATUS_FILE: Final = "run/status.json"
_LEAST_FREE_MB: Final = 200  # `limits.min_free_mb` unless configured; only the service knows
_WORST: Final = ("failing", "degraded", "recovered", "ok")
_MARKS: Final = {"error": ("Problem", "red"), "warning": ("Problem", "yellow")}


@click.command()
@options.data_dir_option
@options.json_option
def status(data_dir: Path, as_json: bool) -> int:
    """Say whether the service runs, what it has done and what waits.

    Exit code 3 when something needs a person: each problem is said with what to do next.
    """
    stored, trouble = _stored(data_dir)
    pid = holder(data_dir)
    told = _told(data_dir) if pid else {}
    health = _health(data_dir, pid, told.get("health"), stored, trouble)
    found = {
        "data_dir": str(data_dir),
        "running_pid": pid,
        "state": health["state"],
        "problems": [c for c in health["conditions"] if c["severity"] in _MARKS],
        "notices": [c for c in health["conditions"] if c["severity"] not in _MARKS],
        "ended": health["ended"],
        "sources": _heard_s(told.get("sources", [])),
        "page": (told.get("web") or {}).get("url"),
        "updates": _updates(data_dir),
        "newest_backup": newest_backup(data_dir),
        "disk_free_bytes": shutil.disk_usage(data_dir).free,
        **stored,
    }
    if output.form(as_json=as_json) == "json":
        output.emit_json(found)
    else:
        _write(found)
    return errors.EXIT_WARNINGS if found["problems"] else errors.EXIT_OK


def _stored(data_dir: Path) -> tuple[Record, str]:
    """Sum the store up, or say why it cannot be read now."""
    from edge_daemon.store import queries

    try:
        with contextlib.closing(queries.connect(data_dir)) as db:
            return queries.status(db), ""
    except errors.Retryable as error:
        return {}, error.message


def holder(data_dir: Path) -> int | None:
    """Process that writes into the data folder now, or None.

    The lock file names it. Trying the lock would be surer and could make a service that starts
    at that moment believe the folder is taken, so the process list is asked instead.
    """
    from edge_daemon.store.layout import LOCK_NAME

    try:
        pid = int((data_dir / LOCK_NAME).read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    # A killed service leaves its number in the file, and another program may have it by now.
    return pid if b"edge-daemon" in command or b"edge_daemon" in command else None


def _told(data_dir: Path) -> Record:
    """Read what the running service says of itself; `process` says nothing."""
    try:
        told: Record = json.loads((data_dir / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told


def _heard_s(sources: list[Record]) -> list[Record]:
    """Say how long ago each source was heard."""
    for source in sources:
        # Monotonic time is the machine's own, the same in the service and here.
        heard = source.pop("heard_at", None)
        source["heard_s"] = None if heard is None else max(time.monotonic() - heard, 0.0)
    return sources


def _health(
    data_dir: Path, pid: int | None, told: Record | None, stored: Record, trouble: str
) -> Record:
    """Take what the service says, and add what it can no longer write down, or would say."""
    from edge_daemon import findings
    from edge_daemon.clock import SystemClock
    from edge_daemon.conditions import Board, Finding
    from edge_daemon.disk import read_disk

    seen = findings.of_disk(read_disk(data_dir), _LEAST_FREE_MB)
    if trouble:
        seen.append(Finding("database_unreadable", values={"reason": trouble}))
    if told is None and stored:
        seen += findings.of_quarantine(stored["states"]["quarantined"])
    if pid is None:
        seen = [Finding("service_not_running"), *_configured(), *seen]
    known = {condition["code"] for condition in (told or {}).get("conditions", ())}
    board, clock = Board(), SystemClock()
    board.update(
        [finding for finding in seen if finding.code not in known],
        clock.stamp().wall,
        clock.monotonic(),
    )
    own = board.describe()
    if told is None:
        return own
    worst = min((own["state"], told["state"]), key=_WORST.index)
    return {**told, "state": worst, "conditions": [*own["conditions"], *told["conditions"]]}


def _configured() -> list[Finding]:
    """Say whether a wrong configuration is why the service does not run."""
    if not options.config_path().is_file():
        return []
    from edge_daemon.conditions import Finding
    from edge_daemon.config import ConfigError  # the model costs more than the whole question

    try:
        options.box_settings()
    except ConfigError as error:
        return [Finding("config_invalid", values={"problems": len(error.problems)})]
    return []


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _write(found: Record) -> None:
    for problem in found["problems"]:
        word, colour = _MARKS[problem["severity"]]
        click.echo(
            click.style(f"{word}: {output.printable(problem['message'])}", fg=colour, bold=True)
        )
        click.echo(f"  {output.next_action(problem['action'])}")
    for notice in found["notices"]:
        click.echo(f"Note: {output.printable(notice['message'])}")
        click.echo(f"  {output.next_action(notice['action'])}")
    for past in found["ended"]:
        over = f"{wording.local_time(past['since'])} to {wording.local_time(past['until'])}"
        click.echo(f"Over: {output.printable(past['message'])} ({over})")
    pid = found["running_pid"]
    rows: list[tuple[str, Any]] = [
        ("State", found["state"]),
        ("Service", f"in use by process {pid}" if pid else "not running"),
        *(("Source", f"{s['name']}: {s['state']}{_heard(s)}") for s in found["sources"]),
        *([("Page", found["page"])] if found["page"] else []),
        *([("Updates", found["updates"]["words"])] if found["updates"] else []),
        ("Data", found["data_dir"]),
        *(_kept(found) if "states" in found else ()),
        ("Disk free", size(found["disk_free_bytes"])),
    ]
    for label, text in rows:
        click.echo(f"{label:<11}{output.printable(text)}")
    if found.get("refusals"):
        output.say("\n`edge-daemon quarantine` says why files were refused.")


def _updates(data_dir: Path) -> Record | None:
    """Say which updates are in use and which wait; None where there are none."""
    from edge_daemon.updates.describing import describe

    items = describe(data_dir)["items"]
    if not items:
        return None
    words = [f"{i['item']} {i['version']}" for i in items if i["version"]]
    words += [f"{i['item']} {i['candidate']} waits" for i in items if i["candidate"]]
    return {"items": items, "words": ", ".join(words) or "none in use"}


def _kept(found: Record) -> list[tuple[str, Any]]:
    """Say what the store holds."""
    return [
        ("Results", f"{found['runs']:,}"),
        ("Captures", ", ".join(f"{count:,} {state}" for state, count in found["states"].items())),
        ("Waiting", f"{found['pending']:,} to analyse, {found['outbox_waiting']:,} to send"),
        ("Refused", wording.counted(found["refusals"], "file")),
        ("Last", _last(found["newest_capture"])),
        ("Database", size(found["database_bytes"])),
        ("Backup", _backup(found["newest_backup"])),
        *_upkeep(found["upkeep"]),
    ]


def _heard(source: Record) -> str:
    """Say when a source was last heard, and what came on a line."""
    heard = source["heard_s"]
    when = "not heard yet" if heard is None else f"last heard {_age(heard)} ago"
    if "messages" not in source:
        return "" if heard is None else f", {when}"
    bad = sum(count["bytes"] for count in source["discarded"].values())
    rest = f", {size(bad)} discarded" if bad else ""
    return f", {when}, {wording.counted(source['messages'], 'message')}{rest}"


def _age(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def newest_backup(data_dir: Path) -> Record | None:
    """Name, size and time of the newest backup in the data folder, or None."""
    from edge_daemon.clock import format_wall
    from edge_daemon.store.layout import BACKUPS_NAME

    # Numbered, never dated: the name tells which is the newest.
    files = sorted((data_dir / BACKUPS_NAME).glob("backup-*.db"))
    if not files:
        return None
    status = files[-1].stat()
    written = format_wall(datetime.fromtimestamp(status.st_mtime, UTC))
    return {"name": files[-1].name, "bytes": status.st_size, "written_wall": written}


def _backup(newest: Record | None) -> str:
    if newest is None:
        return "none yet"
    return f"{wording.local_time(newest['written_wall'])}, {newest['name']}"


def _upkeep(jobs: Record) -> list[tuple[str, str]]:
    """Say when the data was last checked, and how large the archive is."""

    def when(*names: str) -> str:
        done = [jobs[name]["done"] for name in names if jobs.get(name, {}).get("done")]
        newest = max(done, key=lambda stamp: stamp["wall"], default=None)
        return "not yet" if newest is None else wording.local_time(newest["wall"])

    rows = [("Checked", when("quick_check", "integrity_check"))]
    archive = jobs.get("retention", {}).get("found") or {}
    if archive:
        budget = f" of {size(archive['max_bytes'])}" if archive["max_bytes"] is not None else ""
        safe = f", {size(archive['deletable_bytes'])} of it safe to delete"
        rows.append(("Archive", f"{size(archive['bytes'])}{budget}{safe}"))
    return rows


def _last(capture: Record | None) -> str:
    if capture is None:
        return "nothing yet"
    mark = f" {output.SIMULATED}" if capture["simulated"] else ""
    when = wording.local_time(capture["received_wall"])
    return f"{when}, {capture['name']} ({capture['state']}){mark}"
