"""What is done with updates on a box: look, fetch, prove, activate, roll back.

Each step leaves a state that is whole: killed anywhere, what was in use before is in use, and the
next look goes on. Only `folder.write` changes what is in use.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edge_daemon import __version__
from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.updates import archive
from edge_daemon.updates.changes import Changes
from edge_daemon.updates.errors import UpdateError
from edge_daemon.updates.history import newest_run_of
from edge_daemon.updates.kinds import Item, newest, unmet
from edge_daemon.updates.places import plan_with
from edge_daemon.updates.proof import UNNEEDED, ProofPlan, prove
from edge_daemon.updates.state import Held, Slot, State
from edge_daemon.updates.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from tuf.ngclient import FetcherInterface

    from edge_daemon.clock import Clock, Stamp
    from edge_daemon.tasks import Plan
    from edge_daemon.updates.trust import Offer, Source


@dataclass(slots=True)
class Looked:
    """What one look for updates found and did; texts for people.

    Attributes
    ----------
    taken
        Items that proved right, with what happens to each now.
    refused
        Items that did not, with the reason.
    unneeded
        Items that this box cannot take or does not need, with the reason.
    waits
        Items that are not to be taken yet, or not again, with the reason.
    """

    taken: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unneeded: dict[str, str] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


class Desk(Changes):
    """The updates of one box.

    Parameters
    ----------
    data_dir
        Of the box.
    plan
        Search folders without updates: shipped and the site's own.
    clock
        Stamps, and whether wall time is to be trusted.
    """

    def __init__(self, data_dir: Path, plan: Plan, clock: Clock) -> None:
        super().__init__(data_dir, clock)
        self.trust = Trust(self.folder.trust)
        self._plan = plan

    def look(
        self,
        fetcher: FetcherInterface,
        *,
        clock_is_right: bool = False,
        may: Callable[[Item], str] = lambda _: "",
    ) -> Looked:
        """Look what is offered, and take what is news.

        Parameters
        ----------
        fetcher
            Of the place that offers.
        clock_is_right
            A person has compared the time.
        may
            Why an item is not to be taken yet, or nothing: the rings of the fleet.

        Raises
        ------
        UpdateError
            Nothing could be taken; it is noted in the state as well.
        """
        stamp = self._clock.stamp()
        with self.folder.locked("looking"), self.noting():
            _must_tell_time(stamp, vouched=clock_is_right)
            source = self.trust.look(fetcher, self.folder.incoming)
            found = self._take(source, may)
            self._note(stamp, None, [offer.item for offer in source.offers], found.unneeded)
            with self.folder.locked():
                self.folder.tidy(self.folder.read())
        return found

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Write down why nothing could be taken, for `status`."""
        try:
            yield
        except UpdateError as error:
            self._note(self._clock.stamp(), error)
            raise

    def _take(self, source: Source, may: Callable[[Item], str]) -> Looked:
        found = Looked(unneeded=dict.fromkeys(source.strange, "not known to this software"))
        offers = {offer.item.id: offer for offer in source.offers}
        has = _versions()
        able = []
        for offer in source.offers:
            slot = self.folder.read().slot(offer.item.key)
            if lacking := unmet(offer.item.needs, has):
                found.unneeded[offer.item.id] = f"needs {', '.join(lacking)}"
            elif offer.sha256 in slot.blocked:
                found.waits[offer.item.id] = f"blocked: {slot.blocked[offer.sha256]}"
            elif why := may(offer.item):
                found.waits[offer.item.id] = why
                if slot.candidate is not None and slot.candidate.sha256 == offer.sha256:
                    self.change(offer.item.key, Slot.withdrawn)
            else:
                able.append(offer.item)
        for item in newest(able).values():
            self._take_one(source, offers[item.id], found)
        return found

    def _take_one(self, source: Source, offer: Offer, found: Looked) -> None:
        item = offer.item
        if not self.folder.read().slot(item.key).wants(item.version, offer.sha256):
            return
        data = source.fetch(offer)
        held = None
        try:
            files = archive.unpack(data)
            held = Held(
                item.version, hashlib.sha256(data).hexdigest(), archive.content_digest(files)
            )
            place = self.folder.install(item.key, held, files)
            problems = prove(self._proof_plan(item, place))
        except Retryable as error:
            raise UpdateError("busy", error.message) from error
        except EdgeError as error:
            problems = ((item.id, error.message),)
        why = "; ".join(words for _, words in problems)
        if problems and problems[0][0] == UNNEEDED:
            found.unneeded[item.id] = why
        elif problems:
            self.change(item.key, lambda slot: slot.refused(offer.sha256, f"{item.version}: {why}"))
            found.refused[item.id] = why
        else:
            assert held is not None
            found.taken[item.id] = self._admit(item, held)
        source.forget(offer)

    def _admit(self, item: Item, held: Held) -> str:
        """Make a version that proved right candidate; without anything to compare, use it."""
        shadow_from = self._shadow_from(item, held)
        if shadow_from is not None:
            self.change(item.key, lambda slot: slot.proved(held, shadow_from=shadow_from))
            return "proved; held against the version in use on the next samples"
        watch = self.watch()
        self.change(item.key, lambda slot: slot.proved(held).activated(watch))
        return "proved and in use"

    def _shadow_from(self, item: Item, held: Held) -> int | None:
        """Newest run if captures of the model's instruments were ever analysed here."""
        if item.kind != "model":
            return None
        from edge_daemon.classify.bundle import MANIFEST, load_bundle  # noqa: PLC0415

        path = next(self.folder.place(item.key, held).glob(f"*/{MANIFEST}")).parent
        profiles = load_bundle(path, verify=False).manifest.valid.profiles
        return newest_run_of(self._data_dir, profiles)

    def _note(
        self,
        stamp: Stamp,
        error: UpdateError | None,
        offered: Iterable[Item] = (),
        unneeded: Iterable[str] = (),
    ) -> None:
        """Write down what came of a look; drop candidates that are not offered any more."""
        with self.folder.locked():
            state = self.folder.read()
            checked: dict[str, Any] = {**state.checked, "tried": stamp.wall}
            if error is None:
                state = _without_withdrawn(state, {item.id for item in offered})
                expires = {k: v.isoformat() for k, v in self.trust.expires().items()}
                checked |= {"done": stamp.wall, "code": "", "message": "", "expires": expires}
                checked["unneeded"] = sorted(unneeded)
            else:
                checked |= {"code": error.code, "message": error.message}
            self.folder.write(State(state.slots, checked))

    def _proof_plan(self, item: Item, place: Path) -> ProofPlan:
        plan = plan_with(self._plan, self._data_dir, item.key, place)
        return ProofPlan(plan.profile_dirs, plan.model_dirs, plan.max_bytes, item, place)


def _must_tell_time(stamp: Stamp, *, vouched: bool) -> None:
    """Refuse a clock that nobody vouches for: what has run out could pass as fresh."""
    if stamp.state != "synchronised" and not vouched:
        shown = f"it shows {stamp.wall[:16]} UTC and no time server sets it"
        raise UpdateError("clock", f"updates need a right clock: {shown}")


def _without_withdrawn(state: State, offered: set[str]) -> State:
    for key, slot in state.slots.items():
        waits = slot.candidate
        if waits is not None and f"{key}@{waits.version}" not in offered:
            state = state.with_slot(key, slot.withdrawn())
    return state


def _versions() -> Mapping[str, str]:
    from importlib.metadata import version  # noqa: PLC0415 - only while updates are looked for

    return {"edge_daemon": __version__, "onnxruntime": version("onnxruntime")}
