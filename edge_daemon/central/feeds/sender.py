"""Delivers a feed: in order, each message until it is taken, how far in the database.

The cursor moves in a commit after the receiver has acknowledged. A kill between the two sends
that one message again, with the id it had (MSH-10): what a message says depends on nothing that
came later, so that the repeat is the same to the byte. Files of a page that was cut off are
written again under the names they had.
"""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.central.feeds.documents import Choice, Told, pages, related, settled
from edge_daemon.central.feeds.export import message, message_name, write_file
from edge_daemon.central.feeds.locks import alone
from edge_daemon.central.feeds.mllp import Address, Mllp, TroubleError
from edge_daemon.central.feeds.reach import scope_of
from edge_daemon.central.feeds.versions import FOLLOWED, Version, version_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from edge_daemon.central.feeds.mllp import Receiver
    from edge_daemon.central.feeds.roster import Feed, FeedRoster
    from edge_daemon.central.reading import Reader

CONTROL_ID: Final = 20


def to_folder(feed: Feed) -> Path | None:
    """Folder that a feed writes into; None where it sends to a receiver."""
    return None if "://" in feed.destination else Path(feed.destination)


def receiver_of(feed: Feed) -> Receiver:
    """Make the connection of a feed."""
    return Mllp(Address.parse(feed.destination), ca=None if feed.ca is None else Path(feed.ca))


class Sender:
    """Delivers one feed; `deliver` is one turn.

    Parameters
    ----------
    engine
        Of the server's database: one process at a time delivers a feed.
    reader
        Answers for the feed's clinics alone.
    roster
        Keeps how far it has come.
    connect
        Makes a feed's connection; tests make their own.
    stopped
        Asked between two messages.
    rng
        Chance of the waiting times.
    """

    def __init__(
        self,
        engine: Engine,
        reader: Reader,
        roster: FeedRoster,
        *,
        connect: Callable[[Feed], Receiver] = receiver_of,
        stopped: Callable[[], bool] = lambda: False,
        rng: random.Random | None = None,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._roster = roster
        self._connect = connect
        self._stopped = stopped
        self._rng = rng or random.Random()  # noqa: S311 - when to try again, no secret

    def deliver(self, name: str) -> None:
        """Send what waits of a feed, unless it must wait longer.

        Raises
        ------
        Retryable
            Another process delivers this feed.
        """
        with alone(self._engine, self._roster.named(name).id, name):
            feed = self._roster.named(name)
            if feed.wait_s(dt.datetime.now(dt.UTC)) > 0:
                return
            if to_folder(feed) is None:
                self._to_receiver(feed)
            else:
                self._to_files(feed)

    def _to_receiver(self, feed: Feed) -> None:
        upto, done = self._settled(feed), feed.cursor
        with self._connect(feed) as receiver:
            for told, version in self._waiting(feed, upto):
                if version is not None:
                    if not self._one(feed, receiver, told, version):
                        break
                    self._roster.advance(feed, told.id, sent=1)
                done = told.id
                if self._stopped():
                    break
            else:
                done = upto
        self._roster.pass_by(feed, done)

    def _one(self, feed: Feed, receiver: Receiver, told: Told, version: Version) -> bool:
        try:
            receiver.send(message(version, feed.form, answered=True), version.id[:CONTROL_ID])
        except TroubleError as trouble:
            now = self._roster.named(feed.name)
            self._roster.trouble(now, told.id, trouble.code, trouble.message, self._rng)
            return False
        return True

    def _to_files(self, feed: Feed) -> None:
        """Write a page of files at a time, the page that a crash cut off first."""
        folder = to_folder(feed)
        assert folder is not None
        upto = feed.pending or self._settled(feed)
        while upto > feed.cursor and not self._stopped():
            page = self._page(feed, upto)
            through = page[-1][0].id if page else upto
            versions = [version for _, version in page if version is not None]
            if versions:
                self._roster.intend(feed, through)
                try:
                    _write(folder, feed, versions, through)
                except OSError as error:
                    self._roster.trouble(feed, through, "folder", _said(error), self._rng)
                    return
            self._roster.advance(feed, through, sent=len(versions))
            feed = self._roster.named(feed.name)
            upto = upto if upto > feed.cursor else self._settled(feed)

    def _settled(self, feed: Feed) -> int:
        return settled(self._reader, scope_of(self._reader, feed.reach), after=feed.cursor)

    def _page(self, feed: Feed, upto: int) -> list[tuple[Told, Version | None]]:
        found = []
        for told, version in self._waiting(feed, upto):
            found.append((told, version))
            if len(found) == _FILES:
                break
        return found

    def _waiting(self, feed: Feed, upto: int) -> Iterator[tuple[Told, Version | None]]:
        """Yield the documents after the cursor, with what each means."""
        scope = scope_of(self._reader, feed.reach)
        choice = Choice(FOLLOWED, frozenset({feed.kind}), after=feed.cursor, upto=upto)
        for page in pages(self._reader, scope, choice):
            found = related(self._reader, scope, page, what=FOLLOWED)
            for told in page:
                yield told, version_after(told, found.get(told.result, []))


_FILES: Final = 200


def _write(folder: Path, feed: Feed, versions: list[Version], through: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if feed.form == "fhir":
        name = f"bundles-{feed.cursor + 1:012d}-{through:012d}.ndjson"
        write_file(folder / name, (message(version, "fhir") for version in versions))
        return
    for version in versions:
        write_file(folder / message_name(version), [message(version, "hl7")])


def _said(error: OSError) -> str:
    return f"{error.filename or 'the folder'}: {error.strerror or error}"
