"""Everything about the box that a person should know of: one closed list, and its states.

A part that finds something says so with a `Finding`: a code of this list, whom it concerns (a
source, a bundle, never a person) and the values its words need. `Board` turns what is found now
into the box's state and remembers when each condition began. Standard library only: the command
line reads the same list.
"""

from __future__ import annotations

import string
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Severity = Literal["notice", "warning", "error"]
State = Literal["ok", "recovered", "degraded", "failing"]

RECOVERED_S: Final = 3600.0
"""How long the box is called recovered after its last warning or error ended."""
_REMEMBERED: Final = 20


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the list.

    Attributes
    ----------
    severity
        ``error``: something is not taken in, not analysed or at risk now. ``warning``: it will be
        unless somebody acts. ``notice``: worth knowing; the box does all it should.
    words
        What is the matter, with the fields of a finding in braces.
    action
        What a person does next.
    """

    severity: Severity
    words: str
    action: str

    @property
    def fields(self) -> frozenset[str]:
        """Values a finding must bring, beside its subject."""
        names = (name for _, name, _, _ in string.Formatter().parse(self.words) if name)
        return frozenset(names) - {"subject"}


_BY_ITSELF: Final = "it goes on by itself"

CONDITIONS: Final[dict[str, Condition]] = {
    # Whether anything runs at all
    "service_not_running": Condition(
        "error",
        "the service is not running: nothing is being taken in",
        "Start it with `systemctl start edge-daemon` or `edge-daemon run`.",
    ),
    "config_invalid": Condition(
        "error",
        "the configuration cannot be used: {problems} problem(s)",
        "Run `edge-daemon config check`, correct what it lists, then start the service.",
    ),
    "config_last_good": Condition(
        "warning",
        "the configuration cannot be used ({reason}); the service works with the last good one, of "
        "{since}",
        "Run `edge-daemon config check`, correct what it lists, then `systemctl restart "
        "edge-daemon`.",
    ),
    "loop_standing": Condition(
        "error",
        "a part of the service, {subject}, has stood still for {seconds} s",
        "systemd restarts the service. If this is a network share, check that it answers.",
    ),
    # Sources
    "folder_blind": Condition(
        "error",
        "source {subject} is blind: {reason}",
        f"Check its folder, the share it lies on and its permissions; {_BY_ITSELF}.",
    ),
    "port_blind": Condition(
        "error",
        "source {subject} is blind: {reason}",
        "Check the cable, the analyzer and `port`; it is opened again by itself.",
    ),
    "network_blind": Condition(
        "error",
        "source {subject} is blind: {reason}",
        f"Check the network and the address; {_BY_ITSELF}.",
    ),
    "source_paused": Condition(
        "error",
        "source {subject} takes nothing in: {reason}",
        "Free disk space or mend the disk. Files stay in their folder, analyzers keep what they "
        f"send; {_BY_ITSELF}.",
    ),
    "source_garbled": Condition(
        "warning",
        "what comes from {subject} is no message: {trouble}",
        "Check baud rate and parity, the cable, and `framing` of the source (framing.md).",
    ),
    "source_silent": Condition(
        "warning",
        "nothing has come from {subject} for {hours} h",
        "Check that the analyzer is on and sends here. Where it is seldom used, raise `silent_h`.",
    ),
    "port_fleeting": Condition(
        "warning",
        "the port name of source {subject} does not last: {reason}",
        "Write that name as `port` in the configuration.",
    ),
    "profile_rejected": Condition(
        "warning",
        "{problems} instrument profile(s) cannot be used, first {subject}",
        "Run `edge-daemon profile list`: it says what is wrong. The others are in use.",
    ),
    # Analysis
    "no_worker": Condition(
        "error",
        "no analysis can start: {reason}",
        "Run `edge-daemon doctor`; it says whether models and processor fit. Captures are kept.",
    ),
    "worker_failing": Condition(
        "error",
        "{losses} analyses ended their process in the last {minutes} min",
        "Run `edge-daemon quarantine` for the captures, and send a `support-bundle`.",
    ),
    "analysis_standing": Condition(
        "error",
        "captures are waiting ({waiting}), and none was finished for {minutes} min",
        "Run `edge-daemon doctor`, then `systemctl restart edge-daemon`. Captures are kept.",
    ),
    "queue_growing": Condition(
        "warning",
        "more than {waiting} captures wait for analysis",
        "Nothing after a burst. If it stays, the box is too slow: see `workers.count`.",
    ),
    "model_rejected": Condition(
        "error",
        "model bundle {subject} is not used: {reason}",
        "Run `edge-daemon model verify`, and install the bundle again from its source.",
    ),
    "workers_unconfined": Condition(
        "notice",
        "this kernel lacks what confines workers: {missing}",
        "sandbox.md says what is left; a newer system has both.",
    ),
    "quarantine_waiting": Condition(
        "notice",
        "{captures} capture(s) were set aside without a result",
        "`edge-daemon quarantine` says why, and what to do for each.",
    ),
    # The page
    "page_unavailable": Condition(
        "notice",
        "the technician's page is not served: {reason}",
        "See web.md, or set `web.enabled = false`. It is tried again every 30 s.",
    ),
    # The central server
    "sync_held": Condition(
        "warning",
        "the central server takes nothing from this box: {reason}",
        "Results are kept here. Run `edge-daemon sync status`, and call the fleet's operator.",
    ),
    "sync_late": Condition(
        "warning",
        "results have waited {hours} h for the central server: {reason}",
        "Check the box's network and `sync.proxy`. Results are kept here; it is tried again.",
    ),
    "sync_ended": Condition(
        "warning",
        "nothing is sent to the central server: {reason}",
        "See sync.md; it is begun again by itself. Results are kept here.",
    ),
    "dead_letters": Condition(
        "notice",
        "the central server refused {items} item(s)",
        "`edge-daemon sync dead-letters` says why, and sends them again.",
    ),
    # Updates
    "updates_blocked": Condition(
        "warning",
        "no update can be taken: {reason}",
        "Results go on with what is in use. `edge-daemon update status` says what to do.",
    ),
    "updates_ended": Condition(
        "warning",
        "updates are not followed: {reason}",
        "See updates.md; it is tried again. Results go on.",
    ),
    "update_refused": Condition(
        "warning",
        "an update of {subject} is not used: {reason}",
        "Tell whoever sends the updates; a newer version is taken by itself. "
        "`edge-daemon update unblock` lets this one be tried again.",
    ),
    "settings_wait": Condition(
        "notice",
        "settings of the fleet are used from the next start on",
        "Restart the service when it suits: `systemctl restart edge-daemon`.",
    ),
    "update_damaged": Condition(
        "error",
        "the files of the update of {subject} are damaged, and it is not used",
        "Check the card, then run `edge-daemon update rollback` and `edge-daemon update check`.",
    ),
    # Disk and database
    "disk_low": Condition(
        "error",
        "about {free_mb} MB free on the disk: below {needed_mb} MB nothing is taken in",
        f"Free disk space; {_BY_ITSELF}, and source files stay in place.",
    ),
    "disk_filling": Condition(
        "warning",
        "about {free_mb} MB free on the disk; at {needed_mb} MB nothing more is taken in",
        "Free disk space, or fit a larger disk.",
    ),
    "reserve_used": Condition(
        "warning",
        "the disk ran full, and its reserve for tidying up is used",
        "Free disk space; the reserve is made again by itself.",
    ),
    "disk_unreadable": Condition(
        "error",
        "the disk of the data folder does not answer: {reason}",
        "Check the card or disk and its cable, then restart the box.",
    ),
    "disk_read_only": Condition(
        "error",
        "the disk of the data folder can only be read",
        "The system makes a failing disk read-only: save a copy of the data folder, check the "
        "card (`dmesg`), and replace it. Results can still be read.",
    ),
    "store_busy": Condition(
        "error",
        "the database cannot be written now: {reason}",
        "It is tried again. If it stays, check the disk with `edge-daemon doctor`.",
    ),
    "database_unreadable": Condition(
        "error",
        "the database cannot be read: {reason}",
        "Check the disk with `edge-daemon doctor`. A damaged database is replaced at the next "
        "start.",
    ),
    "upkeep_failing": Condition(
        "warning",
        "upkeep of the data ({subject}) could not be done: {reason}",
        "It is tried again. If it stays, free disk space or check the disk (`edge-daemon doctor`).",
    ),
    "result_damaged": Condition(
        "error",
        "{number} stored result(s) no longer have the digest they were written with, first number "
        "{first} of the outbox",
        "Check the card. `edge-daemon show` says it of the result; export its run again and "
        "`edge-daemon process FILE --replay` makes it anew.",
    ),
    "archive_damaged": Condition(
        "warning",
        "the archived bytes of {number} capture(s) are damaged or gone, first capture {first}",
        "Results are kept. Check the card, and export the runs again: the same bytes mend it.",
    ),
    "database_replaced": Condition(
        "notice",
        "the database was replaced at the start ({why}); captures taken in again: {taken}, "
        "missing: {missing}",
        "Check the card (`dmesg`). The former database lies in `set-aside` of the data folder.",
    ),
    "archive_over_budget": Condition(
        "warning",
        "the archive of raw captures takes {used_gb} GB, its budget is {budget_gb} GB, and no more "
        "of it is safe to delete",
        "Raise `retention.max_archive_gb`, or see storage.md for what keeps raw captures.",
    ),
    # Time
    "clock_unsynchronised": Condition(
        "notice",
        "no time server sets the clock: times on results may be wrong",
        "Connect the box to a time server (`timedatectl`). Results keep their order without it.",
    ),
    "clock_wrong": Condition(
        "warning",
        "the clock shows {wall}, earlier than the newest result ({newest})",
        "Connect the box to a time server, or set the clock. Results keep their order.",
    ),
}
"""The closed list; docs/health.md says when each begins and ends."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition that is true now.

    Attributes
    ----------
    code
        From `CONDITIONS`.
    subject
        Source, bundle or loop it concerns; empty for the box.
    values
        What `words` of the condition needs. A value that is never the same twice would rewrite
        the status file at every beat: give it rounded.
    """

    code: str
    subject: str = ""
    values: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if frozenset(self.values) != CONDITIONS[self.code].fields:
            raise ValueError(f"{self.code} needs {sorted(CONDITIONS[self.code].fields)}")

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return CONDITIONS[self.code].severity

    @property
    def key(self) -> str:
        """Tell it from others: ``code`` or ``code:subject``."""
        return f"{self.code}:{self.subject}" if self.subject else self.code

    def describe(self) -> dict[str, str]:
        """Return it in words: code, subject, severity, message, action."""
        condition = CONDITIONS[self.code]
        return {
            "code": self.code,
            "subject": self.subject,
            "severity": condition.severity,
            "message": condition.words.format(subject=self.subject, **self.values),
            "action": condition.action,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What differs from the last look: keys that began and ended, and the state now."""

    state: State
    began: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(slots=True)
