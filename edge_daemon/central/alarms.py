"""What was refused, told to whoever looks after the fleet: an event, and a row of the audit trail.

Nothing of what was sent is repeated there: who came, as far as TLS knows, and the reason. The
same refusal is told once an hour, so that whoever is refused cannot fill the disk.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from edge_daemon.central import audit
from edge_daemon.central.audit import Actor
from edge_daemon.log import Event, EventLog

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from edge_daemon.central.store import Device

AGAIN_S: Final = 3600.0
_REMEMBERED: Final = 10_000

REASONS: Final = {
    "claim": "a claim code that is unknown, used or too old",
    "certificate": "a certificate that no box has any more",
    "revoked": "the certificate of a revoked box",
    "conflict": "another document under a number that was received",
    "digest": "a document that is not the one that was digested",
    "simulated": "a document whose mark of being simulated was changed",
    "type": "a document of an unknown kind",
    "nobody": "a call without a certificate",
    "request": "a request that does not follow the protocol",
    "tls": "a certificate that the fleet has not signed, or that has ended",
}
"""Closed list of what is refused, in words after "was refused:"."""


class Alarms:
    """Tells of refusals, each once an hour for the same caller.

    Parameters
    ----------
    engine
        Of the database; while it is away only the event is written.
    log
        Of the server.
    """

    def __init__(self, engine: Engine, log: EventLog) -> None:
        self._engine = engine
        self._log = log
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def refused(
        self, reason: str, *, peer: str = "", device: Device | None = None, detail: str = ""
    ) -> None:
        """Tell that somebody was refused.

        Parameters
        ----------
        reason
            From `REASONS`.
        peer
            Address it came from, as far as it is known.
        device
            The box whose certificate was shown, if it is one.
        detail
            Our own word for what was wrong, never anything that was sent.
        """
        caller = device.id if device else peer
        if not self._is_news((caller, f"{reason} {detail}")):
            return
        self._log.emit(
            Event.CENTRAL_REFUSED,
            error_type=reason,
            device=device.id if device else None,
            peer=peer or None,
        )
        details: dict[str, Any] = {"reason": reason, "peer": peer, "detail": detail}
        if device is not None:
            details["device"] = device.id
        with contextlib.suppress(SQLAlchemyError), self._engine.begin() as db:
            audit.note(
                db,
                Actor(device.name if device else peer or "an unknown caller", "box"),
                "box_refused",
                REASONS[reason],
                clinic_id=device.clinic_id if device else None,
                details={name: told for name, told in details.items() if told},
            )

    def _is_news(self, key: tuple[str, str]) -> bool:
        now = time.monotonic()
        with self._lock:
            last = self._told.pop(key, float("-inf"))
            news = now - last > AGAIN_S
            self._told[key] = now if news else last
            while len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
        return news


def watch_handshakes(context: ssl.SSLContext, alarms: Alarms) -> None:
    """Tell of certificates that TLS refuses before there is any request."""

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLCertVerificationError as error:
                threading.Thread(
                    target=alarms.refused,
                    args=("tls",),
                    kwargs={"detail": error.verify_message},
                ).start()
                raise

    context.sslobject_class = Watched
