"""Which version of what this box uses: a pure state machine, one `Slot` for each key.

::

    offer ─► proved ─► shadow (models) ─► active ─► settled
                │         │                 │
                ▼         ▼                 ▼
              blocked   blocked     rolled back to the last good, blocked

No transition makes a version active that has not proved right, nor one that was blocked.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.canonical import canonical, digest
from edge_daemon.errors import EdgeError
from edge_daemon.updates.kinds import version_key

if TYPE_CHECKING:
    from collections.abc import Mapping

SHADOW_SAMPLES: Final = 20
MAX_STARTS: Final = 3
"""So many starts of the service without a sign of life, and what was activated last goes back."""
_BLOCKED_KEPT: Final = 200
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Held:
    """A version that lies on this box and has proved right.

    Attributes
    ----------
    version
        Three numbers.
    sha256
        Of the signed target: two uploads of one version are two things.
    content
        Digest of the unpacked files (`archive.content_digest`).
    """

    version: str
    sha256: str
    content: str

    @property
    def folder(self) -> str:
        """Name of its folder below its key's."""
        return f"{self.version}-{self.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class Shadow:
    """A candidate that sees the same captures as the active version, unreported.

    Attributes
    ----------
    through_run
        Newest run that was looked at.
    samples
        One record for each capture (`shadow.Sample` as a dictionary).
    """

    through_run: int
    samples: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Watch:
    """An active version that is still being watched.

    Attributes
    ----------
    since_capture
        Newest capture when it was activated.
    since
        Wall time, a label.
    starts
        Starts of the service since, before it showed that it works.
    before
        Share of captures that failed before it, 0 to 1.
    """

    since_capture: int
    since: str
    starts: int = 0
    before: float = 0.0


@dataclass(frozen=True, slots=True)
class Slot:
    """What this box holds of one key.

    Attributes
    ----------
    active
        In use; None: what ships with the software or the site's own.
    fallback
        What a rollback returns to; None as above.
    candidate, shadow
        Proved and waiting; `shadow` while it is compared.
    watch
        While `active` may still be taken back by itself.
    blocked
        SHA-256 of the target → why it is not used again.
    """

    active: Held | None = None
    fallback: Held | None = None
    candidate: Held | None = None
    shadow: Shadow | None = None
    watch: Watch | None = None
    blocked: Mapping[str, str] = field(default_factory=dict)

    def wants(self, version: str, sha256: str) -> bool:
        """Whether an offered version is news."""
        if sha256 in self.blocked or (self.candidate and self.candidate.sha256 == sha256):
            return False
        return self.active is None or version_key(version) > version_key(self.active.version)

    def proved(self, held: Held, *, shadow_from: int | None = None) -> Slot:
        """Take a version that proved right as candidate, in place of an earlier one."""
        if held.sha256 in self.blocked:
            raise EdgeError(f"{held.version} is blocked: {self.blocked[held.sha256]}")
        shadow = None if shadow_from is None else Shadow(shadow_from)
        return replace(self, candidate=held, shadow=shadow)

    def saw(self, through_run: int, sample: dict[str, Any] | None) -> Slot:
        """Note a run that the candidate was held against, or that it had no part in."""
        if self.candidate is None or self.shadow is None:
            return self
        samples = self.shadow.samples if sample is None else (*self.shadow.samples, sample)
        return replace(self, shadow=Shadow(through_run, samples))

    def activated(self, watch: Watch) -> Slot:
        """Use the candidate; what was in use and good is kept for a rollback."""
        if self.candidate is None:
            raise EdgeError("there is no version that waits to be activated")
        fallback = self.active if self.watch is None else self.fallback
        return replace(
            self,
            active=self.candidate,
            fallback=fallback,
            candidate=None,
            shadow=None,
            watch=watch,
        )

    def refused(self, sha256: str, why: str) -> Slot:
        """Block a version that did not prove right, or did not agree."""
        if self.active is not None and self.active.sha256 == sha256:
            return self.rolled_back(why.removeprefix(f"{self.active.version}: "))
        dropped = self.candidate is not None and self.candidate.sha256 == sha256
        return replace(
            self,
            candidate=None if dropped else self.candidate,
            shadow=None if dropped else self.shadow,
            blocked=_with(self.blocked, sha256, why),
        )

    def withdrawn(self) -> Slot:
        """Drop the candidate: it is not offered any more."""
        return replace(self, candidate=None, shadow=None)

    def rolled_back(self, why: str) -> Slot:
        """Return to the last good version, and block the one in use."""
        if self.active is None:
            raise EdgeError("there is nothing to roll back: no update is in use")
        return replace(
            self,
            active=self.fallback,
            fallback=None,
            watch=None,
            blocked=_with(self.blocked, self.active.sha256, f"{self.active.version}: {why}"),
        )

    def settled(self) -> Slot:
        """End the watch: the version in use has shown that it works."""
        return replace(self, watch=None)

    def started(self) -> Slot:
        """Count a start of the service; too many without a sign of life take the version back."""
        if self.watch is None:
            return self
        starts = self.watch.starts + 1
        if starts > MAX_STARTS:
            return self.rolled_back(f"the service started {MAX_STARTS} times and did not last")
        return replace(self, watch=replace(self.watch, starts=starts))

    def lasted(self) -> Slot:
        """Forget the starts: the service works with it."""
        if self.watch is None or not self.watch.starts:
            return self
        return replace(self, watch=replace(self.watch, starts=0))

    @property
    def held(self) -> tuple[Held, ...]:
        """Every version whose files are needed."""
        return tuple(h for h in (self.active, self.fallback, self.candidate) if h is not None)


