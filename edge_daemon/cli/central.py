"""Commands of the central server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_daemon import errors
from edge_daemon.cli import output
from edge_daemon.cli.central_feeds import export, feed
from edge_daemon.cli.central_people import add_people
from edge_daemon.cli.central_places import (
    must_have_database,
    needs_extra,
    open_store,
    places,
    server_folder,
)
from edge_daemon.cli.central_rollout import rollout
from edge_daemon.cli.central_training import consent, training_set
from edge_daemon.cli.options import json_option

if TYPE_CHECKING:
    from pathlib import Path

_hosts = click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    help="Name or address that boxes call the server by; repeatable.",
)


@click.group()
def central() -> None:
    """Receive the results of many boxes."""


@central.command()
@places
@click.option("--name", default="edge_daemon fleet", show_default=True, help="Of the fleet.")
@_hosts
def init(folder: Path, database: str | None, name: str, hosts: tuple[str, ...]) -> None:
    """Make the fleet's certificate authority, the server's certificate and the database.

    Keep fleet.key safe and backed up: who has it can let boxes in.
    """
    from edge_daemon.central.authority import Authority

    needs_extra()
    Authority.create(folder, name).certify_server(folder, list(hosts))
    with open_store(folder, database, make=True):
        pass
    click.echo(output.printable(f"{folder / 'fleet.pem'}: give this to every box with its code"))
    click.echo(output.printable(_good_until(folder)))


@central.command()
@server_folder
@_hosts
def certify(folder: Path, hosts: tuple[str, ...]) -> None:
    """Make the server another certificate of the fleet's authority; start the server again then.

    Boxes notice nothing: they trust the authority.
    """
    from edge_daemon.central.authority import Authority

    needs_extra()
    Authority.load(folder).certify_server(folder, list(hosts))
    click.echo(output.printable(_good_until(folder)))


def _good_until(folder: Path) -> str:
    from edge_daemon.central.authority import ends_at

    path = folder / "server.pem"
    return f"{path}: good until {ends_at(path):%Y-%m-%d}"


@central.command()
@places
@click.option(
    "--listen", default="0.0.0.0:8443", show_default=True, metavar="HOST:PORT", help="Address."
)
@click.option(
    "--s3",
    metavar="HOST:PORT/BUCKET",
    help="Keep raw captures in this S3 service; keys: EDGE_S3_ACCESS_KEY, EDGE_S3_SECRET_KEY.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that answer; one for each core that PostgreSQL leaves.",
)
def serve(folder: Path, database: str | None, listen: str, s3: str | None, workers: int) -> None:
    """Run the server until it is stopped."""
    from edge_daemon.source_settings import endpoint

    needs_extra()
    from edge_daemon.central.serve import Place, run

    try:
        host, port = endpoint(listen)
    except ValueError as error:
        raise click.UsageError(f"{listen!r}: {error}") from error
    must_have_database(folder, database)
    place = Place(folder, host, port, database=database, s3=s3, workers=workers)
    if (folder / "server.pem").is_file():
        output.say(_good_until(folder))
    run(place, output.say)


@central.command("add-clinic")
@click.argument("name")
@places
@json_option
def add_clinic(name: str, folder: Path, database: str | None, as_json: bool) -> None:
    """Add the clinic NAME and print its number."""
    with open_store(folder, database) as store:
        number = store.add_clinic(name)
    output.emit_json({"clinic": number}) if as_json else click.echo(number)


@central.command()
@click.option("--clinic", type=click.IntRange(min=1), required=True, help="Number of the clinic.")
@click.option("--box", required=True, metavar="NAME", help="What to call the box.")
@places
@json_option
def claim(clinic: int, box: str, folder: Path, database: str | None, as_json: bool) -> None:
    """Make a code that lets one box of a clinic in, within 24 hours."""
    with open_store(folder, database) as store:
        code = store.make_claim(clinic, box)
    output.emit_json({"code": code}) if as_json else click.echo(code)


@central.command()
@places
@json_option
def boxes(folder: Path, database: str | None, as_json: bool) -> None:
    """List every box: its clinic, when it was last seen, what it has sent."""
    with open_store(folder, database) as store:
        found = store.boxes()
    if as_json:
        output.emit_json(found)
        return
    for row in found:
        seen = (row["seen_at"] or "never")[:16].replace("T", " ")
        state = "revoked" if row["revoked_at"] else f"certificate until {row['not_after'][:10]}"
        line = f"{row['id']}  {row['clinic']:<20}  {row['name']:<16}  seen {seen:<16}  "
        click.echo(output.printable(f"{line}{row['documents']:>8,} items  {state}"))


@central.command()
@click.argument("device")
@places
def revoke(device: str, folder: Path, database: str | None) -> None:
    """Refuse the box with the id DEVICE from now on; it keeps what it has not sent."""
    with open_store(folder, database) as store:
        if not store.revoke(device):
            raise errors.Fatal(
                f"there is no box {device}",
                action="List them with `edge-daemon central boxes`.",
                exit_code=errors.EXIT_NOT_FOUND,
            )


add_people(central)
central.add_command(export)
central.add_command(feed)
central.add_command(consent)
central.add_command(training_set)
central.add_command(rollout)
