"""Commands that let results out of the centre: one export, or a feed that goes on."""

from __future__ import annotations

import contextlib
import signal
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import output
from edge_daemon.cli.central_places import open_store, places
from edge_daemon.cli.options import Moment, json_option
from edge_daemon.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_daemon.central.feeds.export import Done, Form, Order
    from edge_daemon.central.feeds.reach import Reach
    from edge_daemon.central.feeds.roster import Feed, FeedForm, FeedRoster
    from edge_daemon.central.feeds.sender import Sender
    from edge_daemon.central.reading import Reader
    from edge_daemon.central.store import CentralStore

_KINDS: Final = {
    "clinical": frozenset({"clinical"}),
    "simulated": frozenset({"simulated"}),
    "all": frozenset({"clinical", "simulated"}),
}
POLL_S: Final = 2.0
AT_ONCE: Final = 8
"""Feeds that are delivered at the same time; each needs two connections to the database."""

_CALLED: Final = {
    "results": "result", "reports": "report", "said": "remark", "messages": "message",
}  # fmt: skip


def reaching(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say whose results are meant."""
    clinic = click.option(
        "--clinic", type=click.IntRange(min=1), metavar="N", help="Only this clinic's."
    )
    chain = click.option(
        "--chain", type=click.IntRange(min=1), metavar="N", help="Only this chain's clinics'."
    )
    return clinic(chain(command))


def reach_of(clinic: int | None, chain: int | None) -> Reach:
    """Check the two."""
    from edge_daemon.central.feeds.reach import Reach

    if clinic is not None and chain is not None:
        raise click.UsageError("--clinic and --chain exclude each other.")
    return Reach(clinic, chain)


@contextlib.contextmanager
def reading(folder: Path, database: str | None) -> Iterator[tuple[CentralStore, Reader]]:
    """Open the server's database, and what answers questions beside it."""
    with open_store(folder, database) as store:
        from edge_daemon.central.reading import Reader

        reader = Reader(store.engine.url.render_as_string(hide_password=False))
        with contextlib.closing(reader):
            yield store, reader


@click.command()
@places
@click.option(
    "--format",
    "form",
    type=click.Choice(["fhir", "hl7", "csv", "parquet"]),
    required=True,
    help="FHIR R4 bundles, HL7 v2.5.1 messages, or tables for analysis.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="A file with the ending of the form (.ndjson, .hl7, .csv, .parquet), or a folder.",
)
@reaching
@click.option("--since", type=Moment(), help="Received by the centre at or after this time.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="ID",
    help="Go on after this document: `through` of the export before.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N documents.")
@click.option(
    "--kind",
    type=click.Choice(list(_KINDS)),
    default="clinical",
    show_default=True,
    help="Simulated results are marked in every form.",
)
@click.option("--by-month", is_flag=True, help="Tables: a file for each month of receipt.")
@click.option(
    "--page",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="FHIR bundles in each file of a folder.",
)
@json_option
def export(
    folder: Path,
    database: str | None,
    form: Form,
    out: Path,
    clinic: int | None,
    chain: int | None,
    since: str | None,
    after: int,
    limit: int | None,
    kind: str,
    by_month: bool,
    page: int,
    as_json: bool,
) -> int:
    """Write results for other programs, whole or what came after an earlier export.

    FHIR and HL7: a message for each version of a result and each note, as a feed sends them.
    Tables: a row for each version, for each report of an analyzer, and for each thing that a
    person said; a single file holds the results alone. Exit code 3 where a value is in a unit
    that no column takes, or a document cannot be read.
    """
    from edge_daemon.central.feeds.export import Order
    from edge_daemon.central.feeds.reach import scope_of

    if by_month and form not in ("csv", "parquet"):
        raise click.UsageError("--by-month is for csv and parquet.")
    reach = reach_of(clinic, chain)
    moment = None if since is None else datetime.fromisoformat(since)
    with reading(folder, database) as (store, reader):
        order = Order(
            form, out, scope_of(reader, reach), _KINDS[kind], moment, after, limit, by_month, page
        )
        if by_month and not order.to_folder:
            raise click.UsageError("--by-month needs a folder: give -o one without an ending.")
        done = _export(reader, order, as_json)
        _note_export(store, reach, order, done)
    return _told(order, done, as_json)


def _export(reader: Reader, order: Order, as_json: bool) -> Done:
    from edge_daemon.central.feeds.export import export as write

    how = output.form(as_json=as_json)
    try:
        with output.progress("exporting", how) as progress:
            return write(reader, order, progress)
    except OSError as error:
        raise errors.Retryable(
            f"{error.filename or order.out}: cannot be written: {error.strerror}",
            action="free space or name another place; nothing half written was left",
        ) from error


def _note_export(store: CentralStore, reach: Reach, order: Order, done: Done) -> None:
    from edge_daemon.central import audit

    details = {"format": order.form, "after": order.after, "through": done.through}
    with store.engine.begin() as db:
        audit.note(
            db, store.by, "exported", f"{reach.words()} as {order.form}", details=details,
            clinic_id=reach.clinic, chain_id=reach.chain,
        )  # fmt: skip


def _told(order: Order, done: Done, as_json: bool) -> int:
    if as_json:
        output.emit_json(done.as_json(order))
    else:
        wrote = ", ".join(counted(n, _CALLED[what]) for what, n in done.counts.items())
        output.say(f"Wrote {wrote or 'nothing'} to {order.out}; go on with --after {done.through}.")
    for what, times in done.other_units.items():
        values = counted(times, "value")
        output.say(f"{values} of {what}: no column takes that unit, so they were left out.")
    if done.unreadable:
        output.say(
            f"{counted(len(done.unreadable), 'document')} left out: not what their type says, "
            f"the first is {done.unreadable[0]}."
        )
    return errors.EXIT_WARNINGS if done.other_units or done.unreadable else errors.EXIT_OK


@click.group()
def feed() -> None:
    """Send every new result to practice software, in order, until it is taken."""


@feed.command("add")
@click.argument("name")
@click.option(
    "--format", "form", type=click.Choice(["hl7", "fhir"]), required=True, help="Of the messages."
)
@click.option(
    "--to",
    "destination",
    required=True,
    metavar="WHERE",
    help="mllps://host:port, mllp://host:port (unencrypted), or a folder.",
)
@click.option(
    "--ca",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Certificates that an mllps receiver's must be signed by.",
)
@reaching
@click.option(
    "--kind", type=click.Choice(["clinical", "simulated"]), default="clinical", show_default=True
)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="ID",
    help="Begin after this document; default: with the first.",
)
@places
@json_option
def add_feed(
    name: str,
    form: FeedForm,
    destination: str,
    ca: Path | None,
    clinic: int | None,
    chain: int | None,
    kind: str,
    after: int,
    folder: Path,
    database: str | None,
    as_json: bool,
) -> None:
    """Set the feed NAME up; `feed run` delivers it."""
    from edge_daemon.central.feeds.mllp import Address
    from edge_daemon.central.feeds.reach import scope_of

    reach = reach_of(clinic, chain)
    if "://" in destination:
        Address.parse(destination)
        if form == "fhir":
            raise click.UsageError("FHIR bundles go into a folder; MLLP is for --format hl7.")
    else:
        destination = str(Path(destination).expanduser().absolute())
    with reading(folder, database) as (store, reader):
        scope_of(reader, reach)
        trusted = None if ca is None else str(ca.absolute())
        made = _roster(store).add(
            name, form, destination, reach, kind=kind, ca=trusted, after=after
        )
    if as_json:
        output.emit_json(made.as_json())
    elif destination.startswith("mllp://"):
        output.say("mllp:// sends patients' results unencrypted; mllps:// does not.")


