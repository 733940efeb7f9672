"""Commands for sending results to a central server; they see the store, never a stage."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output
from edge_daemon.cli.status import holder

if TYPE_CHECKING:
    from edge_daemon.sync.identity import Identity

_WAIT_S: Final = 60.0
_POLL_S: Final = 0.2


@click.group()
def sync() -> None:
    """Send results to a central server."""


@sync.command()
@click.argument("server", metavar="URL")
@click.option("--code", required=True, help="Claim code that the server's operator gave you.")
@click.option(
    "--fleet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Certificate of the fleet; default: certificates that the system trusts.",
)
@options.data_dir_option
@options.json_option
def enrol(server: str, code: str, fleet: Path | None, data_dir: Path, as_json: bool) -> None:
    """Make this box known to the central server at URL.

    Nothing is sent before this. Run it as the user the service runs as.
    """
    from edge_daemon.sync import identity
    from edge_daemon.sync.policy import TroubleError

    settings = options.box_settings()
    proxy = None if settings is None else settings.sync.proxy
    try:
        who = identity.enrol(data_dir, server, code, fleet=fleet, proxy=proxy)
    except TroubleError as error:
        raise errors.Retryable(
            f"{server}: {error.message}",
            action="Check address, network and --fleet, then give the same command again.",
        ) from error
    if as_json:
        output.emit_json({"device": who.device, "name": who.name, "server": who.server})
        return
    click.echo(output.printable(f"This box is {who.name!r} ({who.device}) at {who.server}."))
    click.echo("A running service begins to send within half a minute.", err=True)


@sync.command()
@options.data_dir_option
@options.json_option
def status(data_dir: Path, as_json: bool) -> int:
    """Say whom the box sends to, what waits, and what is the matter.

    Exit code 3 when something is the matter, 4 when the box is not enrolled.
    """
    found = _state(data_dir, _enrolled(data_dir))
    bad = bool(found["code"] or found["dead"] or found["running_pid"] is None)
    if as_json:
        output.emit_json(found)
    else:
        _write(found)
    return errors.EXIT_WARNINGS if bad else errors.EXIT_OK


@sync.command()
@options.data_dir_option
@options.json_option
def now(data_dir: Path, as_json: bool) -> int:
    """Send what waits at once, whatever the waiting time.

    Exit code 3 when the server did not take everything.
    """
    who = _enrolled(data_dir)
    _send_now(data_dir)
    deadline = time.monotonic() + _WAIT_S
    while True:
        found = _state(data_dir, who)
        if found["code"] or not found["waiting"] or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    if as_json:
        output.emit_json(found)
    else:
        _write(found)
    return errors.EXIT_WARNINGS if found["code"] or found["waiting"] else errors.EXIT_OK


@sync.command("dead-letters")
@click.option("--send-again", is_flag=True, help="Let them wait again.")
@click.option(
    "--seq", "seqs", type=click.IntRange(min=1), multiple=True, help="Only this one; repeatable."
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N")
@options.data_dir_option
@options.json_option
def dead_letters(
    send_again: bool, seqs: tuple[int, ...], limit: int, data_dir: Path, as_json: bool
) -> None:
    """List what the central server refused, and why."""
    from edge_daemon.store import outbox, queries

    with contextlib.closing(queries.connect(data_dir)) as db:
        found = outbox.dead_letters(db, limit=limit)
    found = [row for row in found if not seqs or row["seq"] in seqs]
    if send_again and found:
        _send_now(data_dir, dead_letters=list(seqs) or None)
    if as_json:
        output.emit_json(found)
        return
    for row in found:
        what = row["type"].partition(".")[0]
        of = f"{what} {row[f'{what}_id']}"
        line = (
            f"{row['seq']:>6}  {row['created_at'][:16]}  {of:<14}  {row['type']}  {row['reason']}"
        )
        click.echo(output.printable(line))
    if not found:
        click.echo("no dead letters", err=True)
    elif send_again:
        click.echo("the service sends them again", err=True)


def _enrolled(data_dir: Path) -> Identity:
    from edge_daemon.sync.identity import load

    who = load(data_dir)
    if who is None:
        raise errors.Fatal(
            f"{data_dir}: this box is not enrolled at a central server",
            action="Get a claim code and run `edge-daemon sync enrol` (sync.md).",
            exit_code=errors.EXIT_NOT_FOUND,
        )
    return who


def _send_now(data_dir: Path, **more: Any) -> None:
    from edge_daemon.errands import ask_service

    if ask_service(data_dir, {"errand": "send_now", **more}) is None:
        raise errors.Retryable(
            "the service is not running: only it sends",
            action="Start it with `systemctl start edge-daemon` or `edge-daemon run`.",
        )


def _state(data_dir: Path, who: Identity) -> dict[str, Any]:
    from edge_daemon.store import outbox, queries
    from edge_daemon.sync.policy import PATIENCE, Patience

    with contextlib.closing(queries.connect(data_dir)) as db:
        patience = Patience.load(outbox.remembered(db, PATIENCE))
        counts = outbox.summary(db, simulated=options.sends_simulated())
    return {
        "server": who.server,
        "device": who.device,
        "name": who.name,
        "certificate_until": who.not_after,
        "running_pid": holder(data_dir),
        "code": patience.code,
        "message": patience.message,
        "held": patience.held,
        "attempts": patience.attempts,
        **counts,
    }


def _write(found: dict[str, Any]) -> None:
    waiting = f"{found['waiting']:,}"
    if found["oldest_waiting"]:
        waiting += f", the oldest since {found['oldest_waiting'][:16].replace('T', ' ')} UTC"
    rows = [
        ("Server", found["server"]),
        ("This box", f"{found['name']} ({found['device']})"),
        ("Waiting", waiting),
        ("Refused", f"{found['dead']:,}"),
        ("Certificate", f"until {found['certificate_until'][:10]}"),
    ]
    if found["code"]:
        again = "hourly" if found["held"] else "by itself"
        rows.append(("Problem", f"{found['message']} ({found['code']}); tried again {again}"))
    if found["running_pid"] is None:
        rows.append(("Service", "not running: nothing is sent"))
    for name, text in rows:
        click.echo(output.printable(f"{name:<12} {text}"))
