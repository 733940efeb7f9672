"""Commands of the central server for whoever may read: chains, users, tokens of programs."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from edge_daemon.cli import output
from edge_daemon.cli.central_places import open_store, places
from edge_daemon.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_daemon.central.roster import Roster

_from_stdin = click.option("--stdin", "from_stdin", is_flag=True, help="Read the password there.")
_number = click.IntRange(min=1)


@click.command("add-chain")
@click.argument("name")
@places
@json_option
def add_chain(name: str, folder: Path, database: str | None, as_json: bool) -> None:
    """Add the chain NAME, which owns clinics, and print its number."""
    with _roster(folder, database) as roster:
        number = roster.add_chain(name)
    output.emit_json({"chain": number}) if as_json else click.echo(number)


@click.command("set-chain")
@click.option("--clinic", type=_number, required=True, help="Number of the clinic.")
@click.option("--chain", type=_number, help="Number of the chain; without it: none any more.")
@places
def set_chain(clinic: int, chain: int | None, folder: Path, database: str | None) -> None:
    """Say which chain a clinic belongs to; its users see the clinic from then on."""
    with _roster(folder, database) as roster:
        roster.move_clinic(clinic, chain)


@click.command()
@places
@json_option
def clinics(folder: Path, database: str | None, as_json: bool) -> None:
    """List the clinics with their numbers and chains."""
    with _roster(folder, database) as roster:
        found = roster.clinics()
    if as_json:
        output.emit_json(found)
        return
    for row in found:
        chain = "" if row["chain"] is None else f"chain {row['chain_number']}: {row['chain']}"
        click.echo(output.printable(f"{row['clinic']:>5}  {row['name']:<30}  {chain}".rstrip()))


@click.command("add-user")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["clinic", "chain", "operator"]),
    required=True,
    help="What it may see: one clinic, the clinics of a chain, or all.",
)
@click.option("--clinic", type=_number, help="Number of the clinic, for the role `clinic`.")
@click.option("--chain", type=_number, help="Number of the chain, for the role `chain`.")
@click.option("--no-password", is_flag=True, help="For programs alone, which have tokens.")
@_from_stdin
@places
def add_user(
    name: str,
    role: Any,
    clinic: int | None,
    chain: int | None,
    no_password: bool,
    from_stdin: bool,
    folder: Path,
    database: str | None,
) -> None:
    """Let the user NAME read; nobody can change anything through the page or the API.

    Asks for the password twice.
    """
    password = None if no_password else _ask(from_stdin)
    with _roster(folder, database) as roster:
        roster.add(name, role, clinic_id=clinic, chain_id=chain, password=password)


@click.command("set-password")
@click.argument("name")
@_from_stdin
@places
def set_password(name: str, from_stdin: bool, folder: Path, database: str | None) -> None:
    """Give the user NAME another password; its sessions end."""
    with _roster(folder, database) as roster:
        roster.set_password(name, _ask(from_stdin))


@click.command()
@places
@json_option
def users(folder: Path, database: str | None, as_json: bool) -> None:
    """List the users, what they may see, and their tokens."""
    with _roster(folder, database) as roster:
        found = roster.listed()
    if as_json:
        output.emit_json(found)
        return
    for row in found:
        reach = f"{row['role']} {row['reach']}".strip()
        way = "" if row["password"] else "  (no password)"
        click.echo(output.printable(f"{row['name']:<20}  {reach}{way}"))
        for token in row["tokens"]:
            used = (token["used_at"] or "never")[:16].replace("T", " ")
            line = f"    token {token['token']}  {token['name']:<20}  used {used}"
            click.echo(output.printable(f"{line}  until {token['expires_at'][:10]}"))


@click.command("remove-user")
@click.argument("name")
@places
def remove_user(name: str, folder: Path, database: str | None) -> None:
    """Let the user NAME in no more; its sessions and tokens end at once."""
    with _roster(folder, database) as roster:
        roster.remove(name)


@click.command("add-token")
@click.argument("user")
@click.option("--for", "purpose", required=True, metavar="TEXT", help="What it is for.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
@places
@json_option
def add_token(
    user: str, purpose: str, days: int, folder: Path, database: str | None, as_json: bool
) -> None:
    """Make a token with which a program reads as USER does, and print it, once."""
    with _roster(folder, database) as roster:
        token = roster.add_token(user, purpose, days=days)
    output.emit_json({"token": token}) if as_json else click.echo(token)


@click.command("remove-token")
@click.argument("token", type=_number)
@places
def remove_token(token: int, folder: Path, database: str | None) -> None:
    """End the token of this number (`users` lists them)."""
    with _roster(folder, database) as roster:
        roster.remove_token(token)


def add_people(group: click.Group) -> None:
    """Make these commands of `edge-daemon central`."""
    for command in (
        add_chain, set_chain, clinics, add_user, set_password, users, remove_user, add_token,
        remove_token,
    ):  # fmt: skip
        group.add_command(command)


@contextlib.contextmanager
def _roster(folder: Path, database: str | None) -> Iterator[Roster]:
    with open_store(folder, database) as store:
        from edge_daemon.central.roster import Roster

        yield Roster(store.engine, store.by)


def _ask(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("stdin is no terminal: add --stdin to read the password from it.")
    text: str = click.prompt("New password", hide_input=True, confirmation_prompt="Again")
    return text
