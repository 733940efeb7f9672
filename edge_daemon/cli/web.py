"""Commands for whoever opens the technician's page to others: passwords and certificate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from edge_daemon import errors
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from pathlib import Path

_ROLES = ("technician", "reader")


@click.group()
def web() -> None:
    """Passwords and certificate of the technician's page."""


@web.command()
@click.argument("role", type=click.Choice(_ROLES))
@click.option("--remove", is_flag=True, help="Take the password of this role away.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from stdin.")
@options.data_dir_option
def password(role: str, remove: bool, from_stdin: bool, data_dir: Path) -> int:
    """Set the password of ROLE: technician or reader.

    A technician may correct results and add notes, a reader only looks. Once there is a password,
    everybody signs in. A new password ends the sessions of the old one.
    """
    from edge_daemon.web.passwords import ROLES, Passwords

    _must_exist(data_dir)
    passwords = Passwords(data_dir)
    kind = next(r for r in ROLES if r == role)
    if remove:
        if not passwords.remove(kind):
            output.say(f"There is no password for {role}.")
            return errors.EXIT_NOT_FOUND
        output.say(f"The password for {role} is gone.")
        return errors.EXIT_OK
    passwords.set(kind, _ask(from_stdin=from_stdin))
    output.say(f"The password for {role} is set; it counts from now on, without a restart.")
    return errors.EXIT_OK


@web.command()
@click.option("--new", is_flag=True, help="Make another in place of the present one.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="Further name or address of this box; may be repeated.",
)
@options.data_dir_option
@options.json_option
def certificate(new: bool, names: tuple[str, ...], data_dir: Path, as_json: bool) -> None:
    """Make the box's own certificate, and show its fingerprint.

    Browsers warn of a self-made certificate once; compare the fingerprint they show with this
    one. The service makes one by itself when other computers may open the page.
    """
    from edge_daemon.web import certificates

    _must_exist(data_dir)
    found = certificates.own(data_dir)
    if new or not found.certificate.is_file():
        found = certificates.make(data_dir, names)
        output.say("Restart the service to use it.")
    told = {
        "certificate": str(found.certificate),
        "key": str(found.key),
        "sha256": found.fingerprint(),
    }
    if as_json:
        output.emit_json(told)
    else:
        output.pairs([("File", told["certificate"]), ("SHA-256", told["sha256"])])


def _ask(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("stdin is no terminal: add --stdin to read the password from it.")
    text: str = click.prompt("New password", hide_input=True, confirmation_prompt="Again")
    return text


def _must_exist(data_dir: Path) -> None:
    if not data_dir.is_dir():
        raise errors.Fatal(
            f"{data_dir}: no such folder",
            action="Give the service's data folder with --data-dir, or start the service first.",
            exit_code=errors.EXIT_NOT_FOUND,
        )
