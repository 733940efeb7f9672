"""Who did what: a row in the transaction of the deed itself, which nothing ever changes."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import insert

from edge_daemon.central import schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

Origin = Literal["command", "page", "api", "box", "server"]

ACTIONS: Final = {
    "chain_added": "added the chain",
    "clinic_added": "added the clinic",
    "clinic_moved": "changed the chain of",
    "claim_made": "made a claim code for",
    "box_enrolled": "was enrolled",
    "box_revoked": "revoked the box",
    "box_refused": "was refused for",
    "user_added": "added the user",
    "user_removed": "removed the user",
    "password_set": "set the password of",
    "token_added": "made a token for",
    "token_removed": "ended a token of",
    "signed_in": "signed in",
    "sign_in_refused": "was refused at sign-in",
    "signed_out": "signed out",
    "exported": "exported",
    "corrected": "corrected the result of",
    "noted": "added a note to",
    "marked": "marked",
    "feed_added": "set up the feed",
    "feed_removed": "ended the feed",
    "feed_skipped": "passed over a message of the feed",
    "consent_given": "let captures train models, of",
    "consent_withdrawn": "let captures train no models any more, of",
    "rollout_started": "let an update into the fleet",
    "rollout_advanced": "opened the next ring for the update",
    "rollout_done": "ended the rollout of the update",
    "rollout_halted": "halted the rollout of the update",
    "rollout_resumed": "went on with the rollout of the update",
    "rollout_rolled_back": "took the update back",
    "ring_pinned": "chose the ring of the box",
}
"""The closed list of deeds, as words between who and what."""

_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and where from."""

    name: str
    origin: Origin


def operator() -> Actor:
    """Name whoever gives a command on the server's machine."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user that the system has no name for
        name = f"uid {os.getuid()}"
    return Actor(name, "command")


def note(
    db: Connection,
    actor: Actor,
    action: str,
    subject: str,
    *,
    clinic_id: int | None = None,
    chain_id: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write one row; who may see it follows its clinic or chain.

    Parameters
    ----------
    db
        In the transaction of the deed.
    actor
        Who did it.
    action
        From `ACTIONS`.
    subject
        What or whom it was about, in words.
    clinic_id, chain_id
        Whose it is; with neither it is the operator's.
    details
        More of it, for programs.
    """
    assert action in ACTIONS, action
    db.execute(
        insert(schema.audit).values(
            at=dt.datetime.now(dt.UTC),
            actor=actor.name[:_LONGEST],
            origin=actor.origin,
            clinic_id=clinic_id,
            chain_id=chain_id,
            action=action,
            subject=subject[:_LONGEST],
            details=json.dumps(dict(details or {}), ensure_ascii=False),
        )
    )
