"""How each box does, in words: from what it says of itself and what the centre sees. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.central.fleet.reading_documents import one_of, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Severity = Literal["error", "warning", "notice"]
Kind = Literal[
    "revoked", "silent", "full", "failing", "behind", "drifting", "old", "attention", "fine"
]

KINDS: Final[Mapping[Kind, str]] = {
    "silent": "Silent",
    "full": "Disk full",
    "failing": "Failing",
    "behind": "Behind",
    "drifting": "Drifting",
    "old": "Old version",
    "attention": "Attention",
    "revoked": "Revoked",
    "fine": "Fine",
}
"""What a box can be, gravest first, and what it is called."""

SILENT: Final = dt.timedelta(hours=24)
BEHIND: Final = dt.timedelta(hours=6)

_DISK: Final = frozenset(
    {"disk_low", "disk_filling", "disk_read_only", "disk_unreadable", "reserve_used",
     "archive_over_budget"}
)  # fmt: skip
_STATES: Final = frozenset({"ok", "recovered", "degraded", "failing"})
_SEVERITIES: Final = ("error", "warning", "notice")
_MOST: Final = 30


@dataclass(frozen=True, slots=True)
class Word:
    """One thing that is the matter with a box.

    Attributes
    ----------
    kind
        What it counts as.
    severity
        How grave it is.
    message, action
        What is the matter, and what to do next.
    since
        When it began; None where nobody knows.
    """

    kind: Kind
    severity: Severity
    message: str
    action: str
    since: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A box as the centre sees it.

    Attributes
    ----------
    summary
        Of its newest word (`summarise`); None before the first.
    drifts
        Its moving averages that drift: ``instrument, species, code, simulated, since, sides,
        action``.
    old
        Versions it uses of which another box of those shown has a newer one: ``what, name,
        version, newest, since``.
    """

    enrolled_at: dt.datetime
    seen_at: dt.datetime | None
    revoked_at: dt.datetime | None
    summary: Mapping[str, Any] | None = None
    drifts: Sequence[Mapping[str, Any]] = ()
    old: Sequence[Mapping[str, Any]] = field(default=())


def summarise(told: Mapping[str, Any]) -> dict[str, Any]:
    """Take from a box's word what is shown, as it can be shown; nothing in it is trusted.

    Returns
    -------
    dict
        ``version, state, conditions[code, subject, severity, message, action, since], waiting,
        oldest, dead, held, reason, updates[item, version, candidate]``.
    """
    health, sync = _object(told, "health"), _object(told, "sync")
    return {
        "version": text(told.get("version"), 40),
        "state": one_of(_STATES, health.get("state")),
        "conditions": list(_conditions(health.get("conditions"))),
        "waiting": _whole(sync.get("waiting")),
        "oldest": _moment(sync.get("oldest_waiting")),
        "dead": _whole(sync.get("dead")),
        "held": sync.get("held") is True,
        "reason": text(sync.get("message")),
        "updates": list(_updates(_object(told, "updates").get("items"))),
    }


def spell(summary: Mapping[str, Any]) -> tuple[Any, ...]:
    """Say what of a word makes it the same as the one before: what is the matter, not how much."""
    conditions = tuple((one["code"], one["subject"]) for one in summary["conditions"])
    updates = tuple(tuple(one.values()) for one in summary["updates"])
    return summary["version"], summary["state"], conditions, summary["held"], updates


def words(seen: Seen, now: dt.datetime) -> list[Word]:
    """Say what is the matter with a box, gravest first; nothing where it is fine."""
    if seen.revoked_at is not None:
        said = "the centre refuses this box; what it has not sent stays with it"
        action = "nothing, if that was meant; to let it in again, make a claim and enrol it anew"
        return [Word("revoked", "notice", said, action, seen.revoked_at)]
    found = [
        *_silence(seen, now),
        *_conditions_of(seen),
        *_backlog(seen),
        *(_drift(one) for one in seen.drifts),
        *(_old(one) for one in seen.old),
    ]
    return sorted(found, key=lambda word: (_SEVERITIES.index(word.severity), _ORDER[word.kind]))


def kind_of(found: Sequence[Word]) -> Kind:
    """Say what a box counts as: the gravest of what is the matter."""
    grave = [word.kind for word in found if word.severity != "notice" or word.kind == "revoked"]
    return min(grave, key=_ORDER.__getitem__, default="fine")


_ORDER: Final[Mapping[Kind, int]] = {kind: place for place, kind in enumerate(KINDS)}


