"""Say whether the box is well; sees the store and the lock, never a stage."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors, wording
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from edge_daemon.cli.output import Record

_LOW_DISK: Final = 200 * 2**20
_SERVICE_STATUS: Final = "run/status.json"
_ACTIONS: Final = {
    "folder": "Check its folder, the share it lies on and its permissions.",
    "serial": "Check the cable, the analyzer and `port`; it is opened again by itself.",
    "tcp": "Check the network and the address; it goes on by itself.",
}
_LASTING: Final = "Write that name as `port` in the configuration."


@click.command()
@options.data_dir_option
@options.json_option
def status(data_dir: Path, as_json: bool) -> int:
    """Say whether the service runs, what it has done and what waits.

    Exit code 3 when something needs a person: the service does not run, a source is blind, or
    the disk is nearly full.
    """
    from edge_daemon.store import queries

    with contextlib.closing(queries.connect(data_dir)) as db:
        found = queries.status(db)
    found = {
        "data_dir": str(data_dir),
        "running_pid": (pid := holder(data_dir)),
        "sources": _sources(data_dir) if pid else [],
        "disk_free_bytes": shutil.disk_usage(data_dir).free,
        **found,
    }
    found["problems"] = _problems(found)
    if output.form(as_json=as_json) == "json":
        output.emit_json(found)
    else:
        _write(found)
    return errors.EXIT_WARNINGS if found["problems"] else errors.EXIT_OK


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


def _sources(data_dir: Path) -> list[Record]:
    """Read what the running service says of its sources; `process` says nothing."""
    try:
        told = json.loads((data_dir / _SERVICE_STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    sources: list[Record] = told["sources"]
    for source in sources:
        # Monotonic time is the machine's own, the same in the service and here.
        heard = source.pop("heard_at", None)
        if "messages" in source:
            source["heard_s"] = None if heard is None else max(time.monotonic() - heard, 0.0)
    return sources


def _problems(found: Record) -> list[dict[str, str]]:
    problems = []
    if found["running_pid"] is None:
        problems.append(
            {
                "message": "the service is not running: nothing is being taken in",
                "action": "Start it with `systemctl start edge-daemon` or `edge-daemon run`.",
            }
        )
    problems += [
        {
            "message": f"source {source['name']} is {source['state']}: {source['reason']}",
            "action": _ACTIONS.get(source.get("kind", "folder"), _ACTIONS["folder"]),
        }
        for source in found["sources"]
        if source["state"] in ("degraded", "paused")
    ]
    problems += [
        {"message": f"source {source['name']}: {source['warning']}", "action": _LASTING}
        for source in found["sources"]
        if source.get("warning")
    ]
    if found["disk_free_bytes"] < _LOW_DISK:
        problems.append(
            {
                "message": f"only {size(found['disk_free_bytes'])} free on the disk",
                "action": "Make room: below the configured minimum nothing more is taken in.",
            }
        )
    return problems


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _write(found: Record) -> None:
    for problem in found["problems"]:
        click.echo(click.style(f"Problem: {problem['message']}", fg="yellow", bold=True))
        click.echo(f"  {output.next_action(problem['action'])}")
    pid = found["running_pid"]
    states = found["states"]
    rows: list[tuple[str, Any]] = [
        ("Service", f"in use by process {pid}" if pid else "not running"),
        *(("Source", f"{s['name']}: {s['state']}{_heard(s)}") for s in found["sources"]),
        ("Data", found["data_dir"]),
        ("Results", f"{found['runs']:,}"),
        ("Captures", ", ".join(f"{count:,} {state}" for state, count in states.items())),
        ("Waiting", f"{found['pending']:,} to analyse, {found['outbox_waiting']:,} to send"),
        ("Refused", f"{found['refusals']:,} files"),
        ("Last", _last(found["newest_capture"])),
        ("Database", size(found["database_bytes"])),
        ("Disk free", size(found["disk_free_bytes"])),
    ]
    for label, text in rows:
        click.echo(f"{label:<11}{output.printable(text)}")
    if states["quarantined"] or found["refusals"]:
        output.say("\n`edge-daemon quarantine` says why captures were set aside.")


def _heard(source: Record) -> str:
    """Say when an analyzer on a line last said something, and what came."""
    if "messages" not in source:
        return ""
    heard = source["heard_s"]
    when = "not heard yet" if heard is None else f"last heard {_age(heard)} ago"
    bad = sum(count["bytes"] for count in source["discarded"].values())
    rest = f", {size(bad)} discarded" if bad else ""
    return f", {when}, {source['messages']:,} messages{rest}"


def _age(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _last(capture: Record | None) -> str:
    if capture is None:
        return "nothing yet"
    mark = f" {output.SIMULATED}" if capture["simulated"] else ""
    when = wording.local_time(capture["received_wall"])
    return f"{when}, {capture['name']} ({capture['state']}){mark}"