@feed.command("list")
@places
@json_option
def list_feeds(folder: Path, database: str | None, as_json: bool) -> int:
    """List the feeds: how far each is, and what is the matter. Exit code 3 where one waits."""
    with open_store(folder, database) as store:
        found = _roster(store).listed()
    if as_json:
        output.emit_json([one.as_json() for one in found])
    else:
        for one in found:
            click.echo(output.printable(_line(one)))
        if not found:
            click.echo("no feeds", err=True)
    return errors.EXIT_WARNINGS if any(one.code for one in found) else errors.EXIT_OK


def _line(one: Feed) -> str:
    line = (
        f"{one.name:<16}  {one.form}  {one.reach.words():<14}  {one.destination:<30}"
        f"  {one.sent:>9,} sent, through {one.cursor}"
    )
    if not one.code:
        return line
    again = "" if one.retry_at is None else f", again at {one.retry_at:%H:%M:%S} UTC"
    return (
        f"{line}  document {one.stuck_at}: {one.code} {one.message} ({one.attempts} tries{again})"
    )


@feed.command("run")
@click.argument("names", nargs=-1)
@click.option("--once", is_flag=True, help="Send what waits, then end.")
@places
@json_option
def run_feeds(
    names: tuple[str, ...], once: bool, folder: Path, database: str | None, as_json: bool
) -> int:
    """Deliver the feeds NAMES, or all, until it is stopped.

    Exit code 75 with --once where one could not send.
    """
    from edge_daemon.central.feeds.sender import Sender

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    with reading(folder, database) as (store, reader):
        roster = _roster(store)
        sender = Sender(store.engine, reader, roster, stopped=stopping.is_set)
        for name in names:
            roster.named(name)
        _deliver(sender, roster, names, stopping, once=once)
        found = [one for one in roster.listed() if not names or one.name in names]
    if as_json:
        output.emit_json([one.as_json() for one in found])
    return errors.EXIT_RETRY_LATER if once and any(one.code for one in found) else errors.EXIT_OK