class _Open:
    """A condition that lasts."""

    finding: Finding
    since: str


class Board:
    """The box's state: what lasts, since when, and what is over.

    ::

        ok ──warning──► degraded ──error──► failing
        ▲                  │ ▲                 │
        │ 1 h              ▼ └────no error─────┘
        └────────────── recovered ◄──neither error nor warning
    """

    def __init__(self) -> None:
        self.state: State = "ok"
        self._since = ""
        self._open: dict[str, _Open] = {}
        self._ended: deque[tuple[float, dict[str, str]]] = deque(maxlen=_REMEMBERED)

    def update(self, findings: Iterable[Finding], wall: str, now: float) -> Change:
        """Take in what is true now.

        Parameters
        ----------
        findings
            Everything found at this look.
        wall
            Wall time, for people; a label.
        now
            Monotonic time, s.
        """
        found = {finding.key: finding for finding in findings}
        ended = tuple(key for key in self._open if key not in found)
        began = tuple(key for key in found if key not in self._open)
        for key in ended:
            over = self._open.pop(key)
            if over.finding.severity != "notice":
                past = over.finding.describe() | {"since": over.since, "until": wall}
                self._ended.append((now, past))
        for key, finding in found.items():
            since = self._open[key].since if key in self._open else wall
            self._open[key] = _Open(finding, since)
        while self._ended and now - self._ended[0][0] > RECOVERED_S:
            self._ended.popleft()
        state = worst(found.values()) or ("recovered" if self._ended else "ok")
        if state != self.state or not self._since:
            self.state, self._since = state, wall
        return Change(state, began, ended)

    def describe(self) -> dict[str, Any]:
        """Return state, since when, the conditions worst first, and what ended lately."""
        lasting = [entry.finding.describe() | {"since": entry.since} for entry in self._ordered()]
        return {
            "state": self.state,
            "since": self._since,
            "conditions": lasting,
            "ended": [past for _, past in reversed(self._ended)],
        }

    def _ordered(self) -> list[_Open]:
        return sorted(self._open.values(), key=lambda entry: _RANK[entry.finding.severity])


_RANK: Final[dict[str, int]] = {"error": 0, "warning": 1, "notice": 2}


def worst(findings: Iterable[Finding]) -> Literal["degraded", "failing"] | None:
    """Return what the findings make of the box; None where none is a warning or an error."""
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return "failing"
    return "degraded" if "warning" in severities else None
