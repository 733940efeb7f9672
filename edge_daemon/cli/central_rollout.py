"""Commands by which an operator lets an update through the fleet, ring by ring."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from edge_daemon import errors
from edge_daemon.central.rollout import HOURS, MAX_FAILED_PERCENT
from edge_daemon.cli import output
from edge_daemon.cli.central_places import open_store, places
from edge_daemon.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_daemon.central.rollouts import Rollouts


@click.group()
def rollout() -> None:
    """Let an update through the fleet: 5, 25, 50, then 100 of 100 boxes."""


@rollout.command()
@click.argument("item", metavar="KIND/NAME@VERSION")
@click.option(
    "--hours",
    type=click.FloatRange(min=0),
    default=HOURS,
    show_default=True,
    metavar="N",
    help="How long a ring must have been well before the next one opens.",
)
@click.option(
    "--max-failed",
    "max_failed",
    type=click.FloatRange(0, 100),
    default=MAX_FAILED_PERCENT,
    show_default=True,
    metavar="PERCENT",
    help="Of the boxes that have it; more failures take it back everywhere.",
)
@places
def start(item: str, hours: float, max_failed: float, folder: Path, database: str | None) -> None:
    """Begin with a version that is published; boxes of ring 0 take it at their next look."""
    with _rollouts(folder, database) as found:
        _must_be_published(item, folder)
        found.start(item, hours=hours, max_failed_percent=max_failed)
    click.echo(output.printable(f"{item}: ring 0 is open"))


@rollout.command()
@places
@json_option
def status(folder: Path, database: str | None, as_json: bool) -> int:
    """List the rollouts and what the boxes say of them.

    Exit code 3 when one is halted, or was rolled back.
    """
    with _rollouts(folder, database) as found:
        listed = found.describe()
    if as_json:
        output.emit_json(listed)
    else:
        for one in listed:
            _write(one)
        if not listed:
            click.echo("No rollout was ever started.", err=True)
    bad = any(one["state"] in {"halted", "rolled_back"} for one in listed)
    return errors.EXIT_WARNINGS if bad else errors.EXIT_OK


@rollout.command()
@click.argument("item", metavar="KIND/NAME@VERSION")
@click.option("--reason", default="halted by the operator", show_default=True, metavar="TEXT")
@places
def halt(item: str, reason: str, folder: Path, database: str | None) -> None:
    """Stop where it is: boxes that use it go on, no further one takes it."""
    _change(item, "halted", reason, folder, database)


@rollout.command()
@click.argument("item", metavar="KIND/NAME@VERSION")
@places
def resume(item: str, folder: Path, database: str | None) -> None:
    """Go on with a halted rollout, in the ring it had reached."""
    _change(item, "running", "", folder, database)


@rollout.command()
@click.argument("item", metavar="KIND/NAME@VERSION")
@click.option("--reason", default="rolled back by the operator", show_default=True, metavar="TEXT")
@places
def rollback(item: str, reason: str, folder: Path, database: str | None) -> None:
    """Take it back: every box returns to the version before at its next look."""
    _change(item, "rolled_back", reason, folder, database)


@rollout.command()
@click.argument("device")
@click.argument("ring", type=click.Choice(["0", "1", "2", "3", "by-identity"]))
@places
def pin(device: str, ring: str, folder: Path, database: str | None) -> None:
    """Put the box with the id DEVICE into RING, or where its identity puts it."""
    number = None if ring == "by-identity" else int(ring)
    with _rollouts(folder, database) as found:
        found.pin(device, number)


def _must_be_published(item: str, folder: Path) -> None:
    """Refuse what no box could fetch: its rollout would wait in ring 0 for ever."""
    from edge_daemon.central.serving_updates import FOLDER
    from edge_daemon.updates.release import Repository

    place = folder / FOLDER
    listed = [one.id for one in Repository(place).published()]
    if item not in listed:
        raise errors.Fatal(
            f"{item} is not published in {place}",
            action=f"Published: {', '.join(listed) or 'nothing yet'}. `edge-daemon release publish "
            f"--to {place}` brings updates there.",
            exit_code=errors.EXIT_NOT_FOUND,
        )


def _change(item: str, state: str, reason: str, folder: Path, database: str | None) -> None:
    with _rollouts(folder, database) as found:
        found.set_state(item, state, reason)
    click.echo(output.printable(f"{item}: {state.replace('_', ' ')}"))


def _write(one: dict[str, Any]) -> None:
    said = ", ".join(f"{number} {word}" for word, number in one["boxes"].items() if number)
    click.echo(output.printable(f"{one['item']}: {one['state'].replace('_', ' ')}"))
    click.echo(
        f"  ring      {one['ring']} of {one['last_ring']}, since {one['ring_since'][:16]} UTC"
    )
    if one["state"] == "running":
        well = one["well_since"]
        since = f"well since {well[:16]} UTC" if well else "not well yet"
        click.echo(f"  next      after {one['hours']:g} h; {since}")
    click.echo(f"  boxes     {said or 'none yet'}")
    if one["reason"]:
        click.echo(output.printable(f"  reason    {one['reason']}"))


@contextlib.contextmanager
def _rollouts(folder: Path, database: str | None) -> Iterator[Rollouts]:
    with open_store(folder, database) as store:
        yield store.rollouts()
