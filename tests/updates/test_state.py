"""The state machine of an update: whatever happens, what is in use has proved right."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_daemon.errors import EdgeError
from edge_daemon.resources import docs_dir
from edge_daemon.updates.errors import REASONS
from edge_daemon.updates.kinds import Item, newest, unmet, version_key
from edge_daemon.updates.state import MAX_STARTS, Held, Slot, State, Watch


def held(number: int, sha256: str | None = None) -> Held:
    return Held(f"1.{number}.0", sha256 or f"{number:064x}", f"c{number}")


WATCH = Watch(0, "2026-11-28T00:00:00Z")


class Machine(RuleBasedStateMachine):
    """Offers, proofs, comparisons, failures, restarts and people, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = Slot()
        self.proved: set[str] = set()
        self.good: list[str | None] = [None]

    @rule(number=st.integers(0, 8), shadow=st.booleans(), right=st.booleans())
    def offer(self, number, shadow, right):
        version = held(number)
        if not self.slot.wants(version.version, version.sha256):
            return
        if right:
            self.proved.add(version.sha256)
            self.slot = self.slot.proved(version, shadow_from=0 if shadow else None)
        else:
            self.slot = self.slot.refused(version.sha256, "golden vectors")

    @rule(run=st.integers(1, 100))
    def see(self, run):
        self.slot = self.slot.saw(run, {"run": run})

    @precondition(lambda self: self.slot.candidate is not None)
    @rule()
    def activate(self):
        before = self.slot
        self.slot = before.activated(WATCH)
        if before.watch is None:
            assert self.slot.fallback == before.active

    @precondition(lambda self: self.slot.candidate is not None)
    @rule()
    def disagree(self):
        sha256 = self.slot.candidate.sha256
        self.slot = self.slot.refused(sha256, "does not agree")
        assert sha256 in self.slot.blocked
        assert self.slot.candidate is None

    @precondition(lambda self: self.slot.active is not None)
    @rule()
    def roll_back(self):
        gone, to = self.slot.active, self.slot.fallback
        self.slot = self.slot.rolled_back("it fails")
        assert self.slot.active == to
        assert gone.sha256 in self.slot.blocked

    @rule()
    def settle(self):
        self.slot = self.slot.settled()

    @rule()
    def start(self):
        self.slot = self.slot.started()

    @rule()
    def last(self):
        self.slot = self.slot.lasted()

    @rule()
    def withdraw(self):
        self.slot = self.slot.withdrawn()

    @invariant()
    def what_is_in_use_has_proved_right_and_is_not_blocked(self):
        for version in self.slot.held:
            assert version.sha256 in self.proved
        if self.slot.active is not None:
            assert self.slot.active.sha256 not in self.slot.blocked
        if self.slot.candidate is not None:
            assert self.slot.candidate.sha256 not in self.slot.blocked
        assert self.slot.shadow is None or self.slot.candidate is not None
        assert self.slot.watch is None or self.slot.active is not None
        if self.slot.fallback is not None:
            assert self.slot.fallback.sha256 not in self.slot.blocked

    @invariant()
    def it_is_the_same_after_a_restart(self):
        state = State().with_slot("model/x", self.slot)
        assert State.load(state.dump()) == state

    @invariant()
    def nothing_older_is_wanted(self):
        if self.slot.active is not None:
            for number in range(9):
                version = held(number)
                if self.slot.wants(version.version, version.sha256):
                    assert version_key(version.version) > version_key(self.slot.active.version)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_service_that_does_not_last_returns_to_what_worked():
    slot = Slot(active=held(1)).proved(held(2)).activated(WATCH)
    for _ in range(MAX_STARTS):
        slot = slot.started()
        assert slot.active == held(2)
    slot = slot.started()
    assert slot.active == held(1)
    assert "did not last" in slot.blocked[held(2).sha256]


def test_a_version_that_is_still_watched_is_no_place_to_return_to():
    slot = Slot(active=held(1)).proved(held(2)).activated(WATCH)
    slot = slot.proved(held(3)).activated(WATCH)
    assert slot.fallback == held(1)


def test_a_flipped_bit_chooses_no_version():
    text = State().with_slot("model/x", Slot(active=held(1))).dump()
    told = json.loads(text)
    told["state"]["slots"]["model/x"]["active"]["version"] = "1.2.0"
    with pytest.raises(EdgeError, match="digest"):
        State.load(json.dumps(told))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": "", "state": {}}', "null"])
def test_what_is_no_state_is_said_to_be_none(text):
    with pytest.raises(EdgeError, match="cannot be read"):
        State.load(text)


@pytest.mark.parametrize(
    ("kind", "name", "version"),
    [
        ("firmware", "x", "1.0.0"),
        ("model", "../x", "1.0.0"),
        ("model", "x/y/z", "1.0.0"),
        ("model", ".x", "1.0.0"),
        ("model", "x", "1.0"),
        ("model", "x", "01.0.0"),
    ],
)
def test_names_never_build_paths(kind, name, version):
    with pytest.raises(EdgeError):
        Item(kind, name, version)


def test_a_target_says_of_itself_what_its_path_says():
    item = Item("profile", "acme_one/1.0", "2.0.1", {"edge_daemon": "0.1.0"})
    assert Item.of_target(item.path, item.custom()) == item
    for change in ({"version": "2.0.2"}, {"kind": "model"}, {"needs": {"x": 1}}, {"more": "x"}):
        with pytest.raises(EdgeError):
            Item.of_target(item.path, item.custom() | change)


def test_needs():
    has = {"edge_daemon": "0.10.0", "onnxruntime": "1.28.0"}
    assert unmet({"edge_daemon": "0.9.9", "onnxruntime": "1.28.0"}, has) == []
    assert unmet({"edge_daemon": "0.10.1"}, has)
    assert unmet({"onnxruntime": "1.29.0"}, has)
    assert unmet({"quantum": "1"}, has)


def test_the_newest_version_by_number_is_taken():
    items = [Item("model", "x", v) for v in ("0.9.0", "0.10.0", "0.2.0")]
    assert newest(items)["model/x"].version == "0.10.0"


def test_every_reason_is_documented_with_an_action():
    page = (docs_dir() / "updates.md").read_text(encoding="utf-8")
    table = page.partition("## When no update can be taken")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`(?:, `(\w+)`)? \|", table)) == {
        ("no_root", ""),
        ("expired", ""),
        ("clock", ""),
        ("not_trusted", ""),
        ("unreachable", "slow"),
        ("busy", ""),
        ("disk", ""),
    }
    assert all(REASONS.values())
    assert len(REASONS) == 8


def test_an_empty_slot_is_not_kept():
    state = State().with_slot("model/x", Slot(active=held(1)))
    assert state.with_slot("model/x", Slot()).slots == {}
    assert replace(state, checked={}).slot("model/y") == Slot()
