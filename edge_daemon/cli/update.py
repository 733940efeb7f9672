"""Commands for updates on a box."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_daemon import errors, wording
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from edge_daemon.config import Settings
    from edge_daemon.updates.changes import Changes
    from edge_daemon.updates.desk import Desk, Looked
    from edge_daemon.updates.online import Place

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def update() -> None:
    """Take signed updates of models, profiles, intervals and rules."""


@update.command()
@click.argument(
    "root", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--replace", is_flag=True, help="Trust it instead of the one that is trusted now.")
@options.data_dir_option
def trust(root: Path, replace: bool, data_dir: Path) -> None:
    """Believe whoever signs with the keys in FILE, the `root.json` of a repository.

    Compare the digest that is shown with theirs, by telephone. Run it as the service's user.
    """
    from edge_daemon.updates.trust import fingerprint

    data = root.read_bytes()
    desk = _desk(data_dir)
    with desk.folder.locked("looking"):
        desk.trust.begin(data, replace=replace)
    click.echo(f"Updates are believed from now on if they are signed by it: {fingerprint(data)}")


@update.command()
@options.data_dir_option
@options.json_option
def check(data_dir: Path, as_json: bool) -> int:
    """Look for updates now, and take what is new.

    Exit code 3 when something was refused, 75 when it is tried again by itself.
    """
    from edge_daemon.updates.online import place_of

    settings = options.box_settings()
    where = place_of(settings, data_dir)
    return _say_looked(_explained(lambda: _looked(where, settings, data_dir)), as_json)


@update.command("import")
@click.argument("folder", type=_FOLDER)
@click.option("--trust-clock", is_flag=True, help="The time of this box was compared: it is right.")
@options.data_dir_option
@options.json_option
def import_(folder: Path, trust_clock: bool, data_dir: Path, as_json: bool) -> int:
    """Take updates from FOLDER, a stick that `edge-daemon release export` filled.

    The same signatures and the same proofs as over the network. Exit code 3 when something was
    refused.
    """
    from edge_daemon.updates.fetching import FolderFetcher

    desk = _desk(data_dir)
    found = _explained(lambda: desk.look(FolderFetcher(folder), clock_is_right=trust_clock))
    return _say_looked(found, as_json)


@update.command()
@options.data_dir_option
@options.json_option
def status(data_dir: Path, as_json: bool) -> int:
    """Say which updates are in use, which wait and why, and what came of the last look.

    Exit code 3 when no update can be taken, or one was refused or rolled back.
    """
    from edge_daemon.updates.describing import describe

    found = describe(data_dir)
    if as_json:
        output.emit_json(found)
    else:
        _write(found)
    bad = found["code"] or found["damaged"] or any(item["blocked"] for item in found["items"])
    return errors.EXIT_WARNINGS if bad else errors.EXIT_OK


@update.command()
@click.argument("item", metavar="KIND/NAME")
@options.data_dir_option
@options.json_option
def activate(item: str, data_dir: Path, as_json: bool) -> None:
    """Use the version of KIND/NAME that waits, without comparing further samples."""
    key = _key(item)
    held = _changes(data_dir).activate(key)
    if as_json:
        output.emit_json({"item": key, "version": held.version})
        return
    click.echo(output.printable(f"{key}@{held.version} is in use from the next capture on."))


@update.command()
@click.argument("item", metavar="KIND/NAME")
@click.option("--reason", default="rolled back by a person", show_default=True, metavar="TEXT")
@options.data_dir_option
@options.json_option
def rollback(item: str, reason: str, data_dir: Path, as_json: bool) -> None:
    """Return KIND/NAME to the version before, and do not take the present one again."""
    key = _key(item)
    slot = _changes(data_dir).roll_back(key, reason)
    now = None if slot.active is None else slot.active.version
    if as_json:
        output.emit_json({"item": key, "version": now})
        return
    shown = f"{key}@{now}" if now else f"{key} as it ships or as this site has it"
    click.echo(output.printable(f"{shown} is in use from the next capture on."))


@update.command()
@click.argument("item", metavar="KIND/NAME")
@options.data_dir_option
def unblock(item: str, data_dir: Path) -> None:
    """Let versions of KIND/NAME that were refused or rolled back be tried again."""
    key = _key(item)
    _changes(data_dir).unblock(key)
    click.echo(output.printable(f"{key}: every version may be taken again."))


@click.command("activate")
@click.argument("name")
@options.data_dir_option
@options.json_option
@click.pass_context
def activate_model(ctx: click.Context, name: str, data_dir: Path, as_json: bool) -> None:
    """Use the version of the bundle NAME that waits: `update activate model/NAME`."""
    ctx.invoke(activate, item=f"model/{name}", data_dir=data_dir, as_json=as_json)


@click.command("rollback")
@click.argument("name")
@click.option("--reason", default="rolled back by a person", show_default=True, metavar="TEXT")
@options.data_dir_option
@options.json_option
@click.pass_context
def rollback_model(
    ctx: click.Context, name: str, reason: str, data_dir: Path, as_json: bool
) -> None:
    """Return the bundle NAME to the version before: `update rollback model/NAME`."""
    ctx.invoke(rollback, item=f"model/{name}", reason=reason, data_dir=data_dir, as_json=as_json)


def _looked(where: Place, settings: Settings | None, data_dir: Path) -> Looked:
    """Give back what the fleet took back, whatever else can be had; then look."""
    from edge_daemon.updates.online import repository_of

    desk = _desk(data_dir)
    with desk.noting(), repository_of(where, settings, data_dir) as offered:
        if offered.plan is None:
            return desk.look(offered.fetcher)
        given_back = desk.give_back(offered.plan.give_back)
        found = desk.look(offered.fetcher, may=offered.plan.objection)
    found.refused |= given_back
    return found


def _key(text: str) -> str:
    from edge_daemon.updates.kinds import Item

    key, version = Item.parse(text)
    if version is not None:
        raise click.UsageError("give KIND/NAME alone; `edge-daemon update status` lists them")
    return key


def _changes(data_dir: Path) -> Changes:
    from edge_daemon.clock import SystemClock
    from edge_daemon.updates.changes import Changes

    return Changes(data_dir, SystemClock())


def _desk(data_dir: Path, clock: Any = None) -> Desk:
    from edge_daemon.clock import SystemClock
    from edge_daemon.updates.desk import Desk
    from edge_daemon.updates.places import own_plan

    return Desk(data_dir, own_plan(options.box_settings()), clock or SystemClock())


def _explained(work: Any) -> Looked:
    """Give an error that mends itself the exit code that says so."""
    from edge_daemon.updates.errors import UpdateError

    try:
        found: Looked = work()
    except UpdateError as error:
        if error.by_itself:
            raise errors.Retryable(error.message, action=error.action) from error
        raise
    return found


def _say_looked(found: Looked, as_json: bool) -> int:
    if as_json:
        output.emit_json(found.as_record())
    else:
        for word, rows in (
            ("taken", found.taken),
            ("REFUSED", found.refused),
            ("waits", found.waits),
            ("not taken", found.unneeded),
        ):
            for item, text in rows.items():
                click.echo(output.printable(f"{item}: {word}: {text}"))
        if not (found.taken or found.refused):
            click.echo("Nothing new.")
    return errors.EXIT_WARNINGS if found.refused else errors.EXIT_OK


def _write(found: dict[str, Any]) -> None:
    if found["damaged"]:
        click.echo(output.printable(f"Problem: {found['damaged']}"))
    if found["code"]:
        click.echo(output.printable(f"Problem: {found['message']} ({found['code']})"))
        click.echo(f"  {output.next_action(found['action'])}")
    looked = found["done"]
    click.echo(f"Looked      {wording.local_time(looked) if looked else 'never with success'}")
    for role, when in found["expires"].items():
        click.echo(f"Holds       {role} until {when[:10]}")
    for item in found["items"]:
        click.echo(f"\n{output.printable(item['item'])}")
        for label, text in item["lines"]:
            click.echo(output.printable(f"  {label:<10}{text}"))
    if not found["items"]:
        click.echo("No update was ever taken: everything is as it ships or as this site has it.")
