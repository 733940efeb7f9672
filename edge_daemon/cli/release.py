"""Commands of whoever signs updates; heavy modules are imported inside the commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import output
from edge_daemon.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securesystemslib.signer import Signer

    from edge_daemon.updates.kinds import Kind
    from edge_daemon.updates.release import Repository

PASSPHRASE_VARIABLE: Final = "EDGE_RELEASE_PASSPHRASE"  # noqa: S105 - the name of the variable
_ROLES: Final = ("root", "targets", "snapshot", "timestamp")
_KINDS: Final = ("model", "profile", "intervals", "rules", "settings")
_LEAST: Final = 8  # characters of a passphrase

_repo = click.option(
    "--repo",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    envvar="EDGE_RELEASE_REPO",
    metavar="DIR",
    help="Folder of the repository (environment EDGE_RELEASE_REPO).",
)
_keys = click.option(
    "--key",
    "key_files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help=f"Private key; repeatable. Passphrase: asked for, or {PASSPHRASE_VARIABLE}.",
)


def _options(*more: Callable[..., Any]) -> Callable[..., Any]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (*reversed(more), _repo):
            command = option(command)
        return command

    return add


@click.group()
def release() -> None:
    """Sign updates for boxes: models, profiles, intervals and rules."""


@release.command()
@click.argument("name", type=click.Path(path_type=Path))
def key(name: Path) -> None:
    """Make one signing key: NAME.key, encrypted, and NAME.pub.

    Made where it stays: on a stick or machine that is never connected for root and targets.
    """
    _needs_extra()
    from edge_daemon.updates.keys import make_key

    made = make_key(name, _new_passphrase(name.name))
    click.echo(output.printable(f"{name}.key and {name}.pub: {made.keyid[:16]}"))


@release.command()
@_options()
@click.option(
    "--public",
    "public",
    type=(click.Choice(_ROLES), click.Path(exists=True, dir_okay=False, path_type=Path)),
    multiple=True,
    required=True,
    metavar="ROLE FILE",
    help="Public key of a role; repeatable. Every role needs at least one.",
)
@click.option(
    "--root-threshold", type=click.IntRange(min=1), default=2, show_default=True, metavar="N",
    help="Signatures that a root needs.",
)  # fmt: skip
@click.option(
    "--targets-threshold", type=click.IntRange(min=1), default=2, show_default=True, metavar="N",
    help="Signatures that updates need.",
)  # fmt: skip
def init(
    folder: Path,
    public: tuple[tuple[str, Path], ...],
    root_threshold: int,
    targets_threshold: int,
) -> None:
    """Begin a repository with the public keys of each role.

    Then sign the draft with the offline keys and publish it.
    """
    _needs_extra()
    from edge_daemon.updates.keys import read_public

    keys = {role: [read_public(path) for name, path in public if name == role] for role in _ROLES}
    thresholds = {"root": root_threshold, "targets": targets_threshold}
    _repository(folder).init(keys, thresholds)
    output.say(
        f"Began {folder}. Next: edge-daemon release sign --key …, then publish. Keep root and "
        "targets keys off every machine that is connected."
    )


@release.command()
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@_options()
@click.option("--version", metavar="N.N.N", help="Of the update; a bundle brings its own.")
@click.option("--needs-software", metavar="N.N.N", help="Least version of edge-daemon.")
@json_option
def add(
    kind: Kind,
    path: Path,
    folder: Path,
    version: str | None,
    needs_software: str | None,
    as_json: bool,
) -> None:
    """Add an update to the draft: the folder of a bundle, or the file of anything else.

    It is proved first as every box will prove it. Versions that were added before stay; boxes
    take the newest.
    """
    from edge_daemon.updates import archive, collecting

    needs = {} if needs_software is None else {"edge_daemon": needs_software}
    item, files = collecting.collect(kind, path, version, needs)
    if item.kind != kind:
        raise errors.EdgeError(f"{path}: holds {item.kind}, not {kind}")
    collecting.check(item, files)
    data = archive.pack(files)
    sha256 = _repository(folder).add(item, data)
    record = {**item.custom(), "sha256": sha256, "bytes": len(data)}
    if as_json:
        output.emit_json(record)
        return
    click.echo(output.printable(f"{item.id}: {len(data):,} bytes, in the draft"))
    output.say("Next: edge-daemon release sign --key …, then publish.")


@release.command()
@click.argument("item", metavar="KIND/NAME[@VERSION]")
@_options()
def remove(item: str, folder: Path) -> None:
    """Take an update out of the draft: boxes that wait for it stop, those that use it go on."""
    from edge_daemon.updates.kinds import Item

    for gone in _repository(folder).remove(*Item.parse(item)):
        click.echo(output.printable(f"{gone}: taken out of the draft"))


@release.command()
@_options(_keys)
@json_option
def sign(folder: Path, key_files: tuple[Path, ...], as_json: bool) -> int:
    """Sign the drafts with these keys; exit code 3 while signatures are missing."""
    done = _repository(folder).sign(_signers(key_files))
    if as_json:
        output.emit_json(done)
    else:
        for role, state in done.items():
            click.echo(f"{role:<9} {state}")
    return errors.EXIT_OK if set(done.values()) == {"enough signatures"} else errors.EXIT_WARNINGS


@release.command()
@_options(_keys)
@click.option(
    "--to",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also bring this folder up to date: of a web server, or `updates` of a central server.",
)
@json_option
def publish(folder: Path, key_files: tuple[Path, ...], place: Path | None, as_json: bool) -> None:
    """Publish the signed drafts, with the keys of snapshot and timestamp."""
    repository = _repository(folder)
    versions = repository.publish(_signers(key_files))
    if place is not None:
        repository.copy_to(place)
    _say_versions(versions, as_json)


@release.command()
@_options(_keys)
@click.option(
    "--to",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also bring this folder up to date.",
)
@json_option
def renew(folder: Path, key_files: tuple[Path, ...], place: Path | None, as_json: bool) -> None:
    """Sign snapshot and timestamp anew; at least every 30 days, or boxes take no update."""
    repository = _repository(folder)
    versions = repository.renew(_signers(key_files))
    if place is not None:
        repository.copy_to(place)
    _say_versions(versions, as_json)


@release.command()
@click.argument("role", type=click.Choice(_ROLES))
@_options()
@click.option(
    "--add",
    "added",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Public key to add; repeatable.",
)
@click.option("--remove", "removed", multiple=True, metavar="KEY", help="Key to remove (`show`).")
@click.option("--threshold", type=click.IntRange(min=1), metavar="N", help="Signatures needed.")
def rotate(
    role: str,
    folder: Path,
    added: tuple[Path, ...],
    removed: tuple[str, ...],
    threshold: int | None,
) -> None:
    """Change who signs for ROLE, in a new draft of the root.

    It needs signatures of enough keys of the former root and of the new one. Where a key of
    targets was lost to somebody else, add every update that is still wanted again.
    """
    _needs_extra()
    from edge_daemon.updates.keys import read_public

    if not (added or removed or threshold):
        raise click.UsageError("give --add, --remove or --threshold")
    keys = [read_public(path) for path in added]
    _repository(folder).rotate(role, add=keys, remove=removed, threshold=threshold)
    output.say("Next: edge-daemon release sign with keys of the former and the new root, publish.")


@release.command()
@click.argument("place", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@_options()
def export(place: Path, folder: Path) -> None:
    """Copy what is published to DIR: a USB stick for `edge-daemon update import`."""
    new = _repository(folder).copy_to(place)
    click.echo(output.printable(f"{place}: up to date, {new} new files"))


@release.command()
@_options()
@json_option
def show(folder: Path, as_json: bool) -> int:
    """Show what is published, until when it holds, the draft, and who must sign.

    Exit code 3 when something runs out within ten days or a draft waits.
    """
    from datetime import UTC, datetime, timedelta

    found = _repository(folder).describe()
    soon = datetime.now(UTC) + timedelta(days=10)
    late = [r for r, when in found["expires"].items() if datetime.fromisoformat(when) < soon]
    if as_json:
        output.emit_json({**found, "runs_out": late})
    else:
        _write(found, late)
    return errors.EXIT_WARNINGS if late or found["drafts"] else errors.EXIT_OK


def _write(found: dict[str, Any], late: Sequence[str]) -> None:
    for role, version in found["versions"].items():
        until = found["expires"][role][:10]
        mark = "  ← renew it" if role in late else ""
        click.echo(f"{role:<10} version {version}, until {until}{mark}")
    for role, known in found["roles"].items():
        click.echo(f"{role:<10} {known['threshold']} of {', '.join(known['keys'])}")
    for role, state in found["drafts"].items():
        click.echo(f"{role:<10} draft: {state}")
    shown = found["draft"] if found["draft"] is not None else found["published"]
    for item in shown:
        click.echo(output.printable(f"  {item['kind']}/{item['name']}@{item['version']}"))


def _say_versions(versions: dict[str, int], as_json: bool) -> None:
    if as_json:
        output.emit_json(versions)
        return
    click.echo(", ".join(f"{role} {number}" for role, number in versions.items()))


def _repository(folder: Path) -> Repository:
    from edge_daemon.updates.release import Repository

    return Repository(folder)


def _signers(files: Sequence[Path]) -> list[Signer]:
    _needs_extra()
    from edge_daemon.updates.keys import read_signer

    given = os.environ.get(PASSPHRASE_VARIABLE)
    signers: list[Signer] = []
    for path in files:
        text = given or click.prompt(f"Passphrase of {path.name}", hide_input=True, err=True)
        signers.append(read_signer(path, text.encode()))
    return signers


def _new_passphrase(name: str) -> bytes:
    text = os.environ.get(PASSPHRASE_VARIABLE) or click.prompt(
        f"Passphrase for {name}", hide_input=True, confirmation_prompt=True, err=True
    )
    if len(text) < _LEAST:
        raise errors.EdgeError(
            f"the passphrase has fewer than {_LEAST} characters",
            action="Take several words that nobody can guess.",
        )
    return str(text).encode()


def _needs_extra() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise errors.Fatal(
            "signing needs packages that boxes do not",
            action="Install them with `pip install edge-daemon[central]`.",
        ) from error
