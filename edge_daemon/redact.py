"""What may leave the box for support: pure functions that let through only what is known safe.

Everything here is a list of what is let through, never of what is held back: names of patients
and owners may stand in file names, messages of errors and comments of the configuration.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.log import EVENTS, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SECRET: Final = re.compile(
    r"token|secret|password|passphrase|private|credential|claim", re.IGNORECASE
)
_HOME: Final = re.compile(r"(/home|/media|/run/media|/Users)/[^/]+")
_FRAME: Final = re.compile(r'\s+File "[^"]*?([\w.-]+/[\w.-]+\.py)", line (\d+), in ([\w<>.]+)')
_RAISED: Final = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning))\b")
_TRACEBACK: Final = "Traceback (most recent call last):"
_FIXED: Final = frozenset({"event", "stage", "level", "timestamp"})


def hashed(text: str | None, key: bytes) -> str | None:
    """Replace an id by 12 characters that only the same `key` makes again.

    A plain digest of a short sample id could be guessed by trying all of them; the key is made
    for one bundle and thrown away.
    """
    if text is None:
        return None
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:12]


def settings(tree: Any) -> Any:
    """Return checked settings without secrets and without the names of people's home folders."""
    if isinstance(tree, dict):
        return {
            str(key): "withheld" if _SECRET.search(str(key)) and value else settings(value)
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [settings(item) for item in tree]
    return paths(tree) if isinstance(tree, str) else tree


def paths(text: str) -> str:
    """Replace the names of home folders and of media that people plug in."""
    return _HOME.sub(r"\1/…", text)


def journal(entries: Iterable[Mapping[str, Any]]) -> tuple[list[str], int]:
    """Let through our own events, systemd's words on the unit, and the frames of tracebacks.

    Parameters
    ----------
    entries
        Of ``journalctl -o json``.

    Returns
    -------
    tuple
        Lines, and how many were withheld.
    """
    lines, withheld = [], 0
    for entry in entries:
        line = _line(entry)
        if line is None:
            withheld += 1
        else:
            lines.append(line)
    return lines, withheld


def _line(entry: Mapping[str, Any]) -> str | None:
    message = entry.get("MESSAGE")
    if not isinstance(message, str):
        return None
    if entry.get("_PID") == "1" and entry.get("SYSLOG_IDENTIFIER") == "systemd":
        return f"{entry.get('__REALTIME_TIMESTAMP', '')} systemd: {message}"
    return event(message) or _trace(message)


def event(line: str) -> str | None:
    """Return one of our own events with its listed fields only, or None for another line."""
    try:
        entry = json.loads(line)
        spec = EVENTS[Event(entry["event"])]
    except (ValueError, KeyError, TypeError):
        return None
    kept = {key: value for key, value in entry.items() if key in spec.fields | _FIXED}
    return json.dumps(kept)


def _trace(message: str) -> str | None:
    """Return a line of a traceback without anything that a value put there."""
    if message == _TRACEBACK:
        return message
    if frame := _FRAME.fullmatch(message):
        return f"  {frame[1]}:{frame[2]} in {frame[3]}"
    if (raised := _RAISED.match(message)) and message[raised.end() :][:1] in (":", ""):
        return raised[1]
    return None