def _silence(seen: Seen, now: dt.datetime) -> Iterable[Word]:
    heard = seen.seen_at or seen.enrolled_at
    if now - heard <= SILENT:
        return
    never = "has not been heard since it was enrolled" if seen.seen_at is None else "is silent"
    yield Word(
        "silent",
        "error",
        f"{never}, for {span(now - heard)}",
        "ask the clinic whether the box has power and network; it keeps its results meanwhile",
        heard,
    )


def _conditions_of(seen: Seen) -> Iterable[Word]:
    for one in (seen.summary or {}).get("conditions", ()):
        if one["severity"] == "notice" and one["code"] not in _DISK:
            continue
        kind: Kind = "attention"
        if one["code"] in _DISK:
            kind = "full"
        elif one["severity"] == "error":
            kind = "failing"
        since = None if one["since"] is None else dt.datetime.fromisoformat(one["since"])
        yield Word(kind, one["severity"], one["message"], one["action"], since)


def _backlog(seen: Seen) -> Iterable[Word]:
    summary = seen.summary
    if summary is None or not summary["waiting"] or summary["oldest"] is None:
        return
    oldest = dt.datetime.fromisoformat(summary["oldest"])
    heard = seen.seen_at or seen.enrolled_at
    if heard - oldest < BEHIND:
        return
    count = summary["waiting"]
    yield Word(
        "behind",
        "warning",
        f"{count:,} result{'' if count == 1 else 's'} had not been sent when it last said so"
        + (f": {summary['reason']}" if summary["reason"] else ""),
        "if it stays, run `edge-daemon sync status` at the box; results are kept there",
        oldest,
    )


def _drift(one: Mapping[str, Any]) -> Word:
    moved = ", ".join(
        f"{'ours' if side == 'ours' else 'the analyzer’s own'} by {stream['percent'][-1]:+.1f} %"
        f" for {stream['drifting']} batch{'' if stream['drifting'] == 1 else 'es'} of 20"
        for side, stream in one["sides"].items()
        if stream["state"] == "drift"
    )
    mark = " (SIMULATED)" if one["simulated"] else ""
    return Word(
        "drifting",
        "warning",
        f"{one['code']} ({one['species']}, {one['instrument']}) has left its limits{mark}: {moved}",
        one["action"],
        one["since"],
    )


def _old(one: Mapping[str, Any]) -> Word:
    kind = "model" if one["what"] == "model" else "profile"
    what = f"{one['name']} {one['version']}" if kind == "model" else one["name"]
    newer = f"{one['newest']} is" if kind == "model" else "another edition of it is"
    return Word(
        "old",
        "warning",
        f"its newest results were made with {kind} {what}; {newer} in use elsewhere",
        f"update its {kind}s, or find out why the update did not reach it",
        one["since"],
    )


def span(long: dt.timedelta) -> str:
    """Say how long something lasts, as people do."""
    hours = int(long.total_seconds() // 3600)
    if hours < 1:
        minutes = max(1, int(long.total_seconds() // 60))
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} hour{'' if hours == 1 else 's'}"
    return f"{hours // 24} days"


def _object(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _conditions(lines: object) -> Iterable[dict[str, Any]]:
    for line in (lines if isinstance(lines, list) else [])[:_MOST]:
        if not isinstance(line, dict) or (code := text(line.get("code"), 60)) is None:
            continue
        yield {
            "code": code,
            "subject": text(line.get("subject"), 100) or "",
            "severity": one_of(_SEVERITIES, line.get("severity")) or "warning",
            "message": text(line.get("message")) or code.replace("_", " "),
            "action": text(line.get("action")) or "",
            "since": _moment(line.get("since")),
        }


def _updates(lines: object) -> Iterable[dict[str, str | None]]:
    """Take what a box says of the signed updates it has: in use, and on trial."""
    for line in (lines if isinstance(lines, list) else [])[:_MOST]:
        if isinstance(line, dict) and (item := text(line.get("item"), 100)) is not None:
            yield {
                "item": item,
                "version": text(line.get("version"), 40),
                "candidate": text(line.get("candidate"), 40),
            }


def _whole(value: object) -> int:
    plain = isinstance(value, int) and not isinstance(value, bool)
    return min(max(int(value), 0), 10**9) if plain else 0  # type: ignore[call-overload]


def _moment(value: object) -> str | None:
    """Take a moment in ISO 8601, as UTC; anything else is none."""
    try:
        found = dt.datetime.fromisoformat(value) if isinstance(value, str) else None
        if found is None:
            return None
        zoned = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
        return zoned.astimezone(dt.UTC).isoformat()
    except (ValueError, OverflowError):
        return None