@dataclass(frozen=True, slots=True)
class State:
    """All slots, by key, and what came of the last check for updates."""

    slots: Mapping[str, Slot] = field(default_factory=dict)
    checked: Mapping[str, Any] = field(default_factory=dict)

    def slot(self, key: str) -> Slot:
        """Return the slot of a key; an empty one where there is none."""
        return self.slots.get(key, Slot())

    def with_slot(self, key: str, slot: Slot) -> State:
        """Return it with one slot changed; an empty one is dropped."""
        others = {k: v for k, v in self.slots.items() if k != key}
        return replace(self, slots=others if slot == Slot() else {**others, key: slot})

    def dump(self) -> str:
        """Write with a digest, so that a flipped bit cannot choose a version."""
        body = {
            "format": _FORMAT,
            "slots": {key: asdict(slot) for key, slot in self.slots.items()},
            "checked": dict(self.checked),
        }
        text = canonical(body)
        return json.dumps({"sha256": digest(text), "state": body}, indent=1, sort_keys=True)

    @staticmethod
    def load(text: str) -> State:
        """Read back.

        Raises
        ------
        EdgeError
            It is damaged, or of a newer software.
        """
        try:
            body = _checked(json.loads(text))
            slots = {key: _slot(slot) for key, slot in body["slots"].items()}
            return State(slots, body["checked"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EdgeError(f"the state of updates cannot be read: {error}") from error


def _checked(told: Any) -> Any:
    body = told["state"]
    if digest(canonical(body)) != told["sha256"]:
        raise ValueError("the digest does not fit")
    if body["format"] != _FORMAT:
        raise ValueError(f"format {body['format']}")
    return body


def _with(blocked: Mapping[str, str], sha256: str, why: str) -> dict[str, str]:
    kept = {k: v for k, v in blocked.items() if k != sha256}
    kept = dict(list(kept.items())[-(_BLOCKED_KEPT - 1) :])
    return {**kept, sha256: why[:500].encode("utf-8", "backslashreplace").decode()}


def _slot(told: dict[str, Any]) -> Slot:
    def held(name: str) -> Held | None:
        return None if told[name] is None else Held(**told[name])

    shadow, watch = told["shadow"], told["watch"]
    return Slot(
        active=held("active"),
        fallback=held("fallback"),
        candidate=held("candidate"),
        shadow=None if shadow is None else Shadow(shadow["through_run"], tuple(shadow["samples"])),
        watch=None if watch is None else Watch(**watch),
        blocked=told["blocked"],
    )
