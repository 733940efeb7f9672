"""Raw captures to the central server: chosen by rule, in parts, going on where they broke off.

Results go first; a raw capture is what the next model is trained from, and can wait. Captures are
looked at once, in their order, after their analysis has ended.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.errors import EdgeError
from edge_daemon.store import controls, outbox, sending
from edge_daemon.store.archive import archived_path, read_archived
from edge_daemon.store.layout import ARCHIVE_NAME
from edge_daemon.store.reader import rows
from edge_daemon.sync.policy import TroubleError, judge

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.clock import Stamp
    from edge_daemon.store.writer import Store
    from edge_daemon.sync.http import Answered, Server

PART: Final = 256 << 10
THROUGH: Final = "sync.raw_through"
"""Key under which the database keeps the last capture that was dealt with."""

_PAGE: Final = 50
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Rule:
    """What is sent besides clinical results, and when.

    Attributes
    ----------
    which
        ``none``; ``flagged``: whose result asks for a look or was set aside, and control
        material; ``all``.
    sample_percent
        Besides, so many of a hundred of the others, chosen by their digest.
    simulated
        Whether anything simulated is sent, results too.
    kbit_s
        Most bits a second, in thousands; None: as fast as the line.
    quiet
        Local hours ``HH:MM-HH:MM`` in which none is sent; None: never quiet.
    """

    which: Literal["none", "flagged", "all"] = "flagged"
    sample_percent: int = 5
    simulated: bool = False
    kbit_s: int | None = None
    quiet: str | None = None

    def wants(self, sha256: str, *, flagged: bool, simulated: bool) -> bool:
        """Decide about one capture; the same one every time."""
        if self.which == "none" or (simulated and not self.simulated):
            return False
        chosen = int(sha256[:8], 16) % 100 < self.sample_percent
        return self.which == "all" or flagged or chosen

    def rests(self, local: datetime) -> bool:
        """Tell whether it is one of the quiet hours; they may pass midnight."""
        found = _HOURS.fullmatch(self.quiet or "")
        if found is None:
            return False
        begin, end = (
            60 * int(found[1]) + int(found[2]),
            60 * int(found[3]) + int(found[4]),
        )
        now = 60 * local.hour + local.minute
        return begin <= now < end if begin <= end else now >= begin or now < end


class RawSender:
    """Sends the raw captures that the rule wants.

    Parameters
    ----------
    store
        Remembers how far it has come.
    data_dir
        Holds the archive.
    rule
        Which, and when.
    pause
        Lets time pass between parts, where bandwidth is limited.
    """

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        rule: Rule,
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._store = store
        self._archive = data_dir / ARCHIVE_NAME
        self._rule = rule
        self._pause = pause

    def send_next(self, db: sqlite3.Connection, server: Server, now: Stamp) -> bool:
        """Deal with captures up to and with the next one that is sent.

        Returns
        -------
        bool
            Whether one was sent; there may be more.

        Raises
        ------
        TroubleError
            The server did not take it now.
        """
        local = datetime.fromisoformat(now.wall).astimezone()
        if self._rule.which == "none" or self._rule.rests(local):
            return False
        through = int(outbox.remembered(db, THROUGH) or 0)
        sent = False
        last = through
        ended = _ended(db, through)
        kinds = controls.kinds(db, [row["id"] for row in ended])
        for row in ended:
            control = row["id"] in kinds and kinds[row["id"]]["kind"] == "control"
            wanted = self._rule.wants(
                row["sha256"],
                flagged=control or bool(row["flagged"]),
                simulated=bool(row["simulated"]),
            )
            if wanted:
                sent = self._send(server, row["sha256"])
            last = row["id"]
            if sent:
                break
        if last != through:
            sending.remember(self._store, THROUGH, str(last))
        return sent

    def _send(self, server: Server, sha256: str) -> bool:
        """Send one capture, unless the server has it; False where nothing had to be sent."""
        path = f"/v1/raw/{sha256}"
        asked = server.call("HEAD", path, headers={})
        if asked.status == 200:
            return False
        if asked.status != 404:
            raise _trouble(asked)
        try:
            data = read_archived(archived_path(self._archive, sha256), sha256)
        except EdgeError:
            return False  # deleted or damaged here: `doctor` and `status` say so
        offset = _offset(asked)
        while offset < len(data):
            part = data[offset : offset + PART]
            spread = f"bytes {offset}-{offset + len(part) - 1}/{len(data)}"
            put = server.call("PUT", path, headers={"Content-Range": spread}, body=part)
            if put.status == 201:
                return True
            if put.status == 422:
                return False  # too large for this server, or garbled on the way: not again
            if put.status == 409:
                offset = _offset(put)
                continue
            if put.status != 200:
                raise _trouble(put)
            offset += len(part)
            if self._rule.kbit_s:
                self._pause(len(part) * 8 / (self._rule.kbit_s * 1000))
        return False


def _ended(db: sqlite3.Connection, after: int) -> list[dict[str, Any]]:
    """List captures in their order, up to the first whose analysis has not ended."""
    found = rows(
        db,
        """
        SELECT c.id, c.sha256, c.finished,
            (c.state = 'quarantined' OR r.status <> 'ok' OR EXISTS (
                SELECT 1 FROM reports AS p WHERE p.capture_id = c.id AND p.kind = 'control'
            )) AS flagged,
            coalesce(r.simulated, 0) AS simulated
        FROM captures AS c
        LEFT JOIN runs AS r ON r.id = (
            SELECT n.id FROM runs AS n WHERE n.capture_id = c.id ORDER BY n.number DESC LIMIT 1
        )
        WHERE c.id > ? ORDER BY c.id LIMIT ?
        """,
        (after, _PAGE),
    )
    for index, row in enumerate(found):
        if not row["finished"]:
            return found[:index]
    return found


def _offset(answer: Answered) -> int:
    text = answer.headers.get("upload-offset", "0")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _trouble(answer: Answered) -> TroubleError:
    found = judge(answer.status, answer.headers.get("retry-after"))
    if found is None or found.response == "split":
        return TroubleError(
            "retry", f"status_{answer.status}", f"the server answered {answer.status}"
        )
    return found