def _deliver(
    sender: Sender,
    roster: FeedRoster,
    names: tuple[str, ...],
    stopping: threading.Event,
    *,
    once: bool,
) -> None:
    """Give every feed turns of its own: a receiver that does not answer delays no other."""
    from concurrent.futures import Future, ThreadPoolExecutor

    from sqlalchemy.exc import OperationalError

    turns: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while not stopping.is_set():
            try:
                due = [one for one in roster.listed() if not names or one.name in names]
            except OperationalError as error:
                if once:
                    raise
                output.say(f"the database cannot be reached: {error.orig}")
                due = []
            for one in due:
                if one.name not in turns or turns[one.name].done():
                    turns[one.name] = pool.submit(_turn, sender, roster, one)
            if once:
                return
            stopping.wait(POLL_S)


def _turn(sender: Sender, roster: FeedRoster, before: Feed) -> None:
    """Give one feed a turn, and say what is new."""
    from sqlalchemy.exc import OperationalError

    try:
        sender.deliver(before.name)
        now = roster.named(before.name)
    except errors.EdgeError as error:
        output.say(f"{before.name}: {error.message}")
        return
    except OperationalError as error:
        output.say(f"{before.name}: the database cannot be reached: {error.orig}")
        return
    except Exception as error:  # noqa: BLE001 - a defect of ours must not stop a feed unheard
        output.say(f"{before.name}: cannot be delivered: {type(error).__name__}: {error}")
        return
    if now.sent > before.sent:
        output.say(f"{now.name}: {now.sent - before.sent:,} sent, through {now.cursor}")
    if now.code and (now.code, now.attempts) != (before.code, before.attempts):
        output.say(_line(now))


@feed.command("retry")
@click.argument("name")
@places
def retry_feed(name: str, folder: Path, database: str | None) -> None:
    """Let the feed NAME try again at once."""
    with open_store(folder, database) as store:
        _roster(store).retry(name)


@feed.command("skip")
@click.argument("name")
@click.option("--document", type=click.IntRange(min=1), required=True, metavar="ID")
@click.option("--reason", required=True, help="Kept with who skipped it.")
@places
def skip_feed(name: str, document: int, reason: str, folder: Path, database: str | None) -> None:
    """Pass over the message of a document that the receiver refuses; it stays at the centre."""
    with open_store(folder, database) as store:
        _roster(store).skip(name, document, reason)


@feed.command("remove")
@click.argument("name")
@places
def remove_feed(name: str, folder: Path, database: str | None) -> None:
    """End the feed NAME for good."""
    with open_store(folder, database) as store:
        _roster(store).end(name)


def _roster(store: CentralStore) -> FeedRoster:
    from edge_daemon.central.feeds.roster import FeedRoster

    return FeedRoster(store.engine, store.by)
